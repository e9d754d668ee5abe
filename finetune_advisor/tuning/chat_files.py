"""Training pairs as the JSONL files that OpenAI and Azure OpenAI train on, and the rules that these have to keep.

Formats: https://developers.openai.com/api/docs/guides/supervised-fine-tuning and
https://developers.openai.com/api/docs/guides/direct-preference-optimization.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from finetune_advisor.datasets.chat import check_row, objects
from finetune_advisor.datasets.jsonl import canonical, loads
from finetune_advisor.datasets.tokens import TokenCounter, chat_tokens, encoding
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Message, TrainingPair

Method = Literal["supervised", "dpo"]
Part = Literal["train", "validation"]
Row = dict[str, Any]

MIN_EXAMPLES = 10
"""The fewest training examples that a job takes, at OpenAI and at Azure."""

MAX_BYTES = 512_000_000
"""The largest file that OpenAI and Azure take."""

NON_PREFERRED = "non_preferred_output"
"""In `Message.extra` of a prompt's last message: the worse answer, which preference tuning (DPO) learns to avoid."""

_EXAMPLE_TOKENS = {
    "gpt-3.5-turbo-0613": 4_096,
    "gpt-35-turbo-0613": 4_096,
    "gpt-3.5": 16_385,
    "gpt-35": 16_385,
    "gpt-4o": 65_536,
    "gpt-4.1": 65_536,
}
_OLD_VOCABULARY = re.compile(r"gpt-3|gpt-4(-|$)|babbage|davinci")


@dataclass(frozen=True, kw_only=True)
class ChatFile:
    """One file as it will be sent. `bom` puts the byte order mark before the text, which Azure wants."""

    part: Part
    rows: tuple[Row, ...]
    bom: bool = False

    @property
    def name(self) -> str:
        """The file's name in the training's folder."""
        return f"{self.part}.jsonl"

    @cached_property
    def data(self) -> bytes:
        """The bytes that are sent."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        return (codecs.BOM_UTF8 if self.bom else b"") + text.encode("utf-8", "replace")

    def tokens(self, model: str) -> list[int]:
        """Tokens of each example by the model's vocabulary, uncut."""
        counter = vocabulary(model)
        return [_tokens(row, counter) for row in self.rows]

    def write(self, folder: Path) -> None:
        """Write the file into that folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.name).write_bytes(self.data)


def chat_file(
    part: Part, pairs: Sequence[TrainingPair], method: Method = "supervised", *, bom: bool = False
) -> ChatFile:
    """Pairs as a file: their tools, the weights of earlier answers, developer messages and all turns are kept.

    An earlier answer of the assistant that has no weight gets weight 0, for only the pair's own answer is to be learnt.

    Raises:
        BadInput: The method is "dpo" and a pair has no worse answer.
    """
    make = _supervised if method == "supervised" else _preference
    return ChatFile(part=part, rows=tuple(make(pair, line) for line, pair in enumerate(pairs, 1)), bom=bom)


def check(file: ChatFile, model: str) -> None:
    """Hold a file against today's rules.

    Args:
        file: The file.
        model: What is to be tuned, by its provider's name: it decides how long an example may be.

    Raises:
        BadInput: A rule is broken; the message names the first line that breaks it.
    """
    if file.part == "train" and len(file.rows) < MIN_EXAMPLES:
        raise BadInput(
            f"There are {len(file.rows)} training examples; a job takes at least {MIN_EXAMPLES}.",
            hint="Add examples, or give a larger part of them to training.",
        )
    for line, row in enumerate(file.rows, start=1):
        _check_row(row, line, file.name)
    _check_lengths(file, model)
    if len(file.data) > MAX_BYTES:
        raise BadInput(
            f"{file.name} has {len(file.data) / 1e6:,.0f} MB; a file may have {MAX_BYTES / 1e6:,.0f} MB.",
            hint="Train on fewer examples, or on shorter prompts.",
        )


def example_limit(model: str) -> int | None:
    """The most tokens of one example, None where it is not known.

    65,536 is Azure's figure for the families of GPT-4o and GPT-4.1 (Microsoft, fine-tuning models), taken for OpenAI
    too; 16,385 and 4,096 are those of the two versions of OpenAI's cookbook for GPT-3.5.
    """
    base = base_of(model)
    return next((limit for start, limit in _EXAMPLE_TOKENS.items() if base.startswith(start)), None)


def vocabulary(model: str) -> TokenCounter:
    """The counter of the model's tokens; models of other makers are counted as OpenAI's newer ones."""
    return encoding("cl100k_base" if _OLD_VOCABULARY.match(base_of(model)) else "o200k_base")


def base_of(model: str) -> str:
    """The base of a tuned model (``ft:BASE:org::id`` at OpenAI, ``BASE.ft-id`` at Azure); a base is its own."""
    plain = model.removeprefix("azure:").removeprefix("openai:")
    return plain.removeprefix("ft:").partition(":")[0].partition(".ft-")[0]


def _supervised(pair: TrainingPair, line: int) -> Row:
    turns = [_turn(message, trained=False) for message in pair.messages]
    return {"messages": [*turns, _answer(pair.answer, pair.tools)], **_tools(pair)}


def _preference(pair: TrainingPair, line: int) -> Row:
    worse = pair.messages[-1].extra.get(NON_PREFERRED) if pair.messages else None
    if not isinstance(worse, str) or not worse.strip():
        raise BadInput(
            f"Training example {line} has no worse answer to compare with, which preference tuning (DPO) needs.",
            hint='Give each prompt a preferred and a non-preferred answer, or tune with method = "supervised".',
        )
    turns = [_turn(message, trained=None) for message in pair.messages]
    return {
        "input": {"messages": turns, **_tools(pair)},
        "preferred_output": [_answer(pair.answer, pair.tools)],
        NON_PREFERRED: [_answer(worse, pair.tools)],
    }


def _turn(message: Message, *, trained: bool | None) -> Row:
    """A message of the prompt. `trained` None: where nothing of the prompt can be learnt, a weight has no place."""
    extra = {key: value for key, value in message.extra.items() if key not in (NON_PREFERRED, "weight")}
    turn = {"role": message.role, "content": message.content, **extra}
    if message.role == "assistant" and trained is not None:
        turn["weight"] = message.extra.get("weight", int(trained))
    return turn


def _tools(pair: TrainingPair) -> Row:
    return {"tools": [dict(tool) for tool in pair.tools]} if pair.tools else {}


def _answer(text: str, tools: Sequence[Mapping[str, Any]]) -> Row:
    calls = _calls(text, tools) if tools else []
    if not calls:
        return {"role": "assistant", "content": text}
    return {
        "role": "assistant",
        "tool_calls": [
            {"id": f"call_{number}", "type": "function", "function": call} for number, call in enumerate(calls, start=1)
        ],
    }


def _calls(text: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The calls that an answer stands for (see `datasets.tool_calls.answer_of`), none where it is plain text."""
    known = {tool.get("function", {}).get("name") for tool in tools}
    try:
        value = loads(text)
    except ValueError:
        return []
    calls = [call for call in objects(value) if call.get("name") in known and isinstance(call.get("arguments"), dict)]
    if not isinstance(value, list) or len(calls) != len(value):
        return []
    return [{"name": str(call["name"]), "arguments": canonical(call["arguments"])} for call in calls]


