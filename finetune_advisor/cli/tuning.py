"""Tuning and what goes with it: `tune`, `deployments`, `recipe`, `emulate`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_advisor.cli.options import folder_argument, json_option
from finetune_advisor.cli.show import progress, say
from finetune_advisor.errors import BadInput

if TYPE_CHECKING:
    from finetune_advisor.experiment.trainings import ArmTraining
    from finetune_advisor.tuning import TuningEstimate, TuningStatus

EMULATOR_KEY = "FINETUNE_ADVISOR_EMULATOR_KEY"


@click.command()
@folder_argument
@click.option("--arm", help="The tuned arm, where the case has several.")
@click.option("--estimate", "only", flag_value="estimate", help="Only say what it will take; nothing is sent.")
@click.option("--status", "only", flag_value="status", help="Only say how it stands.")
@click.option("--cancel", "only", flag_value="cancel", help="End it; what was done by then may be charged.")
@click.option("--no-wait", is_flag=True, help="Start it and leave it alone; the same command finds it again.")
@click.option("--usd", type=float, help="The most that it may be expected to cost.")
@click.option("--trust", is_flag=True, help="Agree to send the data of an imported case to the servers that it names.")
@json_option
def tune(
    folder: Path, arm: str | None, only: str | None, no_wait: bool, usd: float | None, trust: bool, as_json: bool
) -> None:
    """Train a tuned arm at its provider, or by a trainer of its own, and wait for the result.

    The training goes on when this command is ended, and the same command finds it again. `run` measures what came out.
    """
    from finetune_advisor import case, experiment
    from finetune_advisor.case import trust as trusting
    from finetune_advisor.experiment import trainings

    loaded = case.read(folder)
    if trust:
        trusting.trust(loaded)
    trusting.check(loaded)
    with progress(as_json) as shown, experiment.opened(loaded, shown) as (prepared, store):
        training = trainings.chosen(trainings.trainings(loaded, prepared, store, shown), arm, folder)
        if only == "cancel":
            training.cancel()
        if only is None:
            limit = None if usd is None else Decimal(str(usd))
            trainings.start(training, trainings.Budget(store=store, job=training.work.what, limit=limit))
            if not no_wait:
                trainings.wait(training, shown)
    _print_training(training, only, as_json)


def _print_training(training: ArmTraining, only: str | None, as_json: bool) -> None:
    expected = training.estimate()
    status = None if only == "estimate" else training.status()
    if as_json:
        click.echo(json.dumps(_as_json(training, expected, status), ensure_ascii=False, indent=1, default=str))
        return
    click.echo(f"{training.arm}, trained from {training.work.source}")
    money = "not known" if expected.usd is None else f"${expected.usd:.2f}"
    click.echo(f"Expected: {expected.tokens:,} tokens over {expected.epochs} epochs, {money}")
    for sentence in expected.assumed:
        click.echo(f"- {sentence}")
    if status is not None:
        _print_status(status)


def _as_json(training: ArmTraining, expected: TuningEstimate, status: TuningStatus | None) -> dict[str, Any]:
    found: dict[str, Any] = {"arm": training.arm, "source": training.work.source, "estimate": asdict(expected)}
    return found if status is None else {**found, "status": asdict(status)}


def _print_status(status: TuningStatus) -> None:
    for event in status.events:
        click.echo(f"{event.at:%Y-%m-%d %H:%M} {event.message}")
    for checkpoint in status.checkpoints:
        loss = "" if checkpoint.validation_loss is None else f", validation loss {checkpoint.validation_loss:.3f}"
        click.echo(f"Checkpoint after step {checkpoint.step}{loss}: {checkpoint.name}")
    steps = f", {status.done} of {status.total} steps" if status.total else ""
    click.echo(f"State: {status.state}{steps}. {status.message} {status.hint}".rstrip())
    if status.tuned_model:
        click.echo(f"Tuned model: {status.tuned_model}")


@click.command()
@click.option("--delete", metavar="NAME", help="Delete this deployment, which ends what it costs by the hour.")
@json_option
def deployments(delete: str | None, as_json: bool) -> None:
    """List the deployments at Azure OpenAI and what they cost; each costs by the hour as long as it exists.

    Reads AZURE_OPENAI_ENDPOINT, AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and, unless you are logged in with the
    Azure command line, AZURE_MANAGEMENT_TOKEN.
    """
    from finetune_advisor.tuning import deployments as azure

    endpoint = os.environ.get("AZURE_OPENAI_ENDPOINT", "")
    if not endpoint:
        raise BadInput("AZURE_OPENAI_ENDPOINT is not set.", hint="Set it to https://RESOURCE.openai.azure.com.")
    account = azure.account(endpoint)
    if delete:
        azure.delete(account, delete)
    found = azure.running(account)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=1, default=str))
        return
    for each in found:
        hourly = "price not known" if each.usd_per_hour is None else f"${each.usd_per_hour}/h"
        so_far = "" if each.usd is None else f", ${each.usd:.2f} so far"
        click.echo(f"{each.name}: {each.model}, {hourly}{so_far}")
    if not found:
        click.echo("No deployments.")


@click.command()
@click.argument("provider")
@folder_argument
@click.argument("target", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--arm", help="The tuned arm; the best one unless named.")
@json_option
def recipe(provider: str, folder: Path, target: Path, arm: str | None, as_json: bool) -> None:
    """Write a folder that tunes the model of a case without this program.

    PROVIDER is trl, trl-cli, autotrain, openai, azure, axolotl, llamafactory, unsloth, together or fireworks.
    """
    from finetune_advisor import case, recipes
    from finetune_advisor.experiment import stored

    loaded = case.read(folder)
    with progress(as_json) as shown:
        results = stored(loaded, shown) if loaded.results_file.exists() else None
        recipes.write(loaded, results, target, arm, progress=shown, provider=provider)
    say({"recipe": str(target)}, as_json, f"Wrote {target}. Its README.md says how to go on.")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="[FOLDER]", default=Path("emulator"))
@click.option("--model", default="embedded", show_default=True, help="embedded, fake, a model's folder or a hub id.")
@click.option("--port", default=8765, show_default=True, help="Port to listen on, on this machine alone.")
@click.option("--max-steps", default=0, show_default=True, help="The most steps of a training; 0 for no limit.")
@click.option("--faults", metavar="JSON", help='What goes wrong how often, such as {"rates": {"429": 0.1}}.')
@click.option(
    "--spec", type=click.Path(exists=True, path_type=Path), help="OpenAI's openapi.yaml, to hold every request against."
)
@json_option
def emulate(
    folder: Path, model: str, port: int, max_steps: int, faults: str | None, spec: Path | None, as_json: bool
) -> None:
    """Play OpenAI and Azure OpenAI on this machine, fine-tuning included: jobs really train the local model.

    FOLDER (./emulator unless named) keeps files, jobs and tuned models. Any key is taken, or only the one in
    FINETUNE_ADVISOR_EMULATOR_KEY. docs/emulator.md says more.
    """
    from pydantic import ValidationError

    from finetune_advisor import models
    from finetune_advisor.emulator.faults import FaultSettings
    from finetune_advisor.emulator.serve import Options, serve

    known = models.create(model) if model in ("embedded", "fake") else models.create("huggingface", id=model)
    try:
        wrong = FaultSettings.model_validate_json(faults) if faults else None
    except ValidationError as error:
        raise BadInput(f"--faults cannot be used: {error.errors()[0]['msg']}.", hint="See docs/emulator.md.") from error
    options = Options(faults=wrong, key=os.environ.get(EMULATOR_KEY, ""), spec=spec, max_steps=max_steps)
    here = f"http://127.0.0.1:{port}"
    urls = {"OPENAI_BASE_URL": f"{here}/v1", "AZURE_OPENAI_ENDPOINT": here, "AZURE_MANAGEMENT_ENDPOINT": here}
    say(urls, as_json, "\n".join(f"{name}={url}" for name, url in urls.items()))
    serve(folder, known, port=port, options=options)
