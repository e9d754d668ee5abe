"""Words and meaning together: BM25 and dense search, joined by reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_advisor.retrieval import Index
from finetune_advisor.retrieval.bm25 import BM25
from finetune_advisor.retrieval.dense import Dense

CANDIDATES = 100
"""How many texts of each list take part; further down, a rank adds almost nothing."""


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """Reciprocal rank fusion of BM25 and dense search (Cormack, Clarke and Buettcher 2009, SIGIR).

    Args:
        encoder: Folder or hub id of the sentence encoder; empty for the embedded MiniLM.
        k: The constant of the formula; 60 in the paper.
    """

    encoder: str = ""
    k: int = 60

    def index(self, texts: Sequence[str]) -> HybridIndex:
        """Index the texts; an empty sequence is allowed and finds nothing."""
        return HybridIndex(indexes=(BM25().index(texts), Dense(encoder=self.encoder).index(texts)), k=self.k)


@dataclass(frozen=True, kw_only=True)
class HybridIndex:
    """Several indexes over the same texts."""

    indexes: tuple[Index, ...]
    k: int

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """For each query, the positions of the best texts, best first; at most `depth`."""
        lists = [index.search(queries, max(depth, CANDIDATES)) for index in self.indexes]
        return [fuse(rankings, self.k)[:depth] for rankings in zip(*lists, strict=True)]


def fuse(rankings: Sequence[Sequence[int]], k: int = 60) -> list[int]:
    """Positions by the sum of 1 / (k + rank) over the rankings, ranks from 1; ties by position."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, position in enumerate(ranking, start=1):
            scores[position] = scores.get(position, 0.0) + 1 / (k + rank)
    return sorted(sorted(scores), key=scores.__getitem__, reverse=True)
