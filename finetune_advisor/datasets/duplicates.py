"""Texts that say the same: exactly, or nearly.

Two texts are near duplicates where their wording is (binary cosine of character 5-grams, numbers masked) and
their numbers and identifiers are the same ones in the same order: "error E17" and "error E18" ask for two things,
however alike they look. Only in a text of which numbers make up less than one character in a hundred do they not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence, Set
from functools import lru_cache
from typing import Any, AnyStr

from finetune_advisor.errors import require
from finetune_advisor.records import Example

_NUMBER = re.compile(r"(?<![a-z\d])(?:[a-z\d]+-)*[a-z]*\d[a-z\d]*")
_FROM_DIGIT = re.compile(r"\d[^ ]*")
GRAM = 5
_LONGEST = 4000
_ROWS_AT_ONCE = 256
_PAIRS_AT_ONCE = 50_000


def normalise(text: str) -> str:
    """A text as it is compared: Unicode NFKC, case folded, runs of white space squeezed."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split())


def worded(compared: str) -> tuple[str, tuple[str, ...]]:
    """A normalised text with its numbers and identifiers masked, and these; none where they make up too little."""
    pieces, found, at = list[str](), list[str](), 0
    for match in _FROM_DIGIT.finditer(compared):
        begin = compared.rfind(" ", 0, match.start()) + 1
        masked, numbers = _masked(compared[begin : match.end()])
        pieces += (compared[at:begin], masked)
        found += numbers
        at = match.end()
    wording = "".join(pieces) + compared[at:]
    return wording, tuple(found) if sum(map(len, found)) * 100 > len(compared) else ()


@lru_cache(1 << 16)
def _masked(word: str) -> tuple[str, tuple[str, ...]]:
    """The same for one word: no number is longer than that, and most words come again."""
    return _NUMBER.sub("0", word), tuple(match[0] for match in _NUMBER.finditer(word))


def exact(texts: Sequence[str]) -> list[int]:
    """A group number for each text, the same for texts that are equal after `normalise`, in order of appearance."""
    return _numbered(map(normalise, texts))


def groups(texts: Sequence[str], threshold: float = 0.9) -> list[int]:
    """A group number for each text, the same for exact and near duplicates, in order of appearance.

    Near duplicates are linked one to the next, so the ends of a chain may differ by more than the threshold.
    Which texts belong together depends neither on their order nor on the other texts, such links apart.

    Args:
        texts: Any texts, in any script. Those under five characters are only ever exact duplicates.
        threshold: Cosine similarity of the character 5-grams from which two wordings are the same, in (0, 1].
    """
    compared = [worded(normalise(text)) for text in texts]
    family = families({wording for wording, _ in compared}, threshold)
    return _numbered((family[wording], numbers) for wording, numbers in compared)


def families(wordings: Collection[str], threshold: float = 0.9) -> dict[str, int]:
    """A number for each of some distinct wordings, the same for those that are linked by similarity."""
    distinct = sorted(wordings)
    return dict(zip(distinct, _families(distinct, threshold), strict=True))


def similar(one: Set[Hashable], other: Set[Hashable], threshold: float = 0.9) -> bool:
    """Whether the cosine similarity of two sets reaches the threshold."""
    return bool(one and other) and len(one & other) >= threshold * (len(one) * len(other)) ** 0.5 - 1e-6


def ends(wording: AnyStr) -> AnyStr:
    """What a wording is compared by: all of it, or the beginning and the end of a very long one."""
    half = _LONGEST // 2
    return wording if len(wording) <= _LONGEST else wording[:half] + wording[-half:]


def prompt_texts(examples: Sequence[Example]) -> list[str]:
    """What each example asks: its conversation, without a system message that other conversations share."""
    talks = [_joined_text(example, system=False) for example in examples]
    systems = [_joined_text(example, system=True) for example in examples]
    talks_under: defaultdict[str, set[str]] = defaultdict(set)
    for system, talk in zip(systems, talks, strict=True):
        talks_under[system].add(talk)
    return [
        f"{system}\n{talk}" if system and len(talks_under[system]) == 1 else talk
        for system, talk in zip(systems, talks, strict=True)
    ]


