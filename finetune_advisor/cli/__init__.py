"""The command line: `finetune-advisor new | check | run | report | demo | estimate | verdict | app`.

Results go to standard output, progress and errors to standard error. Exit codes: see `EXIT_CODES`.
Heavy rooms are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_advisor import __version__
from finetune_advisor.errors import AdvisorError, BadInput, NoSpace

if TYPE_CHECKING:
    from finetune_advisor.case import Case
    from finetune_advisor.costs.estimate import Estimate, EstimateOptions, Range
    from finetune_advisor.records import Progress, Results, Verdict

EXIT_CODES = """Exit codes: 0 done; 1 the audit found errors (check); 2 bad input or option; 3 a library, model or
browser is missing; 4 the store is newer, in use, or no longer fits the data; 5 the disk is full; 6 the budget
is used up, or the run was paused or cancelled from elsewhere; 130 interrupted."""

folder_argument = click.argument("folder", type=click.Path(path_type=Path), metavar="CASE")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
EXISTING = click.Path(exists=True, path_type=Path)


class Commands(click.Group):
    """A group whose commands end with one sentence, a hint and an exit code, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate what it raises."""
        try:
            return super().invoke(ctx)
        except AdvisorError as error:
            _fail(error)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _fail(NoSpace("The disk is full.", hint="Free some space and run again; what was stored is kept."))
        except KeyboardInterrupt:
            click.echo("Stopped. What was answered is stored: run again to go on.", err=True)
            ctx.exit(130)


def _fail(error: AdvisorError) -> None:
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)
    sys.exit(error.exit_code)


@click.group(cls=Commands, epilog=EXIT_CODES)
@click.version_option(__version__)
def main() -> None:
    """Should we fine-tune this language model? Run the alternatives on your own data and see."""


@main.command()
@folder_argument
@click.option("--examples", type=EXISTING, help="Labelled examples: JSONL, CSV, Parquet or a dataset folder.")
@click.option("--documents", type=EXISTING, help="Documents to retrieve from: a folder or a JSONL file.")
@click.option("--kind", help="Task kind; guessed from the answers when left out.")
@click.option("--title", help="What the case is about, in a few words.")
@click.option("--sample", is_flag=True, help="Copy the shipped sample case instead.")
@json_option
def new(
    folder: Path,
    examples: Path | None,
    documents: Path | None,
    kind: str | None,
    title: str | None,
    sample: bool,
    as_json: bool,
) -> None:
    """Make a case folder, with your data copied into it."""
    from finetune_advisor import case
    from finetune_advisor.datasets import load
    from finetune_advisor.records import TaskKind

    if sample:
        case.sample(folder)
    else:
        known = [k.value for k in TaskKind]
        if kind and kind not in known:
            raise BadInput(f"There is no task kind {kind!r}.", hint="Known: " + ", ".join(known) + ".")
        guessed = case.guess_kind(load.load(examples).examples) if examples else TaskKind.TEXT
        case.write_new(
            folder,
            title=title or folder.name,
            kind=TaskKind(kind) if kind else guessed,
            examples=examples,
            documents=documents,
        )
    _say({"case": str(folder), "next": f"finetune-advisor check {folder}"}, as_json, f"Wrote {folder / case.FILE}.")


@main.command()
@folder_argument
@json_option
@click.pass_context
def check(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Audit the data of a case: faults, duplicates, leakage, balance, lengths, personal data.

    CASE may also be a single data file.
    """
    from finetune_advisor.experiment import audit

    with _progress(as_json) as progress:
        found = audit(folder, progress)
    if as_json:
        click.echo(found.to_json())
    else:
        _print_findings(found.findings, found.lines)
    ctx.exit(1 if any(f.severity == "error" for f in found.findings) else 0)


@main.command()
@folder_argument
@click.option("--relock", is_flag=True, help="Lock a new test split because the data changed; the report says so.")
@click.option("--minutes", type=float, help="The most time that this run may take.")
@click.option("--usd", type=float, help="The most that its machine time may cost, at the price of the case.")
@json_option
def run(folder: Path, relock: bool, minutes: float | None, usd: float | None, as_json: bool) -> None:
    """Run all arms of a case, or go on where a run was stopped, and write the report."""
    most = None if usd is None else Decimal(str(usd))
    _run(folder, as_json=as_json, relock=relock, minutes=minutes, usd=most)


def _run(folder: Path, *, as_json: bool, **limits: Any) -> None:
    from finetune_advisor import case, jobs

    loaded = case.read(folder)
    with _progress(as_json) as progress:
        results = jobs.run(loaded, progress, **limits)
    _print_results(loaded, results, as_json)


