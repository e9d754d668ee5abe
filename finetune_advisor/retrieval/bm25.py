"""BM25 over words: nothing to download, nothing to train, strong on names and numbers."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.retrieval.ranking import highest

_UNSPACED = (
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese and Korean: spaces do not part words, or not all of them."""

_PICTURES = r"\u2600-\u27bf\U0001f000-\U0001faff"

_PLAIN = re.compile(r"[^\W_]+")
_FAR = r"\U00010000-\U0010ffff"


@lru_cache(maxsize=2)
def _marks(start: int, stop: int) -> str:
    # A regular expression's words leave them out, which would cut Hindi, Thai and vowelled Arabic words into pieces.
    return "".join(c for c in map(chr, range(start, stop)) if unicodedata.category(c).startswith("M"))


@lru_cache(maxsize=1)
def _special() -> re.Pattern[str]:
    """What the plain pattern could get wrong."""
    return re.compile(f"[{_UNSPACED}{_PICTURES}{_marks(0x300, 0x10000)}{_FAR}]")


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    # Far characters in a class are tried one by one, for each character of the text; the look-ahead spares most of it.
    marks = rf"(?![{_UNSPACED}])[{_marks(0x300, 0x10000)}]|(?=[{_FAR}])[{_marks(0x10000, 0x20000)}]"
    return re.compile(rf"([{_UNSPACED}]+)|(?:[^\W_{_UNSPACED}]|{marks})+|[{_PICTURES}]")


def words(text: str) -> list[str]:
    """The searchable words of a text, in any script.

    Words are runs of letters, digits and marks, in compatible and case-folded form. Scripts without spaces
    give pairs of characters, as Lucene's CJK analyser does; every emoji is a word. There is no stemming.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    if folded.isascii() or not _special().search(folded):
        return _PLAIN.findall(folded)  # The same words, in a fraction of the time.
    found: list[str] = []
    for match in _pattern().finditer(folded):
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
        ids: defaultdict[str, int] = defaultdict()
        ids.default_factory = ids.__len__
        tokens = [array("i", [ids[word] for word in words(text)]) for text in texts]
        if not ids:
            return BM25Index(scorer=None)
        scorer = require("bm25s", extra="all").BM25(k1=self.k1, b=self.b)
        scorer.index((tokens, dict(ids)), show_progress=False)
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
        return highest(self.scorer.get_scores(tokens), depth, above=0.0)
