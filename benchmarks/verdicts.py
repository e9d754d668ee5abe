"""How often is the verdict wrong, and are its probabilities right, in worlds where the truth is known?

Run: python -m benchmarks.verdicts [--worlds 2000] [--seed 0] [--lift 0] [--processes 1] [--json]

Worlds come from `benchmarks.worlds`, whose docstring states the priors. The same worlds go through the rules of others:
trainjudge (its own `trainjudge.verdict.decide`, where the package can be imported: tuned against its own base), and
gonogo-eval's rules as ../shared/reference/peers.md states them (not its code, which is not on the index here).
A GO is wrong where the tuned arm that it names is not worth it, a NO-GO where some tuned arm is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from benchmarks.worlds import SIZES, Kind, World, world
from finetune_advisor import statistics
from finetune_advisor.records import ArmResult, Decision
from finetune_advisor.verdict import decide

GO, NO_GO, NOT_YET = Decision.GO, Decision.NO_GO, Decision.NOT_YET
ENOUGH = 40
"""A tenth with fewer worlds than this says too little about calibration."""

FINETUNE_ADVISOR = "finetune_advisor"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a rule says about a world, the tuned arm that it says it about, and its probability where it gives one."""

    decision: Decision
    arm: str | None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What all rules said about a world, beside the truth."""

    seed: int
    n: int
    goal: str
    kind: Kind
    right: bool
    right_for: frozenset[str]
    said: Mapping[str, Said]


@dataclass(frozen=True, kw_only=True)
class Tenth:
    """The worlds whose stated probability lies in one tenth; `error` is observed minus stated frequency."""

    low: float
    worlds: int
    stated: float
    observed: float
    standard_error: float

    @property
    def error(self) -> float:
        """Observed minus stated."""
        return self.observed - self.stated


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Decisions of one rule over some worlds, and how many of them were wrong."""

    worlds: int
    go: int
    no_go: int
    wrong_go: int
    wrong_no_go: int

    @property
    def not_yet(self) -> int:
        """Worlds that were left open."""
        return self.worlds - self.go - self.no_go

    def shares(self) -> dict[str, float]:
        """Shares of all worlds, and of the decisions of each kind."""
        return {
            "go": _share(self.go, self.worlds),
            "no_go": _share(self.no_go, self.worlds),
            "not_yet": _share(self.not_yet, self.worlds),
            "wrong_go": _share(self.wrong_go, self.worlds),
            "wrong_no_go": _share(self.wrong_no_go, self.worlds),
            "wrong_of_go": _share(self.wrong_go, self.go),
            "wrong_of_no_go": _share(self.wrong_no_go, self.no_go),
        }


