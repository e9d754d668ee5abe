"""Mend rows of a JSONL, CSV or TSV file: what is changed or dropped is written, every other byte stays as it is."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, TypeAlias

from finetune_advisor.datasets import chat, jsonl, pairs, text, tool_calls
from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.datasets.lines import Lines, read_lines
from finetune_advisor.datasets.pairs import Columns
from finetune_advisor.datasets.replace import alone
from finetune_advisor.datasets.replace import replace as replace_file
from finetune_advisor.errors import BadInput

Field: TypeAlias = Literal["prompt", "answer"]

_HEAD_ROWS = 100
_LONGEST_CELL = 2**31 - 1
_DELIMITED = (".csv", ".tsv")
_LINES = (".jsonl", ".ndjson")
_SEPARATORS = ((", ", ": "), (",", ":"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as a person sees and mends it.

    Args:
        line: Its first line in the file, from 1.
        raw: Its text in the file, without the line's end.
        prompt: The last user message or the prompt's cell; None where the row can be mended as raw text only.
        answer: The final answer; None as for the prompt.
        fixed: Which of the two cannot be changed here, such as an answer that calls tools: change `mended`.
        problem: What is wrong with the row, or "".
        mended: What is to stand in the place of `raw`.
    """

    line: int
    raw: str
    prompt: str | None = None
    answer: str | None = None
    fixed: frozenset[Field] = frozenset()
    problem: str = ""
    mended: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A row with its place in the file, its value and, in a table, its cells."""

    row: Row
    end: int
    value: JSON
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Raw:
    """Where a row stands, before anybody knows which columns count."""

    start: int
    end: int
    value: JSON
    cells: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    lines: Lines
    shape: Columns | None
    found: tuple[_Found, ...]
    names: tuple[str, ...] = ()
    delimiter: str = ""


def rows(path: Path, columns: Columns | None = None) -> tuple[Row, ...]:
    """The rows of a file, broken ones included.

    Args:
        path: A .jsonl, .ndjson, .csv or .tsv file.
        columns: Where prompt and answer stand in rows that are not chats; known names are found without it.

    Raises:
        BadInput: Of another kind, missing, unreadable, or without known columns.
    """
    return tuple(found.row for found in _read(path, columns).found)


def write(path: Path, changed: Sequence[Row], dropped: Sequence[Row] = (), columns: Columns | None = None) -> None:
    """Write changed rows back and leave dropped ones out; a copy of the first version stays beside it as `.original`.

    Args:
        path: The file.
        changed: Rows from `rows` with another prompt, answer or `mended` text.
        dropped: Rows from `rows`.
        columns: As given to `rows`.

    Raises:
        BadInput: A row is not in the file any more, would be unusable afterwards, cannot be written in the file's
            encoding, or is the last one to be dropped. The file is as it was.
    """
    path = path.resolve()
    with alone(path):
        file = _read(path, columns)
        _check_current(file, [*changed, *dropped])
        gone = {row.line for row in dropped}
        new = {row.line: text for row in changed if (text := _rewritten(file, row)) is not None}
        edits = {at: None if at in gone else new[at] for at in gone | set(new)}
        if edits:
            _replace(file, edits)


def change(path: Path, changes: Mapping[int, tuple[str, str] | str], columns: Columns | None = None) -> None:
    """Change rows by line number: to a prompt and an answer, or to raw text; see `write`."""
    current = {row.line: row for row in rows(path, columns)}
    wanted = [
        replace(_row(current, line, path), mended=new)
        if isinstance(new, str)
        else replace(_row(current, line, path), prompt=new[0], answer=new[1])
        for line, new in changes.items()
    ]
    write(path, wanted, columns=columns)


def drop(path: Path, lines: Iterable[int], columns: Columns | None = None) -> None:
    """Drop the rows that start on these lines; see `write`."""
    current = {row.line: row for row in rows(path, columns)}
    write(path, (), [_row(current, line, path) for line in lines], columns)


def _row(current: Mapping[int, Row], line: int, path: Path) -> Row:
    if line not in current:
        raise BadInput(f"No row of {path} starts on line {line}.", hint="Load the file again.")
    return current[line]


def _read(path: Path, columns: Columns | None) -> _File:
    kind = path.suffix.lower()
    if kind not in (*_DELIMITED, *_LINES):
        known = ", ".join((*_LINES, *_DELIMITED))
        raise BadInput(f"{path} is of a kind that cannot be edited here.", hint=f"Known: {known}.")
    lines = read_lines(path)
    names, delimiter, raws = _table(path, lines.texts) if kind in _DELIMITED else ((), "", _objects(path, lines.texts))
    shape = pairs.recognise((raw.value for raw in raws[:_HEAD_ROWS]), columns, path)
    found = tuple(_found(raw, lines.texts, shape) for raw in raws)
    return _File(path=path, lines=lines, shape=shape, found=found, names=names, delimiter=delimiter)


def _objects(path: Path, texts: Sequence[str]) -> list[_Raw]:
    found: list[_Raw] = []
    for at, line in enumerate(texts):
        value, faults = jsonl.parse(line, at + 1, str(path))
        problem = " ".join(fault.message for fault in faults)
        found.append(_Raw(start=at, end=at + 1, value=value, problem=problem))
    return found


def _table(path: Path, texts: Sequence[str]) -> tuple[tuple[str, ...], str, list[_Raw]]:
    """Header, delimiter and rows, cut as `datasets.rows` cuts them; behind a row that ends nowhere nothing is read."""
    csv.field_size_limit(_LONGEST_CELL)
    delimiter = max(",\t;", key=(texts[0] if texts else "").count)
    reader = csv.reader(iter(texts), delimiter=delimiter, strict=True)
    names: tuple[str, ...] = ()
    found: list[_Raw] = []
    start = 0
    try:
        for cells in reader:
            if names and cells:
                found.append(_table_row(names, cells, start, reader.line_num))
            names = names or tuple(name.strip() for name in cells)
            start = reader.line_num
    except csv.Error as error:
        problem = f"The row that starts here cannot be read ({error}); nothing after it was."
        end = start + 1 if reader.line_num >= len(texts) else reader.line_num
        found.append(_Raw(start=start, end=end, value=None, problem=problem))
    return names, delimiter, found


def _table_row(names: Sequence[str], cells: Sequence[str], start: int, end: int) -> _Raw:
    if len(cells) != len(names):
        problem = f"The row has {len(cells)} cells, the header {len(names)}; a quote or a separator is misplaced."
        return _Raw(start=start, end=end, value=None, problem=problem)
    return _Raw(start=start, end=end, value=dict(zip(names, cells, strict=True)), cells=tuple(cells))


def _found(raw: _Raw, texts: Sequence[str], shape: Columns | None) -> _Found:
    line = raw.start + 1
    shown = Row(line=line, raw="".join(texts[raw.start : raw.end]).removesuffix("\n"), problem=raw.problem)
    row = shown if raw.problem else _view(shown, raw.value, shape)
    return _Found(row=row, end=raw.end, value=raw.value, cells=raw.cells)


def _view(row: Row, value: JSON, shape: Columns | None) -> Row:
    """The row with what a person may edit of its value."""
    if shape is None:
        checked, findings = chat.check_row(value, row.line, "")
        if checked is not None:
            return _chat_view(row, checked)
        return replace(row, problem=" ".join(finding.message for finding in findings))
    asked, findings = pairs.to_chat(value, shape, row.line, "")
    if not findings:
        findings = [each for each in chat.check_row(asked, row.line, "")[1] if each.severity == "error"]
    problem = " ".join(finding.message for finding in findings)
    return (
        _pair_view(replace(row, problem=problem), value, shape)
        if isinstance(value, dict)
        else replace(row, problem=problem)
    )


def _chat_view(row: Row, value: chat.Object) -> Row:
    user, answer = _turns(value)
    calls = tool_calls.answer_of(answer)
    slots: dict[Field, object] = {"prompt": user and _slot(user), "answer": None if calls else _slot(answer)}
    return replace(
        row,
        prompt=chat.text_of(user.get("content")) if user else "",
        answer=calls or chat.text_of(answer.get("content")),
        fixed=frozenset(name for name, slot in slots.items() if slot is None),
    )


def _pair_view(row: Row, value: chat.Object, shape: Columns) -> Row:
    """Alpaca's instruction with an input below it is shown whole; which of the two changed nobody could tell."""
    prompt, below = _cell(value.get(shape.prompt)), _cell(value.get("input"))
    whole = shape.prompt.lower() == "instruction" and bool(below.strip())
    return replace(
        row,
        prompt=f"{prompt}\n\n{below}" if whole else prompt,
        answer=_cell(value.get(shape.completion)),
        fixed=frozenset({"prompt"} if whole else ()),
    )


