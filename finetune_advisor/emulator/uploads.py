"""Files: uploaded, listed, fetched, deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, get_args

from openai.types import FileDeleted, FileObject, FilePurpose

from finetune_advisor.emulator.state import ApiError, File, State

MAX_BYTES = 512 * 1024**2


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def upload(state: State, filename: str, purpose: str, data: bytes) -> FileObject:
    """Keep an uploaded file.

    Raises:
        ApiError: The purpose is none of OpenAI's, or the file is empty or too large.
    """
    if purpose not in get_args(FilePurpose):
        raise ApiError(400, f"Invalid value for 'purpose': {purpose!r}.", param="purpose", code="invalid_value")
    if not data:
        raise ApiError(400, "The file is empty.", param="file", code="invalid_file")
    if len(data) > MAX_BYTES:
        raise ApiError(413, "The file is larger than 512 MB.", param="file", code="file_too_large")
    return shown(state.add_file(filename, purpose, data))


def shown(file: File) -> FileObject:
    """A file as the API describes it."""
    return FileObject.model_validate(
        {
            "id": file.id,
            "object": "file",
            "bytes": file.path.stat().st_size,
            "created_at": file.created_at,
            "filename": file.filename,
            "purpose": file.purpose,
            "status": "processed",
        }
    )


def listed(state: State, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the files, of one purpose where that is asked for; the newest first."""
    wanted = query.get("purpose")
    files = [file for file in state.files.values() if wanted in (None, file.purpose)]
    ordered = files if query.get("order") == "asc" else files[::-1]
    chosen, more = page(ordered, query.get("after"), number(query, "limit", 10_000))
    return as_list([shown(file).model_dump(mode="json", exclude_unset=True) for file in chosen], more=more)


def delete(state: State, id: str) -> FileDeleted:
    """Forget a file."""
    state.delete_file(id)
    return FileDeleted(id=id, object="file", deleted=True)


def page(items: Sequence[_Item], after: str | None, limit: int) -> tuple[Sequence[_Item], bool]:
    """The items after one of them, and whether there are more.

    Raises:
        ApiError: There is no such item.
    """
    names = [item.id for item in items]
    if after and after not in names:
        raise ApiError(404, f"No such object: {after}", param="after")
    start = names.index(after) + 1 if after else 0
    return items[start : start + limit], start + limit < len(items)


def as_list(rows: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page in OpenAI's form; the ids are left out where there are none."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": "", "last_id": ""}
    return {"object": "list", "data": rows, **ends, "has_more": more}


def number(query: Mapping[str, str], key: str, default: int) -> int:
    """A positive number of a query.

    Raises:
        ApiError: It is none.
    """
    text = query.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ApiError(400, f"Invalid '{key}': it has to be a positive number.", param=key, code="invalid_value")
    return int(text)
