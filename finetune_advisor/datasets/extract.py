"""Title and text of one document file: Markdown, plain text, HTML, PDF."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from finetune_advisor.datasets import text
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Finding

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_UNSEEN = ("script", "style", "noscript", "template", "title")
_BLOCKS = re.compile(
    "^(?:address|article|aside|blockquote|body|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6r]|header"
    "|main|nav|ol|p|pre|section|table|ul)$"
)
_BLOCK, _LINE = "\ue000", "\ue001"  # private characters: they outlive the folding of white space


def extract(path: Path, findings: list[Finding]) -> tuple[str, str]:
    """Title ("" where there is none) and text of a document ("" for a scan).

    Raises:
        BadInput: Not readable, or not what its suffix says.
    """
    return _EXTRACTORS[path.suffix.lower()](path, findings)


def _markdown(path: Path, findings: list[Finding]) -> tuple[str, str]:
    content = _text(path, findings)
    heading = _HEADING.search(content)
    if heading is None:
        return "", content
    # A heading on top is kept as the title only: passages are shown with their title.
    on_top = not content[: heading.start()].strip()
    return heading[1].rstrip(" \t#"), content[heading.end() :].lstrip() if on_top else content


def _plain(path: Path, findings: list[Finding]) -> tuple[str, str]:
    return "", _text(path, findings)


def _text(path: Path, findings: list[Finding]) -> str:
    return "" if path.stat().st_size == 0 else text.read(path, findings)


def _html(path: Path, findings: list[Finding]) -> tuple[str, str]:
    soup = require("bs4", extra="all").BeautifulSoup(_page(path, findings), "html.parser")
    found = soup.title or soup.h1
    return " ".join(found.get_text().split()) if found else "", _lines("".join(_marked(soup)))


def _marked(soup: Any) -> Iterator[str]:
    """The visible texts in order, with marks where a browser would break; no recursion, as pages may nest deeply.

    bs4 has classes of their own for comments, scripts and the like; plain text is what is left.
    """
    plain = (require("bs4", extra="all").NavigableString, require("bs4", extra="all").CData)
    waiting: list[Any] = [soup]
    while waiting:
        node = waiting.pop()
        if type(node) in (str, *plain):
            yield node
        elif getattr(node, "name", None) and node.name not in _UNSEEN:
            mark = _mark(node.name)
            inside = [node.get_text().replace("\n", _LINE)] if node.name == "pre" else reversed(node.contents)
            waiting += [mark, *inside, mark]


def _mark(tag: str) -> str:
    if _BLOCKS.match(tag):
        return _BLOCK
    if tag in ("br", "li", "tr"):
        return _LINE
    return " " if tag in ("td", "th") else ""


def _lines(marked: str) -> str:
    """Text with its white space folded and its marks turned into line ends and blank lines."""
    return re.sub(rf"[\s{_BLOCK}{_LINE}]+", _gap, marked).strip()


def _gap(found: re.Match[str]) -> str:
    if _BLOCK in found[0]:
        return "\n\n"
    return "\n" if _LINE in found[0] else " "


def _page(path: Path, findings: list[Finding]) -> str:
    """A page as UTF-8 where it is that, or else in the encoding that it names, or else as any other text."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    declared = require("bs4.dammit", extra="all").EncodingDetector.find_declared_encoding(raw, is_html=True)
    for encoding in ("utf-8-sig", declared or "utf-8"):
        try:
            return raw.decode(encoding)
        except (LookupError, ValueError):
            continue
    return text.read(path, findings)


def _pdf(path: Path, findings: list[Finding]) -> tuple[str, str]:
    """Pages are paragraphs of their own. What pypdf says of slips in the file is not for people."""
    pypdf = require("pypdf", extra="all")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(path)
        content = "\n\n".join(page.extract_text() for page in reader.pages)
        title = str(reader.metadata.title or "") if reader.metadata else ""
    except Exception as error:  # a damaged PDF makes pypdf raise nearly anything
        message = f"{path} cannot be read as a PDF ({type(error).__name__})."
        raise BadInput(message, hint="Open and save it again, without a password.") from error
    return _encodable(title).strip(), _encodable(content)


def _encodable(content: str) -> str:
    """PDF fonts may map to halves of surrogate pairs, which no encoding can write."""
    return content.encode("utf-8", "replace").decode("utf-8")


_EXTRACTORS: dict[str, Callable[[Path, list[Finding]], tuple[str, str]]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
SUFFIXES = tuple(_EXTRACTORS)
"""The kinds of document that can be read."""