def _turns(value: chat.Object) -> tuple[chat.Object | None, chat.Object]:
    """The last user message before the answer, and the answer."""
    messages = chat.objects(value.get("messages"))
    at = chat.answer_index(messages)
    users = [message for message in messages[:at] if message.get("role") == "user"]
    return (users[-1] if users else None), messages[at]


def _slot(message: chat.Object) -> tuple[chat.Object, str] | None:
    """The object and the key that hold a message's text; None where it stands in several parts."""
    if isinstance(message.get("content"), str):
        return message, "content"
    parts = [part for part in chat.objects(message.get("content")) if part.get("type") in ("text", "refusal")]
    return (parts[0], str(parts[0]["type"])) if len(parts) == 1 else None


def _cell(value: JSON) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _check_current(file: _File, given: Sequence[Row]) -> None:
    there = {found.row.line: found.row.raw for found in file.found}
    stale = next((row.line for row in given if there.get(row.line) != row.raw), None)
    if stale is not None:
        raise BadInput(
            f"Line {stale} of {file.path.name} is not what it was; somebody changed the file.",
            hint="Load it again, then make your changes.",
        )


def _rewritten(file: _File, row: Row) -> str | None:
    """The new text of a row, without the line's end; None where nothing changed."""
    found = next(each for each in file.found if each.row.line == row.line)
    if row.mended is not None:
        return _raw_text(file, row.line, row.mended) if row.mended.rstrip("\r\n") != row.raw else None
    wanted: dict[Field, str | None] = {"prompt": row.prompt, "answer": row.answer}
    old: dict[Field, str | None] = {"prompt": found.row.prompt, "answer": found.row.answer}
    new: dict[Field, str] = {
        name: _normal(file, each) for name, each in wanted.items() if each is not None and each != old[name]
    }
    if not new:
        return None
    locked = next((name for name in new if old[name] is None or name in found.row.fixed), None)
    if locked is not None:
        raise BadInput(f"The {locked} of line {row.line} cannot be changed here.", hint="Change the row's raw text.")
    return _edited(file, found, new)


