"""Read labelled examples from a file or a dataset folder: chats, prompt/answer pairs, tables."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from finetune_advisor.datasets import chat, pairs, text, tool_calls
from finetune_advisor.datasets.folders import data_files, is_folder, visible_files
from finetune_advisor.datasets.jsonl import JSON, canonical
from finetune_advisor.datasets.pairs import Columns
from finetune_advisor.datasets.rows import Row, read_rows
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Example, Finding, Message

__all__ = ["Columns", "Loaded", "checked", "columns_of", "data_hash", "example_of", "load", "prompt_key"]

_HEAD_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The usable rows, and everything that was found in the rows on the way."""

    examples: tuple[Example, ...]
    findings: tuple[Finding, ...]


def load(path: Path, columns: Columns | None = None) -> Loaded:
    """Read examples; a row with an error becomes findings only, a row with warnings becomes an example too.

    Args:
        path: JSONL (chats or pairs), CSV, TSV, Parquet, Arrow, a folder of such files, or a folder written by
            the ``save_to_disk`` of Hugging Face datasets.
        columns: Where prompt and answer stand in rows that are not chats; known names are found without it.

    Raises:
        BadInput: No file, not readable, not what its suffix says, empty, or no known columns.
    """
    examples: list[Example] = []
    findings: list[Finding] = []
    for file in data_files(path):
        found: list[Finding] = []
        examples += _read(file, columns, found)
        findings += sorted(found, key=lambda finding: finding.line)
    return Loaded(examples=tuple(_numbered(examples)), findings=tuple(findings))


def data_hash(paths: Iterable[Path]) -> str:
    """SHA-256 (hex) over the contents of files, and over names and contents of folders; hidden files do not count.

    Raises:
        BadInput: One of them is not there or cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        if is_folder(path):
            for file in visible_files(path):
                total.update(canonical(file.relative_to(path).as_posix()).encode("utf-8", "surrogateescape"))
                total.update(_file_hash(file))
        else:
            text.check_file(path)
            total.update(_file_hash(path))
    return total.hexdigest()


def _file_hash(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


def _read(path: Path, columns: Columns | None, findings: list[Finding]) -> Iterator[Example]:
    rows = read_rows(path, findings)
    head = list(islice(rows, _HEAD_ROWS))
    shape = _shape_of(head, columns, path, findings)
    seen = chat.Seen()
    for row in chain(head, rows):
        value, faults = checked(row, shape, str(path))
        findings += faults
        example = None if value is None else example_of(value, row.line, str(path))
        if example is not None:
            across = seen.check(prompt_key(example), example.answer, row.line, str(path))
            findings += across
            if all(finding.severity != "error" for finding in across):
                yield example


def columns_of(path: Path, columns: Columns | None, findings: list[Finding]) -> Columns | None:
    """What the columns of a file are, None where its rows are chats; raises as `load` does."""
    return _shape_of(list(islice(read_rows(path, findings), _HEAD_ROWS)), columns, path, findings)


def _shape_of(head: list[Row], columns: Columns | None, path: Path, findings: list[Finding]) -> Columns | None:
    if not head:
        raise BadInput(f"{path} has no rows.", hint="Give a file that holds at least one row.")
    shape = pairs.recognise((row.value for row in head), columns, path)
    if shape is not None:
        findings.append(pairs.recognised(shape, path))
    return shape


def checked(row: Row, shape: Columns | None, file: str) -> tuple[chat.Object | None, list[Finding]]:
    """A row as a chat row, or None where it cannot be used, and what was found in it; `shape` is None for chats."""
    if row.findings:
        return None, list(row.findings)
    if shape is None:
        return chat.check_row(row.value, row.line, file)
    value, faults = pairs.to_chat(row.value, shape, row.line, file)
    return (None, faults) if faults else chat.check_row(value, row.line, file)


def example_of(row: chat.Object, line: int, file: str) -> Example | None:
    """The example of a row that passed the checks; None where nothing comes before its answer."""
    messages = chat.objects(row.get("messages"))
    at = chat.answer_index(messages)
    if at == 0:
        return None
    answer = tool_calls.answer_of(messages[at]) or chat.text_of(messages[at].get("content"))
    meta = chat.meta_of(row)
    example = Example(
        id="",
        messages=tuple(_message(message) for message in messages[:at]),
        answer=answer,
        references=_references(answer, meta.get("refs")),
        meta=meta,
        tools=tuple(chat.objects(row.get("tools"))),
        file=file,
        line=line,
    )
    return replace(example, id=_content_id(example))


def _message(message: chat.Object) -> Message:
    """Content parts that are more than text stay in `extra`, as does every other key that is set."""
    content = message.get("content")
    extra: chat.Object = {
        key: value for key, value in message.items() if key not in ("role", "content") and value is not None
    }
    if any(part.get("type") != "text" for part in chat.objects(content)):
        extra["content"] = content
    return Message(role=str(message.get("role")), content=chat.text_of(content), extra=extra)


def _references(answer: str, refs: JSON) -> tuple[str, ...]:
    others = [ref for ref in refs if isinstance(ref, str) and ref.strip()] if isinstance(refs, list) else []
    return tuple(dict.fromkeys([answer, *others]))


def _content_id(example: Example) -> str:
    return hashlib.sha256(canonical([prompt_key(example), example.answer]).encode("utf-8")).hexdigest()[:16]


def prompt_key(example: Example) -> str:
    """All that comes before the answer, as canonical text."""
    messages: list[JSON] = [
        {"role": message.role, "content": message.content, **message.extra} for message in example.messages
    ]
    return canonical([messages, [dict(tool) for tool in example.tools]])


def _numbered(examples: Iterable[Example]) -> Iterator[Example]:
    """The same examples with "-2", "-3" behind the id of a row that comes again."""
    counts = Counter[str]()
    for example in examples:
        counts[example.id] += 1
        count = counts[example.id]
        yield example if count == 1 else replace(example, id=f"{example.id}-{count}")
