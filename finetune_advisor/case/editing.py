"""Change `case.toml` the way a person would: the keys that are named and nothing else, comments and order kept.

A change is written only when the whole new text passes the check of `read`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from finetune_advisor.case import toml_text
from finetune_advisor.case.reading import check, plain_text
from finetune_advisor.case.sections import FILE, Case
from finetune_advisor.datasets.replace import alone, replace
from finetune_advisor.errors import BadInput

_NAMED_BY = {"models": "name", "arms": "approach"}
_MARK = b"\xef\xbb\xbf"

Values: TypeAlias = "dict[str, Any]"
Place: TypeAlias = "str | int"


def edit(folder: Path, changes: Mapping[str, object], *, sound: Callable[[Case], object] | None = None) -> Case:
    """Change keys of `case.toml`, all of them or none; others who edit the file meanwhile wait their turn.

    Args:
        folder: The case folder.
        changes: New values by dotted name, in the order in which they are made; None removes a key or a table, and a
            mapping takes the place of a whole table. A model is named by its name (``models.small.price``), an arm by
            its approach (``arms.few_shot.settings.shots``) or, where several have it, by its place from 1
            (``arms.3.settings.shots``). A mapping for a model or an arm that is not there, or for the place behind the
            last, adds it. `key` quotes names that hold dots.
        sound: Raises what else speaks against the case as it would be; called before anything is written.

    Returns:
        The case as it stands now.

    Raises:
        BadInput: No case there, no such key, or a value that `read` would refuse; the file is as it was.
    """
    path = (folder / FILE).resolve()
    if not path.is_file():
        raise BadInput(f"There is no readable {FILE} in {folder}.", hint=f"finetune-advisor new {folder} makes one.")
    with alone(path):
        text = plain_text(path)
        new = changed(text, changes)
        case = check(new, folder)
        if sound is not None:
            sound(case)
        if new != text:
            mark = _MARK if path.read_bytes().startswith(_MARK) else b""
            replace(path, mark + new.encode("utf-8"))
    return case


def changed(text: str, changes: Mapping[str, object]) -> str:
    """The text of a `case.toml` with keys changed; see `edit`. What it states is not checked.

    Raises:
        BadInput: There is no such place, or the value cannot be written as TOML.
    """
    for name, value in changes.items():
        values = tomllib.loads(text)
        for places, each in _single(name, values, _located(name, values), value):
            text = _set(name, text, places, each)
    return text


def _set(name: str, text: str, places: Sequence[Place], value: object) -> str:
    written = None if value is None else toml_text.value(name, value)
    before = tomllib.loads(text)
    wanted = _applied(name, before, places, None if written is None else tomllib.loads(f"x = {written}")["x"])
    if wanted == before:
        return text
    new = toml_text.put(text, places, written)
    if _loaded(new) != wanted:
        raise BadInput(f"{name} stands in {FILE} in a form that cannot be edited here.", hint="Change it by hand.")
    return new


def _loaded(text: str) -> Values | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _located(name: str, values: Values) -> tuple[Place, ...]:
    """Where a name points to: keys, and places from 0 in lists of tables."""
    first, *rest = toml_text.parts(name)
    if first not in _NAMED_BY:
        return first, *rest
    if not rest:
        raise BadInput(f"{name} is a list of tables.", hint=f"Name one of them: {name}.<{_NAMED_BY[first]}>.")
    return first, _place(first, rest[0], values.get(first, [])), *rest[1:]


def _place(table: str, wanted: str, items: Sequence[Values]) -> int:
    field = _NAMED_BY[table]
    found = [place for place, item in enumerate(items) if item.get(field) == wanted]
    if len(found) > 1:
        places = ", ".join(f"{table}.{place + 1}" for place in found)
        raise BadInput(f"Several {table} have the {field} {wanted}.", hint=f"Say which: {places}.")
    if not found and wanted.isdecimal() and 1 <= int(wanted) <= len(items) + 1:
        return int(wanted) - 1
    return found[0] if found else len(items)


def _single(
    name: str, values: Values, places: tuple[Place, ...], value: object
) -> list[tuple[tuple[Place, ...], object]]:
    """One change as changes of single keys where it replaces a table that is there, so that its comments stay."""
    if not isinstance(value, Mapping) or not (len(places) == 1 or (len(places) == 2 and places[0] in _NAMED_BY)):
        return [(places, value)]
    given = {**_named(name, places), **cast("Mapping[str, object]", value)}
    there = _at(values, places)
    if not isinstance(there, dict):
        return [(places, given)]
    gone = [each for each in cast(Values, there) if each not in given]
    return [((*places, each), given.get(each)) for each in (*gone, *given)]


def _named(name: str, places: Sequence[Place]) -> Values:
    """The name of a model or an arm, where the key says it."""
    said = toml_text.parts(name)[-1]
    return {} if len(places) == 1 or said.isdecimal() else {_NAMED_BY[str(places[0])]: said}


def _at(values: Any, places: Sequence[Place]) -> Any:
    for place in places:
        try:
            values = values[place]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _applied(name: str, values: object, places: Sequence[Place], value: object) -> Any:
    """The values with one of them set, or removed where it is None; a list that is left empty goes too."""
    head, rest = places[0], places[1:]
    if isinstance(values, list) and isinstance(head, int):
        return _applied_to_list(name, cast("list[object]", values), head, rest, value)
    if not isinstance(values, dict) or isinstance(head, int):
        raise BadInput(f"{name}: {FILE} has no table there.", hint="The README explains every key.")
    new = dict(cast(Values, values))
    if rest and (head in new or value is not None):
        new[head] = _applied(name, new.get(head, [] if isinstance(rest[0], int) else {}), rest, value)
    elif not rest:
        new[head] = value
    emptied = bool(rest) and isinstance(rest[0], int) and new.get(head) == []
    return {each: item for each, item in new.items() if item is not None and not (emptied and each == head)}


def _applied_to_list(name: str, items: list[object], at: int, rest: Sequence[Place], value: object) -> list[object]:
    if at == len(items) and rest:
        raise BadInput(f"{name}: the case has no {name.split('.')[1]}.", hint="Add it first.")
    new = [_applied(name, items[at], rest, value)] if rest else [] if value is None else [value]
    return [*items[:at], *new, *items[at + 1 :]]
