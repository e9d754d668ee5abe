"""A run on a Ray cluster of two workers on this machine: the same to the last answer as one without Ray."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune_advisor import case, experiment, jobs
from finetune_advisor.case import ModelSection
from finetune_advisor.errors import AdvisorError, BadInput, Missing, require
from finetune_advisor.experiment.pool import Pool, gpus_for
from finetune_advisor.records import ArmResult, Progress, Results, no_progress
from finetune_advisor.store import FILE
from oracle import write_case
from tiny_model import COLOURS, FRUIT, WORDS, build

ARMS = """
[[arms]]
approach = "zero_shot"
[[arms]]
approach = "few_shot"
settings = { shots = [1, 2] }
[[arms]]
approach = "classical"
settings = { features = "tfidf" }
[[arms]]
approach = "tuned"
settings = { epochs = 1, learning_rate = [0.01, 0.02] }
"""
CURVE = "[learning_curve]\nshares = [0.5, 1.0]\nseeds = 2\n"
FAKES = "".join(
    f'[[models]]\nname = "{name}"\nprovider = "fake"\noptions = {{ seed = {i} }}\n' for i, name in enumerate("abc")
)


@pytest.fixture(scope="module")
def cluster() -> Generator[None]:
    """Two nodes with a CPU each, to which this process is connected."""
    pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = require("ray", extra="ray")
    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    made = require("ray.cluster_utils", extra="ray").Cluster(
        initialize_head=True, head_node_args={"include_dashboard": False, **node}
    )
    made.add_node(**node)
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    made.shutdown()


def tiny_case(folder: Path, model: Path) -> Path:
    """Sixty questions about the colours of fruit, for the two-layer model."""
    options = json.dumps(str(model))
    section = f'[[models]]\nname = "tiny"\nprovider = "huggingface"\noptions = {{ id = {options}, batch_size = 4 }}\n'
    write_case(folder, model=section, arms=ARMS)
    rows = (
        {"role": "user", "content": f"{WORDS[i % 10]} {WORDS[i // 10]} {WORDS[i * 7 % 10]} the {FRUIT[i % 6]}"}
        for i in range(60)
    )
    answers = ({"role": "assistant", "content": COLOURS[i % 6]} for i in range(60))
    lines = [json.dumps({"messages": pair}) for pair in zip(rows, answers, strict=True)]
    (folder / "examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run(folder: Path, on: str = "", progress: Progress = no_progress) -> Results:
    return jobs.run(case.read(folder), progress, on=on)


def answers(folder: Path) -> list[Any]:
    """All that is stored, but for what depends on when and where it was answered."""
    with closing(sqlite3.connect(folder / FILE)) as base:
        rows = base.execute("SELECT fit, part, example_id, body FROM answers ORDER BY 1, 2, 3").fetchall()
    found: list[Any] = []
    for *key, body in rows:
        stored = json.loads(body)
        for name in ("seconds", "prefill_seconds", "cached_tokens"):
            stored["outcome"]["usage"].pop(name)
        found.append((*key, stored))
    return found


def timeless(arm: ArmResult) -> ArmResult:
    training = replace(arm.training, seconds=0, adapter="") if arm.training else None
    return replace(arm, seconds=0, prefill_seconds=0, cached_tokens=0, training=training)


def assert_same(one: Results, other: Results) -> None:
    assert [timeless(arm) for arm in one.arms] == [timeless(arm) for arm in other.arms]
    assert one.side_effects == other.side_effects
    assert one.verdict.decision == other.verdict.decision
    assert (one.learning_curve is None) == (other.learning_curve is None)
    if one.learning_curve and other.learning_curve:
        assert one.learning_curve.points == other.learning_curve.points


def workers(doing: str = "") -> list[int]:
    """The processes of the workers that this test has started, of those that do something where that is named."""
    psutil = require("psutil", extra="local")
    found: list[int] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::Worker{doing}"):
                found.append(process.pid)
    return found


def killing_once(when: str, doing: str = "") -> tuple[Progress, list[int]]:
    """A progress that kills one worker when something like that is told, and whom it has killed."""
    killed: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        if not killed and what.endswith(when) and (found := workers(doing)):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    return progress, killed


@pytest.mark.usefixtures("cluster")
def test_a_worker_is_killed_while_it_trains_and_every_answer_is_that_of_one_machine(tmp_path: Path) -> None:
    model = build(tmp_path / "tiny")
    alone, spread = tiny_case(tmp_path / "alone", model), tiny_case(tmp_path / "spread", model)
    expected = run(alone)
    progress, killed = killing_once("LoRA: training", ".train")
    found = run(spread, "ray", progress)
    assert killed
    assert_same(expected, found)
    assert answers(alone) == answers(spread)
    tuned = next(arm for arm in found.arms if arm.tuned)
    assert tuned.training is not None
    assert Path(tuned.training.adapter).parent == spread / "fits"

    def nothing(what: str, done: int, total: int) -> None:
        assert what == "data", what

    # What the workers left is found without Ray, as if it had been made here.
    assert_same(run(spread, progress=nothing), found)


@pytest.mark.usefixtures("cluster")
def test_more_models_than_workers_and_a_worker_killed_between_answers(tmp_path: Path) -> None:
    alone, spread = (write_case(tmp_path / name, model=FAKES, extra=CURVE) for name in ("alone", "spread"))
    expected = run(alone)
    assert expected.learning_curve
    progress, killed = killing_once(": test")
    assert_same(expected, run(spread, "ray", progress))
    assert killed
    assert answers(alone) == answers(spread)


class Interrupted(Exception):
    pass


@pytest.mark.usefixtures("cluster")
def test_an_interrupted_run_goes_on_with_what_was_stored(tmp_path: Path) -> None:
    alone, spread = (write_case(tmp_path / name, model=FAKES, rows=200) for name in ("alone", "spread"))

    def stop(what: str, done: int, total: int) -> None:
        if what.endswith("test") and 0 < done < total:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(spread, "ray", stop)
    before = answers(spread)
    assert before
    assert_same(run(alone), run(spread))
    assert answers(alone) == answers(spread)
    assert all(row in answers(spread) for row in before)


@pytest.mark.usefixtures("cluster")
def test_workers_that_always_die_end_the_run_with_a_sentence(tmp_path: Path) -> None:
    folder, over = write_case(tmp_path / "c", model=FAKES), threading.Event()

    def hunt() -> None:
        while not over.wait(0.02):
            for pid in workers():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        with pytest.raises(AdvisorError, match=r"No Ray worker could be started|Ray workers were lost") as refused:
            run(folder, "ray")
    finally:
        over.set()
        hunter.join()
    assert "Run again to go on" in refused.value.hint


@pytest.mark.usefixtures("cluster")
def test_a_model_that_the_workers_do_not_have_skips_its_arms(tmp_path: Path) -> None:
    none = '[[models]]\nname = "none"\nprovider = "huggingface"\noptions = { id = "no/such/model" }\n'
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "classical"\nsettings = { features = "tfidf" }\n'
    results = run(write_case(tmp_path / "c", model=none, arms=arms), "ray")
    assert [arm.approach for arm in results.arms] == ["classical"]
    assert "no model 'no/such/model'" in results.skipped["Zero-shot"]


@pytest.mark.usefixtures("cluster")
def test_a_gpu_that_the_cluster_has_not_is_said_before_anything_is_done(tmp_path: Path) -> None:
    model = '[[models]]\nname = "big"\nprovider = "huggingface"\noptions = { id = "x/y", device = "cuda" }\n'
    with pytest.raises(BadInput, match="the Ray cluster has no GPU"):
        run(write_case(tmp_path / "c", model=model), "ray")


def section(**options: Any) -> ModelSection:
    return ModelSection(name="m", provider="huggingface", options={"id": "x/y", **options})


def test_a_model_takes_a_gpu_where_there_is_one_unless_the_case_says_otherwise() -> None:
    wanted = [(section(device=device), has) for device in ("auto", "cpu") for has in (True, False)]
    assert [gpus_for(each, has_gpu=has) for each, has in wanted] == [1, 0, 0, 0]
    assert gpus_for(ModelSection(name="f", provider="fake"), has_gpu=True) == 0
    with pytest.raises(BadInput, match="one of a single machine"):
        gpus_for(section(device="cuda:1"), has_gpu=True)


@pytest.mark.parametrize(
    ("devices", "nodes", "room"),
    [
        (["auto"], [{"CPU": 16.0}, {"CPU": 4.0}], 2),
        (["auto"], [{"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}], 4),
        (["auto", "cpu"], [{"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}], 6),
        (["cpu"], [{"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}, {"memory": 9.0}], 2),
    ],
)
def test_a_node_is_one_worker_or_one_for_each_gpu(devices: list[str], nodes: list[dict[str, float]], room: int) -> None:
    known = [{"Alive": True, "NodeID": "1", "NodeManagerHostname": "n", "Resources": each} for each in nodes]
    lost = {"Alive": False, "NodeID": "1", "NodeManagerHostname": "n", "Resources": {"CPU": 9.0, "GPU": 9.0}}
    ray = SimpleNamespace(nodes=lambda: [*known, lost])
    assert Pool(ray, {name: section(device=name) for name in devices}).size == (0, room)


def test_a_cluster_without_cpus_is_refused() -> None:
    ray = SimpleNamespace(nodes=list)
    with pytest.raises(BadInput, match="has no CPU"):
        Pool(ray, {"m": section()})


def test_another_place_than_ray_is_refused(tmp_path: Path) -> None:
    read = case.read(write_case(tmp_path / "c", model=FAKES))
    with pytest.raises(BadInput, match="cannot be spread over 'slurm'"), experiment.crew_on("slurm", read):
        pass


def test_without_ray_the_command_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    read = case.read(write_case(tmp_path / "c", model=FAKES))
    with pytest.raises(Missing, match="needs ray") as missing, experiment.crew_on("ray", read):
        pass
    assert "finetune-advisor[ray]" in missing.value.hint


def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    read = case.read(write_case(tmp_path / "c", model=FAKES))
    with pytest.raises(Missing, match=f"The Ray cluster {address} cannot be reached"), experiment.crew_on("ray", read):
        pass
