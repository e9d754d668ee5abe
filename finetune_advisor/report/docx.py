"""The report as a Word document: real headings, lists and tables from the same blocks, and charts as pictures."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import Any

from finetune_advisor.errors import AdvisorError, require
from finetune_advisor.records import ArmAnswer, Results
from finetune_advisor.report.blocks import (
    Block,
    Bullets,
    Callout,
    CalloutKind,
    Chart,
    Details,
    ExampleCard,
    Heading,
    KeyFigures,
    Table,
    Text,
)
from finetune_advisor.report.build import build
from finetune_advisor.report.formats import cell, outcome
from finetune_advisor.report.html import charts_in, is_section
from finetune_advisor.report.ooxml import boxed, clean, described, page_number, ruled, sized, write

Pictures = Callable[[Sequence[Chart]], Sequence[bytes]]

INK, QUIET, PANEL = "1B2127", "4D5761", "F3F5F8"
TONES: dict[CalloutKind, str] = {
    "go": "0B7A4B",
    "no-go": "B23A00",
    "not-yet": "1D5FA8",
    "caution": "8A6100",
    "simulated": "A3005C",
}
SIZES = {"Normal": 10, "Heading 1": 20, "Heading 2": 15, "Heading 3": 11.5, "List Bullet": 10}
NEW_STYLES = {"Caption line": 9, "Cell": 7.5, "Figure value": 15, "Quiet": 8.5, "Said": 9, "Foot": 8}
PAGE_MM, MARGIN_MM = (210, 297), 18
LINE_MM = PAGE_MM[0] - 2 * MARGIN_MM
LINE, WORD, TEXT, PADDING = 118, 18, 60, 4
"""Characters of a table's line; of a word and of a text beyond which a column gets no wider; of the space between."""

FOOTER = 100
"""Characters of the title that fit beside the page number."""

TITLE_LIMIT = 255
"""Characters that a document's title property may have."""

BEHIND = "The numbers behind the charts"
NO_PICTURES = "The charts could not be drawn here, so their numbers stand in tables instead: "
ONE_PROMPT = "The full prompts are given for this example only; the HTML report holds those of all."


def to_docx(results: Results, pictures: Pictures) -> bytes:
    """The whole report as a .docx file.

    Args:
        results: What to show.
        pictures: Draws charts as PNG; `charts.pictures.pictures`. Where it cannot, their data stand as tables.

    Raises:
        Missing: python-docx is not installed.
    """
    blocks = _first_page_first(build(results))
    charts = list(charts_in(blocks))
    drawn, reason = _drawn(charts, pictures)
    writer = Writer(_empty(results), drawn=dict(zip(map(id, charts), drawn, strict=False)), reason=reason)
    writer.all(blocks)
    if drawn:
        writer.behind(charts)
    out = io.BytesIO()
    writer.document.save(out)
    return out.getvalue()


def _first_page_first(blocks: Sequence[Block]) -> list[Block]:
    """What is folded away elsewhere follows after the first page, as it does in print."""
    start = next((place for place, block in enumerate(blocks) if is_section(block)), len(blocks))
    return [*sorted(blocks[:start], key=lambda block: isinstance(block, Details | Chart)), *blocks[start:]]


def _drawn(charts: Sequence[Chart], pictures: Pictures) -> tuple[Sequence[bytes], str]:
    try:
        return pictures(charts), ""
    except AdvisorError as error:
        return (), error.message


