"""Approaches that train: LoRA on the short prompt, and LoRA on prompts with retrieved passages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from finetune_advisor import tuning
from finetune_advisor.approaches import Bench, Fitted, prompts
from finetune_advisor.approaches.prompting import check_least, required_model
from finetune_advisor.approaches.rag import library
from finetune_advisor.approaches.schema import answer_schema
from finetune_advisor.errors import BadInput
from finetune_advisor.models import Model, is_remote
from finetune_advisor.records import Example, Request, Settings, TrainingPair, TrainingRun
from finetune_advisor.tuning import TuningWork

Ask = Callable[[Sequence[Example]], list[Request]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of a training; which checkpoint is kept is decided on validation data.

    All but the last two are those of a LoRA training in this process. Another trainer takes `options`.

    Args:
        learning_rate: Peak learning rate.
        epochs: Passes over the training part.
        rank: Rank of the adapter's matrices.
        alpha: The adapter's scale is alpha / rank.
        batch_size: Examples in one step.
        max_steps: Stop after so many steps; 0 to train all epochs.
        top_layers: Adapt so many of the last layers only, which is faster; 0 for all.
        trainer: Who trains, by its name in `tuning.TABLE`; the model's own where empty.
        options: What that trainer takes instead of the above.
    """

    learning_rate: float = 1e-3
    epochs: int = 3
    rank: int = 8
    alpha: int = 16
    batch_size: int = 8
    max_steps: int = 0
    top_layers: int = 0
    trainer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def fit(self, bench: Bench) -> Fitted:
        """Train the bench's model in the bench's folder.

        Raises:
            BadInput: The model cannot be trained here.
        """
        model, ask = tunable(bench), self.asking(bench)
        run = self.train(bench, self.work(bench, ask))
        return Fitted(model=model.with_adapter(Path(run.adapter)), ask=ask, training=run)

    def asking(self, bench: Bench) -> Ask:
        """How examples become prompts, the same for training and for asking."""
        raise NotImplementedError

    def work(self, bench: Bench, ask: Ask) -> TuningWork:
        """What is to be trained on what."""
        train, validation = (pairs(part, ask) for part in (bench.train, bench.validation))
        return TuningWork(source=tunable(bench).source, train=train, validation=validation, folder=bench.folder)

    def train(self, bench: Bench, work: TuningWork) -> TrainingRun:
        """Train, where it may cost what it is expected to."""
        tuner = self.tuner(bench)
        if isinstance(tuner, tuning.Trainer):
            expected = tuner.estimate(work)
            if expected.usd is not None:
                bench.approve(work.what, expected.usd)
        return tuner.tune(work, bench.progress)

    def trainer_for(self, model: Model) -> str:
        """Who trains that model, by name."""
        return self.trainer or (model.trainer[0] if is_remote(model) else "lora")

    def tuner(self, bench: Bench) -> tuning.Tuner:
        """Who trains the bench's model.

        Raises:
            BadInput: There is no such trainer, or it has no such option.
        """
        model = tunable(bench)
        name = self.trainer_for(model)
        if name != "lora":
            reach: Settings = model.trainer[1] if is_remote(model) and name == model.trainer[0] else {}
            seed = {"seed": bench.seed} if tuning.takes(name, "seed") else {}
            return tuning.create(name, **{**seed, **reach, **self.options})
        return tuning.create(
            name,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            rank=self.rank,
            alpha=self.alpha,
            batch_size=self.batch_size,
            max_steps=self.max_steps,
            top_layers=self.top_layers,
            seed=bench.seed,
        )


def tunable(bench: Bench) -> Model:
    """The bench's model, where it can be trained.

    Raises:
        BadInput: There is none, or it cannot be trained here.
    """
    model = required_model(bench)
    if not model.tunable:
        raise BadInput(
            f"{model.name} cannot be trained on this machine.", hint="Use the embedded model or a Hugging Face one."
        )
    return model


@dataclass(frozen=True, kw_only=True)
class Tuned(Training):
    """LoRA on the examples' own messages: the form is learnt, so no rules and no examples are sent."""

    title: ClassVar[str] = "LoRA"
    tuned: ClassVar[bool] = True
    needs_documents: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def asking(self, bench: Bench) -> Ask:
        """The examples' own messages as they are."""
        schema = answer_schema(bench.task, bench.train)

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [prompts.request(each, bench.task, prompts.short(each), schema=schema) for each in examples]

        return ask


@dataclass(frozen=True, kw_only=True)
class TunedRag(Training):
    """LoRA on prompts that carry what the retriever really finds, right or wrong, as at answer time.

    Args:
        depth: How many passages.
        retriever: What finds them.
        retriever_options: What the retriever takes.
    """

    depth: int = 2
    retriever: str = "hybrid"
    retriever_options: Settings = field(default_factory=dict[str, Any])

    title: ClassVar[str] = "LoRA + RAG"
    tuned: ClassVar[bool] = True
    needs_documents: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __post_init__(self) -> None:
        check_least(1, depth=self.depth)

    def asking(self, bench: Bench) -> Ask:
        """With the passages that are found for each example."""
        shelf, schema = library(bench, self.retriever, self.retriever_options), answer_schema(bench.task, bench.train)

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [
                prompts.request(example, bench.task, prompts.short(example, passages), passages, schema=schema)
                for example, passages in zip(examples, shelf.find(examples, self.depth), strict=True)
            ]

        return ask


def pairs(examples: Sequence[Example], ask: Ask) -> list[TrainingPair]:
    """Each example's prompt and its answer."""
    asked = zip(examples, ask(examples), strict=True)
    return [TrainingPair(messages=given.messages, answer=each.answer, tools=each.tools) for each, given in asked]
