"""Retrievers by name. Plug-in point: entry-point group ``finetune_advisor.retrieval``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

from finetune_advisor import plugins

GROUP = "retrieval"
TABLE = {
    "bm25": "finetune_advisor.retrieval.bm25:BM25",
    "dense": "finetune_advisor.retrieval.dense:Dense",
    "hybrid": "finetune_advisor.retrieval.hybrid:Hybrid",
    "remote": "finetune_advisor.retrieval.remote:Remote",
}


class Index(Protocol):
    """Texts that can be searched."""

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """For each query, the positions of the best texts, best first, at most `depth` of them."""
        ...


class Retriever(Protocol):
    """Makes an index of texts. Ties are broken by position, so the same input gives the same order."""

    def index(self, texts: Sequence[str]) -> Index:
        """Index the texts; an empty sequence is allowed and finds nothing."""
        ...


@runtime_checkable
class PaidRetriever(Retriever, Protocol):
    """A retriever whose provider charges for the texts that it has not seen yet."""

    def tokens_to_pay(self, texts: Sequence[str]) -> int:
        """Tokens that would be charged for those texts."""
        ...

    def price_name(self) -> str:
        """What the price table calls its model; "" where nobody charges for it."""
        ...


def create(name: str, **options: Any) -> Retriever:
    """The retriever of that name.

    Raises:
        BadInput: Unknown name or option.
    """
    return cast(Retriever, plugins.create(GROUP, TABLE, name, options))
