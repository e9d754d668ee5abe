"""Mending rows of data files: what is changed is written, and no other byte moves."""

from __future__ import annotations

import codecs
import csv
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor.datasets import load, mend
from finetune_advisor.datasets.mend import Row
from finetune_advisor.datasets.pairs import Columns
from finetune_advisor.errors import BadInput

USER = {"role": "user", "content": "Where is it?"}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


def chat(*messages: dict[str, Any], **more: Any) -> str:
    return json.dumps({"messages": list(messages), **more}, ensure_ascii=False)


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def file(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def test_only_the_last_question_and_the_final_answer_of_a_chat_change(tmp_path: Path) -> None:
    first = chat({"role": "system", "content": "Short."}, USER, said("Here."), USER, said("There."), meta={"n": 1.5})
    path = file(tmp_path, f"{first}\n{chat(USER, said('No.'))}\n")
    assert [(row.line, row.prompt, row.answer) for row in mend.rows(path)] == [
        (1, "Where is it?", "There."),
        (2, "Where is it?", "No."),
    ]
    mend.change(path, {1: ("Where is the kettle?", "On the shelf.")})
    expected = first.replace("There.", "On the shelf.")
    at = expected.rindex("Where is it?")
    assert path.read_text(encoding="utf-8").splitlines() == [
        expected[:at] + "Where is the kettle?" + expected[at + len("Where is it?") :],
        chat(USER, said("No.")),
    ]


def test_the_first_version_is_kept_once(tmp_path: Path) -> None:
    path = file(tmp_path, f"{chat(USER, said('1'))}\n{chat(USER, said('2'))}\n")
    first = path.read_bytes()
    mend.change(path, {1: ("Where is it?", "one")})
    mend.drop(path, [2])
    assert (tmp_path / "rows.jsonl.original").read_bytes() == first
    assert path.read_text(encoding="utf-8") == chat(USER, said("one")) + "\n"


def test_tool_calls_and_several_parts_are_kept_and_say_so(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    parts = {"role": "user", "content": [{"type": "text", "text": "What is on it?"}, image]}
    two = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    calls = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    path = file(tmp_path, "\n".join([chat(parts, calls, tools=[]), chat(two, said("c"))]))
    asked, split = mend.rows(path)
    assert (asked.answer, asked.fixed) == ('[{"arguments":{"at":1},"name":"look"}]', {"answer"})
    assert (split.prompt, split.fixed) == ("a\nb", {"prompt"})
    with pytest.raises(BadInput, match="The answer of line 1 cannot be changed here"):
        mend.write(path, [replace(asked, answer="look elsewhere")])
    mend.write(path, [replace(asked, prompt="What is under it?"), replace(split, answer="d")])
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["messages"][0]["content"][0]["text"] == "What is under it?"
    assert rows[0]["messages"][0]["content"][1] == image
    assert rows[0]["messages"][1] == calls
    assert rows[1]["messages"] == [two, said("d")]


def test_broken_lines_are_mended_as_raw_text_or_dropped(tmp_path: Path) -> None:
    good = chat(USER, said("Here."))
    path = file(tmp_path, f'{good}\n{{"messages": [\n\n{chat(USER)}\n{good[:-1]}\n')
    rows = mend.rows(path)
    assert [row.line for row in rows if row.problem] == [2, 3, 4, 5]
    assert [row.prompt for row in rows] == ["Where is it?", None, None, None, None]
    assert "not JSON" in rows[1].problem
    with pytest.raises(BadInput, match="The answer of line 4 cannot be changed here"):
        mend.write(path, [replace(rows[3], answer="x")])
    mend.write(path, [replace(rows[4], mended=rows[4].raw + "}\n")], dropped=rows[1:4])
    assert path.read_text(encoding="utf-8") == f"{good}\n{good}\n"
    with pytest.raises(BadInput, match="Line 1 would become several lines"):
        mend.change(path, {1: "a\nb"})


def test_a_good_row_cannot_be_made_bad_by_its_fields(tmp_path: Path) -> None:
    path = file(tmp_path, f"{chat(USER, said('Here.'))}\n")
    with pytest.raises(BadInput, match="Line 1: Message 2 has no content"):
        mend.change(path, {1: ("Where is it?", " ")})
    assert not (tmp_path / "rows.jsonl.original").exists()


def test_pairs_keep_their_other_columns_their_numbers_and_the_style_of_their_line(tmp_path: Path) -> None:
    lines = ['{"text":"caf\\u00e9","label":3,"id":7.0}', '{"text": "naïve", "label": 0}', '{"text": "", "label": 1}']
    path = file(tmp_path, "\n".join(lines))
    rows = mend.rows(path)
    assert [(row.prompt, row.answer) for row in rows] == [("café", "3"), ("naïve", "0"), ("", "1")]
    assert "nothing in text" in rows[2].problem
    mend.write(path, [replace(rows[0], prompt="thé", answer="4"), replace(rows[2], prompt="x", answer="one")])
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"text":"th\\u00e9","label":4,"id":7.0}',
        lines[1],
        '{"text": "x", "label": "one"}',
    ]


