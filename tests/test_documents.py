from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.datasets import documents
from finetune_advisor.datasets.passages import word_count
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Document

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def pdf(text: str) -> bytes:
    """The smallest PDF with one line of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /MediaBox [0 0 9 9] /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    made, offsets = "%PDF-1.4\n", [0]
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(made))
        made += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets[1:])
    made += f"xref\n0 6\n0000000000 65535 f \n{table}trailer << /Size 6 /Root 1 0 R >>\nstartxref\n{len(made)}\n%%EOF\n"
    return made.encode("ascii")


def document(text: str) -> Document:
    return Document(id="d", title="t", text=text)


def test_a_folder_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "b.md").write_text("intro\n\n## Returns ##\n\nWithin 30 days.", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes("\ufeffKaffee und Brötchen".encode())
    (tmp_path / "c.pdf").write_bytes(pdf("The pump runs at 7 bar."))
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.txt").write_text("x", encoding="utf-8")
    loaded = documents.load_documents(tmp_path)
    assert [(found.id, found.title, found.text.strip()) for found in loaded.documents] == [
        ("a.txt", "a", "Kaffee und Brötchen"),
        ("c.pdf", "c", "The pump runs at 7 bar."),
        ("faq/b.md", "Returns", "intro\n\n## Returns ##\n\nWithin 30 days."),
    ]
    assert [(found.code, found.severity) for found in loaded.findings] == [
        ("documents_ignored", "info"),
        ("encoding", "info"),
    ]
    assert "logo.png" in loaded.findings[0].message


def test_html_keeps_what_a_reader_sees(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<html><head><title>The\n Pump</title><style>p {}</style><script>var x</script></head><body><h1>Pump 3</h1>"
        "<p>Runs at <b>7</b>\n bar<br>or less.</p><!-- no --><ul><li>red</li><li>blue</li></ul>"
        "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table><pre>x = 1\ny = 2</pre></body></html>",
        encoding="utf-8",
    )
    (found,) = documents.load_documents(tmp_path).documents
    assert found.title == "The Pump"
    assert found.text == "Pump 3\n\nRuns at 7 bar\nor less.\n\nred\nblue\n\na b\nc\n\nx = 1\ny = 2"


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1256", "utf-16"])
def test_html_in_its_declared_encoding(tmp_path: Path, encoding: str) -> None:
    page = f'<meta charset="{encoding}"><p>المضخة الزرقاء</p>'
    (tmp_path / "a.html").write_bytes(page.encode(encoding))
    assert documents.load_documents(tmp_path).documents[0].text == "المضخة الزرقاء"


def test_html_that_is_not_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes("<meta charset=no-such><p>café</p>".encode("cp1252"))
    loaded = documents.load_documents(tmp_path)
    assert loaded.documents[0].text == "café"
    assert [(found.code, found.severity) for found in loaded.findings] == [("encoding", "warning")]


def test_html_may_nest_deeply(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<div><b>" * 5_000 + "x", encoding="utf-8")
    assert documents.load_documents(tmp_path).documents[0].text == "x"


def test_documents_without_text_are_said_and_left_out(tmp_path: Path) -> None:
    writer = require("pypdf", extra="all").PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(tmp_path / "scan.pdf")
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 rubbish")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    with pytest.raises(BadInput, match="no document with text"):
        documents.load_documents(tmp_path)
    (tmp_path / "good.txt").write_text("text", encoding="utf-8")
    loaded = documents.load_documents(tmp_path)
    assert [found.id for found in loaded.documents] == ["good.txt"]
    assert [(Path(found.file).name, found.code, found.severity) for found in loaded.findings] == [
        ("binary.txt", "document_unreadable", "error"),
        ("broken.pdf", "document_unreadable", "error"),
        ("empty.md", "document_without_text", "warning"),
        ("scan.pdf", "document_without_text", "warning"),
    ]


def test_an_encrypted_pdf_is_said_to_be_unreadable(tmp_path: Path) -> None:
    writer = require("pypdf", extra="all").PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    (tmp_path / "good.txt").write_text("text", encoding="utf-8")
    assert [found.code for found in documents.load_documents(tmp_path).findings] == ["document_unreadable"]


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "a.docx", tmp_path / "missing", tmp_path / "missing.jsonl"):
        with pytest.raises(BadInput) as caught:
            documents.load_documents(path)
        assert caught.value.hint


def test_jsonl_documents(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    rows = [{"id": 7, "title": "T", "text": "a"}, {"text": "b"}, {"id": "7", "text": "c"}, {"id": "7-2", "text": "d"}]
    broken = ["", "{", '{"id": 1}', "[]"]
    file.write_text("\n".join([*map(json.dumps, rows), *broken]), encoding="utf-8")
    loaded = documents.load_documents(file)
    assert [(found.id, found.text) for found in loaded.documents] == [
        ("7", "a"),
        ("line-2", "b"),
        ("7-2", "c"),
        ("7-2-2", "d"),
    ]
    assert [(found.line, found.code) for found in loaded.findings] == [
        (3, "duplicate_document_id"),
        (4, "duplicate_document_id"),
        (5, "blank_line"),
        (6, "invalid_json"),
        (7, "document_without_text"),
        (8, "document_without_text"),
    ]


def test_paragraphs_are_packed_and_long_ones_cut_at_sentences() -> None:
    text = "One two.\n\nThree four.\n\nFive six seven. Eight nine ten! Eleven"
    found = documents.passages([document(text)], max_words=4)
    assert [passage.text for passage in found] == [
        "One two.\n\nThree four.",
        "Five six seven.",
        "Eight nine ten! Eleven",
    ]
    assert [passage.id for passage in found] == ["d#0", "d#1", "d#2"]
    assert {(passage.document_id, passage.title) for passage in found} == {("d", "t")}


def test_a_heading_stays_with_its_text() -> None:
    text = "one two three\n\n# Head\n\nfour five\n\n## Long\nsix seven eight.\nnine ten eleven.\n## Next\ntwelve"
    found = [passage.text for passage in documents.passages([document(text)], max_words=5)]
    assert found == [
        "one two three",
        "# Head\n\nfour five",
        "## Long\nsix seven eight.",
        "nine ten eleven.",
        "## Next\ntwelve",
    ]


def test_scripts_without_spaces_count_two_characters_as_a_word() -> None:
    assert [
        word_count(text) for text in ("two words", "我的订单", "我的订单在", "注文は ok です", "كلمتان هنا", "")
    ] == [2, 2, 3, 4, 2, 0]
    found = documents.passages([document("我的订单在哪里？" * 10)], max_words=10)
    assert {passage.text for passage in found} == {"我的订单在哪里？" * 2}


def test_an_endless_word_is_cut() -> None:
    assert max(len(passage.text) for passage in documents.passages([document("x" * 10_000)], max_words=5)) == 160


@given(st.text(st.sampled_from("ab \n\t.!?。？我の# \u061f😀\r\u3000")) | st.text(), st.integers(1, 12))
def test_every_character_survives_and_every_passage_fits(text: str, max_words: int) -> None:
    found = documents.passages([document(text)], max_words=max_words)
    assert "".join("".join(passage.text for passage in found).split()) == "".join(text.split())
    assert all(0 < word_count(passage.text) <= max_words for passage in found if passage.text)
    assert len({passage.id for passage in found}) == len(found)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_the_shared_corpus() -> None:
    loaded = documents.load_documents(SHARED / "xquad_en_corpus.jsonl")
    assert (len(loaded.documents), loaded.findings) == (240, ())
    assert (loaded.documents[0].id, loaded.documents[0].title) == ("d000", "Super_Bowl_50")
    assert max(word_count(passage.text) for passage in documents.passages(loaded.documents)) <= 120
