"""Arms that another trainer trains: TRL in a process of its own, with an adapter and as a whole model."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_model
from finetune_advisor import case, experiment
from oracle import write_case


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_arm_trained_by_trl_in_its_own_process_is_measured(tmp_path: Path, method: str) -> None:
    model = tiny_model.build(tmp_path / "model")
    options = f'{{ method = "{method}", epochs = 1, batch_size = 16 }}'
    arms = (
        '[[arms]]\napproach = "zero_shot"\n'
        f'[[arms]]\napproach = "tuned"\nsettings = {{ trainer = "trl", options = {options} }}\n'
    )
    named = f'[[models]]\nname = "tiny"\nprovider = "huggingface"\noptions = {{ id = "{model}", device = "cpu" }}\n'
    write_case(tmp_path / "case", rows=60, arms=arms, model=named)
    results = experiment.run(case.read(tmp_path / "case"))
    assert results.skipped == {}
    tuned = next(arm for arm in results.arms if arm.tuned)
    assert tuned.training is not None and tuned.training.losses
    assert tuned.settings["trainer"] == "trl" and tuned.failures == 0
    assert not results.side_effects or {effect.arm for effect in results.side_effects} == {tuned.name}
