"""The learning curve of a case: the best tuned arm again, on shares of the training part, scored on validation data.

Each training is an attempt like any other: stored as it goes, never done twice. The test split is not touched. The
checkpoint that is kept, and the settings, were chosen on the same validation data, so its scores are a little high.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import fmean

from finetune_advisor import metrics
from finetune_advisor.case import Case
from finetune_advisor.datasets import duplicates
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment.arms import ArmRun, Attempt, Unfinished
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.session import Session, ahead
from finetune_advisor.records import Example, Interval, LearningCurve, LearningPoint, Progress, TaskKind, TrainingRun
from finetune_advisor.statistics import compare, interval, learning_curve

SHARES = (0.25, 0.5, 1.0)
SEEDS = 3
FEWEST_EXAMPLES = 4
"""A share of the training part that holds fewer examples is left out."""

# Half the width of a 95% interval in standard errors.
_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A learning curve and the trainings that were done for it; the arm's own one is not among them."""

    curve: LearningCurve
    trainings: tuple[TrainingRun, ...]


@dataclass(frozen=True, kw_only=True)
class _Trained:
    attempt: Attempt
    examples: int
    seed: int
    scores: tuple[float, ...]

    @property
    def point(self) -> LearningPoint:
        return LearningPoint(examples=self.examples, seed=self.seed, score=fmean(self.scores))


def measure(
    runs: Sequence[ArmRun],
    session: Session,
    *,
    shares: Sequence[float] = SHARES,
    seeds: int = SEEDS,
    worthwhile: float = 0.03,
    usd_per_example: Decimal | None = None,
) -> Measured | None:
    """Train the best tuned arm on shares of its training part and fit its learning curve.

    Args:
        runs: The finished arms.
        session: What they share; without `ask`, only what is stored counts.
        shares: Shares of the training part, above 0 and at most 1; a smaller one's examples are among a larger one's.
        seeds: Trainings of each share, each with an order of the examples of its own.
        worthwhile: The smallest gain that counts, as a share.
        usd_per_example: What a further example costs.

    Returns:
        The curve; None where no arm is tuned, the data are too few for two sizes, or not everything is stored.

    Raises:
        BadInput: Unusable shares or seeds.
    """
    if not shares or not all(0 < share <= 1 for share in shares) or seeds < 1:
        raise BadInput("A learning curve needs shares above 0 and at most 1, and one seed or more.")
    tuned = [run for run in runs if run.attempt.approach.tuned]
    sizes = _sizes(len(session.prepared.parts["train"]), shares)
    if not tuned or not session.prepared.parts["validation"] or len(sizes) < 2 or len(sizes) * seeds < 3:
        return None
    best = max(tuned, key=lambda run: run.result.score)
    try:
        trained = _train_all(best, session, sizes, seeds)
    except Unfinished:
        return None
    score_error, gain_error = _errors(trained, session.prepared)
    curve = learning_curve(
        [each.point for each in trained],
        arm=best.result.name,
        worthwhile=worthwhile,
        score_error=score_error,
        gain_error=gain_error,
        usd_per_example=usd_per_example,
        seed=session.prepared.seed,
    )
    trainings = _trainings(trained, best)
    seconds = sum(run.seconds for run in trainings)
    kept = replace(curve, gain_error=gain_error, trainings=len(trainings), training_seconds=seconds)
    return Measured(curve=kept, trainings=trainings)


def repriced(curve: LearningCurve, case: Case, usd_per_machine_hour: Decimal, seed: int) -> LearningCurve:
    """The same curve where a further example, the machine, or the smallest gain that counts may have changed.

    Args:
        curve: As measured.
        case: With what is assumed now.
        usd_per_machine_hour: What the machine costs that trained.
        seed: Seed of the fit's draws.
    """
    hours = Decimal(str(curve.training_seconds)) / 3600
    priced = replace(
        curve,
        usd_per_example=case.money.usd_per_label,
        training_usd=hours * usd_per_machine_hour if curve.trainings else None,
    )
    if curve.gain_error is None:
        return priced
    worthwhile = case.goal.worthwhile_difference
    again = learning_curve(curve.points, arm=curve.arm, worthwhile=worthwhile, gain_error=curve.gain_error, seed=seed)
    return replace(priced, more_helps=again.more_helps)


