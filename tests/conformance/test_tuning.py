"""What every trainer has to do."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

import stub_autotrain
import tiny_model
from at_provider import BASE, briefly, provider
from finetune_advisor import models, plugins, tuning
from finetune_advisor.errors import BadInput
from finetune_advisor.models import waiting
from finetune_advisor.records import Batch, Reply, Request, TrainingPair, TrainingRun, no_progress
from finetune_advisor.tuning import autotrain

SOURCES = {"lora": ("fake", "tiny"), "trl": ("tiny",), "autotrain": ("tiny",), "openai": (BASE,), "azure": (BASE,)}
OTHERS = sorted(set(plugins.known(tuning.GROUP, tuning.TABLE)) - set(SOURCES))
PAIRS = [(name, source) for name, sources in SOURCES.items() for source in sources]
OPTIONS: dict[str, dict[str, Any]] = {"trl": {"epochs": 2}, "autotrain": {"block_size": 16}}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trainer, what it trains, and the model that what it leaves is put on."""

    tuner: tuning.Tuner
    source: str
    base: models.Model


@pytest.fixture(params=[*PAIRS, *((name, "tiny") for name in OTHERS)], ids="-".join)
def trained(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Trained]:
    name, source = request.param
    monkeypatch.setattr(waiting, "wait", briefly)
    with contextlib.ExitStack() as stack:
        if source == BASE:
            stack.enter_context(provider(tmp_path / "provider", monkeypatch))
            base = models.create(name, id=BASE, **({"base": BASE} if name == "azure" else {}))
        elif source == "fake":
            base = models.create("fake")
        else:
            source = str(tiny_model.build(tmp_path / "base"))
            base = models.create("huggingface", id=source, device="cpu")
        if name == "autotrain":
            install_autotrain(tmp_path, source, monkeypatch)
        yield Trained(tuner=tuning.create(name, **OPTIONS.get(name, {})), source=source, base=base)


def install_autotrain(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that behaves as `autotrain` does, and leaves a real adapter."""
    run = tuning.create("lora", epochs=1).tune(tiny_model.work(source, pairs(), [], folder / "adapter"), no_progress)
    program = folder / "bin" / "autotrain"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stub_autotrain.__file__} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("STUB_ADAPTER", run.adapter)
    monkeypatch.setenv(autotrain.VARIABLE, str(program))
    monkeypatch.setattr(autotrain, "LOOK_SECONDS", 0.05)


def pairs() -> list[TrainingPair]:
    """Two of each fruit, in other words, since a provider wants ten."""
    asked = zip(tiny_model.FRUIT, tiny_model.COLOURS, strict=True)
    again = [TrainingPair(messages=tiny_model.asked(f"{fruit} please"), answer=colour) for fruit, colour in asked]
    return [*tiny_model.pairs(), *again]


def tuned(trained: Trained, folder: Path) -> TrainingRun:
    return trained.tuner.tune(tiny_model.work(trained.source, pairs(), pairs()[:2], folder), no_progress)


def test_what_it_leaves_answers_and_is_not_trained_again(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "fit"
    run = tuned(trained, folder)
    assert (run.adapter, run.base, run.examples) == (str(folder), trained.source, len(pairs()))
    assert 1 <= run.best_step <= run.steps
    assert run.tokens > 0 and run.seconds >= 0
    assert run.losses and all(1 <= point.step <= run.steps for point in run.losses)
    assert json.loads(json.dumps(asdict(run)))["options"] == dict(run.options)
    request = Request(example_id="1", messages=tiny_model.asked("fig"), max_tokens=4)
    (reply,) = trained.base.with_adapter(Path(run.adapter)).answer(Batch(requests=(request,)))
    assert isinstance(reply, Reply)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert tuned(trained, folder) == run
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_nothing_to_learn_is_bad_input(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        trained.tuner.tune(tiny_model.work(trained.source, [], [], tmp_path / "fit"), no_progress)


def test_an_unknown_option_is_bad_input() -> None:
    for name in tuning.TABLE:
        with pytest.raises(BadInput, match="no_such_option"):
            tuning.create(name, no_such_option=1)
