"""The whole walk in a real browser: from an empty home page to the downloaded PDF, on a part of the sample case.

Pictures of every step are left in `screenshots/`, at 1280 and at 390 pixels.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from finetune_advisor import case as cases
from finetune_advisor.models import embedded

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
SMALL = {"data.train_rows": 24, "data.validation_rows": 6, "data.test_rows": 20}
"""A part of the sample that two cores run in about a minute, with the real model."""

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
pytest.importorskip("streamlit", reason="the app needs streamlit")


class Server:
    """The app on a folder of cases; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "finetune_advisor", "app", str(self.folder / "cases"), "--headless"]
        with (self.folder / "app.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, start_new_session=True
            )
        _until(lambda: _is_up(self.url))

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)
        _until(lambda: not _is_up(self.url))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    made = Server(tmp_path)
    yield made
    made.stop()


def _is_up(url: str) -> bool:
    try:
        with urlopen(f"{url}/_stcore/health") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def page(server: Server) -> Generator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(90_000)
        opened.goto(server.url)
        yield opened
        browser.close()


def heading(page: Any, title: str) -> None:
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_function("!document.querySelector('[data-testid=\"stStatusWidget\"]')")


def picture(page: Any, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURES / f"{name}-{width}.png")
        wide = "(e => e.scrollWidth > e.clientWidth + 1)(document.querySelector('[data-testid=\"stMain\"]'))"
        assert not page.evaluate(wide), f"{name} is wider than {width} pixels"


def go(page: Any, link: str, title: str, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=link).click()
    heading(page, title)
    assert page.get_by_test_id("stException").count() == 0
    picture(page, name)


def _press(page: Any, button: str) -> None:
    """With the keyboard alone: on by Tab until the button has the focus, then Enter."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(e => e.tagName == 'BUTTON' ? e.innerText : '')(document.activeElement)").endswith(button):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"{button} cannot be reached by keyboard")


def test_the_whole_walk_from_an_empty_home_page_to_the_pdf(page: Any, server: Server, tmp_path: Path) -> None:
    embedded.chat_model_folder()
    case = tmp_path / "cases" / "sample"
    heading(page, "Should we fine-tune this language model?")
    picture(page, "1-home")
    _press(page, "Open the sample case")
    heading(page, "Use case")
    picture(page, "2-use-case")

    field = page.get_by_role("spinbutton", name="How many requests do you expect in a month?")
    field.fill("40000")
    field.press("Enter")
    _until(lambda: cases.read(case).money.requests_per_month == 40_000)

    go(page, "2 Data", "Data", "3-data")
    go(page, "3 Alternatives", "Alternatives", "4-alternatives")
    cases.edit(case, SMALL | {f"arms.{arm}.settings.max_steps": 3 for arm in ("tuned", "tuned_rag")})

    go(page, "Experiments", "Experiments", "5-experiments")
    _press(page, "Start")
    page.get_by_text("The run is going on").wait_for()
    address = page.url
    server.stop()
    server.start()
    page.goto(address)
    page.get_by_text("All experiments are done.").wait_for(timeout=1_800_000)
    picture(page, "6-experiments-done")

    go(page, "4 Costs", "Costs", "7-costs")
    go(page, "5 Benefits", "Benefits", "8-benefits")
    go(page, "Examples", "Where the approaches disagree", "9-examples")
    go(page, "6 Verdict", "Verdict", "10-verdict")
    page.get_by_role("textbox", name="Name", exact=True).fill("Noor Haddad")
    page.get_by_role("button", name="Sign").click()
    page.get_by_text("Signed on").wait_for()
    with page.expect_download(timeout=180_000) as download:
        page.get_by_role("button", name="PDF").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    go(page, "7 How", "How", "11-how")
    assert (case / "report" / "report.html").is_file()
