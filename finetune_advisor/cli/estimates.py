"""Before and without experiments: `estimate` and `verdict`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_advisor.cli.options import EXISTING, json_option
from finetune_advisor.cli.show import print_verdict, progress

if TYPE_CHECKING:
    from finetune_advisor.costs.estimate import Estimate, EstimateOptions, Range


@click.command()
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

    with progress(quiet) as shown:
        return replace(wanted, probe=measure(wanted, learnt=learnt, progress=shown))


@click.command()
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
    print_verdict(judged.verdict)


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
