"""A folder of cases: listed, made, copied, removed, sent and taken in; nothing from outside gets out of its folder."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor import case, workspace
from finetune_advisor.errors import AdvisorError, BadInput, StoreProblem
from finetune_advisor.records import TaskKind
from finetune_advisor.store import Store
from finetune_advisor.workspace import Limits
from finetune_advisor.workspace.folders import slug
from oracle import toy_rows, write_case

FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'


def made(root: Path, name: str = "one", extra: str = "") -> Path:
    return write_case(root / name, rows=9, model=FAKE, extra=extra)


def left_in(root: Path) -> list[str]:
    """What a person would see in a folder, and half-made cases."""
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_the_list_tells_what_stands_where(tmp_path: Path) -> None:
    assert workspace.cases(tmp_path / "nothing") == ()
    new, started, finished, broken = (made(tmp_path, name) for name in ("new", "started", "finished", "broken"))
    (broken / case.FILE).write_text('schema = 1\ntitle = "B"\n', encoding="utf-8")
    for folder in (started, finished):
        Store(folder).__exit__()
    (finished / "report").mkdir()
    (finished / "report" / "results.json").write_text('{"verdict": {"decision": "NO-GO"}}', encoding="utf-8")
    for hours, folder in enumerate((broken, new, started, finished)):
        for path in folder.rglob("*"):
            os.utime(path, (hours * 3600, hours * 3600))
    (tmp_path / "no-case").mkdir()
    listed = workspace.cases(tmp_path)
    assert [(e.name, e.title, e.state, e.decision) for e in listed] == [
        ("finished", "Toy", "finished", "NO-GO"),
        ("started", "Toy", "started", ""),
        ("new", "Toy", "new", ""),
        ("broken", "broken", "broken", ""),
    ]
    assert "task: Field required" in listed[3].problem
    assert listed[0].modified.isoformat() == "1970-01-01T03:00:00+00:00"


def test_only_a_listed_case_is_found(tmp_path: Path) -> None:
    folder = made(tmp_path / "cases")
    made(tmp_path, "secret")
    assert workspace.find(tmp_path / "cases", "one") == folder
    for name in ("../secret", "..", "", "one/", "/etc", "two"):
        with pytest.raises(BadInput, match="no case named"):
            workspace.find(tmp_path / "cases", name)


def test_a_new_case_gets_a_folder_named_after_its_title(tmp_path: Path) -> None:
    examples = tmp_path / "rows.jsonl"
    examples.write_text("\n".join(json.dumps(row) for row in toy_rows(30)), encoding="utf-8")
    root = tmp_path / "cases"
    folder = workspace.create(root, title="  Sort\n tickets! ", examples=examples)
    again = workspace.create(root, title="Sort tickets", kind=TaskKind.TEXT)
    assert [path.name for path in (folder, again)] == ["sort-tickets", "sort-tickets-2"]
    read = case.read(folder)
    assert (read.title, read.task.kind) == ("Sort tickets!", TaskKind.CLASSIFICATION)
    assert (folder / "examples.jsonl").read_bytes() == examples.read_bytes()
    with pytest.raises(BadInput, match="no title"):
        workspace.create(root, title=" ")


def test_a_case_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    examples = tmp_path / "rows.jsonl"
    examples.write_text('{"a": 1}\n', encoding="utf-8")
    root = tmp_path / "cases"
    root.mkdir()
    for path in (examples, tmp_path / "gone.jsonl"):
        with pytest.raises(BadInput):
            workspace.create(root, title="T", examples=path)
    with pytest.raises(BadInput):
        workspace.create(root, title="T", kind=TaskKind.TEXT, examples=tmp_path / "gone.jsonl")
    assert left_in(root) == []


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("ٹکٹ کی ترتیب", "ٹکٹ-کی-ترتیب"),
        ("हिन्दी में उत्तर", "हिन्दी-में-उत्तर"),
        ("客服分类", "客服分类"),
        ("Straße / ../../etc", "strasse-etc"),
        ("..", "new-case"),
        ("😀", "new-case"),
        ("CON", "con-case"),
        ("Sample", "sample-case"),
        ("\u202eevil\u0000\ud800", "evil"),
        ("x" * 300, "x" * 80),
    ],
)
def test_names_are_safe_in_any_script(title: str, name: str) -> None:
    assert slug(title) == name


@given(st.text())
def test_any_title_makes_a_plain_name(title: str) -> None:
    name = slug(title)
    assert 0 < len(name.encode("utf-8")) <= 90
    assert Path(name).name == name and not name.startswith(".") and name.isprintable()


def test_many_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        making = [pool.submit(workspace.create, tmp_path, title="T", kind=TaskKind.TEXT) for _ in range(6)]
        folders = [each.result() for each in making]
        samples = set(pool.map(workspace.open_sample, [tmp_path] * 4))
    assert len(set(folders)) == 6
    assert samples == {tmp_path / "sample"}
    assert left_in(tmp_path) == ["sample", "t", "t-2", "t-3", "t-4", "t-5", "t-6"]


def test_the_sample_is_copied_once(tmp_path: Path) -> None:
    folder = workspace.open_sample(tmp_path)
    case.edit(folder, {"title": "Mine now"})
    assert workspace.open_sample(tmp_path) == folder
    assert case.read(folder).title == "Mine now"
    assert (folder / "messages.jsonl").is_file() and (folder / "documents").is_dir()


def test_a_copy_has_its_own_title_and_store(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with Store(folder) as store:
        store.touch("arm", "split", "fit")
        copied = workspace.copy(folder, title="Second try")
    assert copied.name == "second-try"
    assert case.read(copied).title == "Second try"
    with Store(copied) as store:
        assert store.touches("arm", "split") == 1
    with pytest.raises(BadInput, match="title: Field required"):
        workspace.copy(folder, title=" ")
    assert left_in(tmp_path) == ["one", "second-try"]


def test_a_removed_case_lies_in_the_trash(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with Store(folder) as store, store.exclusive(), pytest.raises(StoreProblem, match="running in one"):
        workspace.remove(folder)
    gone = workspace.remove(folder)
    assert gone.parent == tmp_path / ".trash"
    assert case.read(gone).title == "Toy"
    assert workspace.cases(tmp_path) == ()
    assert workspace.remove(made(tmp_path)) != gone


def packed(folder: Path, **options: bool) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(workspace.export_zip(folder, **options)))


def full_case(root: Path) -> Path:
    folder = made(root, extra='[money]\nprices = "prices.toml"\n')
    case.edit(folder, {"data.documents": "documents"})
    for name in (
        "prices.toml", "documents/a.md", "documents/.hidden.md", "report/report.html", "report/results.json",
        "fits/x/adapter_model.safetensors", "fits/x/training.json", "fits/x/optimizer.pt",
        "fits/x/checkpoints/checkpoint-1/config.json", ".env", "secrets.toml", "keys.txt",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    (folder / "documents" / "link.md").symlink_to("/etc/hostname")
    return folder


def test_an_export_holds_what_the_case_names_and_no_more(tmp_path: Path) -> None:
    folder = full_case(tmp_path)
    with Store(folder) as store:
        store.touch("arm", "split", "fit")
        names = {"case.toml", "examples.jsonl", "prices.toml", "documents/a.md", "store.sqlite"}
        names |= {"report/report.html", "report/results.json"}
        assert set(packed(folder).namelist()) == {f"one/{name}" for name in names}
        fits = {"fits/x/adapter_model.safetensors", "fits/x/training.json"}
        assert set(packed(folder, with_models=True).namelist()) == {f"one/{name}" for name in names | fits}
    (folder / case.FILE).write_text("broken", encoding="utf-8")
    with pytest.raises(BadInput, match="not valid TOML"):
        workspace.export_zip(folder)


@pytest.mark.parametrize("named", ["../outside.jsonl", "{absolute}", "link.jsonl"])
def test_an_export_takes_no_file_from_outside(tmp_path: Path, named: str) -> None:
    folder = made(tmp_path)
    outside = tmp_path / "outside.jsonl"
    outside.write_text("secret", encoding="utf-8")
    (folder / "link.jsonl").symlink_to(outside)
    case.edit(folder, {"data.examples": named.format(absolute=outside)})
    with pytest.raises(BadInput, match=r"data\.examples names .* outside the case folder"):
        workspace.export_zip(folder)


def test_what_was_exported_is_taken_in_again(tmp_path: Path) -> None:
    folder = full_case(tmp_path / "here")
    with Store(folder) as store:
        store.touch("arm", "split", "fit")
        archive = workspace.export_zip(folder, with_models=True)
    taken = workspace.import_zip(tmp_path / "there", io.BytesIO(archive))
    assert taken.name == "toy"
    for name in ("case.toml", "examples.jsonl", "documents/a.md", "fits/x/training.json", "report/results.json"):
        assert (taken / name).read_bytes() == (folder / name).read_bytes()
    assert not (taken / "report" / "report.html").exists()
    with Store(taken) as store:
        assert store.touches("arm", "split") == 1
    path = tmp_path / "one.zip"
    path.write_bytes(archive)
    assert workspace.import_zip(tmp_path / "there", path).name == "toy-2"


TOML = (
    'schema = 1\ntitle = "T"\n[task]\nkind = "text"\n[data]\nexamples = "e.jsonl"\n[[arms]]\napproach = "zero_shot"\n'
)


def archive_of(*members: tuple[str | zipfile.ZipInfo, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    stream.seek(0)
    return stream


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def patched(archive: io.BytesIO, change: Callable[[bytes], bytes]) -> io.BytesIO:
    return io.BytesIO(change(archive.getvalue()))


def encrypted(content: bytes) -> bytes:
    """The flag of encryption in both headers of every member."""
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(mark)
        content = content[: start + at] + struct.pack("<H", 1) + content[start + at + 2 :]
    return content


ONE = ("case.toml", TOML)
TRIGGER = "CREATE TABLE a(b); CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END;"
MODEL = '[[models]]\nname = "m"\nprovider = "huggingface"\noptions = { id = "/home" }\n'
DATABASE = '"sql"\nmetric_options = { database = "C:\\\\x" }'
REFUSED: dict[str, tuple[Callable[[], io.BytesIO], str]] = {
    "parent": (lambda: archive_of(ONE, ("../evil", "x")), "outside the case folder"),
    "parent inside": (lambda: archive_of(ONE, ("documents/../../evil", "x")), "outside the case folder"),
    "absolute": (lambda: archive_of(ONE, ("/tmp/evil", "x")), "outside the case folder"),
    "drive": (lambda: archive_of(ONE, ("C:\\evil", "x")), "outside the case folder"),
    "backslashes": (lambda: archive_of(ONE, ("..\\..\\evil", "x")), "outside the case folder"),
    "control": (lambda: archive_of(ONE, ("a\nb", "x")), "no safe name"),
    "long": (lambda: archive_of(ONE, ("x" * 300, "x")), "no safe name"),
    "link": (lambda: archive_of(ONE, (special("documents", stat.S_IFLNK | 0o777), "/etc")), "a link or a device"),
    "device": (lambda: archive_of(ONE, (special("null", stat.S_IFCHR | 0o666), "")), "a link or a device"),
    "pipe": (lambda: archive_of(ONE, (special("pipe", stat.S_IFIFO | 0o666), "")), "a link or a device"),
    "encrypted": (lambda: patched(archive_of(ONE), encrypted), "encrypted"),
    "method": (lambda: archive_of(ONE, method=zipfile.ZIP_LZMA), "packed in a way"),
    "no zip": (lambda: io.BytesIO(b"hello"), "no zip file"),
    "cut off": (lambda: patched(archive_of(ONE, ("e.jsonl", "x" * 99)), lambda c: c[:-30]), "no zip file"),
    "damaged": (lambda: patched(archive_of(ONE, method=0), lambda c: c.replace(b'"T"', b'"U"', 1)), "damaged"),
    "bomb": (lambda: archive_of(ONE, ("e.jsonl", "0" * 3_000_000)), "unpacks to more than 2 MiB"),
    "many": (lambda: archive_of(ONE, *((f"documents/{n}.md", "") for n in range(60))), "holds 61 files"),
    "nothing": (lambda: archive_of(), "holds no case.toml"),
    "no case": (lambda: archive_of(("e.jsonl", "x")), "holds no case.toml"),
    "deep": (lambda: archive_of(("a/b/case.toml", TOML)), "holds no case.toml"),
    "two cases": (lambda: archive_of(("a/case.toml", TOML), ("b/case.toml", TOML)), "more than one case"),
    "more": (lambda: archive_of(("a/case.toml", TOML), ("b/other.md", "x")), "more than a case folder"),
    "twice": (lambda: archive_of(ONE, ("E.jsonl", "x"), ("e.jsonl", "y")), "a file twice"),
    "file and folder": (lambda: archive_of(ONE, ("a", "x"), ("a/b", "y")), "cannot be written"),
    "broken case": (lambda: archive_of(("case.toml", "schema = ")), r"^case\.toml is not valid TOML"),
    "no store": (lambda: archive_of(ONE, ("store.sqlite", "hello" * 999)), "store in the archive is damaged"),
    "trigger": (lambda: archive_of(ONE, ("store.sqlite", database(TRIGGER))), "store in the archive is damaged"),
    "newer": (lambda: archive_of(ONE, ("store.sqlite", database("PRAGMA user_version=999;"))), "newer version"),
    "examples": (lambda: naming('"e.jsonl"', '"/etc/passwd"'), r"data\.examples names '/etc/passwd'"),
    "documents": (lambda: naming("[[arms]]", 'documents = "../.."\n[[arms]]'), r"data\.documents names"),
    "prices": (lambda: naming("[[arms]]", '[money]\nprices = "~/prices.toml"\n[[arms]]'), r"money\.prices names"),
    "model": (lambda: naming("[[arms]]", MODEL + "[[arms]]"), r"models\.m\.options\.id names"),
    "database": (lambda: naming('"text"', DATABASE), r"task\.metric_options\.database names"),
    "windows": (lambda: naming('"e.jsonl"', r"'a\..\..\b'"), r"data\.examples names"),
}


def naming(old: str, new: str) -> io.BytesIO:
    return archive_of(("case.toml", TOML.replace(old, new)))


def database(script: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "x")) as made:
        made.executescript(script)
        return (Path(folder) / "x").read_bytes()


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_archives_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    make, sentence = REFUSED[name]
    root = tmp_path / "in" / "cases"
    with pytest.raises(BadInput, match=sentence):
        workspace.import_zip(root, make(), limits=Limits(files=60, bytes=2 << 20))
    assert not root.exists() or left_in(root) == []
    assert left_in(tmp_path) in ([], ["in"])


def test_a_case_at_the_root_or_in_one_folder_is_taken(tmp_path: Path) -> None:
    plain = archive_of(
        ("./case.toml", TOML), ("__MACOSX/x", ""), (".DS_Store", ""), ("documents/", ""), ("e.jsonl", "x")
    )
    assert left_in(workspace.import_zip(tmp_path, plain)) == ["case.toml", "e.jsonl", "imported.json"]
    inside = archive_of(("my case/case.toml", TOML), ("my case/fits/x/a.pt", "x"), ("my case/store.sqlite-wal", "x"))
    assert left_in(workspace.import_zip(tmp_path, inside)) == ["case.toml", "imported.json"]


def test_the_header_of_a_bomb_may_lie(tmp_path: Path) -> None:
    def smaller(content: bytes) -> bytes:
        return content.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10))

    bomb = patched(archive_of(ONE, ("e.jsonl", "0" * 3_000_000)), smaller)
    with pytest.raises(BadInput):
        workspace.import_zip(tmp_path, bomb, limits=Limits(bytes=2 << 20))
    assert left_in(tmp_path) == []


parts = st.sampled_from(
    ["..", ".", "", "a", "b.md", "/", "\\", "C:", "~", "\x00", "..\\", "case.toml", "documents", "é"]
)
paths = st.lists(parts, min_size=1, max_size=5).map("/".join)
modes = st.sampled_from([0, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(paths, modes), max_size=4))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_member_ever_lands_outside(members: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "cases").mkdir()
        archive = archive_of(ONE, *((special(path, mode), "x") for path, mode in members))
        try:
            taken = workspace.import_zip(base / "cases", archive)
        except AdvisorError:
            assert left_in(base / "cases") == []
        else:
            assert left_in(base / "cases") == [taken.name]
            assert not any(path.is_symlink() for path in taken.rglob("*"))
            assert (taken / "case.toml").read_text(encoding="utf-8") == TOML
        assert left_in(base) == ["cases"]


def test_uploads_get_safe_names_and_places(tmp_path: Path) -> None:
    folder = made(tmp_path)
    add = workspace.add_file
    assert add(folder, "../../Meine Daten (1).JSONL", b"x") == folder / "Meine-Daten-1.jsonl"
    assert add(folder, "C:\\x\\شکایات.csv", b"x") == folder / "شکایات.csv"
    assert add(folder, "Meine Daten (1).jsonl", b"x") == folder / "Meine-Daten-1.jsonl"
    assert add(folder, "Meine Daten (1).jsonl", b"y") == folder / "Meine-Daten-1-2.jsonl"
    assert add(folder, "..md.pdf", b"x") == folder / "documents" / "md.pdf"
    assert add(folder, "a.md", b"old") == add(folder, "a.md", b"new") == folder / "documents" / "a.md"
    assert (folder / "documents" / "a.md").read_bytes() == b"new"
    assert left_in(tmp_path) == ["one"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("case.toml", b"x", "kind that is not used"),
        ("store.sqlite", b"x", "kind that is not used"),
        ("run.py", b"x", "kind that is not used"),
        ("", b"x", "kind that is not used"),
        ("a.md", b"", r"a\.md is empty"),
        ("a.md", b"x" * 2000, r"a\.md is larger than"),
        ("a.zip", b"x", "no zip file"),
        ("a.zip", archive_of(("x.py", "x")).getvalue(), "holds no documents"),
        ("a.zip", archive_of(("../x.md", "x")).getvalue(), "outside the case folder"),
        ("a.zip", archive_of(("ok.md", "x"), ("x.md", "0" * 5000)).getvalue(), "unpacks to more"),
    ],
)
def test_uploads_that_are_refused(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    folder = made(tmp_path)
    before = left_in(folder)
    with pytest.raises(BadInput, match=sentence):
        workspace.add_file(folder, name, data, max_bytes=1024)
    assert left_in(folder) == before
    with pytest.raises(BadInput, match="no case in"):
        workspace.add_file(tmp_path, "a.md", b"x")


def test_documents_come_out_of_a_zip_file(tmp_path: Path) -> None:
    folder = made(tmp_path)
    data = archive_of(("manual/a.md", "A"), ("b.TXT", "B"), ("run.py", "x"), (".hidden.md", "x")).getvalue()
    assert workspace.add_file(folder, "docs.zip", data) == folder / "documents"
    found = sorted(path.relative_to(folder).as_posix() for path in (folder / "documents").rglob("*.*"))
    assert found == ["documents/b.TXT", "documents/manual/a.md"]
