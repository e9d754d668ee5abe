"""What a training will cost and take, each figure with where it comes from: measured, estimated, a source, assumed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from finetune_advisor.costs import gpus, prices, shape
from finetune_advisor.costs.estimate import Estimate, EstimateOptions, Range, estimate, mean_and_longest
from finetune_advisor.datasets.tokens import chat_tokens, encoding
from finetune_advisor.errors import BadInput
from finetune_advisor.recipes.recipe import ORIGINAL, Recipe
from finetune_advisor.recipes.training_data import TrainingData, turns
from finetune_advisor.records import Price, TrainingPair
from finetune_advisor.report.formats import DASH, count, seconds, usd

CARDS = ("L4", "A100-80", "H100-SXM")
"""Cards that are tried from the cheapest on."""

HOURS_PER_MONTH = 730

NOT_KNOWN = "not known"

_VARIANT = re.compile(r"(-(base|instruct|it|chat|hf|v0\.\d))*")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure in words, and where it comes from."""

    what: str
    value: str
    basis: str


def of_machine(recipe: Recipe, data: TrainingData) -> tuple[Figure, ...]:
    """Time and cost of a training on a machine of one's own or a rented one."""
    return (*_measured(recipe), _tokens(recipe, data), *_estimated(recipe, data))


def of_tokens(data: TrainingData, epochs: int, rates: Sequence[tuple[str, str, str]], limit: int) -> tuple[Figure, ...]:
    """Cost of a training at a provider that bills tokens, and what is not known about its time.

    Args:
        data: What is learnt.
        epochs: Passes over it.
        rates: For each rate what it is for, its name in the price table, and its unit there.
        limit: Tokens after which an example is cut off.
    """
    tokens = epochs * sum(min(limit, length) for length in _lengths(data.train))
    passes = "1 pass" if epochs == 1 else f"{epochs} passes"
    return (
        Figure(
            what="Tokens that will be billed",
            value=f"about {count(tokens)}",
            basis=f"Assumed: {passes}, counted with OpenAI's vocabulary o200k_base; the provider counts itself",
        ),
        *(_priced(what, tokens, name, unit) for what, name, unit in rates),
        Figure(what="Time of one training", value=NOT_KNOWN, basis="Not known: no source states it"),
    )


def hosting(name: str, unit: str = "usd_per_hour") -> Figure:
    """What a deployment costs that is paid by the hour, whether it is asked or not."""
    what = "Serving the tuned model"
    price = rate(name, unit)
    if price is None:
        return Figure(what=what, value=NOT_KNOWN, basis="Not known: no price is in finetune-advisor's table")
    by_month = usd(price.value * HOURS_PER_MONTH)
    value = f"{usd(price.value)} an hour, {by_month} a month of {HOURS_PER_MONTH} hours, used or not"
    return Figure(what=what, value=value, basis=_source(price))


def rate(name: str, unit: str) -> Price | None:
    """A price in force today, None where none is known."""
    try:
        return prices.load().get(name).get(unit)
    except BadInput:
        return None


def _priced(what: str, tokens: int, name: str, unit: str) -> Figure:
    price = rate(name, unit)
    if price is None:
        return Figure(what=what, value=NOT_KNOWN, basis="Not known: no price is in finetune-advisor's table")
    value = f"{usd(price.value * tokens / 1_000_000)}, at {usd(price.value)} for a million tokens"
    return Figure(what=what, value=value, basis=_source(price))


def _source(price: Price) -> str:
    return f"Source: {price.source}; checked {price.checked or 'on no stated day'}"


def _lengths(pairs: Sequence[TrainingPair]) -> list[int]:
    counter = encoding()
    return [chat_tokens(turns(pair), counter) for pair in pairs]


