"""What python-docx has no words for: reading direction, shading, borders, repeated header rows and page numbers.

Text only ever becomes text: it enters as the content of text elements, never as a field, a link or markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from finetune_advisor.errors import require

NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold: control characters and halves of surrogate pairs."""

RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
STRONG = RIGHT_TO_LEFT | {"L"}

AFTER_DIRECTION = ("adjustRightInd", "snapToGrid", "spacing", "ind", "contextualSpacing", "mirrorIndents", "jc", "rPr")
AFTER_BORDERS = ("tabs", "suppressAutoHyphens", "bidi", *AFTER_DIRECTION)
"""What has to follow within a paragraph's properties, whose order is fixed."""


def clean(text: str) -> str:
    """Text that XML can hold; what it cannot hold shows as a replacement character."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def right_to_left(text: str) -> bool:
    """Whether the first letter with a direction runs from right to left, as a browser decides it too."""
    first = next((kind for kind in map(unicodedata.bidirectional, text) if kind in STRONG), "L")
    return first in RIGHT_TO_LEFT


def pieces(text: str) -> Iterable[tuple[bool, str]]:
    """Text cut where its direction changes; what has none of its own goes with what stands before it."""
    leftover = right_to_left(text)
    marked: list[tuple[bool, str]] = []
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        leftover = kind in RIGHT_TO_LEFT if kind in STRONG or kind == "EN" else leftover
        marked.append((leftover, letter))
    for direction, letters in groupby(marked, key=lambda pair: pair[0]):
        yield direction, "".join(letter for _, letter in letters)


def write(paragraph: Any, text: str, *, bold: bool = False, colour: str = "") -> None:
    """Add text to a paragraph; what starts it decides the paragraph's direction."""
    text = clean(text)
    if right_to_left(text) and not paragraph.text:
        _add(paragraph._p.get_or_add_pPr(), "bidi", AFTER_DIRECTION)
    for direction, piece in pieces(text):
        run = paragraph.add_run(piece)
        run.bold = bold or None
        run.font.rtl = direction or None
        if colour:
            run.font.color.rgb = require("docx.shared", extra="all").RGBColor.from_string(colour)


def sized(style: Any, points: float) -> None:
    """A style's size, for complex scripts too, which have a size of their own."""
    style.font.size = require("docx.shared", extra="all").Pt(points)
    for old in style.element.rPr.findall(_name("szCs")):
        style.element.rPr.remove(old)
    style.element.rPr.find(_name("sz")).addnext(_element("szCs", val=str(round(2 * points))))


def boxed(style: Any, *, shade: str, bar: str = "") -> None:
    """A shaded background for a paragraph style, and a coloured bar where its lines start."""
    properties = style.element.get_or_add_pPr()
    if bar:
        borders = _element("pBdr")
        borders.append(_element("left", val="single", sz="24", space="8", color=bar))
        properties.insert_element_before(borders, *_named(("shd", *AFTER_BORDERS)))
    properties.insert_element_before(_element("shd", val="clear", color="auto", fill=shade), *_named(AFTER_BORDERS))


def ruled(table: Any) -> None:
    """Thin lines between the rows; the header row is repeated on every page, and no row is cut."""
    borders = _element("tblBorders")
    for side in ("bottom", "insideH"):
        borders.append(_element(side, val="single", sz="4", space="0", color="CFD6DD"))
    table._tbl.tblPr.insert_element_before(borders, *_named(("shd", "tblLayout", "tblCellMar", "tblLook")))
    for row in table._tbl.tr_lst:
        row.get_or_add_trPr().append(_element("cantSplit"))
    table._tbl.tr_lst[0].get_or_add_trPr().append(_element("tblHeader"))


def described(picture: Any, title: str, alt: str) -> None:
    """The words for those who cannot see the picture."""
    properties = picture._inline.docPr
    properties.set("title", clean(title))
    properties.set("descr", clean(alt))


def page_number(paragraph: Any) -> None:
    """The number of the page, which the reader's program fills in."""
    field = _element("fldSimple", instr="PAGE")
    run = paragraph.add_run("1")
    field.append(run._r)
    paragraph._p.append(field)


def _add(parent: Any, name: str, successors: Iterable[str]) -> None:
    if parent.find(_name(name)) is None:
        parent.insert_element_before(_element(name), *_named(successors))


def _element(name: str, **values: str) -> Any:
    made = require("docx.oxml", extra="all").OxmlElement(f"w:{name}")
    for key, value in values.items():
        made.set(_name(key), value)
    return made


def _name(name: str) -> str:
    return str(require("docx.oxml.ns", extra="all").qn(f"w:{name}"))


def _named(names: Iterable[str]) -> list[str]:
    return [f"w:{name}" for name in names]
