"""What the commands print: results on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune_advisor.case import Case
    from finetune_advisor.records import Progress, Results, Verdict


def say(values: dict[str, str], as_json: bool, text: str) -> None:
    """The values as JSON, or the text."""
    click.echo(json.dumps(values, ensure_ascii=False) if as_json else text)


@contextlib.contextmanager
def progress(quiet: bool) -> Generator[Progress]:
    """Bars with the time left on standard error, one for each thing being done; plain lines where that is a file."""
    if quiet or not sys.stderr.isatty():
        yield _nothing if quiet else _finished_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _bar_updater(bars)


def _nothing(what: str, done: int, total: int) -> None:
    """Show no progress."""


def _finished_line(what: str, done: int, total: int) -> None:
    if done == total:
        click.echo(f"{what}: {done}/{total}", err=True)


def _bar_updater(bars: Any) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    return update


def print_findings(findings: Any, lines: tuple[str, ...]) -> None:
    """What the audit found, one a line, and how many of each severity."""
    for line in lines:
        click.echo(line)
    for f in findings:
        click.echo(f"{f.severity:7} {f.file}:{f.line} {f.code}: {f.message}")
    counts = {level: sum(f.severity == level for f in findings) for level in ("error", "warning", "info")}
    click.echo(", ".join(f"{count} {level}" for level, count in counts.items()))


def print_results(case: Case, results: Results, as_json: bool) -> None:
    """The arms as a table and the verdict, or everything as JSON."""
    if as_json:
        click.echo(case.results_file.read_text(encoding="utf-8"))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("arm", "score", "95% interval", "wrong form", "$/1,000", title=results.title)
    costs = {cost.arm: cost for cost in results.costs}
    for arm in sorted(results.arms, key=lambda arm: -arm.score):
        cost = costs.get(arm.name)
        name = f"{arm.name} (simulated)" if arm.simulated else arm.name
        interval = f"{arm.interval.low:.2f} to {arm.interval.high:.2f}"
        money = f"{cost.usd_per_1000:.4f}" if cost else ""
        table.add_row(name, f"{arm.score:.2f}", interval, str(arm.format_failures), money)
    console = Console()
    console.print(table)
    for arm, reason in results.skipped.items():
        console.print(f"Skipped {arm}: {reason}", markup=False)
    print_verdict(results.verdict)
    console.print(f"\nReport: {case.reports / 'report.html'}", markup=False)


def print_verdict(verdict: Verdict) -> None:
    """The decision with its reasons."""
    from rich.console import Console

    console = Console()
    console.print(f"\n{verdict.decision.value}: {verdict.headline}", style="bold", markup=False)
    for text in (*verdict.reasons, *verdict.flips, *verdict.cautions, f"Next step: {verdict.next_step}"):
        console.print(f"- {text}", markup=False)
