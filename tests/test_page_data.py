"""Step 2 of the walk: files in, examples, audit, mending, tokens; each branch of the page, with hostile text too."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="the app needs streamlit")

from streamlit.testing.v1 import AppTest

from finetune_advisor import case as cases
from finetune_advisor import experiment
from finetune_advisor.pages import data_audit, data_tokens
from finetune_advisor.pages.shell import ROOT
from finetune_advisor.records import TaskKind
from oracle import write_case

APP = Path(__file__).parents[1] / "app.py"
FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'
ZERO = '[[arms]]\napproach = "zero_shot"\n'
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:x) :red[x]"
AUDIT = "Audit and mending"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ROOT, str(tmp_path))
    return tmp_path


def made(root: Path, *, rows: int = 40) -> Path:
    return write_case(root / "toy", rows=rows, model=FAKE, arms=ZERO)


def without_data(root: Path) -> Path:
    folder = root / "toy"
    cases.write_new(folder, title="Toy", kind=TaskKind.TEXT, examples=None, documents=None)
    return folder


def page(part: str = "Files", name: str = "toy") -> Any:
    """The page after its first run; typed Any because AppTest's elements are."""
    at = AppTest.from_file(APP, default_timeout=30)
    at.query_params["case"] = name
    at.query_params["data-part"] = part
    return ran(at.run().switch_page("finetune_advisor/pages/data.py"))


def ran(at: Any) -> Any:
    at = at.run()
    assert not at.exception
    return at


def words(at: Any) -> str:
    kinds = ("title", "subheader", "markdown", "caption", "text", "info", "error", "warning", "success")
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))


def parts(at: Any) -> list[str]:
    return list(at.segmented_control(key="data-part").options)


def upload(at: Any, which: int, *given: tuple[str, bytes]) -> Any:
    files = [(name, content, "application/octet-stream") for name, content in given]
    return ran(at.file_uploader[which].set_value(files if which else files[0]))


