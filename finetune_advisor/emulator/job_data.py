"""The files of a fine-tuning job, read and checked as OpenAI does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from finetune_advisor.datasets import tool_calls
from finetune_advisor.datasets.chat import Object, check_line, objects, text_of
from finetune_advisor.datasets.tokens import TokenCounter, chat_tokens, encoding
from finetune_advisor.emulator.state import File
from finetune_advisor.records import Message, TrainingPair

LEAST_EXAMPLES = 10
TOKENS_PER_EXAMPLE = 65_536
"""The longest training example of the GPT-4o and GPT-4.1 families (providers 3)."""


class InvalidFile(Exception):
    """A file that a job cannot be trained on.

    Args:
        code: OpenAI's name for what is wrong.
        message: What is wrong, with the first place.
        param: Which of the two files.
    """

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """One file: how many examples it has, their billable tokens in one epoch, and a pair for every answer to learn."""

    examples: int
    tokens: int
    pairs: tuple[TrainingPair, ...]


def read(file: File, param: str, *, least: int = LEAST_EXAMPLES) -> TrainingData:
    """A file in the chat format; Azure's byte order mark may stand at its beginning.

    Args:
        file: The file.
        param: "training_file" or "validation_file".
        least: So many examples it has to have.

    Raises:
        InvalidFile: A line is wrong or too long, or there are too few.
    """
    rows = [_row(line, number, param) for number, line in enumerate(_lines(file, param), start=1)]
    if len(rows) < least:
        kind = param.partition("_")[0].capitalize()
        message = f"{kind} file has {len(rows)} example(s), but must have at least {least} examples"
        raise InvalidFile("invalid_n_examples", message, param)
    pairs = tuple(chain.from_iterable(map(_pairs, rows)))
    if not pairs:
        raise _invalid("No message of an assistant has a weight other than 0, so there is nothing to learn.", param)
    return TrainingData(examples=len(rows), tokens=_billable(rows, param), pairs=pairs)


def _lines(file: File, param: str) -> list[str]:
    try:
        text = file.path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid("The file is not UTF-8.", param) from error
    return text.removesuffix("\n").split("\n") if text.strip() else []


def _row(line: str, number: int, param: str) -> Object:
    row, findings = check_line(line, number, param)
    if row is None:
        raise _invalid(f"Invalid file format. Example {number}: {findings[0].message}", param)
    return row


def _invalid(reason: str, param: str) -> InvalidFile:
    kind = param.partition("_")[0]
    return InvalidFile(f"invalid_{param}", f"The job failed due to an invalid {kind} file. {reason}", param)


def _billable(rows: list[Object], param: str) -> int:
    counter = encoding()
    counts = [_tokens(row, counter) for row in rows]
    for number, count in enumerate(counts, start=1):
        if count > TOKENS_PER_EXAMPLE:
            raise _invalid(f"Example {number} has {count} tokens; at most {TOKENS_PER_EXAMPLE} are allowed.", param)
    return sum(counts)


def _tokens(row: Object, counter: TokenCounter) -> int:
    """Tokens of one example, its tools included."""
    tools = sum(counter.count(json.dumps(tool, ensure_ascii=False)) for tool in objects(row.get("tools")))
    return chat_tokens(objects(row["messages"]), counter) + tools


def _pairs(row: Object) -> Iterator[TrainingPair]:
    """Every answer of a conversation with all that stands before it, unless its weight is 0."""
    messages = objects(row["messages"])
    said = tuple(_message(message) for message in messages)
    for place, message in enumerate(messages):
        answer = tool_calls.answer_of(message) or text_of(message.get("content"))
        if place and message.get("role") == "assistant" and message.get("weight") != 0 and answer:
            yield TrainingPair(messages=said[:place], answer=answer, tools=tuple(objects(row.get("tools"))))


def _message(message: Object) -> Message:
    extra = {key: value for key, value in message.items() if key not in ("role", "content", "weight")}
    return Message(role=str(message.get("role")), content=text_of(message.get("content")), extra=extra)
