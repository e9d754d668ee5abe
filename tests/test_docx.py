"""The report as a Word document: the same headings and tables as Markdown, pictures with words, text as text."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from finetune_advisor.charts.pictures import WIDTH, pictures
from finetune_advisor.errors import Missing
from finetune_advisor.records import Results
from finetune_advisor.report import browser
from finetune_advisor.report.blocks import Chart
from finetune_advisor.report.build import build
from finetune_advisor.report.docx import BEHIND, ONE_PROMPT, Pictures, to_docx
from finetune_advisor.report.html import charts_in
from finetune_advisor.report.markdown import to_markdown
from finetune_advisor.report.ooxml import clean, pieces, right_to_left
from sample_results import HOSTILE, URDU, sample_results

RESULTS = sample_results()
CHARTS = list(charts_in(build(RESULTS)))
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
ORDER = ("pStyle", "keepNext", "numPr", "pBdr", "shd", "tabs", "bidi", "spacing", "ind", "jc", "outlineLvl", "rPr")
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def dots(charts: Sequence[Chart]) -> list[bytes]:
    return [DOT] * len(charts)


def none(charts: Sequence[Chart]) -> list[bytes]:
    raise Missing("No browser was found.")


def opened(results: Results, draw: Pictures = dots) -> Any:
    return docx.Document(io.BytesIO(to_docx(results, draw)))


@pytest.fixture(scope="module")
def with_tables() -> Any:
    return opened(RESULTS, none)


@pytest.fixture(scope="module")
def written() -> bytes:
    return to_docx(RESULTS, dots)


@pytest.fixture(scope="module")
def with_pictures(written: bytes) -> Any:
    return docx.Document(io.BytesIO(written))


def spaced(text: str) -> str:
    return " ".join(text.split())


def headings(document: Any) -> list[tuple[str, str]]:
    found = [(each.style.name, spaced(each.text)) for each in document.paragraphs]
    return [(name.removeprefix("Heading "), text) for name, text in found if name.startswith("Heading ")]


def tables(document: Any) -> list[list[list[str]]]:
    return [[[spaced(cell.text) for cell in row.cells] for row in table.rows] for table in document.tables]


def markdown_headings(text: str) -> list[tuple[str, str]]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [(one.tag[1:], spaced(words(two))) for one, two in pairwise(tokens) if one.type == "heading_open"]


def words(token: Any) -> str:
    return "".join(child.content for child in token.children or ())


def markdown_tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for token, after in pairwise(MarkdownIt("commonmark").enable("table").parse(text)):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in {"th_open", "td_open"}:
            found[-1][-1].append(spaced(words(after)))
    return found


def test_headings_and_tables_are_those_of_the_markdown(with_tables: Any) -> None:
    text = to_markdown(RESULTS)
    assert headings(with_tables) == markdown_headings(text)
    figures, *rest = tables(with_tables)
    assert "86 of 100" in figures[0][0]
    assert rest == markdown_tables(text)
    assert "No browser was found." in "\n".join(each.text for each in with_tables.paragraphs)


def test_a_chart_is_a_picture_with_its_words_and_its_numbers_at_the_end(with_pictures: Any) -> None:
    shapes = [shape._inline.docPr for shape in with_pictures.inline_shapes]
    assert [(each.get("title"), each.get("descr")) for each in shapes] == [(c.title, clean(c.alt)) for c in CHARTS]
    names = [text for _, text in headings(with_pictures)]
    assert names[names.index(BEHIND) + 1 :] == [spaced(chart.title) for chart in CHARTS]


def test_the_answer_stands_before_what_is_folded_elsewhere(with_pictures: Any) -> None:
    results = replace(RESULTS, verdict=replace(RESULTS.verdict, reasons=tuple(f"Reason {i}." for i in range(6))))
    texts = [each.text for each in opened(results).paragraphs]
    assert texts.index("Cheapest next step") < texts.index("Further reasons") < texts.index("How sure is the answer?")


def test_full_prompts_are_given_once(with_pictures: Any) -> None:
    texts = [each.text for each in with_pictures.paragraphs]
    assert texts.count(ONE_PROMPT) == 1
    first = RESULTS.disagreements[0]
    assert sum(text.startswith("The full prompt: ") for text in texts) == len(first.answers)


def test_a_paragraph_from_right_to_left_is_marked_so(with_pictures: Any) -> None:
    urdu = [each for each in with_pictures.paragraphs if each.text == URDU]
    assert urdu
    for each in urdu:
        assert each._p.pPr.find(f"{W}bidi") is not None
        assert all(run.font.rtl for run in each.runs)
    title = with_pictures.paragraphs[0]
    assert title._p.pPr.find(f"{W}bidi") is None
    assert not any(run.font.rtl for run in title.runs)


@given(st.text())
def test_direction_cuts_lose_nothing(text: str) -> None:
    assert "".join(piece for _, piece in pieces(text)) == text


def test_each_piece_has_its_own_direction() -> None:
    assert list(pieces("LoRA: سلام abc 5")) == [(False, "LoRA: "), (True, "سلام "), (False, "abc 5")]
    assert [right_to_left(text) for text in ("«سلام» x", "1. abc سلام", "", "?!")] == [True, False, False, False]


FORMULA = '=HYPERLINK("http://evil.example","x")'
FIELD = "{ INCLUDETEXT C:\\\\secret.txt }"


def test_hostile_text_stays_text() -> None:
    title = f"{FORMULA} {HOSTILE} {FIELD} \x00\x0b\ud83d ]]> &amp; {'long ' * 60}"
    results = replace(RESULTS, title=title, notes=(title,))
    made = to_docx(results, dots)
    document = docx.Document(io.BytesIO(made))
    assert document.paragraphs[0].text == clean(title)
    assert FORMULA in clean(title)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    roots = [ElementTree.fromstring(data) for name, data in parts.items() if name.endswith((".xml", ".rels"))]
    assert [each for root in roots for each in root.iter() if each.get("TargetMode") == "External"] == []
    assert [each for root in roots for each in root.iter(f"{W}hyperlink")] == []
    assert [each for root in roots for each in root.iter(f"{W}instrText")] == []
    assert {each.get(f"{W}instr") for root in roots for each in root.iter(f"{W}fldSimple")} == {"PAGE"}
    assert not [name for name in parts if "vba" in name.lower() or "embeddings" in name]


def test_properties_of_paragraphs_stand_in_the_order_that_word_wants(written: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        roots = [ElementTree.fromstring(archive.read(f"word/{name}.xml")) for name in ("document", "styles", "footer1")]
    for properties in (each for root in roots for each in root.iter(f"{W}pPr")):
        places = [ORDER.index(name) for each in properties if (name := each.tag.removeprefix(W)) in ORDER]
        assert places == sorted(places)


def test_the_document_says_whose_it_is_and_when(with_pictures: Any) -> None:
    properties = with_pictures.core_properties
    assert (properties.title, properties.author) == (RESULTS.title, "finetune-advisor")
    assert properties.created.replace(tzinfo=None) == RESULTS.provenance.time.replace(tzinfo=None)
    assert round(with_pictures.sections[0].page_width.mm) == 210


def test_header_rows_are_repeated_and_no_row_is_cut(with_pictures: Any) -> None:
    for table in with_pictures.tables:
        rows = table._tbl.tr_lst
        assert rows[0].trPr.find(f"{W}tblHeader") is not None
        assert all(row.trPr.find(f"{W}cantSplit") is not None for row in rows)


def test_a_browser_draws_every_chart() -> None:
    try:
        browser.find()
    except Missing as error:
        pytest.skip(error.message)
    row = {**CHARTS[0].rows[0], "arm": '</script><img src=x onerror="document.body.remove()">'}
    drawn = pictures([replace(CHARTS[0], rows=(row,)), CHARTS[1]])
    sizes = [(int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) for png in drawn]
    assert all(png.startswith(b"\x89PNG") for png in drawn)
    assert [width for width, _ in sizes] == [2 * WIDTH] * 2
    assert all(len(png) > 10_000 for png in drawn)
    assert pictures([]) == []
