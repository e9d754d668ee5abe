from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.datasets import load, pairs
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Example

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SHOP = {"prompt": "Is the café open?", "completion": "yes"}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(examples: tuple[Example, ...]) -> list[tuple[str, str]]:
    return [(example.question, example.answer) for example in examples]


def codes(loaded: load.Loaded) -> list[tuple[int, str, str]]:
    return [(finding.line, finding.code, finding.severity) for finding in loaded.findings]


def write_parquet(path: Path, rows: list[dict[str, Any]], schema: Any = None) -> Path:
    table = require("pyarrow", extra="all").Table.from_pylist(rows, schema=schema)
    require("pyarrow.parquet", extra="all").write_table(table, path)
    return path


def class_label_schema() -> Any:
    pyarrow = require("pyarrow", extra="all")
    note = {
        "info": {"features": {"text": {"_type": "Value"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}
    }
    fields = [("text", pyarrow.string()), ("label", pyarrow.int64())]
    return pyarrow.schema(fields, metadata={"huggingface": json.dumps(note)})


def write_saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder as the save_to_disk of `datasets` writes it."""
    pyarrow = require("pyarrow", extra="all")
    folder.mkdir(parents=True)
    schema = class_label_schema()
    with pyarrow.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), schema) as stream:
        stream.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


def test_a_chat_keeps_its_context_tools_references_and_meta(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"b": 1, "a": "é"}'}}
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "tool_calls": [call]},
    ]
    meta = {"refs": ["other", "other"], "doc_id": "d1"}
    answered = [
        *messages,
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": "42"},
    ]
    file = write(
        tmp_path / "a.jsonl",
        [
            {"messages": messages, "tools": tools, "parallel_tool_calls": False},
            {"messages": answered, "meta": meta, "n": 1},
        ],
    )
    first, second = load.load(file).examples
    assert first.answer == '[{"arguments":{"a":"é","b":1},"name":"find"}]'
    assert (first.question, first.messages[0].role, first.messages[1].extra) == (
        "one\ntwo",
        "developer",
        {"name": "ann"},
    )
    assert (list(first.tools), first.meta, first.line) == (tools, {"parallel_tool_calls": False}, 1)
    assert [message.role for message in second.messages] == ["developer", "user", "assistant", "tool"]
    assert second.messages[2].extra == {"tool_calls": [call]}
    assert (second.answer, second.references, second.meta) == ("42", ("42", "other"), {**meta, "n": 1})


def test_an_answer_with_weight_0_is_not_what_is_learned(tmp_path: Path) -> None:
    def turn(role: str, content: str, **more: object) -> dict[str, object]:
        return {"role": role, "content": content, **more}

    good, bad = turn("assistant", "good"), turn("assistant", "bad", weight=0)
    late = [turn("user", "a"), good, turn("user", "b"), bad]
    loaded = load.load(write(tmp_path / "a.jsonl", [{"messages": late}, {"messages": [turn("user", "c"), bad]}]))
    assert asked(loaded.examples) == [("a", "good"), ("c", "bad")]


@pytest.mark.parametrize(("prompt", "answer"), pairs.ALIASES)
@pytest.mark.parametrize("case", [str.lower, str.title])
def test_known_column_names_are_recognised_and_said(tmp_path: Path, prompt: str, answer: str, case: Any) -> None:
    row = {case(prompt): "q", case(answer): "a", "topic": "t", "system": "Be brief."}
    loaded = load.load(write(tmp_path / "a.jsonl", [row, {**row, "system": ""}]))
    assert asked(loaded.examples) == [("q", "a")] * 2
    assert [len(example.messages) for example in loaded.examples] == [2, 1]
    assert loaded.examples[0].meta == {"topic": "t"}
    assert codes(loaded) == [(0, "columns_recognised", "info")]
    assert case(prompt) in loaded.findings[0].message and case(answer) in loaded.findings[0].message


def test_alpaca_input_goes_below_the_instruction(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Translate.", "input": "dog", "output": "Hund"},
        {"instruction": "Say a.", "input": "", "output": "a"},
    ]
    loaded = load.load(write(tmp_path / "a.jsonl", rows))
    assert asked(loaded.examples) == [("Translate.\n\ndog", "Hund"), ("Say a.", "a")]


def test_named_columns_win_over_known_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "wrong", "label": "wrong", "q": "right", "a": 7, "s": "Count."}])
    (example,) = load.load(file, load.Columns(prompt="q", completion="a", system="s")).examples
    assert (example.messages[0].content, example.question, example.answer) == ("Count.", "right", "7")
    with pytest.raises(BadInput, match="no column 'nope'") as caught:
        load.load(file, load.Columns(prompt="nope", completion="a"))
    assert "text, label, q, a, s" in caught.value.hint


def test_unusable_pairs_become_findings(tmp_path: Path) -> None:
    rows = [SHOP, {"prompt": "x"}, {"prompt": None, "completion": " "}, [1], {"prompt": "x", "completion": {"k": "é"}}]
    loaded = load.load(write(tmp_path / "a.jsonl", rows))
    assert asked(loaded.examples) == [("Is the café open?", "yes"), ("x", '{"k": "é"}')]
    assert [code for _, code, severity in codes(loaded) if severity == "error"] == [
        "missing_answer",
        "missing_prompt",
        "missing_answer",
        "data_type",
    ]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t"), ("CSV", ",")])
def test_tables_keep_cells_as_they_are_written(tmp_path: Path, suffix: str, separator: str) -> None:
    file = tmp_path / f"a.{suffix}"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=separator)
        writer.writerows(
            [["text", "label"], ['two\nlines, "quoted"; ', "007"], ["ü\t", "NA"], ["x", ""], [], ["y", "1"]]
        )
    loaded = load.load(file)
    assert asked(loaded.examples) == [('two\nlines, "quoted"; ', "007"), ("ü\t", "NA"), ("y", "1")]
    assert [example.line for example in loaded.examples] == [2, 4, 7]
    assert codes(loaded)[1:] == [(5, "missing_answer", "error")]


def test_broken_rows_of_a_table_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('text,label\na,b,c\nd\ne,f\ng,"unclosed\nh,i\n', encoding="utf-8")
    loaded = load.load(file)
    assert asked(loaded.examples) == [("e", "f")]
    assert codes(loaded)[1:] == [
        (2, "wrong_number_of_cells", "error"),
        (3, "wrong_number_of_cells", "error"),
        (5, "invalid_csv", "error"),
    ]


def test_parquet_holds_chats_and_pairs(tmp_path: Path) -> None:
    chat = {
        "messages": [{"role": "user", "content": "x", "name": None}, {"role": "assistant", "content": "y", "weight": 1}]
    }
    (example,) = load.load(write_parquet(tmp_path / "a.parquet", [chat])).examples
    assert (example.question, example.answer, example.messages[0].extra) == ("x", "y", {})
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": None}, {"text": "c", "label": 0}]
    loaded = load.load(write_parquet(tmp_path / "b.parquet", rows, class_label_schema()))
    assert asked(loaded.examples) == [("a", "yes"), ("c", "no")]
    assert codes(loaded)[1:] == [(2, "missing_answer", "error")]


def test_a_folder_written_by_datasets(tmp_path: Path) -> None:
    folder = write_saved(tmp_path / "saved", [{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    assert asked(load.load(folder).examples) == [("a", "yes"), ("b", "no")]


def test_a_dictionary_of_splits_needs_a_choice(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_saved(tmp_path / split, [{"text": split, "label": 1}])
    write(tmp_path / "dataset_dict.json", [{"splits": ["train", "test"]}])
    with pytest.raises(BadInput, match="2 splits") as caught:
        load.load(tmp_path)
    assert str(tmp_path / "train") in caught.value.hint
    assert asked(load.load(tmp_path / "train").examples) == [("train", "yes")]


def test_real_datasets_library_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="the local extra is not installed")
    datasets = require("datasets", extra="local")
    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=features)
    made.select([2, 0]).save_to_disk(str(tmp_path / "saved"), num_shards=2)
    assert asked(load.load(tmp_path / "saved").examples) == [("c", "yes"), ("a", "no")]


def test_state_json_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    write_saved(tmp_path / "secret", [{"text": "a", "label": 1}])
    folder = write_saved(tmp_path / "saved", [{"text": "b", "label": 1}])
    entry = {"filename": "../secret/data-00000-of-00001.arrow"}
    (folder / "state.json").write_text(json.dumps({"_data_files": [entry]}), encoding="utf-8")
    assert asked(load.load(folder).examples) == [("b", "yes")]


def test_a_folder_of_shards_is_read_in_order_with_ids_unique_over_all(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "README.md", ["not data"])
    write(tmp_path / "data" / "train-1.jsonl", [SHOP])
    write_parquet(
        tmp_path / "data" / "train-0.parquet",
        [{"text": "first", "label": "a"}, {"text": SHOP["prompt"], "label": "yes"}],
    )
    examples = load.load(tmp_path).examples
    assert [example.question for example in examples] == ["first", SHOP["prompt"], SHOP["prompt"]]
    assert examples[2].id == f"{examples[1].id}-2"
    write(tmp_path / "data" / "test-0.jsonl", [SHOP])
    with pytest.raises(BadInput, match="several splits"):
        load.load(tmp_path)


def test_ids_come_from_the_content_and_survive_reordering(tmp_path: Path) -> None:
    rows = [SHOP, {**SHOP, "completion": "no"}]
    ids = [example.id for example in load.load(write(tmp_path / "a.jsonl", rows)).examples]
    assert [len(name) for name in ids] == [16, 16]
    assert {example.id for example in load.load(write(tmp_path / "b.jsonl", rows[::-1])).examples} == set(ids)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_marked_encodings_are_read_and_said(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = (
        json.dumps(SHOP, ensure_ascii=False) + "\n"
        if suffix == "jsonl"
        else "prompt,completion\nIs the café open?,yes\n"
    )
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(text.encode(encoding))
    loaded = load.load(file)
    assert asked(loaded.examples) == [("Is the café open?", "yes")]
    assert (0, "encoding", "info") in codes(loaded)


def test_chinese_utf_16_without_a_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        (json.dumps({"prompt": "我的订单在哪里" * 20, "completion": "物流"}, ensure_ascii=False)).encode("utf-16-le")
    )
    assert load.load(file).examples[0].answer == "物流"


def test_a_windows_line_is_read_as_such_and_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    line = json.dumps({"prompt": "€ und café", "completion": "x"}, ensure_ascii=False) + "\r\n"
    file.write_bytes(line.encode() + line.replace("x", "y").encode("cp1252") + line.replace("x", "z").encode("cp1252"))
    loaded = load.load(file)
    assert {example.question for example in loaded.examples} == {"€ und café"}
    (warning,) = (finding for finding in loaded.findings if finding.code == "encoding")
    assert (warning.line, warning.severity) == (2, "warning")
    assert "1 more" in warning.message


def test_a_truncated_last_line_is_a_finding_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    whole = json.dumps({"prompt": "こんにちは、あ", "completion": "y"}, ensure_ascii=False).encode()
    for cut in range(1, len(whole)):
        file.write_bytes(whole + b"\n" + whole[:-cut])
        loaded = load.load(file)
        assert len(loaded.examples) == 1
        assert codes(loaded)[1:] == [(2, "invalid_json", "error")]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow"])
@pytest.mark.parametrize(
    "content", [b"\0" * 500, bytes(range(256)) * 4, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", b'{"a": "\x81\x8d"}']
)
def test_rubbish_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        load.load(file)
    assert caught.value.hint


@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv", "tsv", "parquet", "arrow"]))
def test_bytes_give_rows_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("bytes") / f"a.{suffix}"
    file.write_bytes(content)
    try:
        loaded = load.load(file)
    except BadInput as error:
        assert error.hint
    else:
        assert all(finding.file == str(file) for finding in loaded.findings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "no file"),
        ("empty.jsonl", b"", "is empty"),
        ("mark.jsonl", b"\xef\xbb\xbf", "has no rows"),
        ("mark.csv", b"\xff\xfe", "has no rows"),
        ("header.csv", b"text,label\n", "has no rows"),
        ("a.docx", b"x", "kind that cannot be read"),
        ("other.csv", b"one,two\n1,2\n", "one, two"),
        ("a.jsonl/b.jsonl", None, "no file|cannot be read"),
        ("x" * 300 + ".jsonl", None, "cannot be read"),
        ("a\0b.jsonl", None, "cannot be read|no file"),
    ],
)
def test_unusable_files_get_a_sentence_and_a_hint(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        load.load(file)
    assert caught.value.hint


def test_a_folder_without_data_and_a_device_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(BadInput, match=r"holds no data file|not an ordinary file"):
            load.load(path)


def test_a_file_that_this_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = write(tmp_path / "a.jsonl", [SHOP])
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="Permission denied"):
        load.load(file)


def test_the_data_hash_is_of_contents_and_of_names_in_folders(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [SHOP])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b.txt").write_text("b", encoding="utf-8")
    both = load.data_hash([file, folder])
    assert load.data_hash([file]) == hashlib.sha256(hashlib.sha256(file.read_bytes()).digest()).hexdigest()
    assert load.data_hash([file.rename(tmp_path / "c.jsonl"), folder]) == both
    (folder / ".DS_Store").write_text("x", encoding="utf-8")
    assert load.data_hash([tmp_path / "c.jsonl", folder]) == both
    (folder / "b.txt").rename(folder / "c.txt")
    assert load.data_hash([tmp_path / "c.jsonl", folder]) != both
    with pytest.raises(BadInput):
        load.data_hash([file])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("name", "rows"), [("banking77_train", 9_999), ("toy_chat_fine_tuning", 5), ("xquad_en_qa_train", 580)]
)
def test_shared_files_have_no_fault_but_repeated_rows(name: str, rows: int) -> None:
    loaded = load.load(SHARED / f"{name}.jsonl")
    assert len(loaded.examples) == len({example.id for example in loaded.examples}) == rows
    repeated = {finding.code[:17] for finding in loaded.findings if finding.severity == "error"}
    assert repeated <= {"duplicate_of_line"}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_shared_summaries_bring_their_references() -> None:
    examples = load.load(SHARED / "scitldr_test.jsonl").examples
    assert max(len(example.references) for example in examples) > 1
    assert all(example.references[0] == example.answer for example in examples)
