"""The steps and the questions, read from `questions.toml`; what a person answered, checked and put into words."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files
from typing import Any, Literal

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Answered

Section = Literal["Use case", "Data", "Alternatives", "Costs", "Benefits", "Verdict", "How"]
Kind = Literal["text", "choice", "number", "yes_no"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the walk. `why` says why it matters and what goes wrong when it is skipped."""

    title: Section
    why: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question. `why` says why it matters and what goes wrong when it is skipped.

    `labels` are the answers that a choice has, each with the words to show for it. `default` is what is reckoned with
    where nobody answers, `table` the table of case.toml that holds the answer. A number lies from `minimum` to
    `maximum`, and is a `whole` one or not. Of a `ranged` one, `[uncertainty]` may hold the lowest and the highest value
    as [low, high], under the same id.
    """

    id: str
    section: Section
    text: str
    why: str
    kind: Kind
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    unit: str = ""
    default: str | int | float | None = None
    minimum: float = 0
    maximum: float = math.inf
    whole: bool = False
    ranged: bool = False
    table: Literal["answers", "goal", "money"] = "answers"

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers that a choice has, as they stand in case.toml."""
        return tuple(self.labels)


def _read() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    text = (files("finetune_advisor.questions") / "questions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


_FILE = _read()

STEPS = tuple(Step(**row) for row in _FILE["step"])
"""In the order in which they are gone through; Data and Verdict have no questions of their own."""

QUESTIONS = tuple(Question(**row) for row in _FILE["question"])
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


def answered(
    answers: Mapping[str, object],
    evidence: Mapping[str, str],
    disagrees: Mapping[str, str] | None = None,
    ranges: Mapping[str, Sequence[float] | None] | None = None,
) -> tuple[Answered, ...]:
    """Every question with what the person said and what was measured.

    Args:
        answers: By question id, the figures of `[goal]` and `[money]` included; None is no answer, other keys do not
            matter.
        evidence: What was measured, by question id; see `evidence`.
        disagrees: Where answer and evidence disagree, by question id; see `contradictions`.
        ranges: `[uncertainty]`, by question id; other keys do not matter.
    """
    return tuple(
        Answered(
            section=question.section,
            question=question.text,
            why=question.why,
            answer=_said(question, answers.get(question.id)) + _range(question, ranges or {}),
            evidence=evidence.get(question.id, ""),
            disagrees=(disagrees or {}).get(question.id, ""),
        )
        for question in QUESTIONS
    )


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
    if isinstance(value, int | float | Decimal):
        return f"{value:,} {question.unit}".strip()
    return question.labels.get(str(value), str(value))


def _range(question: Question, ranges: Mapping[str, Sequence[float] | None]) -> str:
    bounds = ranges.get(question.id) if question.ranged else None
    return f" (from {bounds[0]:,.10g} to {bounds[1]:,.10g})" if bounds else ""