class Writer:
    """Blocks one below the other into a document."""

    def __init__(self, document: Any, *, drawn: dict[int, bytes], reason: str) -> None:
        self.document = document
        self._drawn = drawn
        self._reason = reason
        self._prompts_told = False

    def all(self, blocks: Sequence[Block]) -> None:
        """Every block in its turn."""
        for block in blocks:
            self._draw(block)

    def behind(self, charts: Sequence[Chart]) -> None:
        """The charts' words and numbers, at the end."""
        self._heading(2, BEHIND)
        for chart in charts:
            self._heading(3, chart.title)
            self._numbers(chart)

    def _draw(self, block: Block) -> None:
        match block:
            case Heading():
                self._heading(block.level, block.text)
            case Text():
                self._line(block.text)
            case Bullets():
                self._bullets(block.items)
            case Table():
                self._table(block)
            case KeyFigures():
                self._figures(block)
            case Callout():
                self._callout(block)
            case Chart():
                self._chart(block)
            case ExampleCard():
                self._example(block)
            case Details():
                self._line(block.title, bold=True).paragraph_format.keep_with_next = True
                self.all(block.blocks)

    def _heading(self, level: int, text: str) -> None:
        write(self.document.add_heading(level=level), text)

    def _line(self, text: str, style: str = "Normal", *, bold: bool = False) -> Any:
        paragraph = self.document.add_paragraph(style=style)
        write(paragraph, text, bold=bold)
        return paragraph

    def _bullets(self, items: Sequence[str]) -> None:
        for item in items:
            self._line(item, "List Bullet")

    def _callout(self, block: Callout) -> None:
        paragraph = self.document.add_paragraph(style=f"Callout {block.kind}")
        write(paragraph, block.title, bold=True, colour=TONES[block.kind])
        paragraph.add_run().add_break()
        write(paragraph, block.text)

    def _figures(self, block: KeyFigures) -> None:
        row = self.document.add_table(rows=1, cols=len(block.figures))
        for place, each in zip(row.rows[0].cells, block.figures, strict=True):
            for text, style in ((each.name, "Quiet"), (each.value, "Figure value"), (each.note, "Quiet")):
                write(_next_line(place, style), text)
        ruled(row)
        self._line("", "Cell")

    def _table(self, block: Table) -> None:
        if block.caption:
            self._line(block.caption, "Caption line")
        made = self.document.add_table(rows=1 + len(block.rows), cols=len(block.columns))
        widths = _widths(block)
        for row, texts in zip(made.rows, (block.columns, *block.rows), strict=True):
            for place, text, align, width in zip(row.cells, texts, block.align, widths, strict=True):
                _fill(place, text, align, bold=texts is block.columns)
                place.width = width
        for column, width in zip(made.columns, widths, strict=True):
            column.width = width
        ruled(made)
        self._line("", "Cell")

    def _chart(self, block: Chart) -> None:
        picture = self._drawn.get(id(block))
        self._line(block.title, bold=True).paragraph_format.keep_with_next = True
        if picture is None:
            self._line(NO_PICTURES + self._reason, "Quiet")
            self._numbers(block)
            return
        width = require("docx.shared", extra="all").Mm(LINE_MM)
        described(self.document.add_picture(io.BytesIO(picture), width=width), block.title, block.alt)

    def _numbers(self, block: Chart) -> None:
        self._line(block.alt)
        columns = tuple(block.rows[0]) if block.rows else ()
        if columns:
            align = "".join("r" if isinstance(value, int | float) else "l" for value in block.rows[0].values())
            rows = tuple(tuple(cell(value) for value in row.values()) for row in block.rows)
            self._table(Table(columns=columns, rows=rows, align=align))

    def _example(self, block: ExampleCard) -> None:
        example = block.disagreement
        self._heading(3, f"Test example {example.example_id}")
        self._line(example.question, "Said")
        self._line("Wanted:", "Quiet")
        self._line(example.expected, "Said")
        if not self._prompts_told:
            self._line(ONE_PROMPT, "Quiet")
        for answer in example.answers:
            self._answer(answer, simulated=answer.arm in block.simulated)
        self._prompts_told = True

    def _answer(self, answer: ArmAnswer, *, simulated: bool) -> None:
        line = self._line(answer.arm, bold=True)
        line.paragraph_format.keep_with_next = True
        line.add_run(f"{' (simulated)' if simulated else ''}: {outcome(answer)}, score {answer.score:.2g}")
        self._line(answer.failure or answer.text or "(an empty answer)", "Said")
        if not self._prompts_told:
            self._prompt(answer)

    def _prompt(self, answer: ArmAnswer) -> None:
        self._line(f"The full prompt: {answer.prompt_tokens} tokens in, {answer.completion_tokens} out", "Quiet")
        for message in answer.prompt:
            self._line(message.role, "Quiet")
            self._line(message.content, "Said")
        if answer.passages:
            self._line("Passages: " + ", ".join(answer.passages), "Quiet")


