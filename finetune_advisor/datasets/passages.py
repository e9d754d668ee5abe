"""Cut documents into passages that fit into a prompt, along their paragraphs and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

from finetune_advisor.records import Document, Passage

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"  # Chinese, Japanese, full-width forms
)
_PIECE = re.compile(rf"[{_UNSPACED}]{{1,2}}|[^\s{_UNSPACED}]{{1,32}}")
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?\u061f\u06d4\u0964\u2026])\s+|(?<=[\u3002\uff01\uff1f])\s*|\n")
_HEADING = re.compile(r"\s*+#{1,6} [^\n]*+\s*+")


def word_count(text: str) -> int:
    """Words of a text; two characters count as one in scripts without spaces, and so do 32 of an endless word."""
    return sum(1 for _ in _PIECE.finditer(text))


def passages(documents: Iterable[Document], max_words: int = 120) -> tuple[Passage, ...]:
    """Cut documents into passages; every character but white space is in exactly one of them.

    Whole paragraphs are packed together as long as they fit, a longer paragraph is cut at its sentence ends,
    a longer sentence between words. A Markdown heading stays with what follows it.

    Args:
        documents: The documents; the passages of `d` are called ``d#0``, ``d#1``, ...
        max_words: Most words of a passage, by `word_count`.
    """
    return tuple(chain.from_iterable(_passages(document, max_words) for document in documents))


def _passages(document: Document, max_words: int) -> Iterator[Passage]:
    texts = (text for text in _pack(_parts(document.text, max_words), max_words) if text)
    for number, text in enumerate(texts):
        yield Passage(id=f"{document.id}#{number}", document_id=document.id, title=document.title, text=text)


def _pack(parts: Iterable[str], max_words: int) -> Iterator[str]:
    """Neighbours joined as long as they fit."""
    text, words = "", 0
    for part in parts:
        more = word_count(part)
        if words + more > max_words:
            yield text.strip()
            text, words = "", 0
        text, words = text + part, words + more
    yield text.strip()


def _parts(text: str, max_words: int) -> Iterator[str]:
    """A text in parts that fit, each as coarse as it can be; together they are the text."""
    for paragraph in _with_headings(_slices(text, _ends(_PARAGRAPH_END, text))):
        if word_count(paragraph) <= max_words:
            yield paragraph
            continue
        for sentence in _with_headings(_slices(paragraph, _ends(_SENTENCE_END, paragraph))):
            starts = [piece.start() for piece in _PIECE.finditer(sentence)]
            yield from _slices(sentence, starts[max_words::max_words])


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    return [found.end() for found in pattern.finditer(text)]


def _slices(text: str, cuts: Sequence[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def _with_headings(parts: Iterable[str]) -> Iterator[str]:
    """Parts of a text, each heading in front of the part that it announces."""
    heading = ""
    for part in parts:
        if _HEADING.fullmatch(part):
            heading += part
        else:
            yield heading + part
            heading = ""
    yield heading
