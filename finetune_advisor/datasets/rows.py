"""Rows of a data file, one after the other, whatever its format: JSONL, CSV, TSV, Parquet, Arrow."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

from finetune_advisor.datasets import jsonl, text
from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Finding

_LONGEST_CELL = 2**31 - 1
_BATCH_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its 1-based line (or its number, in Parquet and Arrow) and its value, or why there is none."""

    line: int
    value: JSON
    findings: tuple[Finding, ...] = ()


def read_rows(path: Path, findings: list[Finding]) -> Iterator[Row]:
    """The rows of a file, read as they are needed.

    Args:
        path: A file whose suffix is one of `SUFFIXES`.
        findings: Gets what is said of the file as a whole.

    Raises:
        BadInput: The file is missing, unreadable, not what its suffix says, or of an unknown kind.
    """
    text.check_file(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(SUFFIXES)
        raise BadInput(f"{path} is of a kind that cannot be read.", hint=f"Known: {known}, or a dataset folder.")
    return reader(path, findings)


def _jsonl(path: Path, findings: list[Finding]) -> Iterator[Row]:
    for number, raw in enumerate(text.lines(path, findings), start=1):
        value, faults = jsonl.parse(raw, number, str(path))
        yield Row(line=number, value=value, findings=tuple(faults))


def _delimited(path: Path, findings: list[Finding]) -> Iterator[Row]:
    """CSV and TSV; cells stay the text that they are, so that "007" and "NA" survive as labels."""
    csv.field_size_limit(_LONGEST_CELL)
    lines = text.lines(path, findings)
    header = next(lines, "")
    cells = csv.reader(chain([header], lines), delimiter=max(",\t;", key=header.count), strict=True)
    names: list[str] = []
    start = 1
    try:
        for values in cells:
            if names and values:
                yield _table_row(names, values, start, path)
            names = names or [name.strip() for name in values]
            start = cells.line_num + 1
    except csv.Error as error:
        message = f"The row that starts here cannot be read ({error}); nothing after it was."
        yield Row(line=start, value=None, findings=(_fault(path, start, "invalid_csv", message),))


def _table_row(names: list[str], values: list[str], line: int, path: Path) -> Row:
    if len(values) != len(names):
        message = f"The row has {len(values)} cells, the header {len(names)}; a quote or a separator is misplaced."
        return Row(line=line, value=None, findings=(_fault(path, line, "wrong_number_of_cells", message),))
    return Row(line=line, value=dict(zip(names, values, strict=True)))


def _parquet(path: Path, findings: list[Finding]) -> Iterator[Row]:
    with _readable(path):
        file = require("pyarrow.parquet", extra="all").ParquetFile(path)
        yield from _arrow_rows(file.schema_arrow.metadata, file.iter_batches(_BATCH_ROWS))


def _arrow(path: Path, findings: list[Finding]) -> Iterator[Row]:
    """The stream format, which `datasets` writes with save_to_disk."""
    with _readable(path):
        reader = require("pyarrow", extra="all").ipc.open_stream(str(path))
        yield from _arrow_rows(reader.schema.metadata, reader)


class _Batch(Protocol):
    def to_pylist(self) -> list[dict[str, Any]]: ...


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """What pyarrow raises for a damaged file, as a `BadInput`."""
    try:
        yield
    except (OSError, ValueError, require("pyarrow", extra="all").ArrowException) as error:
        raise BadInput(f"{path} is damaged, or not what its name says.", hint=f"Write it again. ({error})") from error


def _arrow_rows(metadata: Mapping[bytes, bytes] | None, batches: Iterable[_Batch]) -> Iterator[Row]:
    names = _class_names(metadata or {})
    records = (record for batch in batches for record in batch.to_pylist())
    for number, record in enumerate(records, start=1):
        value = {key: _class_name(names.get(key), _plain(cell)) for key, cell in record.items()}
        yield Row(line=number, value={key: cell for key, cell in value.items() if cell is not None})


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes that `datasets` stores as numbers, from the schema's note about its features."""
    try:
        note: Any = json.loads(metadata.get(b"huggingface", b"{}"))
        features = note["info"]["features"].items()
        return {key: list(map(str, kind["names"])) for key, kind in features if kind.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _class_name(names: Sequence[str] | None, cell: JSON) -> JSON:
    if names is not None and isinstance(cell, int) and 0 <= cell < len(names):
        return names[cell]
    return cell


def _plain(value: object) -> JSON:
    """A cell as JSON: nulls inside structures, which Arrow puts for absent keys, are dropped; dates become text."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {str(key): _plain(item) for key, item in items if item is not None or key == "content"}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def _fault(path: Path, line: int, code: str, message: str) -> Finding:
    return Finding(file=str(path), line=line, code=code, severity="error", message=message)


_READERS: dict[str, Callable[[Path, list[Finding]], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
SUFFIXES = tuple(_READERS)
"""The kinds of data file that can be read."""
