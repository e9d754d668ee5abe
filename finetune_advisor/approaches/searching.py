"""Texts made ready to be searched, and paid for where a provider embeds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetune_advisor import retrieval
from finetune_advisor.approaches import Bench
from finetune_advisor.costs import prices
from finetune_advisor.costs.pricing import MTOK
from finetune_advisor.records import Settings


def indexed(retriever: str, options: Settings, texts: Sequence[str], bench: Bench) -> retrieval.Index:
    """The texts, ready to be searched; where a provider embeds them, the bench approves of what that costs."""
    bench.progress("Indexing texts", 0, len(texts))
    made = retrieval.create(retriever, **options)
    if isinstance(made, retrieval.PaidRetriever):
        index: retrieval.Index = paid_index(made, texts, bench)
    else:
        index = made.index(texts)
    bench.progress("Indexing texts", len(texts), len(texts))
    return index


@dataclass(frozen=True)
class PaidIndex:
    """An index whose queries are paid for too."""

    index: retrieval.Index
    pay: Callable[[Sequence[str]], None]

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """As the index itself, once it is approved of what that costs."""
        self.pay(queries)
        return self.index.search(queries, depth)


def paid_index(retriever: retrieval.PaidRetriever, texts: Sequence[str], bench: Bench) -> PaidIndex:
    """The texts, indexed by a provider.

    Raises:
        BadInput: What it charges is not known.
        AdvisorError: The bench does not approve of it.
    """

    def pay(wanted: Sequence[str]) -> None:
        name, tokens = retriever.price_name(), retriever.tokens_to_pay(wanted)
        if name and tokens:
            rate = prices.load().get(name)["usd_per_mtok_input"].value
            digest = hashlib.sha256("\n".join(wanted).encode("utf-8", "replace")).hexdigest()[:16]
            bench.approve(f"{len(wanted)} embeddings {digest} by {name}", rate * tokens / MTOK)

    pay(texts)
    return PaidIndex(retriever.index(texts), pay)
