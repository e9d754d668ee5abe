"""The questionnaire as data, the check of what a person answered, and what was measured on each question.

The command line, the app and the report draw the questions from here. Figures that are reckoned with stand in `[goal]`
and `[money]` of a case under the question's id (the goal itself as `kind`), all other answers in `[answers]`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Answered, ArmResult, Comparison, Cost, Finding, SideEffect, SplitSummary, Task

Section = Literal["Use case", "Alternatives", "Costs", "Benefits"]
Kind = Literal["text", "choice", "number", "yes_no"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question. `why` says why it matters and what goes wrong when it is skipped.

    `default` is what is reckoned with where nobody answers, `table` the table of case.toml that holds the answer.
    A number is at least 0.
    """

    id: str
    section: Section
    text: str
    why: str
    kind: Kind
    choices: tuple[str, ...] = ()
    unit: str = ""
    default: str | int | float | None = None
    table: Literal["answers", "goal", "money"] = "answers"


QUESTIONS = (
    Question(
        id="task",
        section="Use case",
        text="What should the model do, and for whom?",
        why="Tuning teaches one task. Where the task is not clear, the examples contradict each other and the model "
        "learns the contradiction.",
        kind="text",
    ),
    Question(
        id="problem",
        section="Use case",
        text="What is wrong with the answers you get today?",
        why="Tuning mends form, style and habits; missing facts need retrieval. Tuning against the wrong fault can "
        "leave a model worse than its base.",
        kind="text",
    ),
    Question(
        id="goal",
        section="Use case",
        text="Do you want better answers, or as good ones for less money, faster, or on your own machines?",
        why="They are judged differently: a gain has to be shown for the one, for the others that nothing is lost.",
        kind="choice",
        choices=("quality", "cost", "speed", "privacy"),
        default="quality",
        table="goal",
    ),
    Question(
        id="quality_measure",
        section="Use case",
        text="How do you tell a good answer from a bad one?",
        why="Everything here rests on that measure. One that does not match what users need makes a worse model win.",
        kind="text",
    ),
    Question(
        id="needed_score",
        section="Use case",
        text="Which score is good enough to use the answers?",
        why="Without a target any gain looks worth paying for, even where the cheapest alternative was good enough.",
        kind="number",
        unit="share from 0 to 1",
        table="goal",
    ),
    Question(
        id="usd_per_right_answer",
        section="Use case",
        text="What is a right answer worth?",
        why="It turns a gain in quality into money. Without it nobody can say whether the gain pays for itself.",
        kind="number",
        unit="US dollars",
        table="money",
    ),
    Question(
        id="usd_per_wrong_answer",
        section="Use case",
        text="What does a wrong answer cost?",
        why="Where mistakes are dear, even a good model may cost more than it earns.",
        kind="number",
        unit="US dollars",
        table="money",
    ),
    Question(
        id="requests_per_month",
        section="Use case",
        text="How many requests do you expect in a month?",
        why="Training is paid once and has to be earned back by requests. At a low volume it never is.",
        kind="number",
        unit="requests",
        default=10_000,
        table="money",
    ),
    Question(
        id="latency_seconds",
        section="Use case",
        text="How long may an answer take?",
        why="Long prompts and retrieval take time. An alternative that is too slow is no alternative.",
        kind="number",
        unit="seconds",
        table="goal",
    ),
    Question(
        id="data_may_leave",
        section="Use case",
        text="May the data leave your own machines?",
        why="If not, providers are out, for answering and for tuning. Found out late, it ends a project.",
        kind="yes_no",
    ),
    Question(
        id="prompting",
        section="Alternatives",
        text="How good are the answers with a good prompt and a few examples in it?",
        why="This is the cheapest alternative and can be tried in an afternoon. Teams that skip it often tune a model "
        "to do what a better prompt would have done.",
        kind="choice",
        choices=("not tried", "not good enough", "nearly good enough", "good enough"),
        default="not tried",
    ),
    Question(
        id="facts_in_documents",
        section="Alternatives",
        text="Do answers rest on facts that stand in documents or that change?",
        why="Tuning is a poor way to teach facts: the model makes up what it did not learn, and each change needs "
        "another training. Retrieval looks them up.",
        kind="yes_no",
    ),
    Question(
        id="simple_method",
        section="Alternatives",
        text="Could a simple classifier do it, without any language model?",
        why="For sorting into fixed labels it often does, and costs next to nothing. Nobody finds out who never tries.",
        kind="yes_no",
    ),
    Question(
        id="tuning_place",
        section="Costs",
        text="Where could the model be tuned?",
        why="Not every model can be tuned, and providers close their services: a tuned model may end with its base.",
        kind="choice",
        choices=("own machine", "rented GPU", "OpenAI", "Azure OpenAI", "another provider", "not known"),
        default="not known",
    ),
    Question(
        id="tuned_there_before",
        section="Costs",
        text="If a provider is to tune it: have you tuned there within the last two months?",
        why="OpenAI takes new trainings from recent customers only, and Azure keeps older models for existing ones.",
        kind="yes_no",
    ),
    Question(
        id="more_examples",
        section="Costs",
        text="How many more labelled examples could you get?",
        why="More examples are often the cheapest gain, and more test examples the only way to be sure of one.",
        kind="number",
        unit="examples",
    ),
    Question(
        id="data_hours",
        section="Costs",
        text="How many hours does it take to prepare the data?",
        why="People's time is often the largest cost, and leaving them out makes every project look cheap.",
        kind="number",
        unit="hours",
        default=0,
        table="money",
    ),
    Question(
        id="deployment_hours",
        section="Costs",
        text="How many hours does it take to put a tuned model into service?",
        why="A model of one's own has to be hosted, watched and updated; a prompt does not.",
        kind="number",
        unit="hours",
        default=0,
        table="money",
    ),
    Question(
        id="upkeep_hours_per_month",
        section="Costs",
        text="How many hours a month does a tuned model need?",
        why="Tuned models age: the base model retires, the data move on. Without upkeep the gain melts away.",
        kind="number",
        unit="hours a month",
        default=0,
        table="money",
    ),
    Question(
        id="usd_per_labour_hour",
        section="Costs",
        text="What does an hour of that work cost?",
        why="Hours only count in the answer when they have a price.",
        kind="number",
        unit="US dollars",
        table="money",
    ),
    Question(
        id="worthwhile_difference",
        section="Benefits",
        text="Which gain in the score would be worth the trouble?",
        why="A gain can be real and too small to matter. Set before the results are known, this keeps hopes out of it.",
        kind="number",
        unit="share from 0 to 1",
        default=0.03,
        table="goal",
    ),
    Question(
        id="horizon_months",
        section="Benefits",
        text="Over how many months has the money to come back?",
        why="What pays only after years may never pay at all: the base model may be retired before that.",
        kind="number",
        unit="months",
        default=12,
        table="money",
    ),
    Question(
        id="shorter_prompts",
        section="Benefits",
        text="Would shorter prompts save you money or time?",
        why="A tuned model needs no examples in its prompt. Where prompts are cached, that saves less than it seems.",
        kind="yes_no",
    ),
    Question(
        id="other_skills",
        section="Benefits",
        text="Must the same model go on doing other things well?",
        why="Tuning for one task can cost a model its other abilities: general knowledge, other languages, saying no.",
        kind="yes_no",
    ),
    Question(
        id="other_domains",
        section="Benefits",
        text="Will other tasks follow that the same base model could serve?",
        why="An adapter is small and several can share one base model, so the second task costs less than the first.",
        kind="yes_no",
    ),
)
"""In the order in which they are asked."""


