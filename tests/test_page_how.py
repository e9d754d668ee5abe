"""Step 7 of the app: the needs, the questions, and the recipe as a folder to download."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_case import NAME, shown, words
from finetune_advisor import case as cases
from finetune_advisor import experiment, models, recipes
from finetune_advisor.report.document import to_json
from oracle import write_case
from sample_results import HOSTILE

ORACLE = '[[models]]\nname = "oracle"\nprovider = "oracle"\n'
FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'
UNTUNED = '[[arms]]\napproach = "zero_shot"\n'
TUNED = '[[arms]]\napproach = "tuned"\n'
WORTH = "[money]\nrequests_per_month = 20_000\nusd_per_right_answer = 0.1\n"


@pytest.fixture(scope="module", autouse=True)
def oracle() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.TABLE, "oracle", "oracle:Oracle")
        yield


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    return tmp_path


def run(folder: Path, model: str, extra: str = "") -> Path:
    """A case that has been run."""
    write_case(folder, model=model, arms=UNTUNED + TUNED, extra=extra)
    results = experiment.run(cases.read(folder))
    (folder / "report").mkdir()
    (folder / "report" / "results.json").write_text(to_json(results), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, oracle: None) -> Path:
    return run(tmp_path_factory.mktemp("run") / NAME, ORACLE, WORTH)


@pytest.fixture
def case(measured: Path, root: Path) -> Path:
    return Path(shutil.copytree(measured, root / NAME))


def edited(case: Path, old: str, new: str) -> None:
    text = (case / "case.toml").read_text(encoding="utf-8")
    assert old in text
    (case / "case.toml").write_text(text.replace(old, new), encoding="utf-8")


def states(at: Any) -> list[str]:
    """Ready or open, need by need."""
    badges = [each.value for each in at.markdown if "-badge[" in each.value]
    return ["ready" if "ready" in badge else "open" for badge in badges if "ready" in badge or "open" in badge]


def test_without_a_case_the_page_leads_to_the_list() -> None:
    assert "No case is open." in words(shown("how", name=""))


def test_a_broken_case_is_said_in_a_sentence(root: Path) -> None:
    (root / NAME).mkdir()
    (root / NAME / "case.toml").write_text("schema = ", encoding="utf-8")
    (error,) = shown("how").error
    assert "not valid TOML" in error.value


def test_before_a_run_the_recipe_is_the_one_that_the_case_states(root: Path) -> None:
    write_case(root / NAME, model=FAKE, arms=UNTUNED + TUNED)
    at = shown("how")
    text = words(at)
    assert "Nothing has been measured yet" in text
    assert states(at) == ["open", "open", "open", "open"]
    assert "Those that the case states" in text and "What was measured on" not in text
    assert ".venv/bin/python train.py --model PATH_OR_ID" in text
    assert any(block.value.startswith('"""Train a LoRA adapter') for block in at.code)


def test_a_verdict_other_than_go_is_said_first(case: Path) -> None:
    edited(case, "[money]", "[goal]\nneeded_score = 0.999\n[money]")
    at = shown("how")
    assert [each.value for each in at.warning] == ["The verdict is NOT YET. This is how it would be done."]
    assert "What was measured on LoRA" in words(at)


def test_nothing_stands_before_a_go(case: Path) -> None:
    assert not shown("how").warning


def test_an_answer_ticks_a_need(case: Path) -> None:
    at = shown("how")
    assert states(at) == ["open", "open", "ready", "open"]
    at.text_area(key="answer-base_model").set_value("oracle").run()
    at.segmented_control(key="answer-data_set").set_value(True).run()
    at.segmented_control(key="answer-hosting_environment").set_value(True).run()
    at.segmented_control(key="answer-training_environment").set_value(False).run()
    assert not at.exception
    assert states(at) == ["ready", "ready", "open", "ready"]
    assert cases.read(case).answers == {
        "base_model": "oracle",
        "data_set": True,
        "hosting_environment": True,
        "training_environment": False,
    }


