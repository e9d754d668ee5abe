"""BM25 over words: nothing to download, nothing to train, strong on names and numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from finetune_advisor.errors import require

_UNSPACED = (
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese and Korean: spaces do not part words, or not all of them."""

_PICTURES = r"\u2600-\u27bf\U0001f000-\U0001faff"


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    # \w leaves out combining marks, which would cut Hindi, Thai and vowelled Arabic words into pieces.
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c).startswith("M"))
    spaced = rf"(?:[^\W_{_UNSPACED}]|(?![{_UNSPACED}])[{marks}])+"
    return re.compile(rf"([{_UNSPACED}]+)|{spaced}|[{_PICTURES}]")


def words(text: str) -> list[str]:
    """The searchable words of a text, in any script.

    Words are runs of letters, digits and marks, in compatible and case-folded form. Scripts without spaces
    give pairs of characters, as Lucene's CJK analyser does; every emoji is a word. There is no stemming.
    """
    found: list[str] = []
    for match in _pattern().finditer(unicodedata.normalize("NFKC", text).casefold()):
        found += _pairs(match[0]) if match[1] else [match[0]]
    return found


def _pairs(run: str) -> list[str]:
    return ["".join(pair) for pair in pairwise(run)] or [run]


@dataclass(frozen=True, kw_only=True)
class BM25:
    """BM25 in Lucene's form, by bm25s.

    Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond".

    Args:
        k1: How fast repetitions of a word stop counting.
        b: How much long texts are held back, from 0 to 1.
    """

    k1: float = 1.5
    b: float = 0.75

    def index(self, texts: Sequence[str]) -> BM25Index:
        """Index the texts; an empty sequence is allowed and finds nothing."""
        tokens = [words(text) for text in texts]
        if not any(tokens):
            return BM25Index(scorer=None)
        scorer = require("bm25s", extra="all").BM25(k1=self.k1, b=self.b)
        scorer.index(tokens, show_progress=False)
        return BM25Index(scorer=scorer)


@dataclass(frozen=True, kw_only=True)
class BM25Index:
    """Indexed texts. `scorer` is None where no text has a word."""

    scorer: Any

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """For each query, the positions of the best texts, best first.

        Only texts that share a word with the query are found, so there may be fewer than `depth`, or none.
        """
        return [self._best(words(query), depth) for query in queries]

    def _best(self, tokens: list[str], depth: int) -> list[int]:
        if self.scorer is None or not tokens:
            return []
        scores = self.scorer.get_scores(tokens)
        order = (-scores).argsort(kind="stable")[:depth]
        return [int(position) for position in order if scores[position] > 0]
