"""The report as one HTML file that needs no network: styles, data and plotly.js are all inside.

Text from data and models is escaped by the template; charts travel as JSON that no browser runs. The content
security policy allows exactly the two scripts of this file, by their hashes, and no connection anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template
from markupsafe import Markup

from finetune_advisor.errors import require
from finetune_advisor.records import Results
from finetune_advisor.report.blocks import Block, Chart, Details, Heading
from finetune_advisor.report.build import build
from finetune_advisor.report.formats import cell, outcome, slug

FOLDER = files("finetune_advisor") / "report"


def to_html(results: Results, figure: Callable[[Chart], Any]) -> str:
    """The whole report as a self-contained page.

    Args:
        results: What to show.
        figure: Makes the plotly figure of a chart; `charts.figure`.
    """
    blocks = build(results)
    first = next((i for i, block in enumerate(blocks) if _is_section(block)), len(blocks))
    charts = {id(chart): (f"figure-{i}", _plain(figure(chart))) for i, chart in enumerate(_charts(blocks))}
    scripts = (_plotly(), _read("report.js")) if charts else ()
    text = _page().render(
        title=results.title,
        first=blocks[:first],
        contents=[block for block in blocks if _is_section(block)],
        rest=blocks[first:],
        charts=charts,
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        style=Markup(_read("report.css")),
    )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _page() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(slug=slug, outcome=outcome, identity=id, cell=cell)
    return environment.from_string(_read("report.html.j2"))


def _policy(scripts: Iterable[str]) -> str:
    """Plotly writes its own style elements, hence the inline styles; scripts are named by hash."""
    allowed = " ".join(f"'{_hash(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _is_section(block: Block) -> bool:
    return isinstance(block, Heading) and block.level == 2


def _charts(blocks: Iterable[Block]) -> Iterable[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        if isinstance(block, Details):
            yield from _charts(block.blocks)


def _plain(figure: Any) -> Any:
    return json.loads(figure.to_json())


def _plotly() -> str:
    return str(require("plotly.offline", extra="all").get_plotlyjs())


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