def test_simulated_results_are_called_so(root: Path) -> None:
    run(root / NAME, FAKE)
    at = shown("how")
    assert any("SIMULATED RESULTS" in each.value for each in at.error)
    assert states(at)[2] == "open"


def test_the_folder_is_made_and_downloaded(case: Path) -> None:
    at = shown("how")
    assert not at.get("download_button")
    at.button(key="make").click().run()
    assert not at.exception and not at.error
    (button,) = at.get("download_button")
    assert button.proto.label.startswith("Download the folder")
    assert button.proto.url


def test_data_that_has_changed_is_refused_in_a_sentence(case: Path) -> None:
    data = case / "examples.jsonl"
    data.write_text("".join(data.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    at = shown("how")
    at.button(key="make").click().run()
    assert not at.exception
    assert "have changed since the test split was locked" in at.error[0].value
    assert not at.get("download_button")


def test_another_arm_can_be_trained(root: Path) -> None:
    write_case(root / NAME, model=FAKE, arms=TUNED + TUNED + "settings = { rank = 64 }\n")
    at = shown("how")
    control = at.segmented_control(key="arm")
    assert control.options == ["LoRA", "LoRA (2)"]
    program = next(block.value for block in at.code if "RANK = " in block.value)
    assert "RANK = 8\n" in program
    control.set_value("LoRA (2)").run()
    program = next(block.value for block in at.code if "RANK = " in block.value)
    assert "RANK = 64\n" in program


def test_a_case_that_tunes_nothing_has_no_recipe(root: Path) -> None:
    write_case(root / NAME, model=FAKE, arms=UNTUNED)
    at = shown("how")
    assert "No alternative of this case tunes a model" in words(at)
    assert not [button for button in at.button if button.key == "make"]


def test_settings_that_do_not_exist_are_refused_in_a_sentence(root: Path) -> None:
    write_case(root / NAME, model=FAKE, arms=TUNED + "settings = { rank = 0 }\n")
    assert "rank has to be at least 1" in shown("how").error[0].value


def test_hostile_names_are_shown_as_text(root: Path) -> None:
    name = HOSTILE.replace("\\", "").replace('"', "'").replace("\n", " ")
    write_case(root / NAME, model=f'{FAKE}[[models]]\nname = "{name}"\nprovider = "fake"\n', arms=TUNED)
    at = shown("how")
    at.segmented_control(key="arm").set_value(f"LoRA · {name}").run()
    assert not at.exception
    assert not [each for each in at.markdown if each.allow_html]
    assert name not in "\n".join(str(each.value) for each in (*at.markdown, *at.caption))


def test_every_route_has_its_steps_and_its_folder(root: Path) -> None:
    write_case(root / NAME, rows=60, model=FAKE, arms=TUNED)
    at = shown("how")
    control = at.segmented_control(key="route")
    assert len(control.options) == len(recipes.providers()) and control.value == "trl"
    for name, title, _ in recipes.providers():
        at.segmented_control(key="route").set_value(name).run()
        assert not at.exception and not at.error
        assert f"**{title}**" in words(at)
        stages = recipes.stages(recipes.chosen(cases.read(root / NAME), None), name)
        commands = [command for stage in stages for command in stage.commands]
        blocks = "\n".join(block.value for block in at.code)
        assert commands and all(command in blocks for command in commands)
    at.button(key="make").click().run()
    assert not at.exception and not at.error
    assert at.get("download_button")[0].proto.url


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_a_model_at_a_provider_begins_with_that_route(root: Path, provider: str) -> None:
    model = f'[[models]]\nname = "mini"\nprovider = "{provider}"\noptions = {{ id = "gpt-4.1-mini-2025-04-14" }}\n'
    write_case(root / NAME, rows=60, model=model, arms=TUNED)
    assert shown("how").segmented_control(key="route").value == provider
