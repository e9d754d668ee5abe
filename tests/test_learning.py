from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor import case
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment import arms, learning
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.records import Example, LearningCurve, LearningPoint, Message, Progress, no_progress
from finetune_advisor.statistics import learning_curve
from finetune_advisor.store import Store
from oracle import write_case

SIZES = (100, 200, 400)
FAKE = '[[models]]\nname = "fake"\nprovider = "fake"\n'
TUNED = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n'


def points(floor: float, fall: float, exponent: float, noise: float = 0.0, *, seed: int = 0) -> list[LearningPoint]:
    """Scores of an error that is floor + fall at 400 examples, and whose second part is a power of their number."""
    generator = np.random.default_rng(seed)
    return [
        LearningPoint(
            examples=n,
            seed=run,
            score=float(np.clip(1 - floor - fall * (n / 400) ** -exponent + generator.normal(0, noise), 0, 1)),
        )
        for n in SIZES
        for run in range(3)
    ]


def fitted(given: list[LearningPoint], *, gain_error: float = 0.0) -> LearningCurve:
    return learning_curve(given, arm="LoRA", gain_error=gain_error)


# The fit


@pytest.mark.parametrize(("fall", "exponent"), [(0.1, 0.3), (0.2, 0.5), (0.3, 0.2), (0.05, 0.8)])
def test_a_power_law_is_recovered(fall: float, exponent: float) -> None:
    curve = fitted(points(0, fall, exponent, 0.002))
    ahead = {each.examples: each for each in curve.forecasts}
    assert list(ahead) == [600, 800, 1600]
    for n, forecast in ahead.items():
        truth = 1 - fall * (n / 400) ** -exponent
        assert forecast.low <= truth <= forecast.high
        assert forecast.score == pytest.approx(truth, abs=0.02)
    widths = [each.high - each.low for each in curve.forecasts]
    assert widths == sorted(widths)


def test_more_helps_where_the_curve_still_rises() -> None:
    assert fitted(points(0, 0.3, 0.6, 0.003)).more_helps is True


def test_more_does_not_help_on_a_plateau() -> None:
    flat = fitted(points(0.2, 0, 0, 0.003))
    assert flat.more_helps is False
    assert flat.forecasts[-1].score == pytest.approx(0.8, abs=0.02)


def test_noise_leaves_it_open() -> None:
    assert fitted(points(0.1, 0.2, 0.3, 0.1)).more_helps is None
    assert fitted(points(0, 0.3, 0.6, 0.003), gain_error=0.1).more_helps is None


def test_more_examples_that_harm_are_not_called_a_help() -> None:
    curve = fitted(points(0, 0.3, -0.25, 0.002))
    assert curve.more_helps is False
    assert curve.forecasts[0].score < 0.7


def test_scores_that_are_all_alike_still_get_a_width() -> None:
    for score in (0.0, 0.7, 1.0):
        given = [LearningPoint(examples=n, seed=s, score=score) for n in SIZES for s in range(2)]
        curve = learning_curve(given, arm="LoRA", score_error=0.02, gain_error=0.02, ahead=(800,))
        forecast = curve.forecasts[0]
        assert forecast.low <= score <= forecast.high
        assert forecast.high - forecast.low > 0.01


def test_the_same_points_give_the_same_curve() -> None:
    given = points(0.05, 0.2, 0.4, 0.01)
    assert fitted(given) == fitted(given)
    assert learning_curve(given, arm="a", usd_per_example=Decimal(2)).usd_per_example == 2


def test_forecasts_cover_the_truth() -> None:
    # 24 worlds, with and without a floor: nominal 95%; 2.5 binomial errors at 480 draws, and 1 point for the prior.
    worlds = [(f, e, b) for f in (0, 0.3, 0.7) for e in (0.15, 0.3) for b in (0.1, 0.3, 0.5, 0.8)]
    inside = total = 0
    for floor, error, exponent in worlds:
        for seed in range(20):
            curve = fitted(points(floor * error, (1 - floor) * error, exponent, 0.015, seed=seed))
            for forecast in curve.forecasts[1:]:
                power_part = (1 - floor) * error * (forecast.examples / 400) ** -exponent
                inside += forecast.low <= 1 - floor * error - power_part <= forecast.high
                total += 1
    assert 0.915 <= inside / total <= 0.985


@pytest.mark.parametrize(
    "given",
    [
        [],
        [LearningPoint(examples=10, seed=s, score=0.5) for s in range(5)],
        [LearningPoint(examples=n, seed=0, score=0.5) for n in (10, 20)],
        [LearningPoint(examples=n, seed=0, score=1.5) for n in SIZES],
        [LearningPoint(examples=n, seed=0, score=0.5) for n in (0, 10, 20)],
    ],
)
def test_what_is_no_curve_is_refused(given: list[LearningPoint]) -> None:
    with pytest.raises(BadInput):
        fitted(given)


# Subsets


