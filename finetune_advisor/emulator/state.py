"""What the emulator holds: files, tuned models, what would have been charged, and the one local model behind all."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import UserDict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from finetune_advisor.models import Model

_OCTOBER, _DECEMBER = date(2026, 10, 23), date(2026, 12, 11)
_JANUARY, _APRIL = date(2027, 1, 14), date(2027, 4, 1)

LISTED: Mapping[str, date | None] = {
    "gpt-4.1": _JANUARY,
    "gpt-4.1-2025-04-14": _JANUARY,
    "gpt-4.1-mini": _JANUARY,
    "gpt-4.1-mini-2025-04-14": _JANUARY,
    "gpt-4o": _JANUARY,
    "gpt-4o-2024-08-06": _JANUARY,
    "gpt-4o-2024-11-20": _JANUARY,
    "gpt-4o-mini": _JANUARY,
    "gpt-4o-mini-2024-07-18": _JANUARY,
    "gpt-5": _DECEMBER,
    "gpt-5-mini": _DECEMBER,
    "gpt-5-nano": _DECEMBER,
    "gpt-5.1": _APRIL,
    "gpt-5.4": None,
    "gpt-5.4-mini": None,
    "gpt-5.4-nano": None,
    "gpt-5.5": None,
    "gpt-5.6-luna": None,
    "gpt-5.6-sol": None,
    "gpt-5.6-terra": None,
    "gpt-6-luna": None,
    "gpt-6-sol": None,
    "gpt-6.1-sol": None,
    "gpt-6.1-terra": None,
    "text-embedding-3-large": None,
    "text-embedding-3-small": None,
}
"""OpenAI's models by name with the day they are shut down, as of 2026-11-22."""

TUNABLE = (
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini-2024-07-18",
)
"""Those that could still be tuned on that day, by organisations that had tuned before."""

RETIRED: Mapping[str, date] = {
    "gpt-3.5-turbo": _OCTOBER,
    "gpt-3.5-turbo-0125": _OCTOBER,
    "gpt-4.1-nano": _OCTOBER,
    "gpt-4.1-nano-2025-04-14": _OCTOBER,
    "o4-mini": _OCTOBER,
    "o4-mini-2025-04-16": _OCTOBER,
}
"""Models that could be tuned once, and the day they went away."""


class ApiError(Exception):
    """A refusal as OpenAI's API words it.

    Args:
        status: HTTP status.
        message: What is wrong.
        code: OpenAI's code for it, such as "model_not_found".
        param: The part of the request that is wrong.
        type: OpenAI's class of the error.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.type = type
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


@dataclass(frozen=True, kw_only=True)
class File:
    """An uploaded or written file. `created_at` is in seconds since 1970."""

    id: str
    filename: str
    purpose: str
    path: Path
    created_at: int


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a real provider would have billed for one request or training.

    `delivered` says whether the answer reached the client; `half_price` marks requests of a batch.
    """

    what: Literal["chat", "responses", "embeddings", "training"]
    model: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    training_tokens: int = 0
    delivered: bool = True
    half_price: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class State:
    """Everything behind the endpoints; files and tuned models lie on disk and are found again after a restart.

    `next_job_fails` is set by a fault just before `Jobs.create`, which has to clear it and let that job fail.

    Args:
        folder: Where everything is kept.
        base: The local model that answers under every listed name.
        max_steps: The most training steps of a job; 0 for no limit.
        rank: LoRA rank of trainings.
    """

    def __init__(self, folder: Path, base: Model, *, max_steps: int = 0, rank: int = 8) -> None:
        self.folder = folder
        self.base = base
        self.max_steps = max_steps
        self.rank = rank
        self.lock = threading.RLock()
        self.charges: list[Charge] = []
        self._deleted = folder / "deleted.json"
        self.retired: set[str] = {*RETIRED, *_read_json(self._deleted, [])}
        self.next_job_fails = False
        self._store = folder / "files"
        self._store.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, File] = {file.id: file for file in _read_files(self._store)}
        self.tuned: MutableMapping[str, Path] = _Tuned(folder)
        self._models: dict[Path, Model] = {}

    def add_file(self, filename: str, purpose: str, data: bytes) -> File:
        """Keep a file."""
        id = new_id("file-")
        path = self._store / id
        file = File(id=id, filename=filename, purpose=purpose, path=path, created_at=int(time.time()))
        path.write_bytes(data)
        row = {"id": id, "filename": filename, "purpose": purpose, "created_at": file.created_at}
        write_json(path.with_suffix(".json"), row)
        with self.lock:
            self.files[id] = file
        return file

    def file(self, id: str) -> File:
        """The file of that id.

        Raises:
            ApiError: There is none.
        """
        if id not in self.files:
            raise ApiError(404, f"No such File object: {id}", param="id")
        return self.files[id]

    def delete_file(self, id: str) -> None:
        """Forget a file.

        Raises:
            ApiError: There is none.
        """
        file = self.file(id)
        with self.lock:
            del self.files[id]
        file.path.with_suffix(".json").unlink(missing_ok=True)
        file.path.unlink(missing_ok=True)

    def retire(self, model: str) -> None:
        """Delete a tuned model for good; its adapter stays on disk."""
        with self.lock:
            self.retired.add(model)
            write_json(self._deleted, sorted(self.retired - set(RETIRED)))

    def answering(self, model: str) -> Model:
        """What answers under that name: the base model, or a tuned one.

        Raises:
            ApiError: The name is unknown, or the model was retired or deleted.
        """
        with self.lock:
            if model in self.retired:
                raise ApiError(404, f"The model `{model}` has been deprecated.", code="model_not_found", param="model")
            if model in self.tuned:
                return self._adapted(self.tuned[model])
            if model in LISTED:
                return self.base
        raise ApiError(404, f"The model `{model}` does not exist.", code="model_not_found", param="model")

    def _adapted(self, folder: Path) -> Model:
        if folder not in self._models:
            self._models[folder] = self.base.with_adapter(folder)
        return self._models[folder]


class _Tuned(UserDict[str, Path]):
    """Tuned models by name, written to disk at every change."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "tuned.json"
        super().__init__()
        known: dict[str, str] = _read_json(self._file, {})
        self.data = {name: Path(where) for name, where in known.items()}

    def __setitem__(self, key: str, item: Path) -> None:
        super().__setitem__(key, item)
        self._write()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._write()

    def _write(self) -> None:
        write_json(self._file, {name: str(where) for name, where in self.data.items()})


def new_id(prefix: str) -> str:
    """A name that nothing else has."""
    return prefix + secrets.token_hex(12)


def _read_files(folder: Path) -> list[File]:
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [File(**row, path=folder / row["id"]) for row in sorted(rows, key=lambda row: row["created_at"])]


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all, for the emulator may be killed at any moment."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)
