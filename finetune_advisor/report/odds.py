"""How sure the answer is: odds by arm, the questionnaire's guess beside them, and what knowing more is worth."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.records import ArmOdds, Odds, Prior, Results, Worth
from finetune_advisor.report.answer import baseline, identity, label
from finetune_advisor.report.blocks import Block, Bullets, Cell, Chart, Details, Heading, Table, Text
from finetune_advisor.report.formats import DASH, count, dollars, of_100, percent, points
from finetune_advisor.report.summary import by_gain, worthless


def how_sure(results: Results) -> tuple[Block, ...]:
    """Odds, worth of further experiments, and the prior; nothing where none of them is known."""
    blocks = (*odds(results), *prior(results))
    return (Heading(level=2, text="How sure is the answer?"), *blocks) if blocks else ()


def odds(results: Results) -> tuple[Block, ...]:
    """Every arm over all draws, and what further experiments are worth."""
    found = results.verdict.odds
    if found is None:
        return ()
    return (
        Text(text=_drawn(found)),
        odds_table(results, found),
        *_odds_chart(results, found),
        *_loss(found),
        *_worths(found),
    )


def _drawn(found: Odds) -> str:
    return (
        f"Nobody knows the figures exactly, so the case was played through {count(found.draws)} times (seed "
        f"{found.seed}): each time the test answers were drawn anew, and every uncertain figure within its range."
    )


def odds_table(results: Results, found: Odds) -> Table:
    """One row per arm, the one that is most often best first."""
    arms = _ranked(found)
    return Table(
        columns=("Arm", "Best in", "Net value over the horizon", "Score", _enough(results)),
        rows=tuple(_odds_row(results, arm) for arm in arms),
        align="lrrrr",
        caption=f"Means over all draws, with {_level(arms)}% intervals{_rest(found)}",
    )


def _enough(results: Results) -> str:
    need = results.needed_score
    return "Good enough in" if need is None else f"At least {100 * need:.3g}% in"


def _ranked(found: Odds) -> list[ArmOdds]:
    return sorted(found.arms, key=lambda arm: (-arm.p_best, -(arm.usd_net_mean or 0.0)))


def _level(arms: list[ArmOdds]) -> str:
    return f"{100 * arms[0].score.level:.3g}" if arms else "95"


def _rest(found: Odds) -> str:
    """Where the arms' chances leave something over, that is doing nothing's."""
    rest = 1 - sum(arm.p_best for arm in found.arms)
    return f"; to do nothing is best in the other {of_100(rest)}" if rest >= 0.005 else ""


def _odds_row(results: Results, arm: ArmOdds) -> tuple[str, ...]:
    return (
        label(results, arm.arm),
        of_100(arm.p_best),
        _net(arm),
        f"{percent(arm.score.low, 0)} to {percent(arm.score.high, 0)}",
        of_100(arm.p_good_enough),
    )


def _net(arm: ArmOdds) -> str:
    if arm.usd_net_mean is None:
        return "not known"
    mean = dollars(arm.usd_net_mean)
    return f"{mean} ({dollars(arm.usd_net.low)} to {dollars(arm.usd_net.high)})" if arm.usd_net else mean


def _odds_chart(results: Results, found: Odds) -> tuple[Block, ...]:
    arms = [arm for arm in _ranked(found) if arm.usd_net_mean is not None]
    if not arms:
        return ()
    said = "; ".join(f"{label(results, arm.arm)} {_net(arm)}, best in {of_100(arm.p_best)}" for arm in arms)
    return (
        Chart(
            kind="odds",
            title="Net value of each arm over the horizon",
            rows=tuple(_odds_point(results, arm) for arm in arms),
            alt=f"Dots with {_level(arms)}% intervals in US dollars, the arm that is most often best first: {said}.",
        ),
    )


def _odds_point(results: Results, arm: ArmOdds) -> Mapping[str, Cell]:
    return {
        **identity(results, arm.arm),
        "p_best": arm.p_best,
        "usd_net": arm.usd_net_mean,
        "low": arm.usd_net.low if arm.usd_net else None,
        "high": arm.usd_net.high if arm.usd_net else None,
    }


def _loss(found: Odds) -> tuple[Block, ...]:
    if found.unit != "usd":
        return ()
    text = (
        f"The better choice, made now, is expected to be {dollars(found.loss)} worse than one that knew every figure."
    )
    return (Text(text=text),)


def _worths(found: Odds) -> tuple[Block, ...]:
    if not found.worths:
        return ()
    return (
        Heading(level=3, text="What is it worth to know more?"),
        Table(
            columns=("Experiment", "Worth on average", "Price", "Worth its price?"),
            rows=tuple(_worth_row(each) for each in by_gain(found)),
            align="lrrl",
        ),
    )


def _worth_row(each: Worth) -> tuple[str, ...]:
    if each.usd_price is None:
        pays = "no" if worthless(each) else "the price is not known"
        return (each.name, dollars(each.usd_worth), DASH, pays)
    pays = "yes" if each.usd_worth > each.usd_price else "no"
    return (each.name, dollars(each.usd_worth), dollars(each.usd_price), pays)


def prior(results: Results) -> tuple[Block, ...]:
    """What the questionnaire alone would have said, beside what was measured."""
    guess = results.verdict.prior
    if guess is None:
        return ()
    return (
        Heading(level=3, text="What would have been said without measuring?"),
        Text(text=_agreement(results, guess)),
        Table(
            columns=("", "Answer", "Lift of tuning in points"),
            rows=(_guess_row(guess), _measured_row(results)),
            align="llr",
            caption=f"Over the best alternative without tuning{_tested(results)}",
        ),
        *((Details(title="The published tables", blocks=(Bullets(items=guess.sources),)),) if guess.sources else ()),
    )


def _agreement(results: Results, guess: Prior) -> str:
    said, measured = guess.decision.value, results.verdict.decision.value
    alone = f"The questionnaire alone would have said {said}. {guess.reason}"
    if said == measured:
        return f"{alone} The measurements say the same. {_outside(results, guess)}".strip()
    return (
        f"{alone} The measurements say {measured}. Where the two disagree the measurements count: they are about your "
        f"data. {_outside(results, guess)}"
    ).strip()


def _outside(results: Results, guess: Prior) -> str:
    measured = _difference(results)
    if measured is None or guess.low <= measured[0] <= guess.high:
        return ""
    side = "above" if measured[0] > guess.high else "below"
    return f"The measured lift lies {side} everything that the published tables show for such a task."


def _difference(results: Results) -> tuple[float, float, float, int] | None:
    """Difference, ends of its interval and number of examples of the best tuned arm against the best untuned one."""
    for each in results.comparisons:
        if each.arm == results.verdict.best_tuned:
            return each.difference, each.interval.low, each.interval.high, each.n
    return None


def _guess_row(guess: Prior) -> tuple[str, ...]:
    low, likely, high = (points(share, 0) for share in (guess.low, guess.likely, guess.high))
    return ("Questionnaire alone", guess.decision.value, f"{likely} ({low} to {high})")


def _measured_row(results: Results) -> tuple[str, ...]:
    measured = _difference(results)
    if measured is None:
        return ("Measured", results.verdict.decision.value, "nothing to compare")
    *shares, n = measured
    middle, low, high = (points(share, n) for share in shares)
    return ("Measured", results.verdict.decision.value, f"{middle} ({low} to {high})")


def _tested(results: Results) -> str:
    """What the measured row compares."""
    measured, tuned = _difference(results), results.verdict.best_tuned
    if measured is None or tuned is None:
        return ""
    against = label(results, baseline(results) or "")
    return f"; measured: {label(results, tuned)} against {against} on {count(measured[-1])} test examples"
