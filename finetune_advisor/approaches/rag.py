"""Retrieval-augmented generation: passages of the documents go into the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from finetune_advisor import retrieval
from finetune_advisor.approaches import Bench, Fitted, prompts
from finetune_advisor.approaches.prompting import check_least, preferred, required_model
from finetune_advisor.approaches.schema import answer_schema
from finetune_advisor.approaches.searching import indexed
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Example, Message, Passage, Request, Settings

CONTEXT_RULE = "Each question comes with passages under Context. Answer from them."

_LOOKED_THROUGH = 64
"""How many training examples are looked through for demonstrations whose passage holds the answer."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """The passages of a case, searchable."""

    passages: Sequence[Passage]
    index: retrieval.Index

    def find(self, examples: Sequence[Example], depth: int) -> list[list[Passage]]:
        """For each example, the passages that its question finds, best first."""
        found = self.index.search([example.question for example in examples], depth)
        return [[self.passages[at] for at in positions] for positions in found]


def library(bench: Bench, retriever: str, options: Settings) -> Library:
    """Index the bench's passages, titles included.

    Args:
        bench: With the passages.
        retriever: What finds them.
        options: What the retriever takes.

    Raises:
        BadInput: There are none, or the retriever is unknown.
    """
    if not bench.passages:
        raise BadInput("Retrieval needs documents, and there are none.", hint="Name a folder of documents in the case.")
    texts = [f"{passage.title}\n{passage.text}" for passage in bench.passages]
    return Library(passages=bench.passages, index=indexed(retriever, options, texts, bench))


@dataclass(frozen=True, kw_only=True)
class Rag:
    """Passages for each question, found in the documents.

    Args:
        depth: How many passages.
        shots: How many demonstrations, each with its own best passage, to teach the form of the answer.
        retriever: What finds the passages.
        retriever_options: What the retriever takes.
    """

    depth: int = 3
    shots: int = 0
    retriever: str = "hybrid"
    retriever_options: Settings = field(default_factory=dict[str, Any])

    title: ClassVar[str] = "RAG"
    tuned: ClassVar[bool] = False
    needs_documents: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"depth": (1, 3), "shots": (0, 2)}

    def __post_init__(self) -> None:
        check_least(1, depth=self.depth)
        check_least(0, shots=self.shots)

    def fit(self, bench: Bench) -> Fitted:
        """Index the passages and choose the demonstrations."""
        shelf = library(bench, self.retriever, self.retriever_options)
        extra = "\n".join(filter(None, [CONTEXT_RULE, prompts.rules(bench.task, bench.train)]))
        before = _demonstrations(bench, shelf, self.shots) if self.shots else ()
        schema = answer_schema(bench.task, bench.train)

        def worded(example: Example, passages: Sequence[Passage]) -> Request:
            messages = prompts.full(example, bench.task, extra=extra, before=before, passages=passages)
            return prompts.request(example, bench.task, messages, passages, schema=schema)

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [worded(*pair) for pair in zip(examples, shelf.find(examples, self.depth), strict=True)]

        return Fitted(model=required_model(bench), ask=ask)


def _demonstrations(bench: Bench, shelf: Library, shots: int) -> tuple[Message, ...]:
    """Earlier turns with passages; those whose passage holds the answer first, lest they teach to make things up."""
    drawn = preferred(bench, shots)[:_LOOKED_THROUGH]
    pairs = list(zip(drawn, shelf.find(drawn, 1), strict=True))
    pairs.sort(key=lambda pair: -_supported(*pair))
    return tuple(message for pair in pairs[:shots] for message in prompts.demonstration(*pair))


def _supported(example: Example, passages: Sequence[Passage]) -> int:
    """How many values of the answer stand in the passages; an answer that is no JSON is a single value."""
    shown = " ".join(passage.text for passage in passages).casefold()
    return sum(value.casefold() in shown for value in prompts.values(example.answer))
