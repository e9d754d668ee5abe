"""Which labels are taken for which: one arm's confusion matrix as a chart."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.records import Confusion, Results
from finetune_advisor.report.answer import identity, label
from finetune_advisor.report.blocks import Block, Cell, Chart, Heading
from finetune_advisor.report.formats import count

SHOWN = 8
"""So many labels are drawn at most, those that are confused most often."""

ELSE = "another label"
NONE = "no label"
"""What was answered where it was none of the labels that are drawn, or nothing in the right form."""

NAMED = 5
"""So many confusions are named in words."""


def confusions(results: Results) -> tuple[Block, ...]:
    """The matrices of the best arm with tuning and the best one without."""
    wanted = (results.verdict.best_tuned, results.verdict.best_untuned)
    charts = tuple(
        confusion(results, arm.name, found) for arm in results.arms if arm.name in wanted for found in arm.confusions
    )
    return (Heading(level=2, text="What is taken for what"), *charts) if charts else ()


def confusion(results: Results, arm: str, found: Confusion) -> Chart:
    """The matrix of one arm: a row per wanted label, a column per answered one.

    Args:
        results: Where the arm is from.
        arm: Its name.
        found: What it answered.
    """
    labels = _labels(found)
    cells = [cell for name in labels for cell in _row(found, name, labels)]
    answered = {*labels, *(str(cell["answered"]) for cell in cells if cell["count"])}
    named = {**identity(results, arm), "field": found.field}
    field = f", field “{found.field}”" if found.field else ""
    return Chart(
        kind="confusion",
        title=f"Confusion matrix of “{label(results, arm)}”{field}",
        rows=tuple({**named, **cell} for cell in cells if cell["answered"] in answered),
        alt=_said(found, labels),
    )


def _labels(found: Confusion) -> list[str]:
    """All labels in their order, or those that are wanted or answered wrongly most often."""
    if len(found.counts) <= SHOWN:
        return list(found.counts)
    missed = {name: sum(row.values()) - row.get(name, 0) for name, row in found.counts.items()}
    wrong = {name: missed[name] + _alarms(found, name) for name in found.counts}
    chosen = sorted(found.counts, key=lambda name: -wrong[name])[:SHOWN]
    return [name for name in found.counts if name in chosen]


def _alarms(found: Confusion, name: str) -> int:
    return sum(row.get(name, 0) for wanted, row in found.counts.items() if wanted != name)


def _row(found: Confusion, wanted: str, labels: list[str]) -> list[Mapping[str, Cell]]:
    row = found.counts[wanted]
    total = sum(row.values())
    other = total - row.get("", 0) - sum(row.get(name, 0) for name in labels)
    cells = {**{name: row.get(name, 0) for name in labels}, ELSE: other, NONE: row.get("", 0)}
    return [
        {"wanted": wanted, "answered": answered, "count": number, "share": number / total}
        for answered, number in cells.items()
    ]


def _said(found: Confusion, labels: list[str]) -> str:
    right = sum(row.get(name, 0) for name, row in found.counts.items())
    total = sum(sum(row.values()) for row in found.counts.values())
    part = f" Drawn are the {len(labels)} of {len(found.counts)} labels that are confused most." * (
        len(labels) < len(found.counts)
    )
    wrong = sorted(
        ((number, wanted, answered) for wanted, row in found.counts.items() for answered, number in row.items()),
        key=lambda each: (-each[0], each[1:]),
    )
    named = [
        f"{wanted} taken for {answered or NONE} {count(number)} of {count(sum(found.counts[wanted].values()))} times"
        for number, wanted, answered in wrong
        if wanted != answered
    ]
    most = f" Most often: {'; '.join(named[:NAMED])}." if named else ""
    return f"A table of wanted against answered labels. {count(right)} of {count(total)} are right.{most}{part}"