def test_an_instruction_with_an_input_is_shown_whole(tmp_path: Path) -> None:
    path = file(tmp_path, json.dumps({"instruction": "Sum up.", "input": "A text.", "output": "Text."}) + "\n")
    (row,) = mend.rows(path)
    assert (row.prompt, row.fixed) == ("Sum up.\n\nA text.", {"prompt"})
    mend.write(path, [replace(row, answer="A text.")])
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "instruction": "Sum up.", "input": "A text.", "output": "A text.",
    }  # fmt: skip


def test_table_rows_keep_delimiter_quotes_and_line_ends(tmp_path: Path) -> None:
    head, one = "id;prompt;completion;note\r\n", '1;"two\r\nlines";a;"x;y"\r\n'
    path = file(tmp_path, f'{head}{one}"2";"b";"c";"d"\r\n3;e;f;g', "rows.csv")
    rows = mend.rows(path)
    assert [(row.line, row.prompt, row.answer) for row in rows] == [
        (2, "two\nlines", "a"),
        (4, "b", "c"),
        (5, "e", "f"),
    ]
    mend.write(path, [replace(rows[1], prompt='say "b"'), replace(rows[2], answer="f\nf;")])
    expected = f'{head}{one}"2";"say ""b""";"c";"d"\r\n3;e;"f\r\nf;";g'
    assert path.read_bytes().decode("utf-8") == expected
    mend.drop(path, [2])
    assert path.read_bytes().decode("utf-8") == expected.replace(one, "")


def test_broken_table_rows(tmp_path: Path) -> None:
    path = file(tmp_path, 'prompt,completion\na,b\nc,d,e\nf,"g\nh,i\n', "rows.csv")
    rows = mend.rows(path)
    assert [(row.line, row.raw, bool(row.problem)) for row in rows] == [
        (2, "a,b", False), (3, "c,d,e", True), (4, 'f,"g', True),
    ]  # fmt: skip
    mend.change(path, {3: 'c,"d,e"', 4: 'f,"g"'})
    assert [(row.prompt, row.answer) for row in mend.rows(path)] == [("a", "b"), ("c", "d,e"), ("f", "g"), ("h", "i")]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-16-le", b""),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("cp1252", b""),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_encodings_stay(tmp_path: Path, kind: str, encoding: str, mark: bytes) -> None:
    pairs = [("Où est-il?", "à côté"), ("Was heißt das", "größer"), ("third", "naïve")]
    text = "".join(json.dumps({"prompt": p, "completion": c}, ensure_ascii=False) + "\r\n" for p, c in pairs)
    if kind == "csv":
        text = "prompt,completion\r\n" + "".join(f"{p},{c}\r\n" for p, c in pairs)
    path = file(tmp_path, mark + text.encode(encoding), f"rows.{kind}")
    rows = mend.rows(path)
    assert [(row.prompt, row.answer) for row in rows] == pairs
    mend.write(path, [replace(rows[1], answer="grösser")])
    assert path.read_bytes() == mark + text.replace("größer", "grösser").encode(encoding)


