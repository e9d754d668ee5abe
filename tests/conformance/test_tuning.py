"""What every trainer has to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import tiny_model
from finetune_advisor import plugins, tuning
from finetune_advisor.errors import BadInput
from finetune_advisor.models.fake import FakeModel
from finetune_advisor.models.local import LocalModel
from finetune_advisor.records import Batch, Reply, Request, TrainingRun, no_progress


@pytest.fixture(params=sorted(plugins.known(tuning.GROUP, tuning.TABLE)), scope="module")
def tuner(request: pytest.FixtureRequest) -> tuning.Tuner:
    return tuning.create(request.param)


@pytest.fixture(params=["fake", "tiny"], scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return "fake" if request.param == "fake" else str(tiny_model.build(tmp_path_factory.mktemp("base")))


def tuned(tuner: tuning.Tuner, source: str, folder: Path) -> TrainingRun:
    return tuner.tune(source, tiny_model.pairs(), tiny_model.pairs()[:2], folder, no_progress)


def test_the_record_is_whole_and_can_be_stored(tuner: tuning.Tuner, source: str, tmp_path: Path) -> None:
    run = tuned(tuner, source, tmp_path)
    assert (run.adapter, run.base, run.examples) == (str(tmp_path), source, 6)
    assert 1 <= run.best_step <= run.steps
    assert run.tokens > 0 and run.seconds >= 0
    assert run.losses and all(1 <= point.step <= run.steps for point in run.losses)
    assert json.loads(json.dumps(asdict(run)))["options"] == dict(run.options)


def test_the_adapter_can_be_put_on_its_base(tuner: tuning.Tuner, source: str, tmp_path: Path) -> None:
    run = tuned(tuner, source, tmp_path)
    base = FakeModel() if source == "fake" else LocalModel(source, device="cpu")
    request = Request(example_id="1", messages=tiny_model.asked("fig"), max_tokens=4)
    (reply,) = base.with_adapter(Path(run.adapter)).answer(Batch(requests=(request,)))
    assert isinstance(reply, Reply)


def test_a_finished_training_is_returned_without_training(tuner: tuning.Tuner, source: str, tmp_path: Path) -> None:
    first = tuned(tuner, source, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert tuned(tuner, source, tmp_path) == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_nothing_to_learn_is_bad_input(tuner: tuning.Tuner, source: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        tuner.tune(source, [], [], tmp_path, no_progress)


def test_an_unknown_option_is_bad_input() -> None:
    for name in tuning.TABLE:
        with pytest.raises(BadInput, match="no_such_option"):
            tuning.create(name, no_such_option=1)
