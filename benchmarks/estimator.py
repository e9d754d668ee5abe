"""How far are estimates of peak memory and of speed from published measurements, ours and the peers'?

Run: python -m benchmarks.estimator [--points ../shared/reference/measured_points.csv] [--fit] [--all]

Prints Markdown tables for LOG.md. Rows with an even number are kept back: the fitted numbers have not seen them. Peers
are asked where they are installed. `--fit` fits the numbers of `costs/memory.py` and `costs/speed.py` again on the odd
rows and prints them, with what each source comes out at when none of its rows is used. `--all` lists every point.
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import estimator_peers
from benchmarks.estimator_points import GIB, VALIDATION, Point, read
from finetune_advisor.costs import gpus, memory, speed
from finetune_advisor.costs.estimate import EstimateOptions, card_gib, estimate
from finetune_advisor.costs.shape import load

POINTS = Path("../shared/reference/measured_points.csv")
OURS = "finetune-advisor"
NINE_TENTHS = 0.9


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The fitted numbers of both formulas."""

    memory: memory.Calibration = memory.CALIBRATION
    speed: speed.Calibration = speed.CALIBRATION


START = Fitted(
    memory=memory.Calibration(kept=1.0, quantised_inputs=1.0, fold=1.0),
    speed=speed.Calibration(
        efficiency=0.65, traffic=4.0, layer_seconds=0.0026, adapter_seconds=0.0009, unpack=4.0, sharded=0.5, fold=1.0
    ),
)
"""Where fitting starts: the formulas as counted, and published rules (formulas A15 and C4) for the speed."""


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, default=POINTS)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args()
    if not given.points.exists():
        parser.exit(0, f"skipped: {given.points} is not here\n")
    points = read(given.points)
    print("\n".join(report(points)))
    if given.all:
        print("\n".join(listing(points)))
    if given.fit:
        print("\n".join(fitting(points)))


def usable(points: Iterable[Point], what: str) -> list[Point]:
    """The points that a figure ("memory" or "speed") was measured on and that are neither left out nor doubted."""
    measured = [p for p in points if not p.left_out and not p.doubt and of(what, p) is not None]
    return [p for p in measured if what == "memory" or not p.no_time]


def of(what: str, point: Point) -> float | None:
    """The measured figure."""
    return point.peak_gib if what == "memory" else point.tokens_per_second


def ours(what: str, point: Point, fitted: Fitted) -> float:
    """Our figure for the same job: for memory, as read off (tensors, reserved or the whole card)."""
    if point.method == "inference":
        return _inference(what, point)
    made = estimate(EstimateOptions(**point.job), remember=fitted.memory, pace=fitted.speed)
    if what == "speed":
        return made.tokens_per_second.likely
    likely = made.peak_gib.likely
    if point.peak == "card":
        return card_gib(likely)
    return likely * (memory.RESERVE if point.peak == "reserved" else 1)


def _inference(what: str, point: Point) -> float:
    job = {name: value for name, value in point.job.items() if name in {"quantised", "batch", "context"}}
    shape = load(point.job["model"])
    if what == "speed":
        return speed.decode_tokens_per_second(shape, gpus.find(point.job["gpu"]), **job)
    gib = sum(memory.inference_bytes(shape, **job, double=point.job["double"]).values()) / GIB
    return card_gib(gib) if point.peak == "card" else gib


def kept_back(point: Point) -> bool:
    """Whether the fitted numbers have not seen this point."""
    return point.number % 2 == 0


def miss(estimated: float, measured: float) -> float:
    """The error in percent of what was measured, time taken as what a token takes."""
    return 100 * (estimated / measured - 1)


def errors(what: str, points: Iterable[Point], answer: Callable[[Point], float | None]) -> dict[int, float]:
    """The absolute percentage error of every point that has an answer, by its number."""
    found: dict[int, float] = {}
    for point in points:
        guess, truth = answer(point), of(what, point)
        if guess and truth:
            # Time is the inverse of speed: a guess of half the speed is twice the time, an error of 100%.
            found[point.number] = abs(miss(guess, truth) if what == "memory" else miss(truth, guess))
    return found


def report(points: Sequence[Point], fitted: Fitted | None = None) -> list[str]:
    """The tables: ours, the peers', and what was set aside and why."""
    chosen = fitted or Fitted()
    lines: list[str] = []
    for what in ("memory", "speed"):
        lines += [
            "",
            f"### {'Peak memory' if what == 'memory' else 'Time per token'}",
            "",
            *_ours(what, points, chosen),
        ]
        lines += ["", *_peers(what, points, chosen)]
    return [*lines, "", *_set_aside(points)]


def _ours(what: str, points: Sequence[Point], fitted: Fitted) -> list[str]:
    used = usable(points, what)
    trained = [p for p in used if p.method != "inference"]
    doubted = [replace(p, doubt="") for p in points if not p.left_out]
    groups = {
        "points used for fitting": [p for p in trained if not kept_back(p)],
        "points kept back": [p for p in trained if kept_back(p)],
        "training, all": trained,
        "inference": [p for p in used if p.method == "inference"],
        "training, implausible points included": [p for p in usable(doubted, what) if p.method != "inference"],
    }
    if what == "speed":
        every = [replace(p, no_time="") for p in doubted if p.no_time == VALIDATION]
        groups["litgpt on A10G, validation in the measured time"] = every
    lines = ["| points | n | median error | worst | within the interval |", "|---|---|---|---|---|"]
    for name, group in groups.items():
        found = list(errors(what, group, lambda p: ours(what, p, fitted)).values())
        if found:
            held = sum(inside(what, p, fitted) for p in group)
            lines.append(f"| {name} | {len(found)} | {median(found):.1f}% | {max(found):.0f}% | {held} |")
    return lines


