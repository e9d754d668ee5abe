"""The first page: the question, the answer, why, what would change it, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from finetune_advisor.records import ArmResult, Decision, Results, Verdict
from finetune_advisor.report.blocks import Block, Bullets, Callout, CalloutKind, Cell, Details, Heading, Text
from finetune_advisor.report.formats import count, metric_title
from finetune_advisor.report.summary import key_figures, next_worth, out_of_date

REASONS, FLIPS = 3, 4
"""How many reasons, and how many changes of the answer, stand open on the first page; more are folded away."""

KINDS: dict[Decision, CalloutKind] = {Decision.GO: "go", Decision.NO_GO: "no-go", Decision.NOT_YET: "not-yet"}

MEANING = {
    Decision.GO: "Fine-tuning is worth it here.",
    Decision.NO_GO: "Fine-tuning is not worth it here.",
    Decision.NOT_YET: "Neither yes nor no today: below stands what is missing.",
}


def label(results: Results, name: str) -> str:
    """An arm's name, with the word that must stand beside it where no real model answered."""
    return f"{name} (simulated)" if name in simulated_arms(results) else name


def simulated_arms(results: Results) -> frozenset[str]:
    """Names of the arms that no real model answered."""
    return frozenset(arm.name for arm in results.arms if arm.simulated)


def baseline(results: Results) -> str | None:
    """The arm that all others are compared with: the best one without tuning."""
    return results.comparisons[0].baseline if results.comparisons else results.verdict.best_untuned


def needed(results: Results) -> dict[str, float]:
    """The needed score as a chart's guide; none where nobody stated one."""
    return {} if results.needed_score is None else {"needed": results.needed_score}


def by_score(results: Results) -> list[ArmResult]:
    """All arms, best first."""
    return sorted(results.arms, key=lambda arm: -arm.score)


def identity(results: Results, name: str) -> Mapping[str, Cell]:
    """How a chart's row names an arm: what it is called, and what it is drawn like."""
    arm = next((arm for arm in results.arms if arm.name == name), None)
    return {"arm": label(results, name), "approach": arm.approach if arm else "", "model": arm.model if arm else ""}


def scored(results: Results, arm: ArmResult) -> Mapping[str, Cell]:
    """An arm's score with its interval as a chart's row."""
    ends = {"low": arm.interval.low, "high": arm.interval.high}
    return {**identity(results, arm.name), "n": arm.n, "score": arm.score, **ends}


def simulated(results: Results) -> tuple[Block, ...]:
    """The warning that nobody may miss where a pretended model was used; empty otherwise."""
    names = sorted(simulated_arms(results))
    if not names:
        return ()
    text = (
        "No real model gave the answers of: " + ", ".join(names) + ". Their scores, tokens, times and costs are "
        "simulated and say nothing about any model. Do not decide anything on them."
    )
    return (Callout(kind="simulated", title="SIMULATED RESULTS", text=text),)


def answer(results: Results) -> tuple[Block, ...]:
    """The answer, how sure it is, its reasons, what would flip it, the next step and the cautions."""
    verdict = results.verdict
    return (
        *simulated(results),
        Callout(kind=KINDS[verdict.decision], title=_headline(verdict), text=MEANING[verdict.decision]),
        *key_figures(results),
        *_list("Why", verdict.reasons[:REASONS]),
        *_folded("Further reasons", verdict.reasons[REASONS:]),
        *_list("What would change this answer", verdict.flips[:FLIPS]),
        *_folded("What else would change it", verdict.flips[FLIPS:]),
        Heading(level=3, text="Cheapest next step"),
        Text(text=verdict.next_step),
        *next_worth(results),
        *(Callout(kind="caution", title="Caution", text=text) for text in (*verdict.cautions, *touched(results))),
        *out_of_date(results),
    )


def _headline(verdict: Verdict) -> str:
    """The decision, then the headline without the decision if it starts with that."""
    word, headline = verdict.decision.value, verdict.headline
    if headline.upper().startswith(f"{word}:"):
        headline = headline[len(word) + 1 :].strip()
    return f"{word}: {headline}"


def question(results: Results) -> tuple[Block, ...]:
    """What was asked, of what data, when."""
    when = results.provenance.time.astimezone(UTC).strftime("%d %B %Y").lstrip("0")
    text = (
        f"{len(results.arms)} approaches answered the same {count(results.split.test)} locked test examples. "
        f"A right answer is {results.task.kind.answer}; it is judged by the metric "
        f"“{metric_title(results.task.metric)}”. {when}."
    )
    return (
        Heading(level=1, text=results.title),
        Text(
            text="The question: should this use case fine-tune a language model, or does something simpler do as well?"
        ),
        Text(text=text),
    )


def touched(results: Results) -> tuple[str, ...]:
    """One sentence for each arm that has seen the test examples more than once."""
    return tuple(
        f"{label(results, arm.name)} has been scored on the test examples {arm.touches} times. Every look after the "
        "first makes its score a little too good to be true; fresh test examples would be cleaner."
        for arm in results.arms
        if arm.touches > 1
    )


def _folded(title: str, items: tuple[str, ...]) -> tuple[Block, ...]:
    return (Details(title=title, blocks=(Bullets(items=items),)),) if items else ()


def _list(title: str, items: tuple[str, ...]) -> tuple[Block, ...]:
    return (Heading(level=3, text=title), Bullets(items=items)) if items else ()
