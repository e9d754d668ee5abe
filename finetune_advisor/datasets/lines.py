"""The lines of a text file as bytes and as text side by side, so that some can be changed and the rest kept."""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.datasets import text
from finetune_advisor.errors import BadInput

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_WIDE = ("utf-16-le", "utf-16-be")
_ENDS = ("\r\n", "\n", "\r")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A file as `datasets.text` reads it.

    Args:
        name: The file's name.
        mark: Its byte-order mark, or b"".
        codec: What new text is written in.
        pieces: The bytes of each line, its end included.
        texts: The text of each line; its end is one line feed.
    """

    name: str
    mark: bytes
    codec: str
    pieces: tuple[bytes, ...]
    texts: tuple[str, ...]

    @property
    def content(self) -> bytes:
        """The whole file."""
        return self.mark + b"".join(self.pieces)

    def can_hold(self, new: str) -> bool:
        """Whether the file's encoding has all characters of a text."""
        try:
            new.encode(self.codec)
        except UnicodeEncodeError:
            return False
        return True

    def cannot_hold(self) -> BadInput:
        """The error for text that the file's encoding has no place for."""
        message = f"{self.name} is {self.codec.upper()} text, which cannot hold what was typed."
        return BadInput(message, hint="Save the file as UTF-8 first.")

    def edited(self, edits: Mapping[int, tuple[int, str | None]]) -> tuple[bytes, str]:
        """The file with lines replaced: its bytes, and the text that they have to read back as.

        Args:
            edits: By first line (from 0): the line behind the last one, and the new text, or None to leave them out.

        Raises:
            BadInput: The encoding has no place for a character.
        """
        content, expected, at = [self.mark], list[str](), 0
        while at < len(self.pieces):
            end, new = edits.get(at, (at + 1, ""))
            if at not in edits:
                content.append(self.pieces[at])
                expected.append(self.texts[at])
            elif new is not None:
                closing = self._end(self.pieces[end - 1])
                inner = closing or self._end(self.pieces[0]) or "\n"
                content.append(self._encoded(new.replace("\n", inner) + closing))
                expected.append(new + "\n" * bool(closing))
            at = end
        return b"".join(content), "".join(expected)

    def _end(self, piece: bytes) -> str:
        return next((end for end in _ENDS if piece.endswith(end.encode(self.codec))), "")

    def _encoded(self, new: str) -> bytes:
        if not self.can_hold(new):
            raise self.cannot_hold()
        return new.encode(self.codec)


def read_lines(path: Path) -> Lines:
    """The lines of a file.

    Raises:
        BadInput: It is missing, unreadable, no text, or damaged so that it could not be written back as it is.
    """
    texts = tuple(text.lines(path, []))
    content = path.read_bytes()
    mark, codec = _encoding(content, "".join(texts))
    body = content[len(mark) :]
    pieces = tuple(io.BytesIO(body)) if codec in ("utf-8", "cp1252") else _wide_pieces(body, codec)
    if len(pieces) != len(texts) or b"".join(pieces) != body:
        raise BadInput(f"{path} is damaged and cannot be edited here.", hint="Save the file as UTF-8 text.")
    return Lines(name=path.name, mark=mark, codec=codec, pieces=pieces, texts=texts)


def _encoding(content: bytes, read: str) -> tuple[bytes, str]:
    """The mark and the encoding; UTF-16 without a mark is what reads as the text that was read."""
    for mark, codec in _MARKS.items():
        if content.startswith(mark):
            return mark, codec
    wide = next((codec for codec in _WIDE if _one_end(content.decode(codec, "replace")) == read), None)
    if wide:
        return b"", wide
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    return mark, "utf-8" if _is_utf8(content) else "cp1252"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _one_end(read: str) -> str:
    return read.replace("\r\n", "\n").replace("\r", "\n")


def _wide_pieces(body: bytes, codec: str) -> tuple[bytes, ...]:
    """Lines with their ends; none where the bytes are not that encoding."""
    passing = "surrogatepass"
    try:
        return tuple(line.encode(codec, passing) for line in io.StringIO(body.decode(codec, passing), newline=""))
    except UnicodeError:
        return ()