def _next_line(place: Any, style: str) -> Any:
    """An empty paragraph of a table's cell: the one that it comes with, then new ones."""
    first = place.paragraphs[0]
    if first.text:
        return place.add_paragraph(style=style)
    first.style = style
    return first


def _fill(place: Any, text: str, align: str, *, bold: bool) -> None:
    paragraph = place.paragraphs[0]
    paragraph._p.style = "Cell"  # by its id: to look it up by name takes milliseconds, and there are thousands of cells
    write(paragraph, text, bold=bold)
    if align == "r":
        paragraph.alignment = require("docx.enum.text", extra="all").WD_ALIGN_PARAGRAPH.RIGHT


def _widths(table: Table) -> list[Any]:
    """A table fills the line; every column has room for its words, and long texts share what is left."""
    columns = [(name, *(row[place] for row in table.rows)) for place, name in enumerate(table.columns)]
    least = [PADDING + min(_longest(" ".join(texts).split()), WORD) for texts in columns]
    wish = [PADDING + min(_longest(texts), TEXT) for texts in columns]
    more = sum(wish) - sum(least)
    share = min(1.0, max(0.0, (LINE - sum(least)) / more)) if more > 0 else 0.0
    needs = [low + share * max(0, high - low) for low, high in zip(least, wish, strict=True)]
    shared = require("docx.shared", extra="all")
    return [shared.Mm(LINE_MM * need / sum(needs)) for need in needs]


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _empty(results: Results) -> Any:
    document = require("docx", extra="all").Document()
    _page(document)
    _styles(document)
    _properties(document.core_properties, results)
    _footer(document, textwrap.shorten(results.title, FOOTER, placeholder=" …"))
    return document


def _footer(document: Any, title: str) -> None:
    line = document.sections[0].footer.paragraphs[0]
    line.style = "Foot"
    end = require("docx.enum.text", extra="all").WD_TAB_ALIGNMENT.RIGHT
    line.paragraph_format.tab_stops.add_tab_stop(require("docx.shared", extra="all").Mm(LINE_MM), end)
    write(line, f"{title}\t")
    page_number(line)


def _page(document: Any) -> None:
    shared = require("docx.shared", extra="all")
    section = document.sections[0]
    section.page_width, section.page_height = map(shared.Mm, PAGE_MM)
    for side in ("left", "right", "top", "bottom"):
        setattr(section, f"{side}_margin", shared.Mm(MARGIN_MM))


def _styles(document: Any) -> None:
    colour = require("docx.shared", extra="all").RGBColor.from_string
    for name, points in SIZES.items():
        _plain(document.styles[name], points, colour(INK))
    for name, points in NEW_STYLES.items():
        _plain(_added(document.styles, name), points, colour(INK))
    document.styles["Normal"].font.name = "Calibri"
    document.styles["Caption line"].paragraph_format.keep_with_next = True
    document.styles["Figure value"].font.bold = True
    document.styles["Quiet"].font.color.rgb = colour(QUIET)
    boxed(document.styles["Said"], shade=PANEL)
    for kind, tone in TONES.items():
        style = _added(document.styles, f"Callout {kind}")
        boxed(style, shade=PANEL, bar=tone)
        _plain(style, 10 if kind == "caution" else 12, colour(INK))


def _added(styles: Any, name: str) -> Any:
    made = styles.add_style(name, require("docx.enum.style", extra="all").WD_STYLE_TYPE.PARAGRAPH)
    made.base_style = styles["Normal"]
    return made


def _plain(style: Any, points: float, ink: Any) -> None:
    sized(style, points)
    style.font.color.rgb = ink
    style.paragraph_format.space_after = require("docx.shared", extra="all").Pt(1 if style.name == "Cell" else 5)


def _properties(properties: Any, results: Results) -> None:
    when = results.provenance.time.astimezone(UTC).replace(tzinfo=None)
    properties.title = clean(results.title)[:TITLE_LIMIT]
    properties.author = properties.last_modified_by = "finetune-advisor"
    properties.comments = ""
    properties.created = properties.modified = when
