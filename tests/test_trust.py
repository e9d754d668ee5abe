"""A case that came from elsewhere sends nothing before somebody has seen where to; an answer can forbid it to all."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune_advisor import case, models, workspace
from finetune_advisor.case import Case, trust
from finetune_advisor.case.trust import IMPORTED, Server
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Settings
from oracle import Oracle, write_case

LOCAL = '[[models]]\nname = "local"\nprovider = "fake"\n'
REMOTE = """[[models]]
name = "far"
provider = "remote"
options = { host = "api.example:8443", secret = "FAR_API_KEY" }
"""
TRAINER = """[[arms]]
approach = "tuned"
settings = { trainer = "openai", options = { base_url = "https://train.example/v1", key_env = "TRAIN_TOKEN" } }
"""


@dataclass(frozen=True, kw_only=True)
class Remote(Oracle):
    """A model at a provider, as far as it is asked where it sends prompts."""

    host: str = ""
    secret: str = ""
    concurrency: int = 1
    trainer: tuple[str, Settings] = ("", {})

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.host,)


@pytest.fixture(autouse=True)
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.TABLE, "remote", "test_trust:Remote")


def made(root: Path, model: str = REMOTE, *, arms: str = "", extra: str = "") -> Path:
    return write_case(root / "one", rows=9, model=model, arms=arms, extra=extra)


def taken_in(root: Path, model: str = REMOTE, *, arms: str = "") -> Case:
    archive = workspace.export_zip(made(root / "there", model, arms=arms))
    return case.read(workspace.import_zip(root / "here", io.BytesIO(archive)))


def test_it_says_what_would_go_where(tmp_path: Path) -> None:
    text = LOCAL + REMOTE + '[[models]]\nname = "unknown"\nprovider = "remote"\n'
    assert trust.servers(case.read(made(tmp_path, text, arms=TRAINER))) == (
        Server(sender="the model 'far'", address="api.example:8443", key="FAR_API_KEY"),
        Server(sender="the model 'unknown'", address="remote", key=""),
        Server(sender="the arm 'tuned'", address="https://train.example/v1", key="TRAIN_TOKEN"),
    )
    assert trust.servers(case.read(made(tmp_path, LOCAL))) == ()


@pytest.mark.parametrize(
    ("settings", "address", "key"),
    [
        ('{ trainer = "azure" }', "azure", ""),
        ('{ trainer = ["lora", "openai"] }', "openai", ""),
        ('{ retriever = "remote" }', "remote", ""),
        ('{ options = { key_env = "MY_TOKEN" } }', "a provider", "MY_TOKEN"),
        ('{ options = { base_url = "http://127.0.0.1:8000/v1" } }', "http://127.0.0.1:8000/v1", ""),
    ],
)
def test_an_arm_may_name_a_server_too(tmp_path: Path, settings: str, address: str, key: str) -> None:
    arm = f'[[arms]]\napproach = "tuned"\nsettings = {settings}\n'
    found = trust.servers(case.read(made(tmp_path, LOCAL, arms=arm)))
    assert found == (Server(sender="the arm 'tuned'", address=address, key=key),)


def test_a_trainer_on_this_machine_is_no_server(tmp_path: Path) -> None:
    arm = '[[arms]]\napproach = "tuned"\nsettings = { trainer = ["lora", "trl", "autotrain"], retriever = "hybrid" }\n'
    assert trust.servers(case.read(made(tmp_path, LOCAL, arms=arm))) == ()


def test_a_case_of_ones_own_and_one_without_servers_need_no_agreement(tmp_path: Path) -> None:
    own, local = case.read(made(tmp_path)), taken_in(tmp_path, LOCAL)
    assert (local.folder / IMPORTED).is_file()
    for loaded in (own, local):
        assert not trust.needs_trust(loaded)
        trust.check(loaded)
        trust.trust(loaded)
    assert not (own.folder / IMPORTED).exists()


def test_a_case_from_elsewhere_asks_until_somebody_agrees(tmp_path: Path) -> None:
    loaded = taken_in(tmp_path)
    assert trust.needs_trust(loaded)
    with pytest.raises(BadInput) as refused:
        trust.check(loaded)
    assert refused.value.message == (
        "This case came from elsewhere, and the model 'far' would send data to 'api.example:8443', "
        "with the key in 'FAR_API_KEY'."
    )
    assert f"finetune-advisor run {loaded.folder} --trust" in refused.value.hint
    trust.trust(loaded)
    assert not trust.needs_trust(case.read(loaded.folder))
    trust.check(loaded)


@pytest.mark.parametrize(
    ("old", "new"),
    [("api.example", "evil.example"), ("FAR_API_KEY", "OTHER_API_KEY"), ("[[models]]", TRAINER + "[[models]]")],
)
def test_a_change_of_server_or_key_asks_again(tmp_path: Path, old: str, new: str) -> None:
    loaded = taken_in(tmp_path)
    trust.trust(loaded)
    file = loaded.folder / case.FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('title = "Toy"', 'title = "Ours"'), encoding="utf-8")
    assert not trust.needs_trust(case.read(loaded.folder))
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert trust.needs_trust(case.read(loaded.folder))


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "http://localhost:11434/v1", "[::1]:80"])
def test_this_machine_needs_agreement_too(tmp_path: Path, host: str) -> None:
    loaded = taken_in(tmp_path, REMOTE.replace("api.example:8443", host))
    assert all(server.is_loopback for server in trust.servers(loaded))
    assert trust.needs_trust(loaded)


def test_agreement_does_not_travel(tmp_path: Path) -> None:
    loaded = taken_in(tmp_path)
    trust.trust(loaded)
    archive = workspace.export_zip(loaded.folder)
    assert not any(IMPORTED in name for name in zipfile.ZipFile(io.BytesIO(archive)).namelist())
    assert trust.needs_trust(case.read(workspace.import_zip(tmp_path / "there", io.BytesIO(archive))))
    assert trust.needs_trust(case.read(workspace.copy(loaded.folder, title="Second")))
    packed = shutil.make_archive(str(tmp_path / "by-hand"), "zip", loaded.folder)
    shutil.unpack_archive(packed, tmp_path / "unpacked")
    assert trust.needs_trust(case.read(tmp_path / "unpacked"))
    assert trust.needs_trust(case.read(workspace.import_zip(tmp_path / "again", Path(packed))))


def test_the_mark_is_not_exported_with_the_folder_either(tmp_path: Path) -> None:
    loaded = taken_in(tmp_path)
    case.edit(loaded.folder, {"data.documents": "."})
    names = zipfile.ZipFile(io.BytesIO(workspace.export_zip(loaded.folder))).namelist()
    assert "toy/examples.jsonl" in names and f"toy/{IMPORTED}" not in names


def test_a_damaged_mark_is_no_agreement(tmp_path: Path) -> None:
    loaded = taken_in(tmp_path)
    trust.trust(loaded)
    (loaded.folder / IMPORTED).write_text("{", encoding="utf-8")
    assert trust.needs_trust(loaded)
    trust.trust(loaded)
    assert not trust.needs_trust(loaded)


PRIVATE = "[answers]\ndata_may_leave = false\n"


def test_data_that_may_not_leave_does_not_whoever_made_the_case(tmp_path: Path) -> None:
    loaded = case.read(made(tmp_path, extra=PRIVATE))
    with pytest.raises(BadInput, match="may not leave your own machines, but the model 'far' would send") as refused:
        trust.check(loaded)
    assert "set data_may_leave = true under [answers]" in refused.value.hint
    trust.trust(loaded)
    with pytest.raises(BadInput, match="may not leave"):
        trust.check(loaded)
    trust.check(case.read(made(tmp_path, extra=PRIVATE.replace("false", "true"))))
    trust.check(case.read(made(tmp_path, REMOTE.replace("api.example", "127.0.0.1"), extra=PRIVATE)))


@pytest.mark.parametrize(
    "address",
    ["", "openai", "api.openai.com", "10.0.0.5:80", "localhost.example", "127.0.0.1.example", "0.0.0.0",
     "http://localhost@example", "[::1", "localhost\u3002example", "2130706433"],
)  # fmt: skip
def test_what_is_not_surely_this_machine_is_not(address: str) -> None:
    assert not Server(sender="m", address=address, key="").is_loopback


def test_names_out_of_a_case_cannot_deceive() -> None:
    said = str(Server(sender="m", address="api.\u043epenai.com\x1b[2K", key="A_TOKEN\n"))
    assert said == r"m would send data to 'api.\u043epenai.com\x1b[2K', with the key in 'A_TOKEN\n'"
