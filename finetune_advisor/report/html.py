"""The report as one HTML file that needs no network: styles, data and plotly.js are all inside.

Text from data and models is escaped by the template; charts travel as JSON that no browser runs. The content
security policy allows exactly the two scripts of this file, by their hashes, and no connection anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template
from markupsafe import Markup

from finetune_advisor.errors import require
from finetune_advisor.records import Results
from finetune_advisor.report.blocks import Block, Chart, Details, Heading
from finetune_advisor.report.build import build
from finetune_advisor.report.formats import MINUS, cell, outcome, slug

FOLDER = files("finetune_advisor") / "report"

FOOTER = 100
"""Characters of the title that fit beside the page number."""

LONG = 24
"""Characters of a word that a column of a table has room for."""


def to_html(results: Results, figure: Callable[[Chart], Any]) -> str:
    """The whole report as a self-contained page.

    Args:
        results: What to show.
        figure: Makes the plotly figure of a chart; `charts.figure`.
    """
    blocks = build(results)
    first = next((i for i, block in enumerate(blocks) if is_section(block)), len(blocks))
    charts = {id(chart): (f"figure-{i}", _plain(figure(chart))) for i, chart in enumerate(charts_in(blocks))}
    scripts = (plotly_script(), _read("report.js")) if charts else ()
    text = _page().render(
        title=results.title,
        first=blocks[:first],
        contents=[block for block in blocks if is_section(block)],
        rest=blocks[first:],
        plotted=list(charts_in(blocks)),
        charts=charts,
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        style=Markup(_read("report.css")),
        footer=Markup(_footer(results.title)),
    )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _footer(title: str) -> str:
    """The title on every printed page; as hexadecimal escapes it cannot end the string or the style element."""
    short = textwrap.shorten(title, FOOTER, placeholder=" …")
    return '@page { @bottom-left { content: "' + "".join(f"\\{ord(each):x} " for each in short) + '"; } }'


def _page() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(slug=slug, outcome=outcome, identity=id, cell=cell, unbroken=_unbroken, width=_width)
    return environment.from_string(_read("report.html.j2"))


def _unbroken(text: str) -> str:
    """A minus sign stays on the line of its number."""
    return text.replace(MINUS, MINUS + "\N{WORD JOINER}")


def _width(text: str) -> str:
    """The class of a cell with a word too long for a narrow column, such as a path, which has to break anywhere."""
    return " long" if any(len(word) > LONG for word in text.split()) else ""


def _policy(scripts: Iterable[str]) -> str:
    """Plotly writes its own style elements, hence the inline styles; scripts are named by hash."""
    allowed = " ".join(f"'{_hash(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def is_section(block: Block) -> bool:
    """Whether a section of the report starts here; what stands before the first is its first page."""
    return isinstance(block, Heading) and block.level == 2


def charts_in(blocks: Iterable[Block]) -> Iterable[Chart]:
    """Every chart, those in folded blocks too."""
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        if isinstance(block, Details):
            yield from charts_in(block.blocks)


def _plain(figure: Any) -> Any:
    return json.loads(figure.to_json())


def plotly_script() -> str:
    """What draws the charts in a page."""
    return str(require("plotly.offline", extra="all").get_plotlyjs())


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
