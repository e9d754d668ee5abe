"""Would more examples help, how many, and at what price: the learning curve, measured and carried on."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from statistics import fmean

from finetune_advisor.records import Forecast, LearningCurve, LearningPoint, Results
from finetune_advisor.report.answer import label, needed, simulated_arms
from finetune_advisor.report.blocks import Block, Cell, Chart, Heading, Table, Text
from finetune_advisor.report.formats import DASH, count, percent, points, seconds, usd


def learning(results: Results) -> tuple[Block, ...]:
    """The curve in words, as a chart and as a table; nothing where it was not measured."""
    curve = results.learning_curve
    if curve is None or not curve.points:
        return ()
    return (
        Heading(level=2, text="Would more examples help?"),
        Text(text=" ".join((_answer(results, curve), *_target(results, curve)))),
        _chart(results, curve),
        *_forecast_table(results, curve),
        Text(text=" ".join((_made(results, curve), *_spent(results, curve)))),
    )


def _now(curve: LearningCurve) -> int:
    return max(point.examples for point in curve.points)


def _score_now(curve: LearningCurve) -> float:
    return fmean(point.score for point in curve.points if point.examples == _now(curve))


def _n(results: Results, curve: LearningCurve) -> int:
    """How many examples the scores of the curve rest on."""
    split = results.split
    return {"train": split.train, "validation": split.validation, "test": split.test}[curve.part]


def _ahead(curve: LearningCurve) -> list[Forecast]:
    """Forecasts for more examples than there are, the fewest first."""
    return sorted((each for each in curve.forecasts if each.examples > _now(curve)), key=lambda each: each.examples)


def _answer(results: Results, curve: LearningCurve) -> str:
    start = {
        True: "Yes, more training examples would help.",
        False: "No, more training examples would bring nothing that could be seen.",
        None: "The measured points cannot tell.",
    }[curve.more_helps]
    ahead = _ahead(curve)
    return f"{start} {_expected(results, curve, ahead[0])}" if ahead else start


def _expected(results: Results, curve: LearningCurve, each: Forecast) -> str:
    n, more = _n(results, curve), each.examples - _now(curve)
    price = _price(curve, each)
    cost = f"The {count(more)} would cost {price}." if price != DASH else "What they would cost was not said."
    return (
        f"With {count(each.examples)} examples, {count(more)} more than now, {label(results, curve.arm)} is expected "
        f"to score {_range(each, n)}, against {percent(_score_now(curve), n)} now. {cost}"
    )


def _target(results: Results, curve: LearningCurve) -> tuple[str, ...]:
    """From how many examples on the needed score is expected; nothing where none is needed or it is reached now."""
    need, ahead = results.needed_score, _ahead(curve)
    if need is None or not ahead or _score_now(curve) >= need:
        return ()
    reached = next((each for each in ahead if each.score >= need), None)
    share = f"{100 * need:.3g}%"
    if reached is None:
        return (f"The needed {share} is not expected with {count(ahead[-1].examples)} examples either.",)
    return (f"The needed {share} is expected with {count(reached.examples)} examples.",)


def _range(each: Forecast, n: int) -> str:
    return f"{percent(each.score, n)} ({percent(each.low, n)} to {percent(each.high, n)})"


def _price(curve: LearningCurve, each: Forecast) -> str:
    if curve.usd_per_example is None:
        return DASH
    return usd(Decimal(each.examples - _now(curve)) * curve.usd_per_example)


def _forecast_table(results: Results, curve: LearningCurve) -> tuple[Block, ...]:
    ahead = _ahead(curve)
    if not ahead:
        return ()
    table = Table(
        columns=("Training examples", "More than now", "Expected score", "Gain in points", "Price of the examples"),
        rows=tuple(_forecast_row(results, curve, each) for each in ahead),
        align="rrrrr",
        caption="Forecasts with 95% intervals; they are carried on from the measured points, not measured",
    )
    return (table,)


def _forecast_row(results: Results, curve: LearningCurve, each: Forecast) -> tuple[str, ...]:
    n = _n(results, curve)
    return (
        count(each.examples),
        count(each.examples - _now(curve)),
        _range(each, n),
        points(each.score - _score_now(curve), n),
        _price(curve, each),
    )


def _made(results: Results, curve: LearningCurve) -> str:
    seeds = len({point.seed for point in curve.points})
    trainings = f"{count(len(curve.points))} trainings, {seeds} {'seed' if seeds == 1 else 'different seeds'}"
    scored = f"scored on {count(_n(results, curve))} {curve.part} examples"
    return f"Measured: {trainings}, {scored}. Carried on by: {curve.method}."


def _spent(results: Results, curve: LearningCurve) -> tuple[str, ...]:
    """What the trainings behind the curve took; nothing where that was not kept."""
    if not curve.trainings:
        return ()
    started = "Simulated" if curve.arm in simulated_arms(results) else "Measured"
    many = "1 training" if curve.trainings == 1 else f"{count(curve.trainings)} trainings"
    cost = "" if curve.training_usd is None else f", {usd(curve.training_usd)} at the machine's price by the hour"
    own = "the training of the approach itself comes on top"
    return (f"{started}: the {many} for this curve alone took {seconds(curve.training_seconds)}{cost}; {own}.",)


def _chart(results: Results, curve: LearningCurve) -> Chart:
    n = _n(results, curve)
    measured = "; ".join(
        f"{count(each.examples)} examples, seed {each.seed}: {percent(each.score, n)}" for each in _sorted(curve)
    )
    expected = "; ".join(f"{count(each.examples)} examples: {_range(each, n)}" for each in _ahead(curve))
    return Chart(
        kind="learning",
        title="Score by number of training examples",
        rows=_rows(results, curve),
        alt=f"Measured: {measured}. Expected with a 95% interval: {expected or 'no forecast'}.",
        guides=needed(results),
    )


def _sorted(curve: LearningCurve) -> list[LearningPoint]:
    return sorted(curve.points, key=lambda each: (each.seed, each.examples))


def _rows(results: Results, curve: LearningCurve) -> tuple[Mapping[str, Cell], ...]:
    approach = next((arm.approach for arm in results.arms if arm.name == curve.arm), "")
    start: Mapping[str, Cell] = {"arm": label(results, curve.arm), "approach": approach}
    none: Mapping[str, Cell] = {"low": None, "high": None}
    measured = ({"what": "measured", "examples": p.examples, "seed": p.seed, "score": p.score} for p in _sorted(curve))
    expected = sorted(curve.forecasts, key=lambda each: each.examples)
    return (
        *({**start, **each, **none} for each in measured),
        *({**start, **_forecast_point(each)} for each in expected),
    )


def _forecast_point(each: Forecast) -> Mapping[str, Cell]:
    ends: Mapping[str, Cell] = {"low": each.low, "high": each.high}
    return {"what": "forecast", "examples": each.examples, "seed": None, "score": each.score, **ends}
