"""The command line: `finetune-advisor --help` lists the commands.

Results go to standard output, progress and errors to standard error. Exit codes: see `EXIT_CODES`.
Heavy rooms are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_advisor import __version__
from finetune_advisor.cli.estimates import estimate, verdict
from finetune_advisor.cli.options import EXISTING, folder_argument, json_option
from finetune_advisor.cli.show import print_findings, print_results, progress, say
from finetune_advisor.cli.tuning import deployments, emulate, recipe, tune
from finetune_advisor.errors import AdvisorError, BadInput, NoSpace, is_disk_full

if TYPE_CHECKING:
    from finetune_advisor.case import Case
    from finetune_advisor.records import Results

EXIT_CODES = """Exit codes: 0 done; 1 the audit found errors (check); 2 bad input or option; 3 a library, model or
browser is missing; 4 the store is newer, in use, or no longer fits the data; 5 the disk is full; 6 the budget
is used up, or the run was paused or cancelled from elsewhere; 130 interrupted."""


class Commands(click.Group):
    """A group whose commands end with one sentence, a hint and an exit code, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate what it raises."""
        try:
            return super().invoke(ctx)
        except AdvisorError as error:
            _fail(error)
        except OSError as error:
            if not is_disk_full(error):
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
    say({"case": str(folder), "next": f"finetune-advisor check {folder}"}, as_json, f"Wrote {folder / case.FILE}.")


@main.command()
@folder_argument
@json_option
@click.pass_context
def check(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Audit the data of a case: faults, duplicates, leakage, balance, lengths, personal data.

    CASE may also be a single data file.
    """
    from finetune_advisor.experiment import audit

    with progress(as_json) as shown:
        found = audit(folder, shown)
    if as_json:
        click.echo(found.to_json())
    else:
        print_findings(found.findings, found.lines)
    ctx.exit(1 if any(f.severity == "error" for f in found.findings) else 0)


@main.command()
@folder_argument
@click.option("--relock", is_flag=True, help="Lock a new test split because the data changed; the report says so.")
@click.option("--minutes", type=float, help="The most time that this run may take.")
@click.option("--usd", type=float, help="The most that it may cost: what providers charge, and machine time.")
@click.option("--trust", is_flag=True, help="Agree to send the data of an imported case to the servers that it names.")
@click.option("--on", default="", help="Spread it over a Ray cluster: ray, or ray://HOST:PORT.")
@json_option
def run(
    folder: Path, relock: bool, minutes: float | None, usd: float | None, trust: bool, on: str, as_json: bool
) -> None:
    """Run all arms of a case, or go on where a run was stopped, and write the report."""
    from finetune_advisor import case
    from finetune_advisor.case import trust as trusting

    if trust:
        trusting.trust(case.read(folder))
    most = None if usd is None else Decimal(str(usd))
    _run(folder, as_json=as_json, relock=relock, minutes=minutes, usd=most, on=on)


def _run(folder: Path, *, as_json: bool, **limits: Any) -> None:
    from finetune_advisor import case, jobs

    loaded = case.read(folder)
    with progress(as_json) as shown:
        results = jobs.run(loaded, shown, **limits)
    print_results(loaded, results, as_json)


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
    with progress(as_json) as shown:
        results = experiment.stored(loaded, shown)
    files.write(loaded.reports, results, charts.figure)
    if pdf:
        _write_pdf(loaded)
    if docx:
        _write_docx(loaded, results)
    print_results(loaded, results, as_json)


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
    say({"url": f"http://{address}:{port}", "folder": str(folder)}, as_json, f"Open http://{address}:{port}")
    os.environ["FINETUNE_ADVISOR_CASES"] = str(folder.parent if is_case else folder)
    if is_case:
        os.environ["FINETUNE_ADVISOR_CASE"] = folder.name
    options = [f"--server.port={port}", f"--server.address={address}", f"--server.headless={str(headless).lower()}"]
    options += ["--browser.gatherUsageStats=false", "--client.toolbarMode=minimal"]
    options += ["--server.fileWatcherType=none", "--runner.magicEnabled=false"]
    # In this process, so that stopping it stops the server.
    streamlit.main(["run", str(script), *options])


for command in (estimate, verdict, tune, deployments, recipe, emulate):
    main.add_command(command)
