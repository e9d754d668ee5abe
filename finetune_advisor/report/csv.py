"""Rows as CSV that a spreadsheet cannot mistake for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from finetune_advisor.report.blocks import Cell


def to_csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Rows that share their keys as CSV with a header; text that a spreadsheet would run gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    if rows:
        writer.writerow(_safe(key) for key in rows[0])
    writer.writerows([_safe(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _safe(value: Cell) -> Cell:
    return "'" + value if isinstance(value, str) and value.startswith(RUN) else value


RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula, in full width too (OWASP, CSV Injection)."""
