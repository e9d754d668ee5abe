"""Facts for the tests of the verdict: arms by their answers, compared by the real statistics, and round prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from finetune_advisor import statistics
from finetune_advisor.records import ArmResult, Cost, Driver, Price, Spread, Task, TaskKind
from finetune_advisor.verdict import Facts

D = Decimal


def arm(name: str, scores: list[float], **changes: Any) -> ArmResult:
    plain = ArmResult(
        name=name,
        approach="tuned" if name.startswith("lora") else "few_shot",
        model="m",
        settings={},
        tuned=name.startswith("lora"),
        simulated=False,
        metric="label",
        n=len(scores),
        score=sum(scores) / len(scores),
        interval=statistics.interval(scores, binary=True),
        example_ids=tuple(map(str, range(len(scores)))),
        scores=tuple(scores),
        failures=0,
        format_failures=0,
        wrong=scores.count(0.0),
        extras={},
        prompt_tokens=100,
        cached_tokens=0,
        completion_tokens=5,
        seconds=0.1,
        prefill_seconds=0.05,
    )
    return replace(plain, **changes)


def cost(name: str, usd_per_1000: str, once: str = "0", fixed: str = "0", assumptions: tuple[Price, ...] = ()) -> Cost:
    return Cost(
        arm=name,
        usd_per_1000=D(usd_per_1000),
        usd_per_1000_uncached=D(usd_per_1000),
        usd_per_month=D(usd_per_1000) * 10 + D(fixed),
        usd_training=D(once),
        usd_one_off=D(once),
        break_even_requests=None,
        parts={},
        assumptions=assumptions,
    )


def spread(driver: Driver, low: float, high: float) -> Spread:
    return Spread(driver=driver, low=low, high=high, unit="", likely=None, source="", basis="assumed")


def facts(arms: Mapping[str, ArmResult], **changes: Any) -> Facts:
    """Facts as an experiment makes them: every arm compared with the best untuned one, 10,000 requests a month."""
    best = max((each for each in arms.values() if not each.tuned), key=lambda each: each.score)
    rest = [each for each in arms.values() if each.name != best.name]
    compared = [statistics.compare(a.name, a.scores, best.name, best.scores, binary=True) for a in rest]
    plain = Facts(
        task=Task(kind=TaskKind.CLASSIFICATION, metric="label"),
        arms=tuple(arms.values()),
        comparisons=statistics.holm(compared),
        power=statistics.power(rest[0].scores, best.scores, binary=True, n=best.n),
        costs=(cost("lora", "1", once="100"), cost("few-shot", "1")),
        findings=(),
        requests_per_month=10_000,
    )
    return replace(plain, **changes)


def two(both: int, gained: int, lost: int, neither: int) -> dict[str, ArmResult]:
    """A tuned and an untuned arm by the four counts of a paired test."""
    tuned = [1.0] * (both + gained) + [0.0] * (lost + neither)
    untuned = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    return {"lora": arm("lora", tuned), "few-shot": arm("few-shot", untuned)}


BETTER = two(70, 25, 3, 2)
"""95% against 73% of 100."""
EQUAL = two(700, 10, 10, 280)
"""71% each of 1,000: a gain of 3 points is excluded."""
UNCLEAR = two(60, 12, 6, 22)
"""72% against 66% of 100: neither shown nor excluded."""
CHEAP = (cost("lora", "0.1", once="10"), cost("few-shot", "1"))
RIGHT = D("0.05")
