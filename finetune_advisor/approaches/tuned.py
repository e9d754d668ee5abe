"""Approaches that train: LoRA on the short prompt, and LoRA on prompts with retrieved passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from finetune_advisor import tuning
from finetune_advisor.approaches import Bench, Fitted, prompts
from finetune_advisor.approaches.prompting import check_least, required_model
from finetune_advisor.approaches.rag import library
from finetune_advisor.errors import BadInput
from finetune_advisor.models import Model
from finetune_advisor.records import Example, Request, TrainingPair, TrainingRun


@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of a LoRA training; which checkpoint is kept is decided on validation data.

    Args:
        learning_rate: Peak learning rate.
        epochs: Passes over the training part.
        rank: Rank of the adapter's matrices.
        alpha: The adapter's scale is alpha / rank.
        batch_size: Examples in one step.
        max_steps: Stop after so many steps; 0 to train all epochs.
        top_layers: Adapt so many of the last layers only, which is faster; 0 for all.
    """

    learning_rate: float = 1e-3
    epochs: int = 3
    rank: int = 8
    alpha: int = 16
    batch_size: int = 8
    max_steps: int = 0
    top_layers: int = 0

    def train(self, bench: Bench, pairs: Sequence[TrainingPair], held_out: Sequence[TrainingPair]) -> TrainingRun:
        """Train the bench's model in the bench's folder.

        Raises:
            BadInput: The model cannot be trained here.
        """
        source = tunable(bench).source
        tuner = tuning.create(
            "lora",
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            rank=self.rank,
            alpha=self.alpha,
            batch_size=self.batch_size,
            max_steps=self.max_steps,
            top_layers=self.top_layers,
            seed=bench.seed,
        )
        return tuner.tune(source, pairs, held_out, bench.folder, bench.progress)


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

    def fit(self, bench: Bench) -> Fitted:
        """Train the adapter."""
        model = tunable(bench)
        run = self.train(bench, _pairs(bench.train), _pairs(bench.validation))

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [prompts.request(example, bench.task, prompts.short(example)) for example in examples]

        return Fitted(model=model.with_adapter(Path(run.adapter)), ask=ask, training=run)


def _pairs(examples: Sequence[Example]) -> list[TrainingPair]:
    return [TrainingPair(messages=prompts.short(example), answer=example.answer) for example in examples]


@dataclass(frozen=True, kw_only=True)
class TunedRag(Training):
    """LoRA on prompts that carry what the retriever really finds, right or wrong, as at answer time.

    Args:
        depth: How many passages.
        retriever: What finds them.
    """

    depth: int = 2
    retriever: str = "hybrid"

    title: ClassVar[str] = "LoRA + RAG"
    tuned: ClassVar[bool] = True
    needs_documents: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __post_init__(self) -> None:
        check_least(1, depth=self.depth)

    def fit(self, bench: Bench) -> Fitted:
        """Index the passages and train the adapter on prompts with them."""
        model = tunable(bench)
        shelf = library(bench, self.retriever)

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [
                prompts.request(example, bench.task, prompts.short(example, passages), passages)
                for example, passages in zip(examples, shelf.find(examples, self.depth), strict=True)
            ]

        def pairs(examples: Sequence[Example]) -> list[TrainingPair]:
            asked = zip(examples, ask(examples), strict=True)
            return [TrainingPair(messages=request.messages, answer=example.answer) for example, request in asked]

        run = self.train(bench, pairs(bench.train), pairs(bench.validation))
        return Fitted(model=model.with_adapter(Path(run.adapter)), ask=ask, training=run)
