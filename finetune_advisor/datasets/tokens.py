"""Token counts without a network: tiktoken where its vocabulary lies on this machine, else quicktok's own copy."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Example, Message

_SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_PER_EXAMPLE = 3

Conversation = Example | Sequence[Mapping[str, Any]]
"""An example, or the raw ``messages`` of a chat row."""


@dataclass(frozen=True, kw_only=True)
class TokenCounter:
    """Counts the tokens of a text by one vocabulary; `source` is the library that does it."""

    name: str
    source: Literal["tiktoken", "quicktok"]
    encode: Callable[[str], Sized]

    def count(self, text: str) -> int:
        """Tokens of a text; what looks like a special token counts as ordinary text."""
        return len(self.encode(text.encode("utf-8", "replace").decode("utf-8")))


@dataclass(frozen=True, kw_only=True)
class TrainingTokens:
    """What a training file comes to. `totals` and `assistant` are tokens by example, in the order of the file."""

    totals: tuple[int, ...]
    assistant: tuple[int, ...]
    without_system: int
    without_user: int
    over_limit: int
    limit: int
    billed_per_epoch: int
    epochs: int
    billed: int


@lru_cache
def encoding(name: str = "o200k_base") -> TokenCounter:
    """The counter for a vocabulary; never touches the network.

    Args:
        name: ``o200k_base`` (OpenAI's models since GPT-4o) or ``cl100k_base`` (GPT-3.5 and GPT-4).

    Raises:
        BadInput: Unknown vocabulary.
    """
    if name not in _SHA256:
        raise BadInput(f"There is no vocabulary named {name!r}.", hint="Known: " + ", ".join(sorted(_SHA256)) + ".")
    if _tiktoken_has(name):
        tiktoken = require("tiktoken", extra="all").get_encoding(name)
        return TokenCounter(name=name, source="tiktoken", encode=tiktoken.encode_ordinary)
    quicktok = require("quicktok", extra="all").get_encoding(name)
    return TokenCounter(name=name, source="quicktok", encode=quicktok.encode_ordinary)


def _tiktoken_has(name: str) -> bool:
    """Whether tiktoken would find the vocabulary in its cache; with a missing or wrong file it would download."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder == "":
        return False
    cache = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    file = cache / hashlib.sha1(_URL.format(name).encode("ascii"), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == _SHA256[name]
    except OSError:
        return False


def chat_tokens(conversation: Conversation, counter: TokenCounter) -> int:
    """Tokens of a whole conversation, answer included, by the rule of OpenAI's cookbook.

    Three for each message, one more for a name, three for the example, and each value by itself, the role too
    (openai-cookbook, Chat_finetuning_data_prep). Numbers such as weights do not count. Tool calls and tools, which
    the notebook does not know, count as their JSON text: an estimate.
    """
    total = TOKENS_PER_EXAMPLE + sum(_message_tokens(message, counter) for message in _messages(conversation))
    tools = conversation.tools if isinstance(conversation, Example) else ()
    return total + sum(_value_tokens(tool, counter) for tool in tools)


def assistant_tokens(conversation: Conversation, counter: TokenCounter) -> int:
    """Tokens of all that the assistant says in a conversation."""
    said = (message for message in _messages(conversation) if message.get("role") == "assistant")
    return sum(_value_tokens(message.get("content"), counter) for message in said)


def _messages(conversation: Conversation) -> list[Mapping[str, Any]]:
    if not isinstance(conversation, Example):
        return list(conversation)
    answer = Message(role="assistant", content=conversation.answer)
    return [{**m.extra, "role": m.role, "content": m.content} for m in (*conversation.messages, answer)]


def _message_tokens(message: Mapping[str, Any], counter: TokenCounter) -> int:
    values = sum(_value_tokens(value, counter) for value in message.values())
    return TOKENS_PER_MESSAGE + TOKENS_PER_NAME * ("name" in message) + values


def _value_tokens(value: object, counter: TokenCounter) -> int:
    if isinstance(value, str):
        return counter.count(value)
    if isinstance(value, Mapping | list | tuple):
        return counter.count(json.dumps(value, ensure_ascii=False, default=dict))
    return 0


def default_epochs(examples: int) -> int:
    """Epochs that OpenAI's cookbook expects by default for so many examples; an estimate of 2023, not today's "auto".

    Three, but enough for 100 examples in all (25 epochs at most) and not more than 25,000 of them
    (openai-cookbook, Chat_finetuning_data_prep).
    """
    if examples * 3 < 100:
        return min(25, 100 // max(1, examples))
    return max(1, 25_000 // examples) if examples * 3 > 25_000 else 3


def training_summary(examples: Sequence[Conversation], counter: TokenCounter, limit: int = 16_385) -> TrainingTokens:
    """What a fine-tuning job on these examples would train on and bill, by the cookbook's rules.

    Billed are, per epoch, the tokens of each example up to the limit (openai-cookbook, Chat_finetuning_data_prep;
    its first version has a limit of 4,096 tokens, its newest of 16,385).

    Args:
        examples: The training examples.
        counter: The vocabulary.
        limit: Tokens after which an example is cut off.
    """
    totals = tuple(chat_tokens(example, counter) for example in examples)
    roles = [{message.get("role") for message in _messages(example)} for example in examples]
    billed = sum(min(limit, total) for total in totals)
    epochs = default_epochs(len(examples))
    return TrainingTokens(
        totals=totals,
        assistant=tuple(assistant_tokens(example, counter) for example in examples),
        without_system=sum("system" not in each for each in roles),
        without_user=sum("user" not in each for each in roles),
        over_limit=sum(total > limit for total in totals),
        limit=limit,
        billed_per_epoch=billed,
        epochs=epochs,
        billed=billed * epochs,
    )
