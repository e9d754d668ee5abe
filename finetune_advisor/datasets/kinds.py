"""What kind of task answers look like, told from what a stream of them leaves behind."""

from __future__ import annotations

import json
from dataclasses import dataclass

from finetune_advisor.records import TaskKind

LONGEST_LABEL = 60


@dataclass(kw_only=True)
class Forms:
    """Which forms all answers so far have; they are stripped."""

    json: bool = True
    numeric: bool = True
    sql: bool = True

    def add(self, answer: str) -> None:
        """Look at one more."""
        self.json = self.json and _is_json(answer)
        self.numeric = self.numeric and _is_numeric(answer)
        self.sql = self.sql and answer.lower().startswith(("select", "with"))

    def join(self, other: Forms) -> None:
        """Take over what another part of the answers left."""
        self.json, self.numeric, self.sql = (
            self.json and other.json,
            self.numeric and other.numeric,
            self.sql and other.sql,
        )


def guess(forms: Forms, *, answers: int, distinct: int, longest: int, words: int) -> TaskKind:
    """What kind of task the answers look like: few distinct short answers are labels, and so on.

    Args:
        forms: The forms that all of them have.
        answers: How many there are.
        distinct: How many different ones.
        longest: Characters of the longest.
        words: Of the middle one by number of words.
    """
    if forms.json:
        return TaskKind.JSON
    if distinct <= max(2, answers // 5) and longest <= LONGEST_LABEL:
        return TaskKind.CLASSIFICATION
    if forms.numeric:
        return TaskKind.NUMERIC
    if forms.sql:
        return TaskKind.SQL
    return TaskKind.QA if words <= 8 else TaskKind.SUMMARY


def _is_numeric(answer: str) -> bool:
    return answer.rsplit("####", 1)[-1].strip().replace(",", "").lstrip("-").isdigit()


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict | list)
    except (ValueError, RecursionError):
        return False
