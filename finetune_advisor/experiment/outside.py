"""A verdict on results that were measured elsewhere: an evidence file and a money file in, `Judged` out.

docs/evidence.md explains every key. Nothing is filled in that the files do not say: an arm without tokens and seconds
has no cost, and the verdict says that it is not known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from finetune_advisor import metrics, plugins, questions, statistics
from finetune_advisor.case import (
    Case,
    DataSection,
    GoalSection,
    ModelSection,
    MoneySection,
    Section,
    TaskSection,
    UncertaintySection,
)
from finetune_advisor.costs.pricing import Pricing, TokenPricing
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment.money import ELSEWHERE
from finetune_advisor.experiment.weighing import compared, weigh
from finetune_advisor.records import (
    SCHEMA_VERSION,
    ArmResult,
    Comparison,
    Cost,
    Finding,
    Power,
    Task,
    TaskKind,
    TrainingRun,
    Verdict,
)

HELP = "docs/evidence.md explains every key."

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


class TrainingEntry(Section):
    """`arms[].training`: what the training took; `tokens` over all epochs."""

    tokens: Count
    seconds: Amount
    examples: Count = 0


class ArmEntry(Section):
    """`arms[]`: one way to answer, with its score on every test example. Tokens and seconds are means per request."""

    name: Name
    tuned: bool
    scores: Annotated[tuple[Share, ...], Field(min_length=1)]
    approach: str = ""
    model: str = ""
    forms: tuple[bool, ...] = ()
    failures: Count = 0
    prompt_tokens: Amount | None = None
    cached_tokens: Amount = 0
    completion_tokens: Amount | None = None
    seconds: Amount | None = None
    prefill_seconds: Amount = 0
    training: TrainingEntry | None = None
    touches: Annotated[int, Field(ge=1)] = 1
    simulated: bool = False

    @model_validator(mode="before")
    @classmethod
    def _not_counts(cls, values: object) -> object:
        if isinstance(values, dict) and "scores" not in values:
            raise ValueError(
                "has no scores: how many answers were right is not enough, because arms are compared example by example"
            )
        return cast(object, values)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.forms and len(self.forms) != len(self.scores):
            raise ValueError(f"has {len(self.forms)} forms for {len(self.scores)} scores")
        if self.failures > self.scores.count(0):
            raise ValueError(f"has {self.failures} failures and {self.scores.count(0)} scores of 0")
        if self.forms and self.failures > self.forms.count(False):
            raise ValueError(f"has {self.failures} failures and {self.forms.count(False)} forms that are false")
        return self

    @property
    def wrong(self) -> int:
        """Answers in the wanted form with a score below 0.5."""
        forms = self.forms or (True,) * len(self.scores)
        fallen = sum(score < 0.5 and form for score, form in zip(self.scores, forms, strict=True))
        return fallen if self.forms else fallen - self.failures

    @property
    def malformed(self) -> int:
        """Answers in the wrong form; a call without an answer is none."""
        return self.forms.count(False) - self.failures if self.forms else 0

    @property
    def usage(self) -> tuple[float | None, ...]:
        """What a request took."""
        return self.prompt_tokens, self.cached_tokens, self.completion_tokens, self.seconds, self.prefill_seconds


class FindingEntry(Section):
    """`findings[]`: what an audit of the data found; leaks stop a verdict."""

    code: Name
    severity: Literal["error", "warning", "info"]
    message: str
    file: str = ""
    line: Count = 0


class TaskEntry(Section):
    """`task`: what was asked, and by which metric the answers were scored."""

    kind: TaskKind
    metric: Name


class EvidenceFile(Section):
    """The evidence file: what was measured. All arms answered the same examples in the same order."""

    version: Literal[1] = Field(alias="schema")
    task: TaskEntry
    arms: tuple[ArmEntry, ...]
    examples: tuple[str, ...] = ()
    clusters: tuple[int, ...] = ()
    findings: tuple[FindingEntry, ...] = ()


class MoneyFile(Section):
    """The money file: sections of case.toml, and by arm the name of what it is paid by in the price table."""

    version: Literal[1] = Field(alias="schema")
    money: MoneySection = MoneySection()
    goal: GoalSection = GoalSection()
    uncertainty: UncertaintySection = UncertaintySection()
    answers: dict[str, Any] = Field(default_factory=dict[str, Any])
    priced_as: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A verdict with everything that it rests on. `unpriced` says by arm why its cost is not known."""

    task: Task
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    costs: tuple[Cost, ...]
    unpriced: Mapping[str, str]
    verdict: Verdict

    def to_json(self) -> str:
        """All of it as indented JSON, money as decimal strings."""
        document = {"schema": SCHEMA_VERSION, **TypeAdapter(Judged).dump_python(self, mode="json")}
        return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def judge(evidence: Path, money: Path) -> Judged:
    """The verdict on results that were measured elsewhere.

    Args:
        evidence: A JSON file with the scores of every arm on the same test examples.
        money: A JSON file with volume, prices, values and the goal.

    Raises:
        BadInput: A file cannot be read or says something impossible; the message names the key.
    """
    measured, wanted = _parsed(evidence, EvidenceFile), _parsed(money, MoneyFile)
    _check_evidence(measured, evidence.name)
    _check_arms(wanted, measured, money.name)
    questions.check(wanted.answers)
    return _judged(measured, _case(measured, wanted, money.parent), datetime.now(UTC).date())


