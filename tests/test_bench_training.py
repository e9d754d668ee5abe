"""The training benchmark at a tiny size: what is printed, and that both sides learn the same."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import tiny_model
from benchmarks import measured, training
from benchmarks.training import BY_HAND, CONTENDERS, DOCUMENTED, Job, compared, trained

PAIRS = tiny_model.pairs()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("bench")
    data = folder / "pairs.json"
    data.write_text(json.dumps([[asdict(pair) for pair in PAIRS], [asdict(PAIRS[0])]]), encoding="utf-8")
    model = tiny_model.build(folder / "tiny")
    return Job(model=str(model), data=str(data), output=str(folder / "out"), steps=4, batch=6, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each would load torch each time."""

    def here(arguments: list[str]) -> tuple[float, str]:
        one, name, text = arguments[1:]
        assert one == "--one"
        return 1.5, f"warnings\n{training.MARK}{json.dumps(asdict(trained(name, Job(**json.loads(text)))))}"

    monkeypatch.setattr(training, "peak", here)


def test_all_contenders_train_on_the_same_tokens_to_the_same_losses(job: Job) -> None:
    """A batch holds all examples, so that the order in which each side draws them does not matter."""
    outcome = compared(job, "tiny", rounds=1)
    runs = [outcome.details[name][0] for name in CONTENDERS]
    assert {run["tokens"] for run in runs} == {runs[0]["tokens"]}
    assert [row["contender"] for row in outcome.rows] == [*CONTENDERS]
    assert all(row["examples/s"] > 0 and row["peak, GiB"] == 1.5 for row in outcome.rows)
    first = [run["losses"][0] for run in runs]
    assert first == pytest.approx([first[0]] * 3, rel=0.03), "no more apart than bfloat16 is"
    assert all(run["losses"][-1] < run["losses"][0] for run in runs)
    assert "| TRL as documented |" in measured.table(outcome.rows)


def test_what_the_peers_are_set_to(job: Job) -> None:
    documented, by_hand = (
        trained(name, replace(job, output=f"{job.output}-{name}", steps=1)).settings for name in (DOCUMENTED, BY_HAND)
    )
    assert (documented["weights"], documented["gradient_checkpointing"]) == ("torch.float32", "True")
    assert (by_hand["weights"], by_hand["gradient_checkpointing"]) == ("torch.bfloat16 and torch.float32", "False")
    assert documented["bf16"] == by_hand["bf16"] == "True"


def test_the_upper_layers_alone(job: Job) -> None:
    for name in CONTENDERS:
        upper = replace(job, output=f"{job.output}-upper-{CONTENDERS.index(name)}", top_layers=1, steps=1)
        trained(name, upper)
        saved = json.loads((Path(upper.output) / "adapter_config.json").read_text(encoding="utf-8"))
        assert saved["layers_to_transform"] == [1] or all("layers.1." in target for target in saved["target_modules"])
