"""What the audit of a large file keeps of each row: digests and lengths, so that no text has to stay in memory.

Digests are 64-bit xxh3: two of a million different texts share one with a chance of less than one in ten million.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import msgspec

from finetune_advisor.datasets import chat, duplicates
from finetune_advisor.datasets.kinds import LONGEST_LABEL
from finetune_advisor.datasets.load import prompt_key
from finetune_advisor.errors import require
from finetune_advisor.records import Example

LONG_ANSWER, EMPTY_ANSWER = 1, 2
INSTRUCTIONS = ("system", "developer")
_TO_CONTROL, _TO_SPACE = re.compile(rb"\\[ubf]"), re.compile(rb"\\[ntr]")


class Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of nothing but a role and a text."""

    role: str
    content: str


class Talk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row of nothing but such messages."""

    messages: list[Said]


class Facts(NamedTuple):
    """Of one row: where its bytes are, digests of its parts, and its answer's length.

    Equal digests stand for: `whole` and `prompt` the same to `chat.Seen`; `bare` the same question after
    `duplicates.normalise` and without digits; `label` the same short answer.
    """

    start: int
    size: int
    line: int
    whole: int
    prompt: int
    talk: int
    system: int
    bare: int
    label: int
    length: int
    words: int
    flags: int


FIELDS = [(name, "u8" if name not in ("size", "line", "length", "words", "flags") else "u4") for name in Facts._fields]


class Content(NamedTuple):
    """What facts are taken from.

    `clean` where no text has a control character, `blanks` where all is ASCII and has no white space but blanks.
    """

    said: Sequence[Said]
    key: bytes
    answer: str
    clean: bool
    blanks: bool


_decode: Callable[[bytes], Talk] = msgspec.json.Decoder(Talk).decode
_encode = msgspec.json.Encoder().encode


def table(rows: Sequence[Facts]) -> Any:
    """Facts as a numpy table with a column for each field."""
    return require("numpy", extra="all").array(rows, dtype=FIELDS)


@cache
def hasher() -> Callable[[bytes], int]:
    """The hash of a text in UTF-8, as an unsigned 64-bit number."""
    found: Callable[[bytes], int] = require("xxhash", extra="all").xxh3_64_intdigest
    return found


def digest(text: str) -> int:
    """The hash of a text."""
    return hasher()(text.encode())


def plain(raw: bytes) -> Content | None:
    """The content of a line that is provably without any fault; None for every line that has to be looked at closely.

    Such a line is strict JSON, has no key beside messages, role and content, texts that are not blank and hold no
    control character, and roles in an order in which `chat` finds nothing.
    """
    try:
        said = _decode(raw).messages
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not _in_order(tuple([message.role for message in said])):
        return None
    escapes = b"\\" in raw
    harmless = raw.isascii() and b"\x7f" not in raw and not (escapes and _TO_CONTROL.search(raw))
    for message in said:
        text = message.content
        if not text or text.isspace() or not (harmless or chat.CONTROL.search(text) is None):
            return None
    *before, answer = said
    blanks = harmless and not (escapes and _TO_SPACE.search(raw))
    return Content(before, _encode(before), answer.content, True, blanks)


@lru_cache(4096)
def _in_order(roles: tuple[str, ...]) -> bool:
    """Whether a row with these roles, and nothing else to be said about it, has no finding."""
    row, found = chat.check_row({"messages": [{"role": role, "content": "x"} for role in roles]}, 1, "")
    return row is not None and not found


def content(example: Example) -> Content:
    """The content of any usable row."""
    said = [Said(role=message.role, content=message.content) for message in example.messages]
    bare = not example.tools and not any(message.extra for message in example.messages)
    return Content(said, _encode(said) if bare else prompt_key(example).encode(), example.answer, False, False)


class Asked(NamedTuple):
    """Digests by which a row is compared with its near duplicates; `numbers` is 0 where there are none that count.

    `asked` is the conversation before the answer and `answer` the answer, both after `duplicates.normalise`.
    """

    wording: int
    numbers: int
    asked: int
    answer: int


def question(row: Content, *, alone: bool) -> str:
    """What a row asks, normalised: its conversation, with the system message in front where it stands `alone`."""
    talks = [message.content for message in row.said if message.role not in INSTRUCTIONS]
    systems = [message.content for message in row.said if message.role in INSTRUCTIONS] if alone else []
    return duplicates.normalise("\n".join([*systems, *talks]))


def asked(row: Content, *, alone: bool) -> Asked:
    """The digests of what a row asks and answers."""
    wording, numbers = duplicates.worded(question(row, alone=alone))
    lines = "\n".join(f"{message.role}: {duplicates.normalise(message.content)}" for message in row.said)
    counted = digest(" ".join(numbers)) if numbers else 0
    return Asked(digest(wording), counted, digest(lines), digest(duplicates.normalise(row.answer)))


def bare(compared: str) -> bytes:
    """A normalised text without digits, so that numbers do not tell texts apart."""
    return compared.encode().translate(None, b"0123456789\0")


def words(row: Content) -> int:
    """Into how many words white space divides the answer."""
    answer = row.answer
    return answer.strip().count(" ") + 1 if row.blanks and "  " not in answer else len(answer.split())


def facts(row: Content, at: tuple[int, int, int], words: int, flags: int) -> tuple[Facts, bytes]:
    """The facts of a row, and what it asks without digits, which near duplicates are looked for by.

    Args:
        row: Its content.
        at: Its first byte, its size in bytes and its line.
        words: Of its answer.
        flags: LONG_ANSWER, EMPTY_ANSWER or 0.
    """
    of = hasher()
    squeezed = _lowered if row.blanks else duplicates.normalise
    talks = [message.content for message in row.said if message.role not in INSTRUCTIONS]
    system = "" if len(talks) == len(row.said) else "\n".join([m.content for m in row.said if m.role in INSTRUCTIONS])
    talk = "\n".join(talks)
    bared = bare(squeezed(talk) if len(talks) == 1 else duplicates.normalise(talk))
    label = row.answer.strip()
    found = Facts(
        *at,
        of(row.key + row.answer.encode()),
        of(row.key),
        of(talk.encode()) if system else 0,
        of(system.encode()) if system else 0,
        of(bared),
        of(label.encode()) if len(label) <= LONGEST_LABEL else 0,
        len(label),
        words,
        flags,
    )
    return found, bared


def _lowered(text: str) -> str:
    """`duplicates.normalise` of a text that is ASCII and has no white space but blanks."""
    lowered = text.lower()
    return lowered.strip(" ") if "  " not in lowered else " ".join(lowered.split())