def main() -> None:
    """Simulate, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lift", type=float, default=0.0, help="mean shift of tuning on the logit scale")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    outcomes = simulate(given.worlds, given.seed, lift=given.lift, processes=given.processes)
    found = summary(outcomes)
    print(json.dumps(found, indent=1) if given.json else table(found))


def simulate(worlds: int, seed: int = 0, *, lift: float = 0.0, processes: int = 1) -> list[Outcome]:
    """So many worlds through all rules. Worlds of different seeds are different ones."""
    numbers, one = range(seed * 1_000_000, seed * 1_000_000 + worlds), partial(outcome, lift=lift)
    if processes == 1:
        return [one(number) for number in numbers]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(one, numbers, chunksize=20))


def outcome(number: int, lift: float = 0.0) -> Outcome:
    """One world through all rules."""
    drawn = world(number, lift)
    return Outcome(
        seed=number,
        n=drawn.facts.arms[0].n,
        goal=drawn.facts.goal if drawn.facts.usd_gained is None else "value",
        kind=drawn.kind,
        right=drawn.truth.right,
        right_for=drawn.truth.right_for,
        said={name: rule(drawn) for name, rule in rules().items()},
    )


@cache
def rules() -> Mapping[str, Callable[[World], Said]]:
    """Every rule that can run here, by name."""
    known: dict[str, Callable[[World], Said]] = {FINETUNE_ADVISOR: ours}
    if _trainjudge() is not None:
        known["trainjudge (installed)"] = trainjudge
    return known | {
        "gonogo's interval rule as documented": gonogo,
        "gonogo's comparison as documented": gonogo_compare,
    }


def ours(drawn: World) -> Said:
    """The verdict of this package."""
    verdict = decide(drawn.facts)
    p = verdict.odds.p_tuning if verdict.odds else None
    return Said(decision=verdict.decision, arm=verdict.best_tuned, p=p)


def trainjudge(drawn: World) -> Said:
    """IMPROVED is a GO, REJECTED a NO-GO: the best tuned arm against the first untuned one, nothing regressed."""
    judge = _trainjudge()
    base = next(arm for arm in drawn.facts.arms if not arm.tuned)
    tuned = _best_tuned(drawn)
    kept = {"summary": {name: {"rate": 1.0, "total": 20} for name in judge.CATEGORIES}}
    said = judge.decide(_evaluation(base), _evaluation(tuned), kept, kept)
    return Said(decision=GO if said.outcome == judge.IMPROVED else NO_GO, arm=tuned.name)


@cache
def _trainjudge() -> Any:
    try:
        return importlib.import_module("trainjudge.verdict")
    except ImportError:
        return None


def _evaluation(arm: ArmResult) -> dict[str, Any]:
    right = [score >= 0.5 for score in arm.scores]
    return {
        "accuracy": sum(right) / len(right),
        "scored": len(right),
        "examples": [
            {"prompt": name, "outcome": "correct" if hit else "wrong"}
            for name, hit in zip(arm.example_ids, right, strict=True)
        ],
    }


def gonogo(drawn: World) -> Said:
    """Wilson's interval of the tuned arm against a target.

    At or above it is a GO, a score below it a NO-GO, else the evidence is insufficient. The target is the needed score,
    or the measured score of the best untuned arm where none is needed (its own default, 95%, would refuse nearly all).
    """
    tuned = _best_tuned(drawn)
    target = drawn.facts.needed_score or max(arm.score for arm in drawn.facts.arms if not arm.tuned)
    bounds = statistics.interval([float(score >= 0.5) for score in tuned.scores], binary=True)
    if bounds.low >= target:
        return Said(decision=GO, arm=tuned.name)
    return Said(decision=NO_GO if tuned.score < target else NOT_YET, arm=tuned.name)


def gonogo_compare(drawn: World) -> Said:
    """McNemar's test and the interval of the paired difference have to agree on a winner; else it is borderline."""
    tuned = _best_tuned(drawn)
    best = max((arm for arm in drawn.facts.arms if not arm.tuned), key=lambda arm: arm.score)
    sides = [[float(score >= 0.5) for score in arm.scores] for arm in (tuned, best)]
    each = statistics.compare(tuned.name, sides[0], best.name, sides[1], binary=True)
    if each.p_value >= 0.05 or each.interval.low <= 0 <= each.interval.high:
        return Said(decision=NOT_YET, arm=tuned.name)
    return Said(decision=GO if each.difference > 0 else NO_GO, arm=tuned.name)


def _best_tuned(drawn: World) -> ArmResult:
    return max((arm for arm in drawn.facts.arms if arm.tuned), key=lambda arm: arm.score)


def tally(outcomes: Sequence[Outcome], rule: str = FINETUNE_ADVISOR) -> Tally:
    """Count one rule's decisions and errors."""
    said = [(each, each.said[rule]) for each in outcomes]
    return Tally(
        worlds=len(said),
        go=sum(one.decision == GO for _, one in said),
        no_go=sum(one.decision == NO_GO for _, one in said),
        wrong_go=sum(one.decision == GO and one.arm not in each.right_for for each, one in said),
        wrong_no_go=sum(one.decision == NO_GO and each.right for each, one in said),
    )


