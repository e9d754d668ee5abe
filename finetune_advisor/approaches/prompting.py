"""Approaches that only word the prompt: zero-shot, few-shot, and few-shot with the nearest examples."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Any, ClassVar

from finetune_advisor.approaches import Bench, Fitted, prompts
from finetune_advisor.approaches.schema import answer_schema
from finetune_advisor.approaches.searching import indexed
from finetune_advisor.errors import BadInput
from finetune_advisor.models import Model
from finetune_advisor.records import Example, Message, Request, Settings, TaskKind


def required_model(bench: Bench) -> Model:
    """The bench's model.

    Raises:
        BadInput: There is none.
    """
    if bench.model is None:
        raise BadInput("This approach asks a language model, and none is given.", hint="Name a model for this arm.")
    return bench.model


def check_least(least: int, **numbers: int) -> None:
    """Refuse options that are too small.

    Raises:
        BadInput: A number is below `least`.
        TypeError: A number is not whole, which `create` turns into a BadInput.
    """
    for name, number in numbers.items():
        if operator.index(number) < least:
            raise BadInput(f"{name} is {number}.", hint=f"It has to be at least {least}.")


def candidates(bench: Bench, shots: int) -> list[Example]:
    """Training examples so short that `shots` of them leave half of the context window free, in the given order.

    All of them where none is so short: the model then says which prompts are too long.
    """
    model = required_model(bench)
    budget = model.context_window // (2 * shots)
    return [example for example in bench.train if _fits(example, model, budget)] or list(bench.train)


def _fits(example: Example, model: Model, budget: int) -> bool:
    # A tokenizer over bytes never makes more tokens than there are bytes, so most examples need no counting.
    return _size(example) <= budget or model.count_tokens(prompts.demonstration(example)) <= budget


def _size(example: Example) -> int:
    return sum(len(message.content.encode("utf-8", "replace")) for message in prompts.demonstration(example))


def preferred(bench: Bench, shots: int) -> list[Example]:
    """Training examples in the order in which they are taken as demonstrations, drawn with the bench's seed.

    Different answers come first: one example of each class, then a second one. Except for classification, where
    it would lose classes, only the shorter half is used, because every shot is paid for in every prompt.
    """
    drawn = candidates(bench, shots)
    if bench.task.kind is not TaskKind.CLASSIFICATION:
        drawn = sorted(drawn, key=_size)[: max(shots, len(drawn) // 2)]
    Random(bench.seed).shuffle(drawn)
    return _answers_in_turn(drawn)


def _answers_in_turn(examples: Sequence[Example]) -> list[Example]:
    """First one example of each answer, then a second one of each, and so on, otherwise in the given order."""
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Example]] = []
    for example in examples:
        rounds.append((seen[example.answer], example))
        seen[example.answer] += 1
    return [example for _, example in sorted(rounds, key=lambda pair: pair[0])]


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """The instruction and the rules, no examples."""

    title: ClassVar[str] = "Zero-shot"
    tuned: ClassVar[bool] = False
    needs_documents: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def fit(self, bench: Bench) -> Fitted:
        """Read the rules off the training examples."""
        return _same_start(bench, ())


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """The same examples in every prompt, so that a provider can cache them.

    Args:
        shots: How many.
    """

    shots: int = 4

    title: ClassVar[str] = "Few-shot"
    tuned: ClassVar[bool] = False
    needs_documents: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"shots": (4, 8)}

    def __post_init__(self) -> None:
        check_least(1, shots=self.shots)

    def fit(self, bench: Bench) -> Fitted:
        """Choose the examples from the training part."""
        chosen = preferred(bench, self.shots)[: self.shots]
        return _same_start(bench, tuple(chain.from_iterable(map(prompts.demonstration, chosen))))


def _same_start(bench: Bench, before: Sequence[Message]) -> Fitted:
    extra, schema = prompts.rules(bench.task, bench.train), answer_schema(bench.task, bench.train)

    def worded(example: Example) -> Request:
        messages = prompts.full(example, bench.task, extra=extra, before=before)
        return prompts.request(example, bench.task, messages, schema=schema)

    def ask(examples: Sequence[Example]) -> list[Request]:
        return [worded(example) for example in examples]

    return Fitted(model=required_model(bench), ask=ask)


@dataclass(frozen=True, kw_only=True)
class NearestShot:
    """For each question the training examples that are nearest to it, the nearest one last.

    Args:
        shots: How many.
        retriever: What finds them; "bm25" finds none where no word is shared.
        retriever_options: What the retriever takes.
    """

    shots: int = 8
    retriever: str = "hybrid"
    retriever_options: Settings = field(default_factory=dict[str, Any])

    title: ClassVar[str] = "Few-shot, nearest examples"
    tuned: ClassVar[bool] = False
    needs_documents: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"shots": (4, 8)}

    def __post_init__(self) -> None:
        check_least(1, shots=self.shots)

    def fit(self, bench: Bench) -> Fitted:
        """Index the questions of the training part."""
        pool = candidates(bench, self.shots)
        index = indexed(self.retriever, self.retriever_options, [example.question for example in pool], bench)
        extra, schema = prompts.rules(bench.task, bench.train), answer_schema(bench.task, bench.train)
        # Duplicates of the question are thrown away after the search, so as many more are looked up.
        spare = max(Counter(_normal(example) for example in pool).values(), default=0)

        def worded(example: Example, near: Sequence[Example]) -> Request:
            messages = prompts.full(example, bench.task, extra=extra, before=self._before(example, near))
            return prompts.request(example, bench.task, messages, schema=schema)

        def ask(examples: Sequence[Example]) -> list[Request]:
            found = index.search([example.question for example in examples], self.shots + spare)
            near = [[pool[at] for at in positions] for positions in found]
            return [worded(*pair) for pair in zip(examples, near, strict=True)]

        return Fitted(model=required_model(bench), ask=ask)

    def _before(self, example: Example, near: Sequence[Example]) -> tuple[Message, ...]:
        others = [other for other in near if _normal(other) != _normal(example)][: self.shots]
        return tuple(chain.from_iterable(map(prompts.demonstration, reversed(others))))


def _normal(example: Example) -> str:
    return " ".join(example.question.casefold().split())
