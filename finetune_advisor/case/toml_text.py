"""Put values into the text of a TOML file and leave all else as it stands: comments, order, spaces, numbers as written.

tomlkit finds the places. What is new goes in as text at a marked line, because tomlkit itself appends behind the
comments that belong to the next table.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias, cast

import tomlkit
from tomlkit.container import Container
from tomlkit.items import AoT, Array, Comment, InlineTable, Item, Key, Table, Trivia

from finetune_advisor.errors import BadInput

Place: TypeAlias = "str | int"
Body: TypeAlias = "list[tuple[Key | None, Item]]"

# No TOML file may hold these characters, so that the marks cannot be mistaken.
_HERE, _START = "#\x00\n", "#\x01\n"
_DIGITS = 12
_GROUPED_FROM = 10_000


def key(*parts: str) -> str:
    """The dotted name of a key, its parts quoted where TOML wants it: ``models."llama-3.1".price``."""
    return tomlkit.key(list(parts)).as_string()


def parts(name: str) -> list[str]:
    """The parts of a dotted name.

    Raises:
        BadInput: It is no name.
    """
    try:
        found: Any = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name!r} is not the name of a key.", hint="Write table.key; quote parts with dots.") from error
    names: list[str] = []
    while isinstance(found, dict) and len(cast("dict[str, Any]", found)) == 1:
        ((inner, found),) = cast("dict[str, Any]", found).items()
        names.append(inner)
    if found != 0:
        raise BadInput(f"{name!r} is not the name of one key.", hint="Write table.key; quote parts with dots.")
    return names


def value(name: str, given: object) -> str:
    """A value as a person would write it in TOML.

    Raises:
        BadInput: TOML has no such value; the message names the key.
    """
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, int | float | Decimal):
        return _number(name, given)
    if isinstance(given, str):
        return _text(name, given)
    if isinstance(given, date):
        return given.isoformat()
    if isinstance(given, Mapping):
        items = cast("Mapping[str, object]", given).items()
        return _inline({key(str(each)): value(name, item) for each, item in items if item is not None})
    if isinstance(given, list | tuple):
        return f"[{', '.join(value(name, item) for item in cast('Sequence[object]', given))}]"
    raise BadInput(f"{name} cannot be a {type(given).__name__}.", hint="Give text, a number, true or false, or a list.")


def _number(name: str, given: float | Decimal) -> str:
    """Without the last digits of binary fractions, thousands set apart, no needless point."""
    if not math.isfinite(given):
        raise BadInput(f"{name} has to be a number, not {given}.")
    if given == int(given) and (isinstance(given, int) or abs(given) < 10**15):
        return f"{int(given):_}" if abs(given) >= _GROUPED_FROM else str(int(given))
    exact = given if isinstance(given, Decimal) else Decimal(f"{given:.{_DIGITS}g}")
    plain = f"{exact:f}"
    return plain if "." in plain else f"{given:e}"


def _text(name: str, given: str) -> str:
    try:
        given.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"{name} holds half of a character that no file can hold.", hint="Type it again.") from error
    if "\n" not in given:
        return tomlkit.item(str(given)).as_string()
    written = tomlkit.string(str(given), multiline=True).as_string()
    return written if given.startswith("\n") else '"""\n' + written.removeprefix('"""')


def _inline(entries: Mapping[str, str]) -> str:
    return f"{{ {', '.join(f'{name} = {text}' for name, text in entries.items())} }}" if entries else "{}"


def put(text: str, places: Sequence[Place], written: str | None) -> str:
    """The text with one value set, or removed where it is None.

    Args:
        text: A valid TOML file.
        places: Keys, and places from 0 in lists of tables; what is not there yet is made.
        written: The value as TOML.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text if text.endswith("\n") or not text else text + newline
    document = tomlkit.parse(text)
    table, rest = _deepest(document, places)
    if not rest:
        shorter = _cut(document, table.body, newline)
        return shorter if written is None else put(shorter, places, written)
    head = str(rest[0])
    there = _item(table, head)
    if isinstance(there, AoT) or (there is None and table is document and _is_table(rest, written)):
        return _with_table(document, there, head, rest[1:], written, newline)
    new = _nested(there, rest[1:], written)
    if new is None:
        table.remove(head)
    elif there is None:
        return _with_line(document, table.body, f"{key(head)} = {new}{newline}", head)
    else:
        _set(table, head, there, new)
    return document.as_string()


def _deepest(document: Container, places: Sequence[Place]) -> tuple[Container, Sequence[Place]]:
    """The innermost table with lines of its own on the way to a place, and what is left of the way."""
    table, rest = document, list(places)
    while rest and rest[0] in table:
        item = _item(table, str(rest[0]))
        if isinstance(item, Table):
            table, rest = item.value, rest[1:]
        elif isinstance(item, AoT) and len(rest) > 1 and int(rest[1]) < len(item):
            table, rest = item[int(rest[1])].value, rest[2:]
        else:
            break
    return table, rest