def _raw_text(file: _File, line: int, new: str) -> str:
    new = new.rstrip("\r\n").replace("\r\n", "\n")
    if not file.names and ("\n" in new or "\r" in new):
        raise BadInput(f"Line {line} would become several lines.", hint="Every row has to stand on one line.")
    return new


def _normal(file: _File, new: str) -> str:
    """Text as it comes back: the reader of tables knows one kind of line end."""
    return new.replace("\r\n", "\n").replace("\r", "\n") if file.names else new


def _edited(file: _File, found: _Found, new: Mapping[Field, str]) -> str:
    value = _with_fields(found.value, file.shape, new)
    view = _view(Row(line=found.row.line, raw=""), value, file.shape)
    if view.problem and not found.row.problem:
        raise BadInput(f"Line {found.row.line}: {view.problem}", hint="Change it, or drop the row.")
    return _as_table_row(file, found, value) if file.names else _as_json(file, found, value)


def _with_fields(value: JSON, shape: Columns | None, new: Mapping[Field, str]) -> chat.Object:
    copy = deepcopy(value)
    assert isinstance(copy, dict)
    for name, new_text in new.items():
        place, key = _place(copy, shape, name)
        place[key] = _like(place.get(key), new_text)
    return copy


def _place(value: chat.Object, shape: Columns | None, name: Field) -> tuple[chat.Object, str]:
    """The object and the key that hold a field that is not fixed."""
    if shape is not None:
        return value, shape.prompt if name == "prompt" else shape.completion
    user, answer = _turns(value)
    slot = _slot(user if user and name == "prompt" else answer)
    assert slot is not None
    return slot


def _like(old: JSON, new: str) -> JSON:
    """A number or a structure stays one where the new text is one."""
    if old is None or isinstance(old, str):
        return new
    try:
        value = jsonl.loads(new)
    except ValueError:
        return new
    return new if isinstance(value, str) else value


def _as_json(file: _File, found: _Found, value: JSON) -> str:
    """A value in the style of its old line: with or without spaces and escapes."""
    styles = list(product((False, True), _SEPARATORS))
    old = found.row.raw.strip()
    style = next((each for each in styles if _dumped(found.value, *each) == old), styles[0])
    new = _dumped(value, *style)
    return new if file.lines.can_hold(new) else _dumped(value, True, style[1])


def _dumped(value: JSON, ascii_only: bool, separators: tuple[str, str]) -> str:
    return json.dumps(value, ensure_ascii=ascii_only, separators=separators)


def _as_table_row(file: _File, found: _Found, value: chat.Object) -> str:
    """A row with its cells quoted as they were: all of them, or those that need it."""
    cells = list(found.cells)
    for name, cell in value.items():
        cells[max(at for at, each in enumerate(file.names) if each == name)] = _cell(cell)
    everywhere = _joined(found.cells, file.delimiter, csv.QUOTE_ALL) == found.row.raw
    return _joined(cells, file.delimiter, csv.QUOTE_ALL if everywhere else csv.QUOTE_MINIMAL)


def _joined(cells: Sequence[str], delimiter: str, quoting: Literal[0, 1]) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().removesuffix("\r\n")


def _replace(file: _File, edits: Mapping[int, str | None]) -> None:
    """Write the file with rows replaced or, where there is no text, left out, once it is sure to read back so."""
    if all(edits.get(found.row.line, "") is None for found in file.found):
        raise BadInput(f"That would leave {file.path.name} without a row.", hint="Keep at least one.")
    ends = {found.row.line - 1: found.end for found in file.found}
    content, expected = file.lines.edited({line - 1: (ends[line - 1], new) for line, new in edits.items()})
    if _read_back(content, file.path.name) != expected:
        raise file.lines.cannot_hold()
    original = file.path.with_name(file.path.name + ".original")
    if not original.exists():
        replace_file(original, file.lines.content)
    replace_file(file.path, content)


def _read_back(content: bytes, name: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / name
        trial.write_bytes(content)
        try:
            return text.read(trial, [])
        except BadInput:
            return None