def nested(examples: Sequence[Example], size: int, seed: int, *, stratified: bool) -> tuple[Example, ...]:
    """So many of the examples, in their order; for the same seed a smaller number is part of a larger.

    Args:
        examples: All of them.
        size: How many to keep.
        seed: Another seed keeps others.
        stratified: Whether every answer keeps its share.
    """
    strata: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        strata[example.answer.strip() if stratified else ""].append(example)
    places: list[tuple[float, str, str]] = []
    for stratum in strata.values():
        ranked = sorted((_rank(seed, example), example.id) for example in stratum)
        places += [(place / len(ranked), rank, name) for place, (rank, name) in enumerate(ranked)]
    kept = {name for _, _, name in sorted(places)[:size]}
    return tuple(example for example in examples if example.id in kept)


def _rank(seed: int, example: Example) -> str:
    return hashlib.sha256(f"learning curve {seed}:{example.id}".encode()).hexdigest()


def _sizes(available: int, shares: Sequence[float]) -> list[int]:
    sizes = {round(share * available) for share in shares}
    return sorted(size for size in sizes if size >= FEWEST_EXAMPLES)


def _train_all(best: ArmRun, session: Session, sizes: Sequence[int], seeds: int) -> list[_Trained]:
    wanted = [(size, seed) for seed in range(seeds) for size in sizes]
    sessions = [
        _derived(session, size, seed, f"Learning curve, training {i} of {len(wanted)}")
        for i, (size, seed) in enumerate(wanted, start=1)
    ]
    again = [Attempt(plan=best.attempt.plan, settings=best.attempt.settings, session=each) for each in sessions]
    needs = ahead([attempt.need("validation") for attempt in again])
    session.crew.carry_out([(best.attempt.plan.model, needs)], session.progress)
    return [_scored(attempt, seed) for attempt, (_, seed) in zip(again, wanted, strict=True)]


def _scored(attempt: Attempt, seed: int) -> _Trained:
    scores = tuple(score.value for score in attempt.scores("validation"))
    return _Trained(attempt=attempt, examples=len(attempt.session.prepared.parts["train"]), seed=seed, scores=scores)


def _derived(session: Session, size: int, seed: int, title: str) -> Session:
    """The session with fewer training examples and another seed; the first seed's full size is the arm's own fit."""
    prepared = session.prepared
    stratified = prepared.task.kind is TaskKind.CLASSIFICATION
    train = nested(prepared.parts["train"], size, prepared.seed + seed, stratified=stratified)
    fewer = replace(prepared, parts={**prepared.parts, "train": train}, seed=prepared.seed + seed)
    return replace(session, prepared=fewer, progress=_titled(session.progress, f"{title}, {size} examples"))


def _titled(progress: Progress, title: str) -> Progress:
    return lambda what, done, total: progress(f"{title}: {what}", done, total)


def _errors(trained: Sequence[_Trained], prepared: Prepared) -> tuple[float, float]:
    """Standard errors from the finite validation part: of the score, and of the step between the two largest sizes."""
    binary = metrics.create(prepared.task.metric, **prepared.task.metric_options).binary
    clusters = duplicates.groups(duplicates.prompt_texts(prepared.parts["validation"]))
    before, after = sorted({each.examples for each in trained})[-2:]
    low, high = _mean_scores(trained, before), _mean_scores(trained, after)
    step = compare("more", high, "fewer", low, binary=binary, clusters=clusters)
    return _error(interval(high, binary=binary, clusters=clusters)), _error(step.interval)


def _mean_scores(trained: Sequence[_Trained], size: int) -> list[float]:
    """Each validation example's score at that size, averaged over the seeds; rounding may not leave 0 to 1."""
    columns = zip(*(each.scores for each in trained if each.examples == size), strict=True)
    return [min(1.0, fmean(column)) for column in columns]


def _error(around: Interval) -> float:
    return (around.high - around.low) / 2 / _Z


def _trainings(trained: Sequence[_Trained], best: ArmRun) -> tuple[TrainingRun, ...]:
    runs = [each.attempt.training for each in trained if each.attempt.key != best.attempt.key]
    return tuple(run for run in runs if run is not None)
