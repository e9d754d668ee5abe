"""Read the documents that answers may be looked up in, and cut them into passages."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finetune_advisor.datasets import extract, jsonl, text
from finetune_advisor.datasets.folders import is_folder, visible_files
from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.datasets.passages import passages
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Document, Finding

__all__ = ["LoadedDocuments", "load_documents", "passages"]


@dataclass(frozen=True, kw_only=True)
class LoadedDocuments:
    """The documents that have text, and everything that was found on the way."""

    documents: tuple[Document, ...]
    findings: tuple[Finding, ...]


def load_documents(path: Path) -> LoadedDocuments:
    """Read documents; those without text become findings only.

    Args:
        path: A folder of .md, .txt, .html and .pdf files (each one's id is its path in the folder), one such
            file, or a JSONL file with id, title and text.

    Raises:
        BadInput: Nothing is there, or nothing that has text.
    """
    findings: list[Finding] = []
    if path.suffix.lower() == ".jsonl" and not is_folder(path):
        documents = list(_unique(_from_jsonl(path, findings), findings))
    else:
        documents = list(_from_files(path, findings))
    if not documents:
        hint = f"Give a folder of {', '.join(extract.SUFFIXES)} files, or JSONL with id, title and text."
        raise BadInput(f"{path} holds no document with text.", hint=hint)
    return LoadedDocuments(documents=tuple(documents), findings=tuple(findings))


def _from_jsonl(path: Path, findings: list[Finding]) -> Iterator[tuple[int, Document]]:
    for line, raw in enumerate(text.lines(path, findings), start=1):
        row, faults = jsonl.parse(raw, line, str(path))
        findings += faults
        document = None if faults else _from_row(row, line, path)
        if document is not None:
            yield line, document
        elif not faults:
            findings.append(_no_text(path, line, "error", "The line has no text: it has to be an object with a text."))


def _from_row(row: JSON, line: int, path: Path) -> Document | None:
    """The document of a row; one without an id is called by its line."""
    content = row.get("text") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(content, str) or not content.strip():
        return None
    name, title = row.get("id"), row.get("title")
    return Document(
        id=f"line-{line}" if name in (None, "") else str(name),
        title=title if isinstance(title, str) else "",
        text=content,
        file=str(path),
    )


def _unique(rows: Iterable[tuple[int, Document]], findings: list[Finding]) -> Iterator[Document]:
    """The documents, with "-2", "-3" behind an id that comes again."""
    seen: set[str] = set()
    for line, document in rows:
        name, count = document.id, 1
        while name in seen:
            count += 1
            name = f"{document.id}-{count}"
        seen.add(name)
        if count > 1:
            message = f"The id {document.id} stands on an earlier line too; this document is called {name}."
            findings.append(_finding(document.file, line, "duplicate_document_id", "warning", message))
        yield replace(document, id=name)


def _from_files(path: Path, findings: list[Finding]) -> Iterator[Document]:
    root, files = _files(path, findings)
    for file in files:
        try:
            # bs4 warns of files that look like a path or like XML; people can do nothing about either
            with warnings.catch_warnings(action="ignore"):
                title, content = extract.extract(file, findings)
        except BadInput as error:
            findings.append(_finding(str(file), 0, "document_unreadable", "error", error.message))
            continue
        if content.strip():
            name = file.relative_to(root).as_posix()
            yield Document(id=name, title=title or file.stem, text=content, file=str(file))
        else:
            findings.append(_no_text(file, 0, "warning", "The document has no text; is it a scan, or empty?"))


def _files(path: Path, findings: list[Finding]) -> tuple[Path, list[Path]]:
    """The folder that ids are relative to, and the files to read; the others are counted in a finding."""
    if not is_folder(path):
        text.check_file(path)
        return path.parent, [path] if path.suffix.lower() in extract.SUFFIXES else []
    files = visible_files(path)
    known = [file for file in files if file.suffix.lower() in extract.SUFFIXES]
    others = [file.relative_to(path).as_posix() for file in files if file not in set(known)]
    if others:
        some = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        message = f"{len(others)} of {len(files)} files are of another kind and were left out: {some}."
        findings.append(_finding(str(path), 0, "documents_ignored", "info", message))
    return path, known


def _no_text(path: Path, line: int, severity: Literal["error", "warning"], message: str) -> Finding:
    return _finding(str(path), line, "document_without_text", severity, message)


def _finding(file: str, line: int, code: str, severity: Literal["error", "warning", "info"], message: str) -> Finding:
    return Finding(file=file, line=line, code=code, severity=severity, message=message)