def _judged(measured: EvidenceFile, case: Case, today: date) -> Judged:
    binary, entries = _binary(measured), {entry.name: entry for entry in measured.arms}
    evidence = compared(
        Task(kind=measured.task.kind, metric=measured.task.metric),
        tuple(_result(arm, measured, binary=binary) for arm in measured.arms),
        binary=binary,
        findings=tuple(Finding(**entry.model_dump()) for entry in measured.findings),
        clusters=measured.clusters,
    )
    weighed = weigh(case, evidence, today, lambda arm, assumptions: _unpriced(entries[arm.name], assumptions.of(arm)))
    return Judged(
        task=evidence.task,
        arms=evidence.arms,
        comparisons=evidence.comparisons,
        power=evidence.power,
        costs=weighed.costs,
        unpriced=weighed.unpriced,
        verdict=weighed.verdict,
    )


def _result(arm: ArmEntry, measured: EvidenceFile, *, binary: bool) -> ArmResult:
    n = len(arm.scores)
    return ArmResult(
        name=arm.name,
        approach=arm.approach or ("tuned" if arm.tuned else "untuned"),
        model=arm.model or arm.name,
        settings={},
        tuned=arm.tuned,
        simulated=arm.simulated,
        metric=measured.task.metric,
        n=n,
        score=fmean(arm.scores),
        interval=statistics.interval(arm.scores, binary=binary, clusters=measured.clusters or None),
        example_ids=measured.examples or tuple(str(at + 1) for at in range(n)),
        scores=arm.scores,
        failures=arm.failures,
        format_failures=arm.malformed,
        wrong=arm.wrong,
        extras={},
        prompt_tokens=arm.prompt_tokens or 0.0,
        cached_tokens=arm.cached_tokens,
        completion_tokens=arm.completion_tokens or 0.0,
        seconds=arm.seconds or 0.0,
        prefill_seconds=arm.prefill_seconds,
        training=_training(arm),
        touches=arm.touches,
        forms=arm.forms,
    )


def _training(arm: ArmEntry) -> TrainingRun | None:
    if arm.training is None:
        return None
    return TrainingRun(
        adapter="",
        base=arm.model,
        options={},
        examples=arm.training.examples,
        steps=0,
        best_step=0,
        tokens=arm.training.tokens,
        trainable_parameters=0,
        seconds=arm.training.seconds,
    )


def _binary(measured: EvidenceFile) -> bool:
    """What the metric says where it is one of ours; else whether all scores are 0 or 1."""
    if measured.task.metric in plugins.known(metrics.GROUP, metrics.TABLE):
        return bool(plugins.load(metrics.GROUP, metrics.TABLE, measured.task.metric).binary)
    return all(score in (0, 1) for arm in measured.arms for score in arm.scores)


def _unpriced(arm: ArmEntry, pricing: Pricing) -> str:
    """Why an arm's cost is not known; empty where it is."""
    by_token = isinstance(pricing, TokenPricing)
    if by_token and (arm.prompt_tokens is None or arm.completion_tokens is None):
        return "It is paid by token, and its prompt_tokens or completion_tokens are not given."
    if not by_token and arm.seconds is None:
        return "It is paid by machine time, and its seconds are not given."
    if arm.tuned and arm.training is None:
        return "It is tuned, and its training is not given."
    return ""


