"""The check of OpenAI's cookbook (Chat_finetuning_data_prep) as a script that a user would write from it.

Run: python -m benchmarks.cookbook_check FILE [tiktoken|quicktok] [ROWS]. Its steps are the notebook's: load every line
into a list, count format errors, count rows without system or user messages, count the tokens of each row and of its
assistant's messages, print their spread, and what a training would bill. Two kindnesses keep it from stopping: a line
that is not JSON is counted and skipped, and so are values that are no text. It makes no look for repeats, near
duplicates, personal data, or contradictions.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, cast
from unittest.mock import patch

from finetune_advisor.errors import require

ROLES = ("system", "user", "assistant", "function")
KEYS = ("role", "content", "name", "function_call", "weight")
LIMIT = 16_385


def main(file: str, library: str = "tiktoken", rows: str = "0") -> None:
    """Check a file, or its first rows, and print what the notebook prints."""
    count = counter(library)
    with open(file, encoding="utf-8") as lines:
        dataset, broken = read(list(islice(lines, int(rows) or None)))
    np = require("numpy", extra="all")
    faults = format_errors(dataset)
    usable = [messages for messages in map(messages_of, dataset) if messages]
    totals = [tokens_of(messages, count) for messages in usable]
    said = [assistant_tokens_of(messages, count) for messages in usable]
    print(json.dumps({"rows": len(dataset), "invalid_json": broken, **faults, **missing(usable)}))
    for name, values in (("messages", [len(each) for each in usable]), ("tokens", totals), ("assistant", said)):
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        print(f"{name}: {min(values)} to {max(values)}, mean {np.mean(values):.1f}, {low:.0f} {middle:.0f} {high:.0f}")
    print(f"over the limit: {sum(total > LIMIT for total in totals)}")
    print(f"billed tokens per epoch: {sum(min(LIMIT, total) for total in totals)}")


def read(lines: Sequence[str]) -> tuple[list[Any], int]:
    """All rows, and how many lines are no JSON."""
    found: list[Any] = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found, len(lines) - len(found)


def format_errors(dataset: Sequence[Any]) -> Counter[str]:
    """The notebook's eight kinds of fault."""
    faults = Counter[str]()
    for row in dataset:
        messages = messages_of(row)
        if not messages:
            faults["missing_messages_list" if isinstance(row, dict) else "data_type"] += 1
            continue
        for message in messages:
            faults["message_missing_key"] += "role" not in message or "content" not in message
            faults["message_unrecognized_key"] += any(key not in KEYS for key in message)
            faults["unrecognized_role"] += message.get("role") not in ROLES
            content = message.get("content")
            empty = not content and not message.get("function_call")
            faults["missing_content"] += empty or not isinstance(content, str)
        faults["example_missing_assistant_message"] += not any(m.get("role") == "assistant" for m in messages)
    return faults


def messages_of(row: Any) -> list[dict[str, Any]]:
    """The messages of a row; none where it has no such list."""
    messages: Any = cast("dict[str, Any]", row).get("messages") if isinstance(row, dict) else None
    return cast("list[dict[str, Any]]", messages) if isinstance(messages, list) else []


def missing(conversations: Sequence[Any]) -> dict[str, int]:
    """How many conversations have no system message, and how many no user message."""
    roles = [[message.get("role") for message in messages] for messages in conversations]
    return {f"without_{name}": sum(name not in each for each in roles) for name in ("system", "user")}


def tokens_of(messages: Sequence[Any], count: Callable[[str], int]) -> int:
    """Tokens of a conversation: three a message, one a name, three in all, and each value's own."""
    total = 3
    for message in messages:
        total += 3 + ("name" in message) + sum(count(value) for value in message.values() if isinstance(value, str))
    return total


def assistant_tokens_of(messages: Sequence[Any], count: Callable[[str], int]) -> int:
    """Tokens of what the assistant says."""
    return sum(count(m["content"]) for m in messages if m.get("role") == "assistant" and m.get("content"))


def counter(library: str) -> Callable[[str], int]:
    """Token counts with cl100k_base, which the notebook takes; tiktoken gets its table from quicktok, no download."""
    table = require("quicktok", extra="all").get_encoding("cl100k_base")
    if library == "quicktok":
        return lambda text: len(table.encode_ordinary(text))
    ranks = {table.decode_single_token_bytes(rank): rank for rank in range(100_256)}

    def load(*_: object, **__: object) -> dict[bytes, int]:
        return ranks

    public = require("tiktoken_ext.openai_public", extra="all")
    with patch.object(public, "load_tiktoken_bpe", load):  # the library's own pattern, without its download
        encoding = require("tiktoken", extra="all").Encoding(**public.cl100k_base())
    return lambda text: len(encoding.encode(text))


if __name__ == "__main__":
    main(*sys.argv[1:])
