"""What people decided in the end: the box at the end of the first page."""

from __future__ import annotations

from finetune_advisor.records import Results
from finetune_advisor.report.blocks import Block, Heading, Table
from finetune_advisor.report.formats import day


def sign_off(results: Results) -> tuple[Block, ...]:
    """Who decided what, and when; nothing where nobody has signed."""
    signed = results.sign_off
    if signed is None:
        return ()
    rows = (
        ("Decision", signed.decision),
        ("Name", signed.name),
        ("Role", signed.role),
        ("Date", day(signed.date)),
        ("Remarks", signed.remarks),
    )
    return (
        Heading(level=2, text="Sign-off"),
        Table(columns=("", "What was decided"), rows=tuple(row for row in rows if row[1]), align="ll"),
    )