def _case(measured: EvidenceFile, wanted: MoneyFile, folder: Path) -> Case:
    """The case that asks for this: each arm is a model of its own, so that each may have its own price."""
    return Case(
        schema=1,
        title="Measured elsewhere",
        task=TaskSection(kind=measured.task.kind),
        data=DataSection(examples="measured elsewhere"),
        models=tuple(
            ModelSection(name=arm.name, provider=ELSEWHERE, price=wanted.priced_as.get(arm.name))
            for arm in measured.arms
        ),
        arms=(),
        money=wanted.money,
        goal=wanted.goal,
        uncertainty=wanted.uncertainty,
        answers=wanted.answers,
        folder=folder,
    )


def _check_evidence(measured: EvidenceFile, file: str) -> None:
    """What no single key can tell: enough arms, each named once, all on the same examples.

    Raises:
        BadInput: They cannot be compared.
    """
    if len(measured.arms) < 2:
        raise BadInput(
            f"{file}: arms holds {'one arm' if measured.arms else 'no arm'}, and a verdict compares at least two.",
            hint="Give a tuned arm and what it has to beat, such as few-shot prompting, on the same test examples.",
        )
    first = measured.arms[0]
    for at, arm in enumerate(measured.arms):
        if len(arm.scores) != len(first.scores):
            raise BadInput(
                f"{file}: arm {arm.name!r} has {len(arm.scores)} scores and {first.name!r} has {len(first.scores)}.",
                hint="All arms have to be scored on the same examples, in the same order.",
            )
        for other in measured.arms[:at]:
            _check_distinct(arm, other, file)
    for key, values in (("clusters", measured.clusters), ("examples", measured.examples)):
        if values and len(values) != len(first.scores):
            raise BadInput(
                f"{file}: {key} has {len(values)} entries for {len(first.scores)} scores.",
                hint=f"Give one of the {key} for each test example, or leave them out.",
            )


def _check_distinct(arm: ArmEntry, other: ArmEntry, file: str) -> None:
    if arm.name == other.name:
        raise BadInput(f"{file}: two arms are named {arm.name!r}.", hint="Give each arm a name of its own.")
    # Arms that are all right, or all wrong, may well agree.
    if arm.scores == other.scores and arm.usage == other.usage and len(set(arm.scores)) > 1:
        raise BadInput(
            f"{file}: the arms {other.name!r} and {arm.name!r} are identical: same scores, tokens and seconds.",
            hint="Give the results of two different arms; one seems to have been entered twice.",
        )


def _check_arms(wanted: MoneyFile, measured: EvidenceFile, file: str) -> None:
    """Both files have to be about the same arms, and a goal in seconds takes arms that were timed.

    Raises:
        BadInput: They are not, or were not.
    """
    names = [arm.name for arm in measured.arms]
    untimed = [arm.name for arm in measured.arms if arm.seconds is None]
    if untimed and (wanted.goal.kind == "speed" or wanted.goal.latency_seconds is not None):
        raise BadInput(
            f"{file}: goal is about time, and the evidence has no seconds for the arm {untimed[0]!r}.",
            hint="Give the seconds per request of every arm, or another goal.",
        )
    for name in wanted.priced_as:
        if name not in names:
            raise BadInput(
                f"{file}: priced_as names the arm {name!r}, which the evidence does not have.",
                hint=f"Arms of the evidence: {', '.join(names)}. Do the two files belong together?",
            )


_File = TypeVar("_File", bound=BaseModel)


def _parsed(path: Path, kind: type[_File]) -> _File:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Name a JSON file.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON: {error}.", hint=HELP) from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(path.name, error) from error


def _refusal(file: str, error: ValidationError) -> BadInput:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    given = first["input"]
    if first["type"] == "less_than_equal" and isinstance(given, int | float) and 1 < given <= 100:
        hint = f"Scores and shares go from 0 to 1: {given:g}% is {given / 100:g}."
        return BadInput(f"{file}: {where} is {given:g}, which is over 1.", hint=hint)
    if first["type"] == "missing":
        return BadInput(f"{file}: {where} is missing.", hint=HELP)
    if first["type"] == "extra_forbidden":
        return BadInput(f"{file}: {where} is not a known key.", hint=HELP)
    shown = f" ({given!r})" if isinstance(given, str | int | float) else ""
    return BadInput(f"{file}: {where}{shown}: {first['msg'].removeprefix('Value error, ')}.", hint=HELP)