def calibration(outcomes: Iterable[Outcome]) -> list[Tenth]:
    """Stated against observed frequency of the named arm being right, by tenth of the stated one; no empty tenths."""
    said = [(each, each.said[FINETUNE_ADVISOR]) for each in outcomes]
    pairs = [(one.p, one.arm in each.right_for) for each, one in said if one.p is not None]
    tenths = [[pair for pair in pairs if min(9, int(pair[0] * 10)) == at] for at in range(10)]
    return [_tenth(at / 10, inside) for at, inside in enumerate(tenths) if inside]


def _tenth(low: float, inside: Sequence[tuple[float, bool]]) -> Tenth:
    worlds = len(inside)
    stated, observed = _share(sum(p for p, _ in inside), worlds), _share(sum(right for _, right in inside), worlds)
    error = math.sqrt(max(stated * (1 - stated), 0.0) / worlds)
    return Tenth(low=low, worlds=worlds, stated=stated, observed=observed, standard_error=error)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that is printed, as JSON."""
    return {
        "schema": 1,
        "worlds": len(outcomes),
        "first_seed": outcomes[0].seed,
        "kinds": {kind: sum(each.kind == kind for each in outcomes) for kind in ("pays", "does not", "too close")},
        "rules": {rule: tally(outcomes, rule).shares() for rule in rules()},
        "skipped": {} if _trainjudge() else {"trainjudge": "the package cannot be imported here"},
        "by_size": _by(outcomes, SIZES, lambda each: each.n),
        "by_goal": _by(outcomes, ("value", "quality", "cost"), lambda each: each.goal),
        "by_kind": _by(outcomes, ("pays", "does not", "too close"), lambda each: each.kind),
        "calibration": [
            {
                "from": tenth.low,
                "worlds": tenth.worlds,
                "stated": tenth.stated,
                "observed": tenth.observed,
                "standard_error": tenth.standard_error,
                "enough": tenth.worlds >= ENOUGH,
            }
            for tenth in calibration(outcomes)
        ],
    }


def _by(
    outcomes: Sequence[Outcome], values: Sequence[int | str], of: Callable[[Outcome], int | str]
) -> dict[str, dict[str, float]]:
    return {str(value): tally([each for each in outcomes if of(each) == value]).shares() for value in values}


def table(found: Mapping[str, Any]) -> str:
    """The summary as Markdown tables."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    lines = [f"{found['worlds']} worlds from seed {found['first_seed']}: {kinds}.", ""]
    lines += _decisions("rule", found["rules"])
    lines += [f"{name}: skipped, {why}." for name, why in found["skipped"].items()]
    for title, key in (("test examples", "by_size"), ("goal", "by_goal"), ("world", "by_kind")):
        lines += ["", *_decisions(title, found[key])]
    return "\n".join([*lines, "", *_calibration(found["calibration"])])


def _decisions(title: str, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    columns = ("go", "no_go", "not_yet", "wrong_go", "wrong_no_go", "wrong_of_go", "wrong_of_no_go")
    head = f"| {title} | GO | NO-GO | NOT YET | wrong GO | wrong NO-GO | of the GO | of the NO-GO |"
    body = [f"| {name} | {' | '.join(f'{row[key]:.1%}' for key in columns)} |" for name, row in rows.items()]
    return [head, "|---|---|---|---|---|---|---|---|", *body]


def _calibration(tenths: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["| stated p from | worlds | stated | observed | difference | standard error |", "|---|---|---|---|---|---|"]
    return head + [
        f"| {row['from']:.1f} | {row['worlds']} | {row['stated']:.3f} | {row['observed']:.3f} "
        f"| {100 * (row['observed'] - row['stated']):+.1f} points | {100 * row['standard_error']:.1f} "
        f"{'' if row['enough'] else '(too few)'}|"
        for row in tenths
    ]


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


if __name__ == "__main__":
    main()