def some(count: int) -> list[Example]:
    asked = (Message(role="user", content="?"),)
    return [Example(id=f"e{i:03}", messages=asked, answer="rare" if i % 10 == 0 else "usual") for i in range(count)]


def test_smaller_sets_are_part_of_larger_ones_and_keep_the_labels() -> None:
    examples = some(200)
    for seed in (0, 1):
        small, middle, full = (learning.nested(examples, n, seed, stratified=True) for n in (50, 100, 200))
        assert {e.id for e in small} < {e.id for e in middle}
        assert list(full) == examples
        assert [sum(e.answer == "rare" for e in part) for part in (small, middle)] == [5, 10]
        assert list(small) == [e for e in examples if e in small]
    one, other = (learning.nested(examples, 50, seed, stratified=True) for seed in (0, 1))
    assert one != other


# The trainings


Finished = tuple[tuple[arms.ArmRun, ...], arms.Session]


def finish(folder: Path, store: Store, *, ask: bool = True, progress: Progress = no_progress):
    read = case.read(folder)
    prepared = prepare(read, store.locks(), no_progress)
    if not store.locks():
        store.lock(hash=prepared.split_hash, data_hash=prepared.data_hash, body=json.dumps(vars(prepared.split)))
    session = arms.Session(prepared=prepared, store=store, progress=progress, ask=ask)
    return arms.run_arms(read, session).runs, session


def test_the_curve_of_a_case(tmp_path: Path) -> None:
    told: list[str] = []
    with Store(write_case(tmp_path / "c", model=FAKE, arms=TUNED)) as store:
        runs, session = finish(tmp_path / "c", store, progress=lambda what, done, total: told.append(what))
        found = learning.measure(runs, session, usd_per_example=Decimal("0.5"))
        assert found is not None
        tuned = next(run for run in runs if run.result.tuned)
        train = len(session.prepared.parts["train"])
        assert found.curve.arm == tuned.result.name
        assert found.curve.part == "validation"
        assert Counter(p.examples for p in found.curve.points) == {round(s * train): 3 for s in learning.SHARES}
        assert {p.seed for p in found.curve.points} == {0, 1, 2}
        assert [f.examples for f in found.curve.forecasts] == [round(train * m) for m in (1.5, 2, 4)]
        # The arm's own training is one of the nine.
        assert len(found.trainings) == 8
        assert {run.examples for run in found.trainings} == {p.examples for p in found.curve.points}
        assert len({run.adapter for run in found.trainings}) == 8
        assert found.curve.trainings == 8
        assert found.curve.training_seconds == sum(run.seconds for run in found.trainings)
        assert any("Learning curve, training 9 of 9" in what for what in told)
        # The test split has been seen once, by the arm itself.
        assert store.touches(tuned.attempt.plan.name, session.prepared.split_hash) == 1
        for run in found.trainings:
            key = Path(run.adapter).name
            assert store.answers(key, "validation")
            assert not store.answers(key, "test")


class Killed(Exception):
    pass


def test_a_killed_curve_goes_on_where_it_stopped(tmp_path: Path) -> None:
    calm = write_case(tmp_path / "calm", model=FAKE, arms=TUNED)
    with Store(calm) as store:
        expected = learning.measure(*finish(calm, store), seeds=2)
    folder = write_case(tmp_path / "killed", model=FAKE, arms=TUNED)

    def kill(what: str, done: int, total: int) -> None:
        if "training 4 of 6" in what:
            raise Killed

    with Store(folder) as store:
        runs, session = finish(folder, store)
        with pytest.raises(Killed):
            learning.measure(runs, replace(session, progress=kill), seeds=2)
        assert learning.measure(runs, replace(session, ask=False), seeds=2) is None
    told: list[str] = []
    with Store(folder) as store:
        runs, session = finish(folder, store, progress=lambda what, done, total: told.append(what))
        resumed = learning.measure(runs, session, seeds=2)
        again = learning.measure(runs, replace(session, ask=False), seeds=2)
    assert expected is not None and resumed is not None
    assert resumed.curve == expected.curve
    assert again == resumed
    assert not any(f"training {i} of 6" in what for what in told for i in (1, 2, 3))
    assert any("training 5 of 6" in what for what in told)


def test_no_curve_without_a_tuned_arm_or_enough_sizes(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", model=FAKE, arms=TUNED)
    with Store(folder) as store:
        runs, session = finish(folder, store)
        assert learning.measure([run for run in runs if not run.result.tuned], session) is None
        assert learning.measure(runs, session, shares=(0.01, 0.02, 1.0)) is None
        assert learning.measure(runs, session, shares=(0.5, 1.0), seeds=1) is None
        for shares, seeds in (((), 3), ((0.0, 1.0), 3), ((0.5, 1.5), 3), ((0.5, 1.0), 0)):
            with pytest.raises(BadInput):
                learning.measure(runs, session, shares=shares, seeds=seeds)
