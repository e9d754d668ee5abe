"""Where the base model can be tuned, for whom, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from finetune_advisor.costs.prices import STALE_DAYS
from finetune_advisor.records import Results, Route
from finetune_advisor.report.blocks import Block, Callout, Heading, Table, Text
from finetune_advisor.report.dates import parsed, today
from finetune_advisor.report.formats import DASH, day

SOON_DAYS = 365
"""An end within this many days is flagged."""


def routes(results: Results) -> tuple[Block, ...]:
    """Every known way to tune the base models, closing dates flagged; nothing where none is known."""
    if not results.routes:
        return ()
    now = today(results)
    return (
        Heading(level=2, text="Where can the model be tuned, and until when?"),
        *_closing(results.routes, now),
        Text(text=f"As known on {day(now)}. An end that is not announced may still come."),
        Table(
            columns=(
                "Base model",
                "Where",
                "Methods",
                "For whom, and what to know",
                "New trainings until",
                "Tuned model answers until",
                "Source",
            ),
            rows=tuple(_row(each, now) for each in results.routes),
            align="lllllll",
        ),
    )


def _closing(found: tuple[Route, ...], now: date) -> Iterator[Block]:
    sentences = [sentence for each in found if (sentence := _ends(each, now))]
    if sentences:
        yield Callout(kind="caution", title="Closing dates", text=" ".join(sentences))


def _ends(each: Route, now: date) -> str:
    """What ends soon, or has ended, in one sentence; empty where nothing does."""
    ends = (
        _when(each.new_jobs_until, now, "new trainings are possible", "new trainings ended"),
        _when(each.answers_until, now, "the tuned model answers", "the tuned model stopped answering"),
    )
    said = "; ".join(filter(None, ends))
    return f"{each.base} at {each.provider}: {said}." if said else ""


def _when(end: date | None, now: date, still: str, over: str) -> str:
    if end is None or not _flagged(end, now):
        return ""
    return f"{over} on {day(end)}" if end < now else f"{still} until {day(end)} ({(end - now).days} more days)"


def _flagged(end: date | None, now: date) -> bool:
    return end is not None and end <= now + timedelta(days=SOON_DAYS)


def _row(each: Route, now: date) -> tuple[str, ...]:
    return (
        each.base,
        each.provider,
        ", ".join(each.methods) or DASH,
        ". ".join(filter(None, (each.who, each.note))) or DASH,
        _until(each.new_jobs_until, now),
        _until(each.answers_until, now),
        ", ".join(filter(None, (each.source, _checked(each.checked, now)))) or DASH,
    )


def _until(end: date | None, now: date) -> str:
    if end is None:
        return "no end announced"
    return f"CLOSED since {day(end)}" if end < now else f"{day(end)}{' (SOON)' if _flagged(end, now) else ''}"


def _checked(text: str, now: date) -> str:
    when = parsed(text)
    old = when is not None and now - when > timedelta(days=STALE_DAYS)
    return f"checked {text}{' (STALE)' if old else ''}" if text else ""
