"""What the questionnaire alone would have said: published gains of tuning, beside which the measured result stands.

The gain is over the best untuned arm of each table, not over the bare base model: LoRA Land's headline of 34 points
over base models is 27 over the best of them, and 10 over GPT-4. The first rule that applies decides, else the gains.
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from finetune_advisor.records import Decision, Prior, TaskKind

Answers = Mapping[str, Any]

FEWEST_ROWS = 3
"""With fewer results of a kind, those of all kinds are taken."""

FEWEST_EXAMPLES = 50
WORTHWHILE = 0.03


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published result; `published.toml` says what the fields mean. 0 stands for a score that is not given."""

    task: str
    kind: str
    source: str
    n: int = 0
    facts: bool = False
    open: float = 0.0
    hosted: float = 0.0
    rag: float = 0.0
    tuned: float = 0.0
    tuned_rag: float = 0.0
    lift: float = 0.0

    def gain(self, *, hosted: bool) -> float | None:
        """The best tuned score minus the best untuned one; None where the table does not have both.

        Args:
            hosted: Whether a prompted hosted model is an alternative.
        """
        if self.lift:
            return self.lift if hosted else None
        untuned = max(self.open, self.rag, self.hosted if hosted else 0.0)
        known = untuned and (self.hosted or self.facts or not hosted)
        return max(self.tuned, self.tuned_rag) - untuned if known else None


@dataclass(frozen=True, kw_only=True)
class _Published:
    sources: Mapping[str, str]
    rows: tuple[Row, ...]


@cache
def _published() -> _Published:
    read = tomllib.loads((files("finetune_advisor.experiment") / "published.toml").read_text(encoding="utf-8"))
    rows = tuple(
        Row(source=table["source"], facts=table.get("facts", False), **dict(zip(table["columns"], row, strict=True)))
        for table in read["tables"]
        for row in table["rows"]
    )
    return _Published(sources=read["sources"], rows=rows)


def published() -> tuple[Row, ...]:
    """All published results that the prior rests on."""
    return _published().rows


@dataclass(frozen=True, kw_only=True)
class _Asked:
    kind: TaskKind
    answers: Answers
    examples: int | None

    @property
    def facts(self) -> bool:
        return self.answers.get("facts_in_documents") is True

    @property
    def hosted(self) -> bool:
        return self.answers.get("data_may_leave") is not False

    @property
    def worthwhile(self) -> float:
        return float(self.answers.get("worthwhile_difference") or WORTHWHILE)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    applies: Callable[[_Asked], bool]
    decision: Decision
    reason: str
    sources: Sequence[str]


BEFORE_FACTS = (
    _Rule(
        applies=lambda asked: asked.answers.get("prompting") == "good enough",
        decision=Decision.NO_GO,
        reason="A prompt with examples is good enough already, and more examples in it can do what tuning would.",
        sources=("many_shot",),
    ),
)
AFTER_FACTS = (
    _Rule(
        applies=lambda asked: asked.answers.get("prompting") in (None, "not tried"),
        decision=Decision.NOT_YET,
        reason="A prompt with a few examples has not been tried: three of them took GPT-4 from 62 to 70 BLEU.",
        sources=("openai",),
    ),
    _Rule(
        applies=lambda asked: asked.kind is TaskKind.CLASSIFICATION and asked.answers.get("simple_method") is True,
        decision=Decision.NOT_YET,
        reason="A small classifier comes first: on Banking77 one scored 93.9%, prompted models about 68 to 78%.",
        sources=("loukas", "bucher"),
    ),
    _Rule(
        applies=lambda asked: asked.examples is not None and asked.examples < FEWEST_EXAMPLES,
        decision=Decision.NOT_YET,
        reason=f"There are fewer than the {FEWEST_EXAMPLES} examples that tuning should start with.",
        sources=("openai",),
    ),
    _Rule(
        applies=lambda asked: asked.answers.get("goal", "quality") not in (None, "quality"),
        decision=Decision.NOT_YET,
        reason="Published scores cannot tell whether it pays: caching the examples alone moved one break-even from "
        "19 requests to 738.",
        sources=("t_few",),
    ),
)


def prior(kind: TaskKind, answers: Answers, *, examples: int | None = None) -> Prior:
    """The answer before anything was run.

    Args:
        kind: What kind of answers the task wants.
        answers: By question id, the figures of `[goal]` and `[money]` included; see `finetune_advisor.questions`.
        examples: How many labelled examples there are; None where that is not known.
    """
    asked = _Asked(kind=kind, answers=answers, examples=examples)
    rows = _rows(asked)
    low, likely, high = _range([gain for _, gain in rows])
    rule = _first(BEFORE_FACTS, asked) or (None if asked.facts else _first(AFTER_FACTS, asked))
    decision = rule.decision if rule else _by_gain(low, high, asked.worthwhile)
    names = (*(rule.sources if rule else ()), *(row.source for row, _ in rows))
    return Prior(
        decision=decision,
        reason=rule.reason if rule else _reason(asked, [row for row, _ in rows], low, high),
        low=low,
        likely=likely,
        high=high,
        sources=tuple(_published().sources[name] for name in dict.fromkeys(names)),
    )


def _rows(asked: _Asked) -> list[tuple[Row, float]]:
    """The results that speak to this task, with their gains."""
    gains = [(row, row.gain(hosted=asked.hosted)) for row in published() if row.facts == asked.facts]
    known = [(row, gain) for row, gain in gains if gain is not None]
    of_kind = [(row, gain) for row, gain in known if asked.facts or row.kind == asked.kind]
    return of_kind if len(of_kind) >= FEWEST_ROWS else known


def _range(gains: Sequence[float]) -> tuple[float, float, float]:
    """Quartiles, or the whole range of three."""
    if len(gains) <= FEWEST_ROWS:
        return min(gains), statistics.median(gains), max(gains)
    low, likely, high = statistics.quantiles(gains, n=4, method="inclusive")
    return low, likely, high


def _first(rules: Sequence[_Rule], asked: _Asked) -> _Rule | None:
    return next((rule for rule in rules if rule.applies(asked)), None)


def _by_gain(low: float, high: float, worthwhile: float) -> Decision:
    if low >= worthwhile:
        return Decision.GO
    return Decision.NO_GO if high < worthwhile else Decision.NOT_YET


def _reason(asked: _Asked, rows: Sequence[Row], low: float, high: float) -> str:
    brought = f"tuning brought {100 * low:+.0f} to {100 * high:+.0f} points"
    if asked.facts:
        return f"For facts that stand in documents, {brought} over retrieval alone in {len(rows)} published results."
    kinds = {row.kind for row in rows}
    tasks = f"{asked.kind} tasks" if kinds == {asked.kind.value} else "tasks of all kinds"
    against = "the best untuned model" if asked.hosted else "the best untuned open model"
    caution = "" if asked.hosted else ", part of it form that a better prompt would gain too"
    return f"On {tasks}, {brought} over {against} in {len(rows)} published results{caution}."
