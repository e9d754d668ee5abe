"""A large chat file to read at speed: varied made-up rows, a known share of each fault. Needs ../shared/data.

Texts are recombined, seeded, from phrases of the public data in ../shared/data: real words in their real frequencies,
nowhere in this order. What is put in is counted, so that a reader can be asked whether it found it.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SYSTEMS = (
    "You are the support assistant of a maker of kitchen machines. Answer shortly and politely.",
    "You explain scientific papers to people who are not scientists.",
    "Answer the customer of a bank. Never ask for a password.",
    "You are a patient teacher of mathematics. Show each step.",
    "Summarise what you are told in two sentences, in plain words.",
)
_FAR_BACK = 20_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

Row = dict[str, Any]


def phrases() -> list[str]:
    """Pieces of three to twelve words of the shared data, in a fixed order."""
    found: dict[str, None] = {}
    for file in sorted(DATA.glob("*_train.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            for message in json.loads(line)["messages"]:
                pieces = re.split(r"(?<=[.,;:?!])\s+|\n", str(message["content"]))
                found.update(dict.fromkeys(piece for piece in pieces if 3 <= len(piece.split()) <= 12))
    return list(found)


def write(path: Path, rows: int, seed: int = 0) -> Counter[str]:
    """Write so many rows of about one kilobyte, and say how many of each kind are among them."""
    chance, pool, kinds = random.Random(seed), phrases(), Counter[str]()
    names, weights = [*_KINDS], [share for share, _ in _KINDS.values()]
    earlier: deque[Row] = deque(maxlen=_FAR_BACK)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            kind = chance.choices(names, weights)[0] if chance.random() < sum(weights) else "plain"
            row = _plain(chance, pool) if kind == "plain" or not earlier else chance.choice(earlier)
            if kind == "plain":
                earlier.append(row)
            else:
                kinds[kind] += 1
            file.write(_KINDS[kind][1](chance, row) + "\n" if kind != "plain" else _line(row) + "\n")
    return kinds


def _plain(chance: random.Random, pool: Sequence[str]) -> Row:
    messages: list[Row] = []
    if chance.random() < 0.7:
        messages.append({"role": "system", "content": chance.choice(SYSTEMS)})
    turns = 2 if chance.random() < 0.2 else 1
    for _ in range(turns):
        messages.append({"role": "user", "content": talk(chance, pool, 420 // turns)})
        messages.append({"role": "assistant", "content": talk(chance, pool, 420 // turns)})
    return {"messages": messages}


def talk(chance: random.Random, pool: Sequence[str], letters: int) -> str:
    """Phrases of about so many letters together: half as many to half as many more."""
    return " ".join(_pieces(chance, pool, chance.randint(letters // 2, 3 * letters // 2)))


def _pieces(chance: random.Random, pool: Sequence[str], letters: int) -> Iterator[str]:
    size = len(pool)
    while letters > 0:
        piece = pool[int(chance.random() * size)]
        letters -= len(piece) + 1
        yield piece


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)


def _with(row: Row, role: str, change: Callable[[str], Any]) -> Row:
    """The row with the content of its last message of that role changed."""
    messages = [dict(message) for message in row["messages"]]
    last = max(at for at, message in enumerate(messages) if message["role"] == role)
    messages[last]["content"] = change(messages[last]["content"])
    return {**row, "messages": messages}


def near(chance: random.Random, text: str) -> str:
    """The text with a few of its words mistyped, doubled or left out: one in twenty at most."""
    words = text.split(" ")
    for _ in range(chance.randint(1, max(1, len(words) // 20))):
        at = chance.randrange(len(words))
        spoiled = words[at] + chance.choice(_LETTERS), words[at][1:] or words[at], words[at] + " " + words[at]
        words[at] = chance.choice(spoiled)
    return " ".join(words)


def _end(row: Row, role: str, text: str) -> str:
    return _line(_with(row, role, lambda content: f"{content} {text}"))


def _renamed(row: Row, key: str, value: str) -> str:
    messages = [dict(message) for message in row["messages"]]
    messages[-1][key] = value
    return _line({"messages": messages})


_KINDS: dict[str, tuple[float, Callable[[random.Random, Row], str]]] = {
    "exact_duplicate_row": (0.003, lambda chance, row: _line(row)),
    "same_question_other_case": (0.002, lambda chance, row: _line(_with(row, "user", str.upper))),
    "same_prompt_other_answer": (0.002, lambda chance, row: _end(row, "assistant", "Is that all?")),
    "near_duplicate": (
        0.005,
        lambda chance, row: _line(_with(row, "user", lambda text: near(chance, text))),
    ),
    "email": (0.004, lambda chance, row: _end(row, "user", f"Write to ann{chance.randrange(10**6)}@acme.org.")),
    "phone": (0.001, lambda chance, row: _end(row, "user", f"Call +49 30 {chance.randrange(10**6, 10**7)}.")),
    "secret": (0.0005, lambda chance, row: _end(row, "user", f"key sk-Ab{chance.randrange(10**29, 10**30)}")),
    "invalid_json": (0.0005, lambda chance, row: _line(row)[: chance.randint(20, 200)]),
    "blank_line": (0.0002, lambda chance, row: ""),
    "no_answer": (0.0005, lambda chance, row: _line({"messages": row["messages"][:-1]})),
    "empty_content": (0.0005, lambda chance, row: _line(_with(row, "user", lambda text: ""))),
    "no_content": (0.0003, lambda chance, row: _line(_with(row, "user", lambda text: None))),
    "unknown_role": (0.0005, lambda chance, row: _renamed(row, "role", "bot")),
    "unknown_key": (0.0005, lambda chance, row: _renamed(row, "mood", "good")),
    "control_character": (0.0005, lambda chance, row: _end(row, "user", "\x07")),
    "rated": (0.001, lambda chance, row: _line({**row, "meta": {"rating": chance.randrange(5)}})),
}
