"""The report as a PDF: complete, on A4, readable from right to left, and printed without the network."""

from __future__ import annotations

import io
import os
import re
import unicodedata
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pypdf
import pytest

from finetune_advisor.charts import figure
from finetune_advisor.errors import Missing
from finetune_advisor.report import browser
from finetune_advisor.report.blocks import Heading
from finetune_advisor.report.build import build
from finetune_advisor.report.html import to_html
from finetune_advisor.report.pdf import to_pdf
from sample_results import HOSTILE, URDU, sample_results

FORMULA = '=HYPERLINK("http://127.0.0.1/x","click")'
RESULTS = replace(sample_results(), title=f"{FORMULA} {URDU}")


@pytest.fixture(scope="module")
def needs_browser() -> None:
    try:
        browser.find()
    except Missing as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def pdf(needs_browser: None) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(to_pdf(to_html(RESULTS, figure))))


@pytest.fixture(scope="module")
def text(pdf: pypdf.PdfReader) -> str:
    return squeezed("".join(page.extract_text() for page in pdf.pages))


def squeezed(text: str) -> str:
    """Letters in their usual shapes, without the spaces and line ends that a PDF's text has at will."""
    return re.sub(r"[\s\u2060\xad]+", "", unicodedata.normalize("NFKC", text))


def test_the_first_page_has_question_answer_chance_money_reasons_flips_and_date(pdf: pypdf.PdfReader) -> None:
    first = squeezed(pdf.pages[0].extract_text())
    verdict = RESULTS.verdict
    wanted = (
        "should this use case fine-tune a language model",
        "NOT YET: tuning looks better, but 60 test examples cannot show it.",
        "86 of 100",
        "+$1,240",
        *verdict.reasons,
        *verdict.flips,
        verdict.next_step,
        "31 January 2027",
    )
    assert [each for each in wanted if squeezed(each) not in first] == []


def test_every_section_is_there_on_a4_with_bookmarks_and_page_numbers(pdf: pypdf.PdfReader, text: str) -> None:
    sections = [block.text for block in build(RESULTS) if isinstance(block, Heading) and block.level == 2]
    assert [each for each in sections if squeezed(each) not in text] == []
    bookmarks = squeezed(str(pdf.outline))
    assert [each for each in sections if squeezed(each) not in bookmarks] == []
    assert 10 <= len(pdf.pages) <= 40
    for number, page in enumerate(pdf.pages, start=1):
        assert (round(page.mediabox.width), round(page.mediabox.height)) == (595, 842)
        assert f"{number}/{len(pdf.pages)}" in squeezed(page.extract_text())


def test_what_is_folded_on_the_screen_is_unfolded_on_paper(text: str) -> None:
    for each in ("Nearly the same as line 2.", "A published table of 31 classification tasks", "2,442,240"):
        assert squeezed(each) in text


def test_charts_are_drawn_and_their_numbers_stand_at_the_end(text: str) -> None:
    assert squeezed("USD per 1,000 requests") in text
    body, _, behind = text.rpartition("Thenumbersbehindthecharts")
    assert "usd_per_1000_uncached" in behind
    assert "usd_per_1000_uncached" not in body


def test_hostile_text_is_shown_as_text(pdf: pypdf.PdfReader, text: str) -> None:
    assert squeezed(HOSTILE) in text
    assert squeezed(FORMULA) in text
    links = marks_of(pdf)
    assert links
    assert [link for link in links if "/A" in link or "/Dest" not in link] == []
    assert not pdf.attachments
    assert "/JavaScript" not in str(names(pdf))


def marks_of(pdf: Any) -> list[Any]:
    return [each.get_object() for page in pdf.pages for each in page.get("/Annots", ())]


def names(pdf: Any) -> Any:
    return pdf.trailer["/Root"].get("/Names")


def test_right_to_left_words_are_there_in_their_order(text: str) -> None:
    words = [squeezed(word) for word in URDU.split()]
    assert [word for word in words if word not in text and word[::-1] not in text] == []


class Counter(BaseHTTPRequestHandler):
    hits: list[str]

    def do_GET(self) -> None:
        self.hits.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    Counter.hits = []
    with HTTPServer(("127.0.0.1", 0), Counter) as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_page_that_wants_the_network_gets_none(needs_browser: None, server: HTTPServer) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/seen"):
        assert Counter.hits == ["/seen"]
    hosts = [f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]")]
    asked = "".join(
        f'<img src="{host}/image"><link rel="stylesheet" href="{host}/style"><iframe src="{host}/frame"></iframe>'
        f'<script src="{host}/script"></script><script>fetch("{host}/fetch")</script>'
        for host in hosts
    )
    made = to_pdf(f"<!doctype html><title>x</title><p>printed{asked}")
    assert "printed" in pypdf.PdfReader(io.BytesIO(made)).pages[0].extract_text()
    assert Counter.hits == ["/seen"]


def test_a_title_cannot_leave_the_footers_style() -> None:
    title = '"}</style><script>alert(1)</script>\\'
    style = to_html(replace(RESULTS, title=title), figure).partition("<style>")[2].partition("</style>")[0]
    content = re.findall(r'@bottom-left \{ content: "([^"]*)"', style)
    assert content == ["".join(f"\\{ord(letter):x} " for letter in title)]


def program(folder: Path, script: str) -> str:
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("script", "says"),
    [("echo no display >&2", "made nothing of the page. It said: no display"), ("exec sleep 60", "was not done after")],
)
def test_a_browser_that_fails_is_a_sentence_and_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    monkeypatch.setenv(browser.VARIABLE, program(tmp_path, script))
    monkeypatch.setattr(browser, "SECONDS", 1)
    with pytest.raises(Missing, match=says) as caught:
        to_pdf("<p>x")
    assert "open report.html" in caught.value.hint


def test_without_a_browser_the_hint_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "APPLICATIONS", ())
    monkeypatch.setattr(browser, "PROGRAMS", ())
    with pytest.raises(Missing, match="none was found") as caught:
        to_pdf("<p>x")
    assert browser.VARIABLE in caught.value.hint
    monkeypatch.setenv(browser.VARIABLE, "no-such-browser")
    with pytest.raises(Missing, match="no-such-browser"):
        browser.find()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("user", "without"), [(0, True), (1000, False)])
def test_only_root_goes_without_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, without: bool
) -> None:
    monkeypatch.setenv(browser.VARIABLE, program(tmp_path, 'echo "$@"'))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    said = browser.run("<p>x", "--dump-dom", made="output").decode().split()
    assert ("--no-sandbox" in said) is without
    profile = next(each for each in said if each.startswith("--user-data-dir=")).partition("=")[2]
    assert not Path(profile).parent.exists()
