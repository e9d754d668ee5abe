"""What stands in `case.toml`, table by table."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune_advisor.models import Model, create
from finetune_advisor.records import TaskKind

FILE = "case.toml"
METRICS: Mapping[TaskKind, str] = {
    TaskKind.CLASSIFICATION: "label",
    TaskKind.JSON: "json_fields",
    TaskKind.QA: "token_f1",
    TaskKind.NUMERIC: "numeric",
    TaskKind.SUMMARY: "rouge_l",
    TaskKind.SQL: "sql",
    TaskKind.TEXT: "chrf",
}
"""The usual metric of each task kind."""

Share = Annotated[float, Field(gt=0, lt=1)]
Rows = Annotated[int, Field(gt=0)]
Usd = Annotated[Decimal, Field(ge=0)]
Fraction = Annotated[Decimal, Field(ge=0, le=1)]
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = tuple[Bound, Bound]


class Section(BaseModel):
    """A table of case.toml: unknown keys are refused, so that a typing error is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSection(Section):
    """`[task]`: what the model should do and how answers are judged."""

    kind: TaskKind
    metric: str = ""
    instruction: str = ""
    labels: tuple[str, ...] = ()
    max_answer_tokens: Rows | None = None
    metric_options: dict[str, Any] = Field(default_factory=dict[str, Any])


class DataSection(Section):
    """`[data]`: either `examples`, to be split here, or `train` and `test` files that are split already."""

    examples: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    documents: str | None = None
    prompt_column: str = "prompt"
    answer_column: str = "completion"
    validation_share: Share = 0.15
    test_share: Share = 0.3
    train_rows: Rows | None = None
    validation_rows: Rows | None = None
    test_rows: Rows | None = None
    passage_words: Rows = 120
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> DataSection:
        if (self.examples is None) == (self.train is None or self.test is None):
            raise ValueError("give either examples, or both train and test")
        return self


class ModelSection(Section):
    """`[[models]]`: a model to compare. `price` names a row of the price table; without it, the machine's counts."""

    name: str
    provider: str
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    price: str | None = None

    def make(self) -> Model:
        """The model; nothing is loaded or asked.

        Raises:
            BadInput: Unknown provider or option.
        """
        return create(self.provider, **{"name": self.name, **self.options})


class ArmSection(Section):
    """`[[arms]]`: an approach, on all models unless some are named. A list of values is tried on validation data."""

    approach: str
    models: tuple[str, ...] | None = None
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])


class MoneySection(Section):
    """`[money]`: volumes, prices, values and hours. What is left out is not invented: it counts as none or unknown.

    `machine` names the price of the computer that answers and trains, `prices` a file with prices of your own,
    `embedding` the price of the model that embeds questions for searching.
    """

    requests_per_month: Rows = 10_000
    peak_requests_per_hour: Usd | None = None
    batch_share: Fraction = Decimal(0)
    machine: str = "cpu-2vcpu"
    usd_per_machine_hour: Usd | None = None
    utilisation: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    always_on: bool = False
    usd_per_month_hosting: Usd | None = None
    prices: str | None = None
    search_seconds: Usd | None = None
    embedding: str | None = None
    question_tokens: Usd | None = None
    usd_per_right_answer: Usd | None = None
    usd_per_wrong_answer: Usd | None = None
    usd_per_wrong_form: Usd | None = None
    usd_per_no_answer: Usd | None = None
    horizon_months: Rows = 12
    discount_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    usd_per_labour_hour: Usd | None = None
    data_hours: Usd | None = None
    evaluation_hours: Usd | None = None
    tuning_hours: Usd | None = None
    deployment_hours: Usd | None = None
    upkeep_hours_per_month: Usd | None = None
    monitoring_hours_per_month: Usd | None = None
    prompt_hours_per_month: Usd | None = None
    retrain_every_months: Rows | None = None
    retraining_hours: Usd | None = None
    training_runs: Rows | None = None
    failed_share: Annotated[Decimal, Field(ge=0, lt=1)] | None = None
    labels: Annotated[int, Field(ge=0)] = 0
    usd_per_label: Usd | None = None
    judged_share: Fraction = Decimal(0)
    usd_per_judged_request: Usd | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MoneySection:
        problem = next((words for wrong, words in self._conflicts() if wrong), None)
        if problem:
            raise ValueError(problem)
        return self

    def _conflicts(self) -> tuple[tuple[bool, str], ...]:
        return (
            (self.labels > 0 and self.usd_per_label is None, "labels are to be bought: give usd_per_label too"),
            (
                self.judged_share > 0 and self.usd_per_judged_request is None,
                "answers are judged: give usd_per_judged_request too",
            ),
            (
                self.always_on and self.utilisation is not None,
                "a machine is either always_on or has a utilisation: both would count its idle time twice",
            ),
            (
                (self.embedding is None) != (self.question_tokens is None),
                "an embedding takes question_tokens, and these an embedding",
            ),
        )


