"""Rows with a prompt and an answer in two columns: recognise the columns, and turn such rows into chat rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Finding

ALIASES = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("text", "label"),
)
"""Names that are recognised, in this order, whatever their case."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns (or JSON keys) that hold the prompt, the wanted answer and, maybe, a system message."""

    prompt: str = "prompt"
    completion: str = "completion"
    system: str | None = None


def recognise(values: Iterable[JSON], wanted: Columns | None, path: Path) -> Columns | None:
    """The columns of a file, or None where its rows are chats.

    Args:
        values: Its first rows.
        wanted: What the person said; the defaults count as nothing said.
        path: The file, for messages.

    Raises:
        BadInput: Named columns are not there, or none is known.
    """
    names = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    if "messages" in names or not names:
        return None
    if wanted is None or wanted == Columns():
        return _by_alias(names, path)
    for name in (wanted.prompt, wanted.completion, wanted.system):
        if name is not None and name not in names:
            raise BadInput(f"{path} has no column {name!r}.", hint=f"It has: {', '.join(names)}.")
    return wanted


def _by_alias(names: Sequence[str], path: Path) -> Columns:
    known = {name.lower(): name for name in reversed(names)}
    for prompt, completion in ALIASES:
        if prompt in known and completion in known:
            return Columns(prompt=known[prompt], completion=known[completion], system=known.get("system"))
    raise BadInput(
        f"{path} has neither messages nor a known pair of columns; it has: {', '.join(names)}.",
        hint="Name the columns of the prompt and of the answer, or call them prompt and completion.",
    )


def recognised(columns: Columns, path: Path) -> Finding:
    """Says which columns were taken for what."""
    system = f", {columns.system} as the system message" if columns.system else ""
    message = f"{columns.prompt} was taken as the prompt, {columns.completion} as the answer{system}."
    return Finding(file=str(path), line=0, code="columns_recognised", severity="info", message=message)


def to_chat(value: JSON, columns: Columns, line: int, file: str) -> tuple[JSON, list[Finding]]:
    """A row as a chat row with the other columns beside it, or the findings that say why it is none."""
    if not isinstance(value, dict):
        return None, [_fault(file, line, "data_type", "The row is not a JSON object.")]
    faults = [
        _fault(file, line, code, f"The row has nothing in {name}.")
        for code, name in (("missing_prompt", columns.prompt), ("missing_answer", columns.completion))
        if not _text(value.get(name)).strip()
    ]
    return (None, faults) if faults else (_chat(value, columns), [])


def _chat(value: dict[str, JSON], columns: Columns) -> JSON:
    """Alpaca's `input` goes below its `instruction`; columns that were not used stay for the meta."""
    used = {columns.prompt, columns.completion, columns.system}
    prompt = _text(value.get(columns.prompt))
    if columns.prompt.lower() == "instruction" and _text(value.get("input")).strip():
        used.add("input")
        prompt = f"{prompt}\n\n{_text(value.get('input'))}"
    system = _text(value.get(columns.system)) if columns.system else ""
    answer = _text(value.get(columns.completion))
    said = (("system", system), ("user", prompt), ("assistant", answer))
    messages: list[JSON] = [{"role": role, "content": content} for role, content in said if content.strip()]
    return {**{key: cell for key, cell in value.items() if key not in used}, "messages": messages}


def _text(value: JSON) -> str:
    """A cell as text: numbers and structures as JSON, nothing as ""."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _fault(file: str, line: int, code: str, message: str) -> Finding:
    return Finding(file=file, line=line, code=code, severity="error", message=message)