def test_what_the_encoding_cannot_hold_is_escaped_or_refused(tmp_path: Path) -> None:
    path = file(tmp_path, '{"prompt": "é", "completion": "b"}\n'.encode("cp1252"))
    mend.change(path, {1: ("é", "茶")})
    assert path.read_bytes() == b'{"prompt": "\\u00e9", "completion": "\\u8336"}\n'
    path = file(tmp_path, "prompt,completion\né,b\n".encode("cp1252"), "rows.csv")
    with pytest.raises(BadInput, match=r"rows\.csv is CP1252 text, which cannot hold what was typed"):
        mend.change(path, {2: ("é", "茶")})
    # These two characters of Windows-1252 are one of UTF-8, so the line would be read as another.
    with pytest.raises(BadInput, match="cannot hold what was typed"):
        mend.change(path, {2: ("Ã©", "b")})
    assert path.read_bytes() == "prompt,completion\né,b\n".encode("cp1252")


def test_a_file_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    path = file(tmp_path, f"{chat(USER, said('1'))}\n{chat(USER, said('2'))}\n")
    rows = mend.rows(path)
    mend.drop(path, [1])
    with pytest.raises(BadInput, match=r"Line 1 of rows\.jsonl is not what it was"):
        mend.write(path, [replace(rows[0], answer="x")])
    with pytest.raises(BadInput, match=r"No row of .* starts on line 2"):
        mend.drop(path, [2])
    with pytest.raises(BadInput, match="without a row"):
        mend.drop(path, [1])


def test_kinds_that_cannot_be_edited(tmp_path: Path) -> None:
    for name in ("rows.parquet", "rows.json"):
        with pytest.raises(BadInput, match="cannot be edited here"):
            mend.rows(file(tmp_path, b"PAR1", name))
    with pytest.raises(BadInput, match="no column 'question'"):
        mend.rows(file(tmp_path, '{"a": 1}\n'), Columns(prompt="question", completion="a"))


signs = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t")
cells = st.text(signs, min_size=1, max_size=12).filter(str.strip)
ends = st.sampled_from(["\n", "\r\n"])
pairs = st.lists(st.tuples(cells, cells), min_size=1, max_size=5)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, bytes]:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=draw(ends)).writerows([("prompt", "completion"), *draw(pairs)])
    return "rows.csv", stream.getvalue().encode("utf-8")


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bytes]:
    """Lines of JSON, some of them broken, the last one good."""
    good = [json.dumps({"prompt": p, "completion": c}, ensure_ascii=draw(st.booleans())) for p, c in draw(pairs)]
    junk = draw(st.lists(st.sampled_from(["", "{", "[1]", "  "]), max_size=3))
    return "rows.jsonl", "".join(line + draw(ends) for line in [*good[1:], *junk, good[0]]).encode("utf-8")


@settings(deadline=None, max_examples=40)
@given(tables() | objects(), st.data())
def test_no_change_moves_no_byte_and_a_change_moves_its_row_only(made: tuple[str, bytes], data: st.DataObject) -> None:
    name, content = made
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), content, name)
        rows = mend.rows(path)
        mend.write(path, rows)
        assert path.read_bytes() == content
        row = data.draw(st.sampled_from([row for row in rows if not row.problem]))
        new = data.draw(cells)
        mend.write(path, [replace(row, answer=new)])
        again = mend.rows(path)
        assert [known(each) for each in again if each.line <= row.line][:-1] == [
            known(each) for each in rows if each.line < row.line
        ]
        changed = next(each for each in again if each.line == row.line)
        assert (changed.prompt, changed.answer) == (row.prompt, new)
        assert [known(each)[1:] for each in again if each.line > row.line] == [
            known(each)[1:] for each in rows if each.line > row.line
        ]


def known(row: Row) -> tuple[int, str, str | None]:
    return row.line, row.raw, row.prompt


@settings(deadline=None, max_examples=40)
@given(tables() | objects())
def test_the_editor_and_the_loader_see_the_same_rows(made: tuple[str, bytes]) -> None:
    name, content = made
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), content, name)
        found = load.load(path)
        seen = {row.line: (row.prompt, row.answer) for row in mend.rows(path) if not row.problem}
        for example in found.examples:
            assert seen[example.line] == (example.question, example.answer)
        broken = {row.line for row in mend.rows(path) if row.problem}
        loaded = {finding.line for finding in found.findings if finding.severity == "error"}
        assert broken <= loaded
        assert loaded - broken <= {f.line for f in found.findings if f.code.startswith("duplicate_of")}
