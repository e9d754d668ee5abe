"""Where a case would send its data, and whether it may.

A case that was taken in from elsewhere may name any server, and any variable of the environment as the key to send
there. So it asks no server before somebody has seen which, and again when that changes. `imported.json` in the case
folder marks such a case and holds what was agreed to; it is never exported nor taken in. A folder that somebody copied
or unpacked by hand has no mark, unless it had one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ValidationError

from finetune_advisor.case.sections import FILE, ArmSection, Case, ModelSection
from finetune_advisor.datasets.replace import replace
from finetune_advisor.errors import BadInput
from finetune_advisor.models import is_remote

IMPORTED = "imported.json"

_CHOICES = ("trainer", "retriever", "provider")
_LOCAL = ("", "lora", "trl", "autotrain", "bm25", "dense", "hybrid")
"""Settings of arms by which data may be sent away, and their values that keep it here."""


class _Mark(BaseModel):
    """When a case was taken in, and a hash of the servers that were agreed to."""

    at: AwareDatetime
    trusted: str = ""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Who would be sent prompts or training data.

    `sender` is the model or arm of the case, `address` the host, or the provider where that one's usual address is
    not known here; `key` is the environment variable whose value is sent along, "" for none.
    """

    sender: str
    address: str
    key: str

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, as far as the address tells; what listens there may still pass it on."""
        try:
            host = urlsplit(self.address if "//" in self.address else f"//{self.address}").hostname or ""
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        # A case is not believed: no control characters, and no letters that only look like those of a known host.
        key = f", with the key in {self.key!a}" if self.key else ""
        return f"{self.sender} would send data to {self.address!a}{key}"


def servers(case: Case) -> tuple[Server, ...]:
    """Everything outside of this process that would be sent data, in the order of the case; empty where nothing is."""
    named = [*(each for model in case.models for each in _of_model(model))]
    named += [each for arm in case.arms for each in _of_arm(arm)]
    return tuple(dict.fromkeys(named))


def _of_model(section: ModelSection) -> Iterator[Server]:
    model = section.make()
    if is_remote(model):
        for address in list(filter(None, model.addresses)) or [section.provider]:
            yield Server(sender=f"the model {section.name!r}", address=address, key=model.secret)


def _of_arm(arm: ArmSection) -> Iterator[Server]:
    """Trainers and retrievers reach servers by options of their own; any that is not known here may be one of these."""
    texts = list(_texts("", arm.settings))
    choices = [text for key, text in texts if key in _CHOICES and text not in _LOCAL]
    addresses = [text for _, text in texts if "://" in text]
    keys = [text for key, text in texts if key == "key_env"]
    if choices or addresses or keys:
        for address in addresses or choices or ["a provider"]:
            yield Server(sender=f"the arm {arm.approach!r}", address=address, key=", ".join(keys))


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Every text in settings with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, object]", value).items():
            yield from _texts(name, item)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            yield from _texts(key, item)


def mark_imported(folder: Path) -> None:
    """Mark a case folder as taken in from elsewhere, whatever it agreed to there.

    Raises:
        NoSpace: The disk is full.
        BadInput: The folder cannot be written.
    """
    _write(folder, _Mark(at=datetime.now(UTC)))


def needs_trust(case: Case) -> bool:
    """Whether the case came from elsewhere and names servers or keys that nobody here has agreed to."""
    if not (case.folder / IMPORTED).exists():
        return False
    named = servers(case)
    return bool(named) and _mark(case.folder).trusted != _hash(case.folder, named)


def trust(case: Case) -> None:
    """Agree to exactly the servers and keys that the case names now; nothing where it needs no agreement.

    Raises:
        NoSpace: The disk is full.
        BadInput: The folder cannot be written.
    """
    if needs_trust(case):
        agreed = _hash(case.folder, servers(case))
        _write(case.folder, _mark(case.folder).model_copy(update={"trusted": agreed}))


def check(case: Case) -> None:
    """Refuse to send data where it may not go; call it before anything is sent.

    Raises:
        BadInput: The data may not leave this machine by the case's own answer, or nobody agreed to where it would go.
    """
    leaving = [server for server in servers(case) if not server.is_loopback]
    if leaving and case.answers.get("data_may_leave") is False:
        raise BadInput(
            f"By the answers of this case its data may not leave your own machines, but {_said(leaving)}.",
            hint=f"Take these out of the case or, if the data may leave after all, set data_may_leave = true under "
            f"[answers] in {case.folder / FILE}.",
        )
    if needs_trust(case):
        raise BadInput(
            f"This case came from elsewhere, and {_said(servers(case))}.",
            hint=f"To agree: finetune-advisor run {case.folder} --trust, or in the app, under Experiments.",
        )


def _said(named: tuple[Server, ...] | list[Server]) -> str:
    return "; ".join(map(str, named))


def _hash(folder: Path, named: tuple[Server, ...]) -> str:
    # With the folder, so that a copy that somebody passes on is asked about again.
    text = json.dumps([str(folder.resolve()), [asdict(server) for server in named]])
    return hashlib.sha256(text.encode()).hexdigest()


def _mark(folder: Path) -> _Mark:
    try:
        return _Mark.model_validate_json((folder / IMPORTED).read_bytes())
    except (OSError, ValidationError):
        return _Mark(at=datetime.now(UTC))


def _write(folder: Path, mark: _Mark) -> None:
    replace(folder / IMPORTED, f"{mark.model_dump_json()}\n".encode())
