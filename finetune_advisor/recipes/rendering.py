"""Files out of templates and values. What people or results bring in is written as a literal, never as code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.report.markdown import escape, paragraph


def rendered(name: str, recipe: Recipe, **values: Any) -> str:
    """A template with its values.

    Nothing is HTML here: texts go through `md` or `paragraph` in Markdown, and through `literal` in Python.
    """
    environment = Environment(
        loader=PackageLoader("finetune_advisor.recipes"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(md=escape, paragraph=paragraph, literal=literal)
    return environment.get_template(name).render(recipe=recipe, options=recipe.options, **values)


def literal(value: str | list[str]) -> str:
    """A Python literal, which for text and lists of text is written as in JSON."""
    return json.dumps(value)


def yaml(values: Mapping[str, Any]) -> str:
    """Values as YAML, in block style; each text in quotes, as in JSON, so that it stays a text."""
    return "".join(f"{line}\n" for line in _block(values))


def _block(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        match value:
            case dict():
                yield f"{key}:"
                yield from (f"  {line}" for line in _block(cast(dict[str, Any], value)))
            case [dict(), *_]:
                yield f"{key}:"
                for item in cast(list[dict[str, Any]], value):
                    first, *rest = _block(item)
                    yield f"  - {first}"
                    yield from (f"    {line}" for line in rest)
            case _:
                yield f"{key}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    text = json.dumps(value)
    # YAML 1.1 takes 1e-05 for a text: it wants a point in a number with an exponent.
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