@main.command()
@folder_argument
@click.option("--pdf", is_flag=True, help="Write report.pdf too; needs Chrome, Chromium or Edge.")
@click.option("--docx", is_flag=True, help="Write report.docx too; its charts need Chrome, Chromium or Edge.")
@json_option
def report(folder: Path, pdf: bool, docx: bool, as_json: bool) -> None:
    """Write the report again from what is stored; nothing is run."""
    from finetune_advisor import case, charts, experiment
    from finetune_advisor.report import files

    loaded = case.read(folder)
    with _progress(as_json) as progress:
        results = experiment.stored(loaded, progress)
    files.write(loaded.reports, results, charts.figure)
    if pdf:
        _write_pdf(loaded)
    if docx:
        _write_docx(loaded, results)
    _print_results(loaded, results, as_json)


def _write_pdf(loaded: Case) -> None:
    from finetune_advisor.report.pdf import to_pdf

    text = (loaded.reports / "report.html").read_text(encoding="utf-8")
    (loaded.reports / "report.pdf").write_bytes(to_pdf(text))


def _write_docx(loaded: Case, results: Results) -> None:
    from finetune_advisor.charts.pictures import pictures
    from finetune_advisor.report.docx import to_docx

    (loaded.reports / "report.docx").write_bytes(to_docx(results, pictures))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="[CASE]", default=Path("demo"))
@json_option
def demo(folder: Path, as_json: bool) -> None:
    """Run the shipped sample case in the folder CASE (./demo unless named) with the embedded model."""
    from finetune_advisor import case

    case.sample(folder)
    _run(folder, as_json=as_json)


@main.command()
@click.option("--model", required=True, help="A config.json, a model folder, a Hugging Face id or a shipped name.")
@click.option("--method", default="lora", show_default=True, help="lora, qlora (4-bit base) or full.")
@click.option("--micro-batch", default=1, show_default=True, help="Examples that one card works on at a time.")
@click.option("--seq", default=2048, show_default=True, help="Tokens of the longest example, or of a packed row.")
@click.option("--mean-tokens", type=float, help="Tokens of an example on average; left out, every row is full.")
@click.option("--rank", default=8, show_default=True, help="LoRA's rank.")
@click.option("--targets", default="all", show_default=True, help="Adapted matrices: all, or a list such as q,v.")
@click.option("--checkpointing", type=bool, default=True, show_default=True, help="Recompute layers: yes or no.")
@click.option("--packing", is_flag=True, help="Examples share rows, so that nothing is padded.")
@click.option("--optimizer", default="adamw", show_default=True, help="adamw, adamw-fp32, adamw-8bit or paged.")
@click.option(
    "--gpu", help="The card; an unknown one lists the known. Left out: A100-80, or this machine with --probe."
)
@click.option("--usd-per-hour", type=float, help="What an hour of one card costs you, instead of the prices seen.")
@click.option("--probe", is_flag=True, help="Measure this machine for some seconds first.")
@click.option("--gpus", default=1, show_default=True, help="How many cards.")
@click.option("--tokens", type=int, help="Tokens to train on over all epochs; without it no time and no money.")
@click.option("--data", type=EXISTING, help="Training examples to count instead: their tokens, mean and longest.")
@click.option("--epochs", default=3, show_default=True, help="Passes over the examples of --data.")
@json_option
def estimate(as_json: bool, data: Path | None, epochs: int, probe: bool, gpu: str | None, **options: Any) -> None:
    """Estimate memory, time and money of a fine-tuning before anything is run.

    Each figure is a range that holds nine times in ten; the assumptions are listed below it.
    """
    from finetune_advisor.costs.estimate import EstimateOptions
    from finetune_advisor.costs.estimate import estimate as estimated
    from finetune_advisor.costs.gpus import THIS_MACHINE

    counted = _counted(data, epochs, options["seq"]) if data else {}
    learnt = counted.pop("learnt", 1.0)
    wanted = EstimateOptions(**options | counted, gpu=gpu or (THIS_MACHINE if probe else "A100-80"))
    found = estimated(_probed(wanted, learnt, quiet=as_json) if probe else wanted)
    if as_json:
        click.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=1))
        return
    _print_estimate(found)


def _probed(wanted: EstimateOptions, learnt: float, *, quiet: bool) -> EstimateOptions:
    """With what this machine does in some seconds of such a training."""
    from finetune_advisor.tuning.probe import measure

    with _progress(quiet) as progress:
        return replace(wanted, probe=measure(wanted, learnt=learnt, progress=progress))


@main.command()
@click.option("--evidence", type=EXISTING, required=True, help="JSON: the scores of every arm on the same examples.")
@click.option("--money", type=EXISTING, required=True, help="JSON: volume, prices, values and the goal.")
@json_option
def verdict(evidence: Path, money: Path, as_json: bool) -> None:
    """Judge results that were measured elsewhere; docs/evidence.md explains the files."""
    from finetune_advisor.experiment.outside import judge

    judged = judge(evidence, money)
    if as_json:
        click.echo(judged.to_json())
        return
    for name, reason in judged.unpriced.items():
        click.echo(f"No cost for {name}: {reason}")
    _print_verdict(judged.verdict)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="[FOLDER]", default=Path("cases"))