class GoalSection(Section):
    """`[goal]`: what tuning is for, the quality that is needed, and the gain that would be worth the trouble.

    A GO takes a probability of at least `confidence`, a NO-GO one of at most 1 - `confidence`, that tuning is right.
    """

    kind: Literal["quality", "cost", "speed", "privacy"] = "quality"
    needed_score: Annotated[float, Field(ge=0, le=1)] | None = None
    worthwhile_difference: Share = 0.03
    non_inferiority_margin: Share = 0.02
    confidence: Annotated[float, Field(gt=0.5, le=0.999)] = 0.9
    latency_seconds: Annotated[float, Field(gt=0)] | None = None


class UncertaintySection(Section):
    """`[uncertainty]`: the lowest and the highest that a figure may turn out to be, as [low, high].

    Volume and worth are given in the units of `[money]`, the others as factors of what is reckoned with.
    """

    requests_per_month: Range | None = None
    usd_per_right_answer: Range | None = None
    usd_per_wrong_answer: Range | None = None
    prices: Range | None = None
    tokens: Range | None = None
    hours: Range | None = None
    training: Range | None = None
    hosting: Range | None = None

    @model_validator(mode="after")
    def _in_order(self) -> UncertaintySection:
        for name, bounds in self.model_dump(exclude_none=True).items():
            if bounds[0] > bounds[1]:
                raise ValueError(f"{name} goes from {bounds[0]:g} to {bounds[1]:g}: give the lowest first")
        return self


class LearningCurveSection(Section):
    """`[learning_curve]`: train the best tuned arm on shares of the data too, each with several seeds."""

    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=2)] = (0.25, 0.5, 1.0)
    seeds: Annotated[int, Field(ge=1, le=20)] = 3


class SignOffSection(Section):
    """`[sign_off]`: who decided what, and when; `date` is a calendar date such as 2026-11-22."""

    name: Annotated[str, Field(min_length=1)]
    role: str = ""
    date: datetime.date
    decision: Literal["fine-tune", "do not fine-tune", "not yet"]
    remarks: str = ""


class Case(Section):
    """A case as `case.toml` states it."""

    version: Literal[1] = Field(alias="schema")
    title: str
    task: TaskSection
    data: DataSection
    models: tuple[ModelSection, ...] = ()
    arms: tuple[ArmSection, ...]
    money: MoneySection = MoneySection()
    goal: GoalSection = GoalSection()
    uncertainty: UncertaintySection = UncertaintySection()
    learning_curve: LearningCurveSection | None = None
    answers: dict[str, Any] = Field(default_factory=dict[str, Any])
    sign_off: SignOffSection | None = None
    folder: Path = Field(exclude=True)

    @property
    def metric(self) -> str:
        """The metric by name; the usual one of the task kind unless the case names another."""
        return self.task.metric or METRICS[self.task.kind]

    @property
    def files(self) -> dict[str, str]:
        """The data, documents and prices that the case names, as written there, by key; they count from its folder."""
        data = self.data.model_dump(include={"examples", "train", "validation", "test", "documents"})
        named = {**{f"data.{key}": name for key, name in data.items()}, "money.prices": self.money.prices}
        return {key: name for key, name in named.items() if name is not None}

    @property
    def reports(self) -> Path:
        """Where reports and results are written."""
        return self.folder / "report"

    @property
    def results_file(self) -> Path:
        """The results of the last run, as JSON."""
        return self.reports / "results.json"
