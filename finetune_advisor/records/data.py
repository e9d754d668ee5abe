"""What the data is made of: messages, examples, documents, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

SCHEMA_VERSION = 1
"""Of everything written as JSON; raised when a key changes its meaning or goes away."""


Settings = Mapping[str, Any]
"""Options by name, JSON-serialisable."""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


Part = Literal["train", "validation", "test"]


def no_progress(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


class TaskKind(StrEnum):
    """What kind of answer is wanted."""

    CLASSIFICATION = "classification"
    JSON = "json"
    QA = "qa"
    NUMERIC = "numeric"
    SUMMARY = "summary"
    SQL = "sql"
    TEXT = "text"

    @property
    def answer(self) -> str:
        """What a right answer is, in words."""
        return _ANSWERS[self]


_ANSWERS = {
    TaskKind.CLASSIFICATION: "one of a few labels",
    TaskKind.JSON: "a record with fields (JSON)",
    TaskKind.QA: "a few words that answer a question",
    TaskKind.NUMERIC: "a number",
    TaskKind.SUMMARY: "a summary",
    TaskKind.SQL: "a database query (SQL)",
    TaskKind.TEXT: "free text",
}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One chat message. `extra` keeps tool calls, names and ids as they were in the data."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_system(self) -> bool:
        """Whether it instructs the model and is no turn of the conversation."""
        return self.role in ("system", "developer")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and the answer that is wanted. `id` comes from the content; `references` are all acceptable answers."""

    id: str
    messages: tuple[Message, ...]
    answer: str
    references: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: tuple[Mapping[str, Any], ...] = ()
    file: str = ""
    line: int = 0

    @property
    def question(self) -> str:
        """The text of the last user message: what is asked, what is searched for."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of the retrieval corpus."""

    id: str
    title: str
    text: str
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of a document, small enough to be put into a prompt."""

    id: str
    document_id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the audit found. `line` is 1-based; 0 stands for the whole file."""

    file: str
    line: int
    code: str
    severity: Literal["error", "warning", "info"]
    message: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the model should do, and how its answers are judged."""

    kind: TaskKind
    metric: str
    instruction: str = ""
    labels: tuple[str, ...] = ()
    max_answer_tokens: int = 64
    metric_options: Settings = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """The locked split: examples by part, groups of near duplicates, and its hash."""

    train: int
    validation: int
    test: int
    groups: int
    seed: int
    hash: str
    locked_at: datetime
    label_counts: Mapping[str, Mapping[str, int]]
