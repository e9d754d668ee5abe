"""Which of very many texts may be near duplicates: MinHash sketches, and pairs that share a band of them.

MinHash: Broder, On the resemblance and containment of documents, 1997. Bands: Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3. Members are windows of eight bytes, of which a long text takes one in eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from finetune_advisor.datasets import duplicates
from finetune_advisor.errors import require

HASHES, ROWS_OF_A_BAND = 48, 4
BANDS = HASHES // ROWS_OF_A_BAND
_WINDOW = 8
_ONE_IN = 8
_ALL_OF_UP_TO, _SOME_OF_FROM = 320, 256
_FEWEST = 16
_MOST_AT_ONCE = 1 << 22
_BITS = slice(None, None, 2)
_ALIKE = 10


class Sketches(NamedTuple):
    """`row` says whose each is; some rows have two. `bands` is [n, BANDS] u4, `bits` [n, HASHES // 2] u1."""

    row: Any
    bands: Any
    bits: Any


def sketches(texts: Sequence[bytes]) -> Sketches:
    """Sketch each text; `row` is its place among them."""
    np = require("numpy", extra="all")
    cut = [duplicates.ends(text) or b" " for text in texts]
    hashed, starts, counts = _members(cut)
    sizes = np.fromiter(map(len, cut), dtype=np.int64, count=len(cut))
    sampled = hashed < (1 << 32) // _ONE_IN
    some = np.add.reduceat(sampled, starts) if len(starts) else counts
    long = (sizes >= _SOME_OF_FROM) & (some >= _FEWEST)
    short = (sizes <= _ALL_OF_UP_TO) | ~long
    rows = np.arange(len(cut))
    pieces = [
        (rows[chosen], _minima(hashed[np.repeat(chosen, counts) & kept], taken[chosen]))
        for chosen, kept, taken in ((short, True, counts), (long, sampled, some))
    ]
    row = np.concatenate([row for row, _ in pieces])
    least = np.concatenate([least for _, least in pieces])
    return Sketches(row.astype(np.uint32), _bands(least), (least[:, _BITS] >> 24).astype(np.uint8))


def only(found: Sketches, chosen: Any) -> Sketches:
    """Those that are chosen."""
    return found if chosen.all() else Sketches(*(column[chosen] for column in found))


def moved(found: Sketches, rows: int) -> Sketches:
    """The same for texts that are so many places further on."""
    return found._replace(row=found.row + require("numpy", extra="all").uint32(rows))


def join(parts: Sequence[Sketches]) -> Sketches:
    """Several sets of sketches as one."""
    np = require("numpy", extra="all")
    return parts[0] if len(parts) == 1 else Sketches(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def pairs(found: Sketches) -> tuple[Any, Any]:
    """Rows whose sketches share a band and agree in _ALIKE of the HASHES // 2 that were kept, each pair once.

    Of the rows that share a band each is paired with the first and with the one before it: their links suffice.
    """
    np = require("numpy", extra="all")
    packed = np.unique(np.concatenate([_sharing(found.bands[:, band]) for band in range(BANDS)]))
    first, second = (packed >> 32).astype(np.int64), (packed & 0xFFFFFFFF).astype(np.int64)
    alike = np.zeros(len(packed), dtype=bool)
    for start in range(0, len(packed), _MOST_AT_ONCE // HASHES):
        piece = slice(start, start + _MOST_AT_ONCE // HASHES)
        alike[piece] = (found.bits[first[piece]] == found.bits[second[piece]]).sum(axis=1) >= _ALIKE
    one, other = found.row[first[alike]], found.row[second[alike]]
    distinct = np.unique((np.minimum(one, other).astype(np.uint64) << 32) | np.maximum(one, other))
    one, other = (distinct >> 32).astype(np.int64), (distinct & 0xFFFFFFFF).astype(np.int64)
    return one[one != other], other[one != other]


def _members(texts: Sequence[bytes]) -> tuple[Any, Any, Any]:
    """The hash of each window that begins in a text, where each text's begin, and how many it has."""
    np = require("numpy", extra="all")
    gap = b"\0" * _WINDOW
    joined = gap.join(texts) + gap
    letters = np.frombuffer(joined, dtype=np.uint8)
    count = len(letters) - _WINDOW + 1
    windows = np.ndarray((count,), dtype="<u8", buffer=joined, strides=(1,))
    hashed = ((windows * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)).astype(np.uint32)
    counts = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    starts = np.cumsum(counts) - counts
    return hashed[letters[:count] != 0], starts, counts


def _minima(hashed: Any, counts: Any) -> Any:
    """The least of each row's hashes under each of HASHES permutations."""
    np = require("numpy", extra="all")
    if not len(counts):
        return np.zeros((0, HASHES), dtype=np.uint32)
    starts = np.cumsum(counts) - counts
    mixed = hashed ^ (hashed >> np.uint32(15))
    factors = np.random.default_rng(0).integers(1, 1 << 31, HASHES, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.stack([np.minimum.reduceat(mixed * factor, starts) for factor in factors], axis=1)


def _bands(least: Any) -> Any:
    np = require("numpy", extra="all")
    grouped = least.reshape(len(least), BANDS, ROWS_OF_A_BAND).astype(np.uint64)
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64)
    return ((grouped * factors).sum(axis=2, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)


def _sharing(band: Any) -> Any:
    """Places with the same value, packed two to a number: each with the first of its kind and with the one before."""
    np = require("numpy", extra="all")
    packed = np.sort((band.astype(np.uint64) << np.uint64(32)) | np.arange(len(band), dtype=np.uint64))
    value, place = packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)
    again = np.flatnonzero(value[1:] == value[:-1]) + 1
    new = np.concatenate([[True], value[1:] != value[:-1]])
    head = np.maximum.accumulate(np.where(new, np.arange(len(value)), 0))
    return np.concatenate(
        [(place[again - 1] << np.uint64(32)) | place[again], (place[head[again]] << np.uint64(32)) | place[again]]
    )