def lines(folder: Path) -> list[str]:
    return (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()


def put(folder: Path, rows: Sequence[str]) -> None:
    (folder / "examples.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def chat(asked: str, answer: str) -> str:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages})


def pairs(rows: Sequence[tuple[str, str]], prompt: str = "prompt", answer: str = "completion") -> bytes:
    return "".join(json.dumps({prompt: each, answer: label}) + "\n" for each, label in rows).encode()


LABELLED = [(f"message {i * 7919} about {i}", ("billing", "delivery")[i % 2]) for i in range(30)]


def editor(at: Any, place: int = 0) -> Any:
    return at.data_editor[place]


def edit(at: Any, edits: Mapping[int, Mapping[str, object]], place: int = 0) -> Any:
    state: dict[str, object] = {"edited_rows": edits, "added_rows": [], "deleted_rows": []}
    at.session_state[editor(at, place).key] = state
    return ran(at)


def save(at: Any) -> Any:
    return ran(at.button(key="mend-save").click())


def test_without_a_case_the_page_shows_the_way_to_one(root: Path) -> None:
    assert "There is no case toy here" in words(page())


def test_a_broken_case_is_refused_in_one_sentence(root: Path) -> None:
    (made(root) / "case.toml").write_text("schema = 1\n", encoding="utf-8")
    assert len(page().error) == 1


def test_a_case_without_data_asks_for_files_only(root: Path) -> None:
    without_data(root)
    at = page()
    assert "There are no examples yet" in words(at)
    assert not at.segmented_control
    assert at.code[0].value.count("\n") == 1


def test_an_uploaded_file_is_in_use_and_says_what_kind_of_task_it_is(root: Path) -> None:
    folder = without_data(root)
    at = upload(page(), 0, ("My [x](y) tickets.jsonl", pairs(LABELLED)))
    assert (cases.read(folder).data.examples, cases.read(folder).task.kind) == (
        "My-x-y-tickets.jsonl",
        "classification",
    )
    assert "with 30 examples; a right answer is: one of a few labels" in words(at)
    assert parts(at) == ["Files", "Examples", AUDIT, "Tokens"]


def test_another_kind_than_the_answers_look_like_is_kept_until_somebody_says_so(root: Path) -> None:
    folder = made(root)
    cases.edit(folder, {"task.kind": "qa", "task.metric": "exact"})
    at = upload(page(), 0, ("more.jsonl", pairs(LABELLED)))
    assert cases.read(folder).task.kind == TaskKind.QA
    assert "The answers look like: one of a few labels." in words(at)
    ran(at.button(key="use-guess").click())
    assert (cases.read(folder).task.kind, cases.read(folder).metric) == (TaskKind.CLASSIFICATION, "label")


def test_kind_and_metric_can_be_chosen(root: Path) -> None:
    folder = made(root)
    at = ran(page().selectbox(key="kind").select(TaskKind.QA))
    ran(at.selectbox(key="metric").select("exact"))
    assert (cases.read(folder).task.kind, cases.read(folder).task.metric) == (TaskKind.QA, "exact")
    ran(at.selectbox(key="kind").select(TaskKind.TEXT))
    assert cases.read(folder).task.metric == ""


def test_columns_are_asked_for_where_they_are_not_known(root: Path) -> None:
    folder = without_data(root)
    at = upload(page(), 0, ("t.jsonl", pairs(LABELLED, "body", "queue")))
    assert "Say which column holds what is asked" in words(at)
    at = ran(at.selectbox(key="column-prompt").select("body"))
    assert cases.read(folder).data.prompt_column == "prompt"
    at = ran(at.selectbox(key="column-answer").select("queue"))
    assert (cases.read(folder).data.prompt_column, cases.read(folder).data.answer_column) == ("body", "queue")
    assert "with 30 examples" in words(at)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", bytes(range(256)) * 40, "a.jsonl is not a text file"),
        ("a.parquet", b"PAR1 no table", "a.parquet is damaged"),
        ("a.csv", b"prompt,completion\n", "a.csv has no rows"),
        ("a.jsonl", b"", "a.jsonl is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_not_kept(root: Path, name: str, content: bytes, says: str) -> None:
    folder = made(root)
    at = upload(page(), 0, (name, content))
    assert [says in each.value for each in at.error] == [True]
    assert str(root) not in at.error[0].value
    assert not (folder / name).exists()
    assert cases.read(folder).data.examples == "examples.jsonl"


def test_documents_can_be_uploaded_and_left_out_again(root: Path) -> None:
    folder = made(root)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("more/three.txt", "Three.")
    at = upload(page(), 1, ("one.md", b"# One\n\nText."), ("docs.zip", packed.getvalue()))
    assert "2 documents are in use now" in words(at)
    assert cases.read(folder).data.documents == "documents"
    ran(at.selectbox(key="documents").select(""))
    assert cases.read(folder).data.documents is None


def test_a_file_of_the_folder_can_be_picked(root: Path) -> None:
    folder = made(root)
    (folder / "other.jsonl").write_bytes(pairs(LABELLED))
    at = ran(page().selectbox(key="examples").select("other.jsonl"))
    assert cases.read(folder).data.examples == "other.jsonl"
    assert "other.jsonl with 30 examples" in words(at)


def test_separate_files_are_used_together(root: Path) -> None:
    folder = made(root)
    (folder / "held.jsonl").write_bytes(pairs(LABELLED))
    at = page()
    at = ran(at.radio(key="way").set_value(at.radio(key="way").options[1]))
    at.selectbox(key="file-train").select("examples.jsonl")
    at = ran(at.button[0].click())
    assert "give either examples, or both train and test" in at.error[0].value
    at.selectbox(key="file-test").select("held.jsonl")
    at = ran(at.button[0].click())
    data = cases.read(folder).data
    assert (data.examples, data.train, data.validation, data.test) == (None, "examples.jsonl", None, "held.jsonl")
    assert "examples.jsonl, held.jsonl with 70 examples" in words(at)
    at = page("Examples")
    assert set(at.dataframe[0].value["File"]) == {"examples.jsonl", "held.jsonl"}
    assert "The files say it" in words(at)


def test_separate_files_with_columns_share_them(root: Path) -> None:
    folder = made(root)
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_bytes(pairs([(f"{name} {each}", label) for each, label in LABELLED], "body", "queue"))
    cases.edit(folder, {"data.train": "a.jsonl", "data.test": "b.jsonl", "data.examples": None})
    at = ran(page().selectbox(key="column-prompt").select("body"))
    at = ran(at.selectbox(key="column-answer").select("queue"))
    assert "a.jsonl, b.jsonl with 60 examples" in words(at)


def test_before_the_first_run_the_split_is_announced(root: Path) -> None:
    made(root)
    text = words(page("Examples"))
    assert "### about 12" in text
    assert "The first run divides the examples" in text


def test_the_locked_split_is_shown_with_the_part_of_each_example(root: Path) -> None:
    folder = made(root)
    split = experiment.run(cases.read(folder)).split
    at = page("Examples")
    assert f"Fingerprint of the split: {split.hash[:12]}" in words(at)
    assert list(at.dataframe[0].value.columns) == ["Label", "Training", "Validation", "Test"]
    at = ran(at.pills(key="in-part").set_value(["test"]))
    assert list(at.dataframe[1].value["Part"]) == ["Test"] * split.test


def test_examples_can_be_found_and_come_in_pages(root: Path) -> None:
    made(root, rows=150)
    at = page("Examples")
    assert len(at.dataframe[0].value) == 100
    at = ran(at.text_input(key="find").set_value("NOTE 7919"))
    assert list(at.dataframe[0].value["Line"]) == [2, 11, 101]
    at = ran(at.text_input(key="find").set_value("not there"))
    assert "No example fits this choice" in words(at)


def faulty(root: Path) -> Path:
    """Line 4 is broken, line 11 repeats line 10, line 21 has hostile text with a phone number."""
    folder = made(root)
    rows = lines(folder)
    rows[3], rows[10] = rows[3][:-9], rows[9]
    rows[20] = chat(f"{HOSTILE} call +49 170 1234567", "refund")
    put(folder, rows)
    return folder


def test_findings_stand_beside_their_rows_and_can_be_filtered(root: Path) -> None:
    faulty(root)
    at = page(AUDIT)
    assert "**2** errors, **1** warning." in words(at)
    table = at.dataframe[0].value.set_index("Line")
    assert table.loc[4, "Kind"] == "invalid json"
    assert table.loc[4, "Request"].startswith('{"messages"')
    assert table.loc[11, "Kind"] == "duplicate of line"
    assert HOSTILE in table.loc[21, "Request"]
    at = ran(at.pills(key="severity").set_value(["warning"]))
    assert list(at.dataframe[0].value["Line"]) == [21]
    at = ran(at.multiselect(key="kind-found").set_value(["invalid json"]))
    assert "No finding fits this choice" in words(at)


def test_hostile_text_is_never_markdown(root: Path) -> None:
    faulty(root)
    for part in ("Files", "Examples", AUDIT, "Tokens"):
        at = page(part)
        assert not [each for each in at.markdown if each.allow_html]
        assert "alert(1)" not in words(at)


def test_sound_data_has_nothing_to_mend(root: Path) -> None:
    made(root)
    assert "The audit found nothing to mend" in words(page(AUDIT))


def test_rows_are_mended_and_dropped_and_the_audit_runs_anew(root: Path) -> None:
    folder = faulty(root)
    before = lines(folder)
    at = page(AUDIT)
    assert list(editor(at).value["Line"]) == [11, 21]
    assert list(editor(at, 1).value["Line"]) == [4]
    assert at.button(key="mend-save").disabled
    at = edit(at, {0: {"Request": "A new one about the money back"}, 1: {"Drop": True}})
    at = edit(at, {0: {"The whole line": chat("Mended", "refund")}}, place=1)
    assert "Not saved yet: 2 changed, 1 to be dropped" in words(at)
    at = save(at)
    assert "Changed rows: 2; dropped rows: 1" in words(at)
    assert "The audit found nothing to mend" in words(at)
    after = lines(folder)
    assert (after[3], after[10]) == (chat("Mended", "refund"), chat("A new one about the money back", "refund"))
    assert [*after[:3], *after[4:10], *after[11:]] == [*before[:3], *before[4:10], *before[11:20], *before[21:]]
    assert (folder / "examples.jsonl.original").read_text(encoding="utf-8").splitlines() == before
    ran(at.button(key="put-back").click())
    assert lines(folder) == before


def test_whole_lines_can_be_edited_and_found_among_all_rows(root: Path) -> None:
    folder = made(root)
    at = page(AUDIT)
    assert len(editor(at).value) == 20
    at.text_input(key="mend-find").set_value("note 39595")
    at = ran(at.toggle(key="mend-raw").set_value(True))
    assert list(editor(at).value["Line"]) == [6]
    save(edit(at, {0: {"The whole line": chat("Another", "repair")}}))
    assert lines(folder)[5] == chat("Another", "repair")


def test_a_change_that_would_spoil_a_row_is_refused(root: Path) -> None:
    folder = made(root)
    before = lines(folder)
    at = save(edit(page(AUDIT), {0: {"Wanted answer": None}}))
    assert len(at.error) == 1
    assert lines(folder) == before


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(root: Path) -> None:
    folder = made(root)
    at = edit(page(AUDIT), {0: {"Wanted answer": "repair"}})
    theirs = [chat("Theirs", "delivery"), *lines(folder)[1:]]
    put(folder, theirs)
    at = save(at)
    assert "somebody changed the file" in at.error[0].value
    assert lines(folder) == theirs


def test_a_locked_split_is_told_of_before_a_change_and_locked_anew_after_it(root: Path) -> None:
    folder = made(root)
    experiment.run(cases.read(folder))
    assert "The test split is locked on the data" in words(page())
    at = page(AUDIT)
    assert "Other examples make a new one necessary" in at.warning[0].value
    at = save(edit(at, {0: {"Drop": True}}))
    assert "has changed since the test split was locked" in words(at)
    assert "The audit found nothing to mend" in words(at)
    assert not at.error
    assert "Run again with a new test split" in [each.proto.label for each in at.get("page_link")]
    assert "has changed since" not in words(ran(at.button(key="put-back").click()))


def test_a_file_without_a_usable_row_can_be_mended(root: Path) -> None:
    folder = made(root)
    put(folder, ["{broken", "{broken too"])
    at = page(AUDIT)
    assert parts(at) == ["Files", AUDIT]
    assert len(at.error) == 1 and str(root) not in words(at)
    assert len(editor(at).value) == 2
    assert "**2** errors" in words(at)


def test_too_few_examples_are_audited_all_the_same(root: Path) -> None:
    folder = made(root, rows=6)
    rows = lines(folder)
    put(folder, [*rows, rows[0]])
    at = page(AUDIT)
    assert "A run would stop here: There are 6 different examples" in words(at)
    assert "duplicate of line" in list(at.dataframe[0].value["Kind"])


def test_parquet_can_be_seen_but_not_mended(root: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    folder = made(root)
    table = arrow.table({"prompt": [q for q, _ in LABELLED], "completion": [a for _, a in LABELLED]})
    parquet.write_table(table, folder / "t.parquet")
    cases.edit(folder, {"data.examples": "t.parquet"})
    assert len(page("Examples").dataframe[0].value) == 30
    at = page(AUDIT)
    assert "cannot be mended here" in words(at)
    assert not at.data_editor


def test_much_data_is_audited_when_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty(root)
    monkeypatch.setattr(data_audit, "BIG", 100)
    at = page(AUDIT)
    assert "looking through all of it takes a while" in words(at)
    assert list(editor(at).value["Line"]) == [4]
    at = ran(at.button(key="audit").click())
    assert "**2** errors" in words(at)
    assert "**2** errors" in words(ran(at))


def test_a_run_that_is_going_on_is_told_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(root)

    def running(folder: Path) -> object:
        return SimpleNamespace(state="running")

    monkeypatch.setattr("finetune_advisor.jobs.latest", running)
    assert "A run is going on" in words(page())


def test_tokens_of_each_language_in_a_sentence_and_a_table(root: Path) -> None:
    folder = made(root)
    urdu = [chat(f"گھر میں مہمان بہت آتے ہیں، براہ کرم مجھے جلدی سے جواب دیں {i}", "refund") for i in range(12)]
    put(folder, [*lines(folder), *urdu])
    at = page("Tokens")
    text = words(at)
    assert "An example in English takes" in text
    assert "An example in Urdu takes" in text and "the tokens of one in English; a word takes" in text
    assert list(at.dataframe[0].value["Language"]) == ["English", "Urdu"]


def test_tokens_of_many_examples_are_counted_when_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(root)
    monkeypatch.setattr(data_tokens, "MANY", 10)
    at = page("Tokens")
    assert not at.dataframe
    assert len(ran(at.button(key="count").click()).dataframe) == 1


def test_a_model_counts_with_its_own_vocabulary(root: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    folder = made(root)
    words_alone = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    words_alone.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    (root / "model").mkdir()
    words_alone.save(str(root / "model" / "tokenizer.json"))
    for name, id in (("near", str(root / "model")), ("far", "nobody/nothing")):
        cases.edit(folder, {f"models.{name}": {"provider": "huggingface", "options": {"id": id}}})
    at = ran(page("Tokens").selectbox(key="counter").select("near"))
    assert list(at.dataframe[0].value["Tokens per word"]) == [1.0]
    at = ran(at.selectbox(key="counter").select("far"))
    assert "is not on this machine yet" in at.error[0].value
