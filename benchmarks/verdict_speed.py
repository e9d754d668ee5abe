"""How long a verdict takes: 20 arms with 500 test examples each, 10,000 draws. Run: python -m benchmarks.verdict_speed.

Three times are printed, each the median of ten runs on one core: the draws, the draws with the decision and all its
probabilities, and the whole verdict with everything that would flip it. The scores are made up; only time is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from statistics import median
from typing import Any

# One core is measured; this has to be said before numpy is loaded.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from benchmarks.worlds import arm
from finetune_advisor import statistics
from finetune_advisor.errors import require
from finetune_advisor.records import ArmResult, Cost, Spread, Task, TaskKind
from finetune_advisor.verdict import Facts, decide
from finetune_advisor.verdict.judge import judge
from finetune_advisor.verdict.odds import odds
from finetune_advisor.verdict.simulate import DRAWS, simulate

ARMS, ROWS, RUNS = 20, 500, 10
USD = {
    "usd_per_month_input": "70",
    "usd_per_month_output": "30",
    "usd_per_month_hosting": "50",
    "usd_per_month_labour": "100",
    "usd_one_off_tuning": "2000",
    "usd_one_off_training": "100",
}


def main() -> None:
    """Print the medians in milliseconds."""
    for arms in (4, ARMS):
        facts = made_up(arms)
        print(f"{arms} arms, {ROWS} test examples, {DRAWS:,} draws, one core:")
        for name, run in (("draws", simulate), ("decision and odds", _odds), ("whole verdict", decide)):
            print(f"  {name}: {1000 * _median_seconds(run, facts):.0f} ms")


def made_up(arms: int) -> Facts:
    """Facts about so many arms, every third of them tuned, with all money known and uncertain."""
    numpy = require("numpy", extra="all")
    generator = numpy.random.default_rng(0)
    scores = (generator.random((arms, ROWS)) < numpy.linspace(0.6, 0.8, arms)[:, None]).astype(float)
    names = (f"{'un' if at % 3 else ''}tuned {at}" for at in range(arms))
    found = tuple(replace(arm(name, column), seconds=0.1) for name, column in zip(names, scores, strict=True))
    best = max((each for each in found if not each.tuned), key=lambda each: each.score)
    others = [each for each in found if each is not best]
    compared = [statistics.compare(each.name, each.scores, best.name, best.scores, binary=True) for each in others]
    return Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=found,
        comparisons=statistics.holm(compared),
        power=None,
        costs=tuple(_cost(each) for each in found),
        findings=(),
        requests_per_month=20_000,
        usd_per_right_answer=Decimal("0.02"),
        spreads=tuple(
            Spread(driver=driver, low=0.7, high=1.5, unit="", likely=None, source="made up", basis="assumed")
            for driver in ("volume", "prices", "tokens", "hours", "training", "hosting", "value")
        ),
    )


def _cost(arm: ArmResult) -> Cost:
    paid = {
        name: Decimal(usd)
        for name, usd in USD.items()
        if arm.tuned or name in ("usd_per_month_input", "usd_per_month_output")
    }
    return Cost(
        arm=arm.name,
        usd_per_1000=Decimal(5),
        usd_per_1000_uncached=Decimal(5),
        usd_per_month=sum((usd for name, usd in paid.items() if "month" in name), Decimal(0)),
        usd_training=paid.get("usd_one_off_training", Decimal(0)),
        usd_one_off=sum((usd for name, usd in paid.items() if "one_off" in name), Decimal(0)),
        break_even_requests=None,
        parts=paid,
        assumptions=(),
    )


def _odds(facts: Facts) -> Any:
    return odds(judge(facts, simulate(facts)))


def _median_seconds(run: Callable[[Facts], Any], facts: Facts) -> float:
    run(facts)
    times: list[float] = []
    for _ in range(RUNS):
        start = time.process_time()
        run(facts)
        times.append(time.process_time() - start)
    return median(times)


if __name__ == "__main__":
    main()
