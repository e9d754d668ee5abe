"""Title and text of one document file: Markdown, plain text, HTML, PDF."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from finetune_advisor.datasets import text
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Finding

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_UNSEEN = ("script", "style", "noscript", "template", "title")
_BLOCKS = re.compile(
    "^(?:address|article|aside|blockquote|body|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6r]|header"
    "|main|nav|ol|p|pre|section|table|ul)$"
)
_LINES = ("br", "li", "tr")
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
    return heading[1].rstrip(" \t#") if heading else "", content


def _plain(path: Path, findings: list[Finding]) -> tuple[str, str]:
    return "", _text(path, findings)


def _text(path: Path, findings: list[Finding]) -> str:
    return "" if path.stat().st_size == 0 else text.read(path, findings)


def _html(path: Path, findings: list[Finding]) -> tuple[str, str]:
    """HTML names its own encoding, so it goes to bs4 as bytes; undeclared UTF-8 is not left to a guess."""
    raw = _bytes(path)
    soup = require("bs4", extra="all").BeautifulSoup(raw, "html.parser", from_encoding=_utf8(raw))
    found = soup.title or soup.h1
    title = " ".join(found.get_text().split()) if found else ""
    for tag in soup.find_all(_UNSEEN):
        tag.decompose()
    for tag in soup.find_all("pre"):
        tag.string = tag.get_text().replace("\n", _LINE)
    for names, mark in ((_BLOCKS, _BLOCK), (_LINES, _LINE), (("td", "th"), " ")):
        for tag in soup.find_all(names):
            tag.insert_before(mark)
            tag.insert_after(mark)
    return title, _lines(soup.get_text())


def _lines(marked: str) -> str:
    """Text with its white space folded and its marks turned into line ends and blank lines."""
    return re.sub(rf"[\s{_BLOCK}{_LINE}]+", _gap, marked).strip()


def _gap(found: re.Match[str]) -> str:
    if _BLOCK in found[0]:
        return "\n\n"
    return "\n" if _LINE in found[0] else " "


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


def _utf8(raw: bytes) -> str | None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "utf-8"


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
