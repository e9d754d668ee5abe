"""What was measured: arms on the test split, their comparison, and what the data can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from finetune_advisor.records.answers import TrainingRun
from finetune_advisor.records.data import Message, Part, Settings


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided confidence interval and the method that made it."""

    low: float
    high: float
    level: float = 0.95
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One setting that was tried on the validation part, and its mean score there."""

    settings: Settings
    score: float
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """One arm's answers on the test split, counted: first by what was wanted, then by what was answered.

    `field` is the field of a JSON answer; empty where the whole answer is the label. What was answered is empty where
    there was no answer in the right form.
    """

    field: str
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm on the locked test split.

    `scores` and `example_ids` are aligned. `failures` counts calls without an answer, `format_failures` answers in
    the wrong form, `wrong` answers in the right form with a score below 0.5. Tokens and seconds are means per
    request. `touches` says how often this arm has seen the test split, `forms` which answers had the wanted form,
    `confusions` what was answered for what, where that can be counted.
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
    forms: tuple[bool, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    model_details: Settings = field(default_factory=dict[str, Any])

    @property
    def score_given_format(self) -> float:
        """Mean score over the answers that had the wanted form; 0 where none had it."""
        in_form = self.n - self.failures - self.format_failures
        return min(1.0, self.score * self.n / in_form) if in_form else 0.0


def highest(arms: Iterable[ArmResult]) -> ArmResult | None:
    """The arm with the highest score; of equals the one that was listed first."""
    return max(arms, key=lambda arm: arm.score, default=None)


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
    """A question of the questionnaire, with what the person said and what was measured.

    `disagrees` says in a sentence where the two disagree; empty where they do not, or where too little was measured.
    """

    section: str
    question: str
    why: str
    answer: str
    evidence: str
    disagrees: str = ""


@dataclass(frozen=True, kw_only=True)
class LearningPoint:
    """One training on a share of the training part, scored on `part`."""

    examples: int
    seed: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The score that is expected with so many training examples, with a 95% interval."""

    examples: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """How an arm's score grows with its training examples, measured and extrapolated.

    `more_helps` is True or False where the data can tell, None where not. `usd_per_example` is what a further
    example costs, None where nobody said. `gain_error` is the standard error of a difference between two sizes,
    None where it was not kept. `trainings` were done for the curve alone and took `training_seconds`, which cost
    `training_usd`; the arm's own training is not among them.
    """

    arm: str
    part: Part
    points: tuple[LearningPoint, ...]
    forecasts: tuple[Forecast, ...]
    method: str
    more_helps: bool | None
    usd_per_example: Decimal | None
    gain_error: float | None = None
    trainings: int = 0
    training_seconds: float = 0.0
    training_usd: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class SideEffect:
    """What tuning did to an ability that it was not meant to change: the shipped prompts, base and tuned model.

    `base` and `tuned` are shares of `n` prompts that were handled well; `difference` is tuned minus base.
    """

    arm: str
    ability: Literal["general", "refusal", "format", "language"]
    n: int
    base: float
    tuned: float
    interval: Interval
    lost: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Tuned minus base."""
        return self.tuned - self.base