@click.option("--port", default=8501, show_default=True, help="Port to listen on.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--headless", is_flag=True, help="Do not open a browser.")
@json_option
def app(folder: Path, port: int, address: str, headless: bool, as_json: bool) -> None:
    """Open the app: on a folder of cases (./cases unless named), or on one case."""
    import os

    import finetune_advisor
    from finetune_advisor.case import FILE
    from finetune_advisor.errors import require

    streamlit = require("streamlit.web.cli", extra="app")
    folder = folder.resolve()
    is_case = (folder / FILE).exists()
    package = Path(finetune_advisor.__file__).parent
    script = next(p for p in (package / "streamlit_app" / "app.py", package.parent / "app.py") if p.exists())
    _say({"url": f"http://{address}:{port}", "folder": str(folder)}, as_json, f"Open http://{address}:{port}")
    os.environ["FINETUNE_ADVISOR_CASES"] = str(folder.parent if is_case else folder)
    if is_case:
        os.environ["FINETUNE_ADVISOR_CASE"] = folder.name
    options = [f"--server.port={port}", f"--server.address={address}", f"--server.headless={str(headless).lower()}"]
    options += ["--browser.gatherUsageStats=false", "--client.toolbarMode=minimal"]
    options += ["--server.fileWatcherType=none", "--runner.magicEnabled=false"]
    # In this process, so that stopping it stops the server.
    streamlit.main(["run", str(script), *options])


def _say(values: dict[str, str], as_json: bool, text: str) -> None:
    click.echo(json.dumps(values, ensure_ascii=False) if as_json else text)


@contextlib.contextmanager
def _progress(quiet: bool) -> Generator[Progress]:
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


def _print_findings(findings: Any, lines: tuple[str, ...]) -> None:
    for line in lines:
        click.echo(line)
    for f in findings:
        click.echo(f"{f.severity:7} {f.file}:{f.line} {f.code}: {f.message}")
    counts = {level: sum(f.severity == level for f in findings) for level in ("error", "warning", "info")}
    click.echo(", ".join(f"{count} {level}" for level, count in counts.items()))


def _counted(data: Path, epochs: int, seq: int) -> dict[str, Any]:
    """What the examples themselves say, cut at `seq`: tokens over all epochs, their mean, the longest, those learnt."""
    from finetune_advisor.costs.estimate import mean_and_longest
    from finetune_advisor.datasets import load, tokens

    counter = tokens.encoding()
    examples = load.load(data).examples
    lengths = [tokens.chat_tokens(example, counter) for example in examples]
    mean, longest = mean_and_longest(lengths, seq)
    learnt = sum(counter.count(example.answer) for example in examples) / max(1, sum(lengths))
    return {
        "tokens": epochs * sum(min(length, seq) for length in lengths),
        "mean_tokens": mean,
        "seq": longest,
        "learnt": min(1.0, max(learnt, 0.001)),
    }


def _print_estimate(found: Estimate) -> None:
    click.echo(f"{found.model} on {found.gpus} x {found.gpu}")
    click.echo(f"Trained: {found.trainable:,} of {found.parameters:,} parameters")
    need = "fits" if found.fits else "DOES NOT FIT"
    click.echo(f"Peak memory: {_range(found.peak_gib, 'GiB')}; a card with {found.card_gib.likely:.1f} GiB: {need}")
    click.echo(f"Speed: {_range(found.tokens_per_second, 'tokens/s')}")
    rate = found.answering_tokens_per_second
    click.echo(f"Answering: {_range(found.answering_gib, 'GiB')}" + (f", {_range(rate, 'tokens/s')}" if rate else ""))
    _print_spent(found)
    click.echo("Memory by part: " + ", ".join(f"{name} {gib:.2f}" for name, gib in found.parts_gib.items()) + " GiB")
    for warning in found.warnings:
        click.echo(f"Warning: {warning}")
    for assumption in found.assumptions:
        click.echo(f"- {assumption}")


def _print_spent(found: Estimate) -> None:
    if not found.seconds:
        click.echo("Give --tokens or --data for time and money.")
        return
    low, likely, high = (f"{seconds / 3600:.2f}" for seconds in asdict(found.seconds).values())
    click.echo(f"Time: {likely} hours ({low} to {high})")
    if not found.usd:
        click.echo("Give --usd-per-hour for money.")
        return
    low, likely, high = (f"${usd:,.2f}" for usd in asdict(found.usd).values())
    click.echo(f"Money: {likely} ({low} to {high})")


def _range(figure: Range, unit: str) -> str:
    return f"{figure.likely:,.4g} {unit} ({figure.low:,.4g} to {figure.high:,.4g})"


def _print_results(case: Case, results: Results, as_json: bool) -> None:
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
    _print_verdict(results.verdict)
    console.print(f"\nReport: {case.reports / 'report.html'}", markup=False)


def _print_verdict(verdict: Verdict) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"\n{verdict.decision.value}: {verdict.headline}", style="bold", markup=False)
    for text in (*verdict.reasons, *verdict.flips, *verdict.cautions, f"Next step: {verdict.next_step}"):
        console.print(f"- {text}", markup=False)


if __name__ == "__main__":
    main()