def inside(what: str, point: Point, fitted: Fitted) -> bool:
    """Whether what was measured lies in our interval."""
    fold = fitted.memory.fold if what == "memory" else fitted.speed.fold
    return abs(math.log(ours(what, point, fitted) / (of(what, point) or 1))) <= math.log(fold)


def _peers(what: str, points: Sequence[Point], fitted: Fitted) -> list[str]:
    used = [p for p in usable(points, what) if p.method != "inference"]
    mine = errors(what, used, lambda p: ours(what, p, fitted))
    theirs = {
        name: errors(what, used, lambda p, name=name: estimator_peers.ask(name, p)[0 if what == "memory" else 1])
        for name in estimator_peers.installed()
    }
    answering = {name: found for name, found in theirs.items() if found}
    common = set(mine).intersection(*answering.values()) if answering else set[int]()
    lines = [
        "| tool | points it can express | its median error | ours on them | common points | its | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in answering.items():
        cells = [len(found), _median(found, found), _median(mine, found), len(common)]
        lines.append(
            f"| {name} | " + " | ".join(map(str, [*cells, _median(found, common), _median(mine, common)])) + " |"
        )
    silent = [name for name in estimator_peers.PEERS if name not in answering]
    return [*lines, "", "No answer or not installed: " + (", ".join(silent) or "none") + "."]


def _median(found: Mapping[int, float], numbers: Iterable[int]) -> str:
    chosen = [found[number] for number in numbers if number in found]
    return f"{median(chosen):.1f}%" if chosen else "-"


def _set_aside(points: Sequence[Point]) -> list[str]:
    reasons: dict[str, list[int]] = {}
    for point in points:
        for kind, reason in (("left out", point.left_out), ("implausible", point.doubt), ("no time", point.no_time)):
            if reason:
                reasons.setdefault(f"{kind}: {reason}", []).append(point.number)
    return [f"- {reason}: rows {', '.join(map(str, numbers))}" for reason, numbers in sorted(reasons.items())]


def listing(points: Sequence[Point], fitted: Fitted | None = None) -> list[str]:
    """Every point with its measured and estimated figures."""
    lines = [
        "",
        "| row | source | job | measured GiB | ours | measured tok/s | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for point in points:
        if point.left_out:
            continue
        cells = [point.number, point.source, f"{point.model} {point.method} x{point.job['gpus']}"]
        for what in ("memory", "speed"):
            truth = of(what, point)
            cells += [f"{truth:.2f}", f"{ours(what, point, fitted or Fitted()):.2f}"] if truth else ["", ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def fit(points: Sequence[Point]) -> Fitted:
    """Fit the numbers to these points, by least squares of the logarithms with large ones damped."""
    made = Fitted()
    for what, names in (
        ("memory", ("kept", "quantised_inputs")),
        ("speed", ("efficiency", "traffic", "layer_seconds", "adapter_seconds", "unpack", "sharded")),
    ):
        used = [p for p in usable(points, what) if p.method != "inference"]
        start = asdict(getattr(START, what))
        found = _least(what, used, made, names, [start[name] for name in names])
        made = _with(made, what, dict(zip(names, found, strict=True)))
    return made


def with_folds(points: Sequence[Point]) -> Fitted:
    """Fit, and set the intervals' widths by how far each source is from what is fitted without it."""
    logs: dict[str, list[float]] = {"memory": [], "speed": []}
    for source in {p.source for p in points}:
        without = fit([p for p in points if p.source != source])
        for what, found in logs.items():
            own = [p for p in usable(points, what) if p.source == source and p.method != "inference"]
            found += [abs(math.log(ours(what, p, without) / (of(what, p) or 1))) for p in own]
    made = fit(points)
    for what, found in logs.items():
        rank = min(len(found), math.ceil(NINE_TENTHS * (len(found) + 1)))
        made = _with(made, what, {"fold": math.exp(sorted(found)[rank - 1])})
    return made


def _least(what: str, points: Sequence[Point], made: Fitted, names: Sequence[str], start: list[float]) -> list[float]:
    scipy: Any = importlib.import_module("scipy.optimize")

    def residuals(logs: Sequence[float]) -> list[float]:
        values = {name: first * math.exp(log) for name, first, log in zip(names, start, logs, strict=True)}
        now = _with(made, what, values)
        # A weak pull towards the start keeps numbers that no point speaks to where the formulas put them.
        pull = [0.05 * log for log in logs]
        return [math.log(ours(what, p, now) / (of(what, p) or 1)) for p in points] + pull

    solved = scipy.least_squares(residuals, [0.0] * len(names), loss="soft_l1", f_scale=0.1, diff_step=0.02)
    return [first * math.exp(log) for first, log in zip(start, solved.x, strict=True)]


def _with(made: Fitted, what: str, values: Mapping[str, float]) -> Fitted:
    changed = replace(getattr(made, what), **values)
    return replace(made, memory=changed) if what == "memory" else replace(made, speed=changed)


def fitting(points: Sequence[Point]) -> list[str]:
    """The numbers fitted on the odd rows, and each source judged by numbers fitted without it."""
    made = with_folds([p for p in points if not kept_back(p)])
    lines = ["", f"memory: {made.memory}", f"speed: {made.speed}", "", "With none of a source's rows used for fitting:"]
    for source in sorted({p.source for p in points if not p.left_out}):
        without = fit([p for p in points if p.source != source])
        own = [p for p in points if p.source == source and p.method != "inference"]
        for what in ("memory", "speed"):
            found = errors(what, usable(own, what), lambda p, w=what, f=without: ours(w, p, f))
            if found:
                lines.append(f"- {source}, {what}: {_median(found, found)} of {len(found)}")
    return lines


if __name__ == "__main__":
    main()