def check(answers: Mapping[str, object]) -> None:
    """Hold the `[answers]` of a case against the questions.

    Raises:
        BadInput: An id is unknown or stands in the wrong table, or an answer does not fit its question.
    """
    by_id = {question.id: question for question in QUESTIONS}
    problems = [problem for name, value in answers.items() if (problem := _problem(by_id.get(name), name, value))]
    if problems:
        known = ", ".join(question.id for question in QUESTIONS if question.table == "answers")
        raise BadInput(" ".join(problems), hint=f"Questions under [answers]: {known}.")


def answered(answers: Mapping[str, object], evidence: Mapping[str, str]) -> tuple[Answered, ...]:
    """Every question with what the person said and what was measured.

    Args:
        answers: By question id, the figures of `[goal]` and `[money]` included; None is no answer, other keys do not
            matter.
        evidence: What was measured, by question id; see `evidence`.
    """
    return tuple(
        Answered(
            section=question.section,
            question=question.text,
            why=question.why,
            answer=_said(question, answers.get(question.id)),
            evidence=evidence.get(question.id, ""),
        )
        for question in QUESTIONS
    )


def evidence(
    *,
    arms: Sequence[ArmResult],
    comparisons: Sequence[Comparison],
    costs: Sequence[Cost],
    findings: Sequence[Finding],
    task: Task,
    split: SplitSummary,
    side_effects: Sequence[SideEffect] = (),
) -> dict[str, str]:
    """What the data and the runs say on each question, by its id; questions without evidence are left out."""
    untuned, tuned = (_best([arm for arm in arms if arm.tuned == kind]) for kind in (False, True))
    best = [arm for arm in (untuned, tuned) if arm]
    found = {
        "task": _data(task, split),
        "problem": " ".join(_faults(arm) for arm in _by(arms, "zero_shot")),
        "quality_measure": f"Measured by {task.metric} on {split.test} examples that no arm has learned from.",
        "needed_score": " ".join(map(_scored, best)),
        "requests_per_month": _each(costs, best, lambda cost: f"${cost.usd_per_month:,.2f} a month"),
        "latency_seconds": " ".join(f"{_label(arm)} took {arm.seconds:.2g} s on average." for arm in best),
        "prompting": " ".join(map(_scored, _by(arms, "few_shot", "nearest_shot"))),
        "facts_in_documents": " ".join(map(_scored, _by(arms, "rag", "tuned_rag"))),
        "simple_method": " ".join(map(_scored, _by(arms, "classical"))),
        "tuning_place": _training(tuned),
        "more_examples": _audited(findings, split),
        "worthwhile_difference": _gain(comparisons, tuned),
        "shorter_prompts": _tokens(untuned, tuned)
        + _each(costs, best, lambda cost: f"${cost.usd_per_1000:,.4f} a 1,000"),
        "other_skills": " ".join(_kept(effect) for effect in side_effects if tuned and effect.arm == tuned.name),
        "other_domains": _adapter(tuned),
    }
    return {name: text.strip() for name, text in found.items() if text.strip()}