def _measured(recipe: Recipe) -> Iterator[Figure]:
    run = recipe.measured.training if recipe.measured else None
    if run is None:
        yield Figure(what="Time of one training", value="not measured", basis="Not known: the arm has not been run")
        return
    yield Figure(
        what="Time of one training, as it was",
        value=seconds(run.seconds),
        basis="Measured: see above; with finetune-advisor's own trainer",
    )
    if recipe.cost:
        yield Figure(
            what="Cost of one training, as it was",
            value=usd(Decimal(recipe.cost.usd_training)),
            basis="Measured time and the case's prices: see the report",
        )


def _tokens(recipe: Recipe, data: TrainingData) -> Figure:
    what = "Tokens in one training"
    run = recipe.measured.training if recipe.measured else None
    if run is not None:
        return Figure(what=what, value=count(run.tokens), basis="Measured: all passes, without padding")
    return Figure(
        what=what,
        value=f"about {count(_counted(recipe, data))}",
        basis="Assumed: counted with the vocabulary o200k_base; the model has one of its own",
    )


def _counted(recipe: Recipe, data: TrainingData) -> int:
    options, examples = recipe.options, max(1, len(data.train))
    share = options.steps(examples) * options.batch_size / examples
    return round(min(options.epochs, share) * sum(_lengths(data.train)))


def _estimated(recipe: Recipe, data: TrainingData) -> Iterator[Figure]:
    name = _shape_name(recipe)
    made = _on_a_card(name, recipe, data) if name else None
    if made is None or made.seconds is None:
        why = "fits no single card that was tried" if made else "the model's shape is not in finetune-advisor's table"
        hint = "finetune-advisor estimate reckons it from the model's config.json"
        yield Figure(what="Time on a rented GPU", value=NOT_KNOWN, basis=f"Not known: {why}; {hint}")
        return
    basis = "Estimated from the model's shape; nine in ten published trainings lay within the range"
    yield Figure(what="Memory of the GPU", value=_range(made.card_gib, "GiB"), basis=basis)
    value = f"{seconds(made.seconds.likely)} ({seconds(made.seconds.low)}{DASH}{seconds(made.seconds.high)})"
    alone = "the training alone, without start, evaluation and saving"
    yield Figure(what=f"Time on one {made.gpu}", value=value, basis=f"{basis}; {alone}")
    yield _rented(made)


def _rented(made: Estimate) -> Figure:
    what = f"Price on one {made.gpu}"
    rented = prices.load().hourly_range(gpus.find(made.gpu).rented_as)
    if made.usd is None or rented is None:
        return Figure(what=what, value=NOT_KNOWN, basis="Not known: no hourly price is in finetune-advisor's table")
    offers = " to ".join(f"{usd(price.value)} ({price.source}, checked {price.checked})" for price in rented)
    likely, low, high = (usd(Decimal(f"{end:.2g}")) for end in (made.usd.likely, made.usd.low, made.usd.high))
    value = f"{likely} ({low}{DASH}{high})"
    return Figure(what=what, value=value, basis=f"Estimated time; hourly prices by source: {offers}")


def _range(figure: Range, unit: str) -> str:
    return f"{figure.likely:.2g} {unit} ({figure.low:.2g}{DASH}{figure.high:.2g})"


def _on_a_card(name: str, recipe: Recipe, data: TrainingData) -> Estimate | None:
    mean, longest = mean_and_longest(_lengths(data.train), recipe.options.max_length)
    run = recipe.measured.training if recipe.measured else None
    made = None
    for card in CARDS:
        job = EstimateOptions(
            model=name,
            micro_batch=recipe.options.batch_size,
            seq=longest,
            mean_tokens=mean,
            rank=recipe.options.rank,
            gpu=card,
            tokens=run.tokens if run else _counted(recipe, data),
        )
        made = estimate(job)
        if made.fits:
            return made
    return made


def _shape_name(recipe: Recipe) -> str:
    """The shipped shape of the model, "" where there is none; nothing is asked of the hub."""
    last = (ORIGINAL if recipe.embedded else recipe.base.id).rpartition("/")[2].lower()
    fitting = [name for name in shape.names() if last.startswith(name) and _VARIANT.fullmatch(last[len(name) :])]
    return fitting[0] if fitting else ""
