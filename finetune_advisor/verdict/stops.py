"""Hard stops: evidence on which nothing can be decided, and what rules tuning out whatever the scores are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from finetune_advisor.verdict.facts import Facts, Pair, Stop, pairs

LEAKS = frozenset({"leak_exact", "leak_near", "examples_in_corpus"})
"""Findings of the audit that make scores on the test split worthless; nearly equal examples are only warned of."""


def stops(facts: Facts) -> tuple[Stop, ...]:
    """Every stop that can be seen before anything is simulated, the gravest first."""
    return (*_ruled_out(facts), *_missing(facts), *_simulated(facts), *_leaked(facts), *_unpriced(facts))


def stops_of(pair: Pair) -> tuple[Stop, ...]:
    """Every stop that concerns the two arms that decide."""
    return (*_touched(pair), *_few(pair))


def _stop(reason: str, mend: str) -> Stop:
    return Stop(reason=reason, mend=mend, arms=())


def _ruled_out(facts: Facts) -> Iterator[Stop]:
    tuned = {arm.name for arm in facts.arms if arm.tuned}
    of_tuned = [stop for stop in facts.stops if tuned & set(stop.arms)]
    # Where one of them can be mended, the case can: then no stop is final.
    for final in (True, False):
        ruled_out = {name for stop in of_tuned if stop.final or not final for name in stop.arms}
        if tuned and tuned <= ruled_out:
            yield from (replace(stop, final=final) for stop in of_tuned if stop.final or not final)
            return


def _missing(facts: Facts) -> Iterator[Stop]:
    if not any(arm.tuned for arm in facts.arms):
        measured = {arm.name for arm in facts.arms}
        refused = [stop for stop in facts.stops if not measured & set(stop.arms)]
        yield from refused
        if not refused:
            yield _stop("no tuned arm was run.", "Run a tuned arm: without one there is nothing to decide on.")
    if not any(not arm.tuned for arm in facts.arms):
        yield _stop(
            "nothing was run without tuning.", "Run few-shot prompting or retrieval: tuning has to beat something."
        )
    elif any(arm.tuned for arm in facts.arms) and not pairs(facts):
        yield _stop("the arms were not compared.", "Run all arms on the same test split.")


def _simulated(facts: Facts) -> Iterator[Stop]:
    names = ", ".join(arm.name for arm in facts.arms if arm.simulated)
    if names:
        yield _stop(
            f"no real model answered for {names}; those results are simulated.", "Run the case with a real model."
        )


def _leaked(facts: Facts) -> Iterator[Stop]:
    leaks = sum(finding.severity == "error" and finding.code in LEAKS for finding in facts.findings)
    if leaks:
        yield _stop(
            f"the answers to test examples can be known from elsewhere, the audit found {leaks} such leaks.",
            "Take the leaked examples out of one side and run again.",
        )


def _unpriced(facts: Facts) -> Iterator[Stop]:
    unpriced = [arm.name for arm in facts.arms if facts.cost(arm) is None]
    if facts.goal == "cost" and unpriced:
        yield _stop("the costs are not known.", f"Give the prices of the models or of the machine: {unpriced[0]}.")


def _touched(pair: Pair) -> Iterator[Stop]:
    for arm in (pair.tuned, pair.untuned):
        if arm.touches > 1:
            yield _stop(
                f"the test split has been used {arm.touches} times for {arm.name}, which flatters its score.",
                "Set fresh examples aside as a test split and run once on those.",
            )


def _few(pair: Pair) -> Iterator[Stop]:
    n, least = pair.comparison.n, pair.facts.minimum_test_rows
    if n < least:
        yield _stop(f"only {n} of at least {least} test examples are there.", f"Label {least - n} more test examples.")
