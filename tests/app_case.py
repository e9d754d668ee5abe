"""A folder of cases and the app on it, for the tests of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="the app needs streamlit")

from streamlit.testing.v1 import AppTest

from finetune_advisor import case as cases
from finetune_advisor.records import Results
from finetune_advisor.report.document import to_json

APP = Path(__file__).parents[1] / "app.py"
NAME = "support"


def make_case(root: Path, results: Results | None = None, name: str = NAME) -> Path:
    """The sample case in a folder of cases, with these results."""
    folder = root / name
    cases.sample(folder)
    if results is not None:
        (folder / "report").mkdir()
        (folder / "report" / "results.json").write_text(to_json(results), encoding="utf-8")
    return folder


def shown(page: str, name: str = NAME) -> Any:
    """A page after its first run; typed Any because AppTest's elements are."""
    at: Any = AppTest.from_file(APP, default_timeout=60)
    at.session_state["case"] = name
    at.run()
    at.switch_page(f"finetune_advisor/pages/{page}.py").run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def words(at: Any) -> str:
    """Everything that the page says."""
    notes = ("info", "error", "warning", "success")
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "code", *notes)
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))
