"""Which of very many texts may hold personal data: what `privacy.scan` cannot do without, looked for in all at once.

Each of its patterns has a rare letter, or digits at certain distances, that none of its matches is without. A text that
is not named here holds nothing that the scan would find; most of those that are named do not either.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from finetune_advisor.datasets import privacy
from finetune_advisor.errors import require

_SECRETS = (
    *(("secret_openai_key", b"sk-", 2), ("secret_slack_token", b"xox", 0), ("secret_jwt", b"eyJ", 2)),
    *(("secret_aws_key", b"AKIA", 1), ("secret_aws_key", b"ASIA", 2), ("secret_google_key", b"AIza", 2)),
    *(("secret_github_token", start, 3) for start in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")),
    *(("secret_github_token", b"github_pat_", 6), ("secret_huggingface_token", b"hf_", 2)),
    ("secret_private_key", b"-----BEGIN", 0),
)
"""How secrets begin, each with its code and the place of its rarest letter."""
_PASSWORDS = tuple(
    ("secret_password", word, rarest)
    for word, rarest in (
        *((b"passw", 4), (b"pwd", 1), (b"secret", 2), (b"token", 2)),
        *((b"ikey", 1), (b"i key", 2), (b"i-key", 2), (b"i_key", 2)),
    )
)
"""Words, or their ends, that stand before a password, in small letters."""
_WITHIN_WORDS = (b"-----BEGIN", b"token", b"ikey", b"i key", b"i-key", b"i_key")
"""Those of them that need not be the beginning of a word."""
_RARE = b"-_xXJKIzwWcCkK"
_ENDS_OF_PHONE_WORDS = tuple(b"ne le el ll ax pp er no is".split())
_BEYOND_16_BITS = "\U000104a0-\U0001e959\U0001fbf0-\U0001fbf9"
"""Ranges that hold all digits up there, and no emoji; each digit by itself would make the search slow."""
_MARGIN = 32


Hits = tuple[str, Any]
"""A code of `privacy.CODES`, and where in the joined texts something of that kind may be."""


def suspicious(texts: Sequence[str]) -> dict[int, frozenset[str]]:
    """The codes of what `privacy.scan` may find, by the place of the text, in order."""
    np = require("numpy", extra="all")
    coded = [text.encode() for text in texts]
    joined = b"\0" * _MARGIN + b"\0".join(coded) + b"\0" * _MARGIN
    starts = np.cumsum([_MARGIN, *(len(text) + 1 for text in coded)])
    found: defaultdict[int, set[str]] = defaultdict(set)
    for code, hits in (*_words(joined), *_addresses(joined), *_numbers(joined)):
        for at in np.unique(np.searchsorted(starts, hits, side="right") - 1).tolist():
            found[at].add(code)
    for at, text in enumerate(texts):
        if not text.isascii() and _unusual().search(text):
            found[at].update(privacy.CODES)
    return {at: frozenset(found[at]) for at in sorted(found) if 0 <= at < len(texts)}


@cache
def _unusual() -> re.Pattern[str]:
    """Digits beyond 0 to 9, and letters that Python takes for I, S and K where case does not count."""
    beyond = filter(str.isdecimal, map(chr, range(128, 1 << 16)))
    return re.compile(f"[\u0130\u0131\u017f\u212a{''.join(beyond)}{_BEYOND_16_BITS}]")


def _words(joined: bytes) -> Iterator[Hits]:
    """Where words stand that begin a secret or come before a password."""
    np = require("numpy", extra="all")
    letters, small = _letters(joined), _letters(joined.lower())
    chosen = np.zeros(256, dtype=bool)
    chosen[list(_RARE)] = True
    places = np.flatnonzero(chosen.take(letters))
    places = places[(places >= _MARGIN // 2) & (places < len(letters) - _MARGIN // 2)]
    for text, words in ((letters, _SECRETS), (small, _PASSWORDS)):
        here = text[places]
        found = {letter: places[here == letter] for letter in {word[rarest] for _, word, rarest in words}}
        for code, word, rarest in words:
            begins = found[word[rarest]] - rarest
            for at, letter in enumerate(word):
                begins = begins[text[begins + at] == letter]
            yield code, begins if word in _WITHIN_WORDS else begins[~_word(text[begins - 1])]


def _addresses(joined: bytes) -> Iterator[Hits]:
    """Where e-mail and IP addresses may be."""
    np = require("numpy", extra="all")
    letters = _letters(joined)
    yield "personal_email", np.flatnonzero(letters == ord("@"))
    colons = np.flatnonzero(letters == ord(":"))
    yield "personal_ip_address", colons[:-1][np.diff(colons) <= 5]
    dots = np.flatnonzero(letters == ord("."))
    dots = dots[_digit(letters[dots - 1]) & _digit(letters[dots + 1])]
    gaps = np.diff(dots)
    yield "personal_ip_address", dots[:-2][(gaps[:-1] <= 4) & (gaps[1:] <= 4)]


def _numbers(joined: bytes) -> Iterator[Hits]:
    """Where digits stand as in telephone, card, social security and bank account numbers."""
    np = require("numpy", extra="all")
    letters = _letters(joined)
    digits = np.flatnonzero(_digit(letters))
    count = len(digits)
    at = np.concatenate([digits, np.full(14, len(letters) + (1 << 20))])
    first, before, earlier = letters[digits], letters[digits - 1], letters[digits - 2]

    def span(number: int, start: int = 0) -> Any:
        """From each digit, or one further on, to the one so many places behind it."""
        return at[start + number : start + number + count] - at[start : start + count]

    def letter(behind: int) -> Any:
        """The letter so many behind each digit."""
        return letters[digits + behind]

    def unbroken(number: int) -> Any:
        """Whether so many digits follow with at most one sign between two of them."""
        return breaks[np.minimum(np.arange(count) + number, count)] == breaks[:count]

    gaps = np.diff(at[: count + 1])
    close = (gaps == 1) | ((gaps == 2) & np.isin(letter(1), list(b" -./")))
    breaks = np.concatenate([[0], np.cumsum(~close)])
    third, sixth = (
        letters[np.minimum(digits + span(2), len(letters) - 2) + 1],
        letters[np.minimum(digits + span(5), len(letters) - 2) + 1],
    )
    yield "personal_card", digits[unbroken(13)]
    yield "personal_ssn", digits[(span(8) == 10) & (letter(3) == ord("-")) & (letter(6) == ord("-"))]
    yield "personal_phone", digits[(before == ord("+")) & (span(7) <= 21) & ~_word(earlier)]
    yield "personal_phone", digits[(first == ord("0")) & ~_word(before) & unbroken(7)]
    parts = (span(2) == 2) & (span(2, 3) == 2) & (span(3, 6) == 3) & (span(9) <= 12)
    yield "personal_phone", digits[parts & ~_word(before) & np.isin(third, list(b").-")) & np.isin(sixth, list(b".-"))]
    yield "personal_phone", digits[_named(letters, digits) & unbroken(6)]
    behind = _capital(letter(2)) | _digit(letter(2)) | (letter(2) == ord(" "))
    yield "personal_iban", digits[_capital(before) & _capital(earlier) & (span(1) == 1) & behind]


def _named(letters: Any, digits: Any) -> Any:
    """Whether each digit follows what may be the end of a word for a telephone, and a blank or a colon or two."""
    np = require("numpy", extra="all")
    one, two, three, four = (letters[digits - back] for back in (1, 2, 3, 4))
    apart, double = np.isin(one, list(b" :")), np.isin(two, list(b" :"))
    last, first = np.where(double, three, two), np.where(double, four, three)
    ends = last == ord(".")
    for word in _ENDS_OF_PHONE_WORDS:
        ends |= (first | 32 == word[0]) & (last | 32 == word[1])
    return apart & ends


def _letters(joined: bytes) -> Any:
    np = require("numpy", extra="all")
    return np.frombuffer(joined, dtype=np.uint8)


def _digit(letters: Any) -> Any:
    return (letters >= ord("0")) & (letters <= ord("9"))


def _capital(letters: Any) -> Any:
    return (letters >= ord("A")) & (letters <= ord("Z"))


def _word(letters: Any) -> Any:
    return _digit(letters) | _capital(letters & 223) | (letters == ord("_"))
