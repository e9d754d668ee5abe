"""The nouns of the advisor: plain frozen records that every room speaks in.

Example and Document -> Request -> Reply or Failure -> Score -> ArmResult -> Comparison -> Cost -> Verdict -> Results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
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


@dataclass(frozen=True, kw_only=True)
class Message:
    """One chat message. `extra` keeps tool calls, names and ids as they were in the data."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


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
class Request:
    """One prompt for one example, with the passages that were put into it."""

    example_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Requests that are answered together."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens and seconds of one reply.

    `prompt_tokens` counts the whole prompt, `cached_tokens` the part of it that was computed for another request.
    `seconds` is the reply's share of its batch, `prefill_seconds` the part of that which went into reading.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    prefill_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answered. `finish` is "length" where the answer was cut off."""

    text: str
    usage: Usage
    finish: Literal["stop", "length"] = "stop"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """No answer: the call failed, or the prompt did not fit. Counts as wrong, never as missing."""

    kind: Literal["too_long", "error"]
    message: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good an answer is, from 0 to 1, and whether it had the wanted form at all."""

    value: float
    format_ok: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainingPair:
    """A prompt and the answer to learn; the loss is on the answer only."""

    messages: tuple[Message, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class LossPoint:
    """A logged loss."""

    step: int
    loss: float
    split: Literal["train", "validation"]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training: where its adapter lies and what it took.

    `tokens` counts all tokens over all epochs, without padding.
    """

    adapter: str
    base: str
    options: Settings
    examples: int
    steps: int
    best_step: int
    tokens: int
    trainable_parameters: int
    seconds: float
    losses: tuple[LossPoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided confidence interval and the method that made it."""

    low: float
    high: float
    level: float = 0.95
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that is needed to repeat a result."""

    schema: int
    time: datetime
    version: str
    commit: str
    packages: Mapping[str, str]
    machine: str
    seed: int
    data_hash: str
    split_hash: str
    prices: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One setting that was tried on the validation part, and its mean score there."""

    settings: Settings
    score: float
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm on the locked test split.

    `scores` and `example_ids` are aligned. `failures` counts calls without an answer, `format_failures` answers in
    the wrong form, `wrong` answers in the right form with a score below 0.5. Tokens and seconds are means per
    request. `touches` says how often this arm has seen the test split.
    """

    name: str
    approach: str
    model: str
    settings: Settings
    tuned: bool
    simulated: bool
    metric: str
    n: int
    score: float
    interval: Interval
    example_ids: tuple[str, ...]
    scores: tuple[float, ...]
    failures: int
    format_failures: int
    wrong: int
    extras: Mapping[str, float]
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float
    seconds: float
    prefill_seconds: float
    choices: tuple[Choice, ...] = ()
    training: TrainingRun | None = None
    touches: int = 1
    model_details: Settings = field(default_factory=dict[str, Any])

    @property
    def score_given_format(self) -> float:
        """Mean score over the answers that had the wanted form; 0 where none had it."""
        in_form = self.n - self.failures - self.format_failures
        return min(1.0, self.score * self.n / in_form) if in_form else 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the best untuned arm, example by example.

    `difference` is arm minus baseline, `p_adjusted` the p-value after Holm's correction over all comparisons;
    `gained` and `lost` count the examples where the arm scored higher, and lower.
    """

    arm: str
    baseline: str
    n: int
    difference: float
    interval: Interval
    p_value: float
    p_adjusted: float
    test: str
    gained: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class Power:
    """What the test set can show, at 80% power and a 5% level.

    `smallest_difference` is a share (0.05 is 5 points); `examples_for_3_points` would show one of 3 points.
    """

    n: int
    smallest_difference: float
    examples_for_3_points: int
    basis: str


@dataclass(frozen=True, kw_only=True)
class Price:
    """A dated figure from a named source; `basis` tells where it comes from."""

    name: str
    value: Decimal
    unit: str
    source: str
    checked: str
    basis: Literal["user", "source", "assumed", "measured"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an arm costs to run and to set up.

    `usd_per_1000` is with prompt caching, `usd_per_1000_uncached` without. `usd_one_off` is training and labour.
    `break_even_requests` pay the one-off cost back against the baseline by cheaper answers alone; None: never.
    """

    arm: str
    usd_per_1000: Decimal
    usd_per_1000_uncached: Decimal
    usd_per_month: Decimal
    usd_training: Decimal
    usd_one_off: Decimal
    break_even_requests: int | None
    parts: Mapping[str, Decimal]
    assumptions: tuple[Price, ...]


class Decision(StrEnum):
    """The three answers."""

    GO = "GO"
    NO_GO = "NO-GO"
    NOT_YET = "NOT YET"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer, in words that anybody can act on."""

    decision: Decision
    headline: str
    reasons: tuple[str, ...]
    flips: tuple[str, ...]
    next_step: str
    cautions: tuple[str, ...]
    best_tuned: str | None
    best_untuned: str | None


@dataclass(frozen=True, kw_only=True)
class ArmAnswer:
    """What one arm did with one example."""

    arm: str
    text: str
    score: float
    format_ok: bool
    failure: str
    prompt: tuple[Message, ...]
    passages: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A test example that some arms got right and others did not."""

    example_id: str
    question: str
    expected: str
    answers: tuple[ArmAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question of the questionnaire, with what the person said and what was measured."""

    section: str
    question: str
    why: str
    answer: str
    evidence: str


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


@dataclass(frozen=True, kw_only=True)
class Results:
    """All results of a case."""

    title: str
    task: Task
    documents: int
    passages: int
    split: SplitSummary
    findings: tuple[Finding, ...]
    answered: tuple[Answered, ...]
    arms: tuple[ArmResult, ...]
    skipped: Mapping[str, str]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    costs: tuple[Cost, ...]
    requests_per_month: int
    needed_score: float | None
    verdict: Verdict
    disagreements: tuple[Disagreement, ...]
    provenance: Provenance
    notes: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether any model only pretended."""
        return any(arm.simulated for arm in self.arms)
