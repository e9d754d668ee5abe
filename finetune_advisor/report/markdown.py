"""The report as Markdown with pipe tables; text from data and models is escaped or fenced."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from finetune_advisor.records import ArmAnswer, Results
from finetune_advisor.report.blocks import (
    Block,
    Bullets,
    Callout,
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

SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])|:(?=[A-Za-z])")
"""What starts markup within a line, on GitHub or in Streamlit (its directives start with a colon)."""

BLOCK_START = re.compile(r"^(?:(\d+)([.)])|([#+\-=]))")


def to_markdown(results: Results) -> str:
    """The whole report as Markdown."""
    text = "\n\n".join(part for block in build(results) for part in _lines(block)) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def paragraph(text: str) -> str:
    """Escaped text that may also stand at the start of a line."""
    return BLOCK_START.sub(lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", escape(text))


def fenced(text: str) -> str:
    """Text as it is, in a code block with a fence longer than any within."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def pipe_table(table: Table) -> str:
    """A table of escaped cells."""
    rule = tuple("---:" if each == "r" else "---" for each in table.align)
    body = (tuple(escape(each) for each in row) for row in (table.columns, *table.rows))
    head, *rows = ("| " + " | ".join(row) + " |" for row in body)
    return "\n".join((head, "| " + " | ".join(rule) + " |", *rows))


def _lines(block: Block) -> Iterable[str]:
    match block:
        case Heading():
            yield f"{'#' * block.level} {escape(block.text)}"
        case Text():
            yield paragraph(block.text)
        case Bullets():
            yield "\n".join(f"- {paragraph(item)}" for item in block.items)
        case KeyFigures():
            yield "\n".join(
                f"- **{escape(each.name)}:** {escape(each.value)} ({escape(each.note)})" for each in block.figures
            )
        case Callout():
            yield f"> **{escape(block.title)}**\n>\n> {paragraph(block.text)}"
        case Table():
            yield from ((f"*{escape(block.caption)}*",) if block.caption else ())
            yield pipe_table(block)
        case Chart():
            yield from _chart(block)
        case ExampleCard():
            yield from _example(block)
        case Details():
            yield from _details(block.title, (part for inner in block.blocks for part in _lines(inner)))


def _chart(chart: Chart) -> Iterable[str]:
    yield f"**{escape(chart.title)}**"
    yield paragraph(chart.alt)
    columns = tuple(chart.rows[0]) if chart.rows else ()
    rows = tuple(tuple(cell(value) for value in row.values()) for row in chart.rows)
    table = Table(columns=columns, rows=rows, align="l" * len(columns))
    yield from _details("The chart's data", (pipe_table(table),))


def _example(card: ExampleCard) -> Iterable[str]:
    example = card.disagreement
    yield f"### Test example {escape(example.example_id)}"
    yield fenced(example.question)
    yield "Wanted:"
    yield fenced(example.expected)
    for answer in example.answers:
        mark = " (simulated)" if answer.arm in card.simulated else ""
        yield f"**{escape(answer.arm)}**{mark}: {outcome(answer)}, score {answer.score:.2g}"
        yield fenced(answer.failure or answer.text)
        title = f"The full prompt: {answer.prompt_tokens} tokens in, {answer.completion_tokens} out"
        yield from _details(title, _prompt(answer))


def _prompt(answer: ArmAnswer) -> Iterable[str]:
    for message in answer.prompt:
        yield f"*{escape(message.role)}*"
        yield fenced(message.content)
    if answer.passages:
        yield "Passages: " + escape(", ".join(answer.passages))


def _details(title: str, parts: Iterable[str]) -> Iterable[str]:
    yield f"<details><summary>{html.escape(title)}</summary>"
    yield from parts
    yield "</details>"