def _problem(question: Question | None, name: str, value: object) -> str:
    if question is None:
        return f"There is no question {name!r}."
    if question.table != "answers":
        return f"{name} belongs under [{question.table}]."
    if question.kind == "number":
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        return "" if fits else f"{name} has to be a number of 0 or more."
    if question.kind == "yes_no":
        return "" if isinstance(value, bool) else f"{name} has to be true or false."
    if question.kind == "choice":
        return "" if value in question.choices else f"{name} has to be one of: {', '.join(question.choices)}."
    return "" if isinstance(value, str) else f"{name} has to be text."


def _said(question: Question, value: object) -> str:
    if value is None:
        assumed = question.default
        return "Not answered." if assumed is None else f"Not answered; reckoned with {_shown(question, assumed)}."
    return _shown(question, value)


def _shown(question: Question, value: object) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    number = f"{value:,}" if isinstance(value, int | float | Decimal) else str(value)
    return f"{number} {question.unit}".strip()


def _best(arms: Sequence[ArmResult]) -> ArmResult | None:
    return max(arms, key=lambda arm: arm.score, default=None)


def _by(arms: Sequence[ArmResult], *approaches: str) -> list[ArmResult]:
    return [arm for arm in arms if arm.approach in approaches]


def _label(arm: ArmResult) -> str:
    shots = f" ({arm.settings['shots']} shots)" if "shot" in arm.approach and "shots" in arm.settings else ""
    return arm.name + shots + (" (simulated)" if arm.simulated else "")


def _scored(arm: ArmResult) -> str:
    interval = f"[{arm.interval.low:.2f}, {arm.interval.high:.2f}]"
    return f"{_label(arm)} scored {arm.score:.2f} {interval} on {arm.n} held-out examples."


def _faults(arm: ArmResult) -> str:
    return (
        f"{_label(arm)}, without examples, gave {arm.wrong} wrong answers, {arm.format_failures} in the wrong form "
        f"and {arm.failures} times none, out of {arm.n}."
    )


def _data(task: Task, split: SplitSummary) -> str:
    labels = f" with {len(task.labels)} labels" if task.labels else ""
    counts = f"{split.train} examples to learn from, {split.validation} to choose by and {split.test} to test on"
    return f"The data are a {task.kind.value} task{labels}: {counts}."


def _each(costs: Sequence[Cost], arms: Sequence[ArmResult], show: Callable[[Cost], str]) -> str:
    by_arm = {cost.arm: cost for cost in costs}
    return " ".join(f"{_label(arm)} costs {show(by_arm[arm.name])}." for arm in arms if arm.name in by_arm)


def _training(tuned: ArmResult | None) -> str:
    if tuned is None or tuned.training is None:
        return ""
    run = tuned.training
    return f"{_label(tuned)} was tuned on {run.examples} examples in {run.seconds / 60:.1f} minutes on this machine."


def _audited(findings: Sequence[Finding], split: SplitSummary) -> str:
    counts = Counter(finding.severity for finding in findings)
    rows = split.train + split.validation + split.test
    return f"{rows} examples were used; the audit found {counts['error']} errors and {counts['warning']} warnings."


def _gain(comparisons: Sequence[Comparison], tuned: ArmResult | None) -> str:
    found = next((each for each in comparisons if tuned and each.arm == tuned.name), None)
    if found is None or tuned is None:
        return ""
    interval = f"[{found.interval.low:+.2f}, {found.interval.high:+.2f}]"
    return f"{_label(tuned)} scored {found.difference:+.2f} {interval} against {found.baseline}."


def _tokens(untuned: ArmResult | None, tuned: ArmResult | None) -> str:
    if untuned is None or tuned is None:
        return ""
    counts = [f"{arm.prompt_tokens:.0f} for {_label(arm)}" for arm in (untuned, tuned)]
    return f"Prompt tokens of a request: {' and '.join(counts)}. "


def _kept(effect: SideEffect) -> str:
    before, after = round(effect.base * effect.n), round(effect.tuned * effect.n)
    return f"{effect.ability.capitalize()}: {before} of {effect.n} prompts handled before tuning, {after} after."


def _adapter(tuned: ArmResult | None) -> str:
    if tuned is None or tuned.training is None:
        return ""
    return f"The adapter of {_label(tuned)} has {tuned.training.trainable_parameters:,} parameters."