def _item(table: Container, head: str) -> Item | None:
    item = table.item(head) if head in table else None
    if item is None or isinstance(item, Item):
        return item
    raise BadInput(f"[{head}] stands in several places of the file.", hint="Put its parts together by hand.")


def _is_table(rest: Sequence[Place], written: str | None) -> bool:
    return len(rest) > 1 or (written or "").startswith("{")


def _with_table(
    document: Container, there: AoT | None, head: str, rest: Sequence[Place], written: str | None, newline: str
) -> str:
    """A new table at the end of the file, or behind the last one of its list."""
    listed = bool(rest) and isinstance(rest[0], int)
    content = _nested(None, rest[1:] if listed else rest, written)
    if content is None:
        return document.as_string()
    lines = [f"[[{key(head)}]]" if listed else f"[{key(head)}]"]
    lines += [f"{name.as_string().strip()} = {item.as_string()}" for name, item in _entries(tomlkit.value(content))]
    block = newline + newline.join(lines) + newline
    if there is None:
        return document.as_string() + block
    body = there[-1].value.body
    return _spliced(document, body, _behind_keys(body), block)


def _with_line(document: Container, body: Body, line: str, head: str) -> str:
    """A new line behind the line that shows it commented out, else behind the last key of its table."""
    shown = re.compile(rf"\s*#\s*{re.escape(head)}\s*=")
    keyed = [i + 1 for i, (name, item) in enumerate(body) if name and not isinstance(item, Table | AoT)]
    commented = [i + 1 for i, (_, item) in enumerate(body) if shown.match(item.as_string()) and _is_comment(item)]
    indent = body[keyed[-1] - 1][1].trivia.indent if keyed else ""
    return _spliced(document, body, (commented or keyed[-1:] or [0])[0], indent + line)


def _is_comment(item: Item) -> bool:
    return isinstance(item, Comment)


def _spliced(document: Container, body: Body, at: int, new: str) -> str:
    _mark(body, at, _HERE)
    before, _, after = document.as_string().partition(_HERE)
    return before + new + after


def _mark(body: Body, at: int, mark: str) -> None:
    body.insert(at, (None, Comment(Trivia(comment=mark.rstrip("\n"), trail="\n"))))


def _cut(document: Container, body: Body, newline: str) -> str:
    """The text without a table; the comments behind its last key stay, as they belong to what follows."""
    _mark(body, _behind_keys(body), _HERE)
    _mark(body, 0, _START)
    before, _, rest = document.as_string().partition(_START)
    after = rest.partition(_HERE)[2]
    before = before[: before[:-1].rfind("\n") + 1]
    doubled = before.endswith(newline * 2) and after.startswith(newline)
    return before + (after.removeprefix(newline) if doubled else after)


def _behind_keys(body: Body) -> int:
    return max((i + 1 for i, (name, _) in enumerate(body) if name), default=0)


def _set(table: Container, head: str, old: Item, new: str) -> None:
    """Set a value, and keep the comment behind it in its column."""
    width = len(old.as_string())
    table[head] = tomlkit.value(new)
    now = _item(table, head)
    trivia = now.trivia if now else Trivia()
    if trivia.comment and not trivia.comment_ws.strip(" ") and "\n" not in new:
        trivia.comment_ws = " " * max(1, len(trivia.comment_ws) + width - len(new))


def _nested(item: Item | None, rest: Sequence[Place], written: str | None) -> str | None:
    """The text of a value with one value inside it set, or removed."""
    if not rest:
        return written
    head, deeper = rest[0], rest[1:]
    if isinstance(head, int):
        items = [each.as_string() for each in cast("Sequence[Item]", item)] if isinstance(item, Array) else []
        inner = cast("Sequence[Item]", item)[head] if head < len(items) else None
        new = _nested(inner, deeper, written)
        items[head : head + 1] = [] if new is None else [new]
        return f"[{', '.join(items)}]"
    known = _entries(item)
    inner = next((each for name, each in known if name.key == head), None)
    texts = {name.key: (name.as_string().strip(), each.as_string()) for name, each in known}
    new = _nested(inner, deeper, written)
    if new is None:
        texts.pop(head, None)
    else:
        texts[head] = (texts[head][0] if head in texts else key(head), new)
    return _inline(dict(texts.values()))


def _entries(item: Item | None) -> list[tuple[Key, Item]]:
    body = item.value.body if isinstance(item, InlineTable) else []
    return [(name, each) for name, each in body if name is not None]