def _conversations(row: Row) -> list[Row]:
    """A row as the conversations that it holds: itself, or for a preference one for each of the two answers."""
    if "input" not in row:
        return [row]
    asked = row["input"]
    return [{**asked, "messages": [*asked["messages"], *row[key]]} for key in ("preferred_output", NON_PREFERRED)]


def _check_row(row: Row, line: int, file: str) -> None:
    for conversation in _conversations(row):
        checked, findings = check_row(conversation, line, file)
        if checked is None:
            raise BadInput(f"Line {line} of {file}: {findings[0].message}", hint="Mend or remove this example.")


def _check_lengths(file: ChatFile, model: str) -> None:
    limit = example_limit(model)
    if limit is None:
        return
    too_long = next(((line, n) for line, n in enumerate(file.tokens(model), start=1) if n > limit), None)
    if too_long:
        raise BadInput(
            f"Line {too_long[0]} of {file.name} has {too_long[1]:,} tokens; an example for {base_of(model)} may have "
            f"{limit:,}.",
            hint="Shorten this example or leave it out: cut off, it would teach to stop in mid-sentence.",
        )


def _tokens(row: Row, counter: TokenCounter) -> int:
    asked = row.get("input", row)
    answers = [*row.get("preferred_output", []), *row.get(NON_PREFERRED, [])]
    tools = sum(counter.count(json.dumps(tool, ensure_ascii=False)) for tool in asked.get("tools", []))
    return chat_tokens([*asked["messages"], *answers], counter) + tools
