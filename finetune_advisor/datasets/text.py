"""Bytes to text, line by line, whatever the encoding: byte-order marks, UTF-16 and Windows-1252 are told apart."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from finetune_advisor.errors import BadInput
from finetune_advisor.records import Finding

_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD_BYTES = 65536
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SAVE_AS_UTF8 = "Save the file as UTF-8 text."


def lines(path: Path, findings: list[Finding]) -> Iterator[str]:
    r"""The lines of a text file, each with its ``\n``, read as they are needed.

    Args:
        path: The file.
        findings: Gets an ``encoding`` finding where the file is not plain UTF-8.

    Raises:
        BadInput: The file is missing, unreadable or not text.
    """
    head = _head(path)
    wide = _wide_encoding(head)
    if _is_binary(head.decode(wide, "replace").encode("utf-8", "replace") if wide else head):
        raise BadInput(f"{path} is not a text file.", hint=_SAVE_AS_UTF8)
    if wide is None:
        return _byte_lines(path, findings)
    findings.append(_finding(path, 0, "info", f"The file is {wide.upper()}; it was read as such."))
    return _wide_lines(path, wide)


def read(path: Path, findings: list[Finding]) -> str:
    """The whole text of a file; see `lines`."""
    return "".join(lines(path, findings))


def utf8_from(path: Path) -> int | None:
    """The byte behind the byte-order mark of a file that may be UTF-8; None for UTF-16 and UTF-32."""
    head = _head(path)
    if _wide_encoding(head) is not None:
        return None
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def check_file(path: Path) -> None:
    """See that there is a file with something in it.

    Raises:
        BadInput: Missing, a folder or a device, empty, or not readable by this user.
    """
    try:
        _check_kind(path)
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"{path} cannot be read: {reason}.", hint="Check the path and its permissions.") from error
    if empty:
        raise BadInput(f"{path} is empty.", hint="Give a file that holds at least one row.")


def _check_kind(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"There is no file {path}.", hint="Check the path; it counts from the current folder.")
    if path.is_dir():
        raise BadInput(f"{path} is a folder, not a file.", hint="Give the path of one file in it.")
    if not path.is_file():
        raise BadInput(f"{path} is not an ordinary file.", hint="Copy its contents into a file first.")


def _head(path: Path) -> bytes:
    check_file(path)
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its mark, or UTF-16 without one by the zeros in one half of its bytes."""
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    pairs = max(1, len(head) // 2)
    low, high = head[0::2].count(0) / pairs, head[1::2].count(0) / pairs
    if high > 0.1 and low < 0.02:
        return "utf-16-le"
    return "utf-16-be" if low > 0.1 and high < 0.02 else None


def _is_binary(head: bytes) -> bool:
    return len(_CONTROL.findall(head)) * 20 > len(head)


def _wide_lines(path: Path, encoding: str) -> Iterator[str]:
    with path.open(encoding=encoding, errors="replace") as stream:
        yield from stream


def _byte_lines(path: Path, findings: list[Finding]) -> Iterator[str]:
    """UTF-8 lines; a line that is not UTF-8 is read as Windows-1252, so that one bad line spoils no other."""
    old: list[int] = []
    beyond_ascii = False
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if number == 1 and raw.startswith(codecs.BOM_UTF8):
                findings.append(_finding(path, 0, "info", "The file starts with a byte-order mark; it was left out."))
                raw = raw.removeprefix(codecs.BOM_UTF8)
                if not raw:
                    break
            try:
                text = raw.decode("utf-8")
                beyond_ascii = beyond_ascii or not raw.isascii()
            except UnicodeDecodeError as error:
                text, is_old = _decode_old(path, number, error, beyond_ascii)
                old += [number] * is_old
            yield text.removesuffix("\r\n") + "\n" if text.endswith("\r\n") else text
    if old:
        findings.append(_finding(path, old[0], "warning", _old_message(old)))


def _decode_old(path: Path, number: int, error: UnicodeDecodeError, beyond_ascii: bool) -> tuple[str, bool]:
    """The text of a line that is not UTF-8, and whether it was taken for Windows-1252."""
    raw = error.object
    beyond_ascii = beyond_ascii or not raw[: error.start].isascii()
    if error.reason == "unexpected end of data" and beyond_ascii:
        return raw.decode("utf-8", "replace"), False  # a UTF-8 file cut off in the middle of a character
    try:
        if _CONTROL.search(raw):
            raise error
        return raw.decode("cp1252"), True
    except UnicodeDecodeError:
        message = f"Line {number} of {path} is neither UTF-8 nor Windows-1252 text."
        raise BadInput(message, hint=_SAVE_AS_UTF8) from None


def _old_message(old: list[int]) -> str:
    more = f" (and {len(old) - 1} more)" if len(old) > 1 else ""
    return (
        f"Line {old[0]}{more} is not UTF-8; it was read as Windows-1252 (Latin-1). "
        "If accents or letters look wrong, save the file as UTF-8."
    )


def _finding(path: Path, line: int, severity: str, message: str) -> Finding:
    level = "warning" if severity == "warning" else "info"
    return Finding(file=str(path), line=line, code="encoding", severity=level, message=message)
