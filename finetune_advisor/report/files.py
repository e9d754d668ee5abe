"""The reports as files in the case folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_advisor.records import Results
from finetune_advisor.report.blocks import Chart
from finetune_advisor.report.document import to_json
from finetune_advisor.report.html import to_html
from finetune_advisor.report.markdown import to_markdown


def write(folder: Path, results: Results, figure: Callable[[Chart], Any]) -> None:
    """Write report.html, report.md and results.json; whoever reads at that moment sees the old or the new one, whole.

    Args:
        folder: Where to; made when absent.
        results: What to show.
        figure: Makes the plotly figure of a chart; `charts.figure`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "report.html", to_html(results, figure))
    _replace(folder / "report.md", to_markdown(results))
    _replace(folder / "results.json", to_json(results))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
