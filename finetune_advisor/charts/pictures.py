"""Charts as PNG pictures, for files that cannot draw: all of them in one run of a browser of this machine."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from finetune_advisor.charts import figure
from finetune_advisor.errors import Missing
from finetune_advisor.report import browser
from finetune_advisor.report.blocks import Chart
from finetune_advisor.report.html import plotly_script

WIDTH = 830
"""Pixels of a chart across the page, as `report.js` has it for paper."""

SCALE = 2
"""Dots of the picture per pixel."""

INK, PAPER = "#1b2127", "#ffffff"

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<body>
<script>{plotly}</script>
<script type="application/json" id="figures">{figures}</script>
<script>
JSON.parse(document.getElementById("figures").textContent).forEach(function (figure) {{
  var picture = document.body.appendChild(document.createElement("pre"));
  Plotly.toImage(figure, {{ format: "png", width: {width}, height: figure.layout.height || 450, scale: {scale} }})
    .then(function (url) {{ picture.textContent = url; }});
}});
</script>
"""

FOUND = re.compile(r"<pre>(?:data:image/png;base64,([A-Za-z0-9+/=]+))?</pre>")


def pictures(charts: Sequence[Chart]) -> list[bytes]:
    """A PNG of each chart, on white.

    Raises:
        Missing: plotly is not installed, no browser was found, or it did not draw.
    """
    if not charts:
        return []
    page = PAGE.format(plotly=plotly_script(), figures=_as_json(charts), width=WIDTH, scale=SCALE)
    # Time that passes as fast as the browser gets things done: it waits for the pictures, not for the clock.
    drawn = browser.run(page, "--virtual-time-budget=60000", "--dump-dom", made="output").decode("utf-8", "replace")
    found = [base64.b64decode(text) for text in FOUND.findall(drawn.rpartition("</script>")[2]) if text]
    if len(found) != len(charts):
        raise Missing(f"The browser drew {len(found)} of {len(charts)} charts.", hint=browser.HINT)
    return found


def _as_json(charts: Sequence[Chart]) -> str:
    """The figures as JSON that cannot end its script element."""
    return json.dumps([_on_paper(figure(chart)) for chart in charts]).replace("<", "\\u003c")


def _on_paper(made: Any) -> Any:
    made.update_layout(paper_bgcolor=PAPER, plot_bgcolor=PAPER, font_color=INK)
    made.update_xaxes(linecolor=INK, tickcolor=INK)
    made.update_yaxes(linecolor=INK, tickcolor=INK)
    return json.loads(made.to_json())