def _joined_text(example: Example, *, system: bool) -> str:
    return "\n".join(m.content for m in example.messages if m.is_system is system)


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


def _families(wordings: Sequence[str], threshold: float) -> list[int]:
    """Label wordings that are linked by similarity of at least `threshold`, in bounded memory.

    All-pairs search with prefix filtering (Bayardo, Ma and Srikant, WWW 2007), which is exact: two sets that are
    similar enough share one of their rarest members.
    """
    np = require("numpy", extra="all")
    grams = _grams(wordings)
    rare = _rarest(grams, threshold)
    labels = np.arange(len(wordings))
    for start in range(0, len(wordings), _ROWS_AT_ONCE):
        block = (rare[start : start + _ROWS_AT_ONCE] @ rare.T).tocoo()
        first, second = block.row + start, block.col
        open_pairs = (first < second) & (labels[first] != labels[second])
        labels = _linked(labels, *_similar(grams, first[open_pairs], second[open_pairs], threshold))
    return [int(label) for label in labels]


def _grams(wordings: Sequence[str]) -> Any:
    """A sparse row of ones for each wording; a very long one is represented by its beginning and its end."""
    text = require("sklearn.feature_extraction.text", extra="all")
    np = require("numpy", extra="all")
    vectorizer = text.HashingVectorizer(
        analyzer="char",
        ngram_range=(GRAM, GRAM),
        lowercase=False,
        binary=True,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    return (
        vectorizer.transform(map(ends, wordings))
        if wordings
        else require("scipy.sparse", extra="all").csr_matrix((0, 1))
    )


def _rarest(grams: Any, threshold: float) -> Any:
    """The same rows with only so many of their rarest members that similar rows must share one."""
    np = require("numpy", extra="all")
    sparse = require("scipy.sparse", extra="all")
    sizes = np.diff(grams.indptr)
    row = np.repeat(np.arange(len(sizes)), sizes)
    frequency = np.bincount(grams.indices, minlength=1)[grams.indices]
    order = np.lexsort((grams.indices, frequency, row))
    rank = np.arange(len(order)) - np.repeat(grams.indptr[:-1], sizes)
    kept = rank <= np.repeat(sizes - np.ceil(threshold**2 * sizes - 1e-6), sizes)
    where = (row[kept], grams.indices[order][kept])
    return sparse.csr_matrix((np.ones(len(where[0]), dtype=np.float32), where), shape=grams.shape)


def _similar(grams: Any, first: Any, second: Any, threshold: float) -> tuple[Any, Any]:
    """Those of the pairs whose cosine similarity reaches the threshold."""
    np = require("numpy", extra="all")
    sizes = np.diff(grams.indptr).astype(np.float64)
    wanted = threshold * np.sqrt(sizes[first] * sizes[second]) - 1e-6
    possible = np.minimum(sizes[first], sizes[second]) >= wanted
    first, second, wanted = first[possible], second[possible], wanted[possible]
    shared = np.zeros(len(first))
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        piece = slice(start, start + _PAIRS_AT_ONCE)
        shared[piece] = np.asarray(grams[first[piece]].multiply(grams[second[piece]]).sum(axis=1)).ravel()
    return first[shared >= wanted], second[shared >= wanted]


def _linked(labels: Any, first: Any, second: Any) -> Any:
    """The labels after each pair has been joined; a label is the position of one member."""
    np = require("numpy", extra="all")
    if not len(first):
        return labels
    places = np.arange(len(labels))
    return linked(np.concatenate([places, first]), np.concatenate([labels, second]), len(labels))


def linked(first: Any, second: Any, count: int) -> Any:
    """For each of so many places the least place that it is linked to, over any number of links."""
    np = require("numpy", extra="all")
    sparse = require("scipy.sparse", extra="all")
    graph = sparse.coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    components = require("scipy.sparse.csgraph", extra="all").connected_components(graph, directed=False)[1]
    return np.unique(components, return_index=True)[1][components]
