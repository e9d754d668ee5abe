"""One question through every arm: nothing is written, nothing is trained, the test split stays untouched."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import case, experiment, models, tuning
from finetune_advisor.approaches.prompting import FewShot
from finetune_advisor.approaches.tuned import Tuned
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment import trial
from finetune_advisor.experiment.trial import FIRST_SETTING, NO_INSTRUCTION, NotTried, Prompt, Trial, Workbench
from finetune_advisor.records import Example, Message, Reply
from oracle import Oracle, write_case

FREE = "zoe wrote about the parcel van"


pytestmark = pytest.mark.usefixtures("oracle")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that has been run."""
    folder = write_case(tmp_path_factory.mktemp("case") / "c", rows=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.TABLE, "oracle", "oracle:Oracle")
        experiment.run(case.read(folder))
    return folder


def stored(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "store.sqlite") as database:
        lines = list(database.iterdump())
    database.close()
    return lines


def written(message: Message) -> str:
    """As it stands in the store."""
    return f'"role":"{message.role}","content":{json.dumps(message.content)}'


def tried(found: Iterable[Trial | NotTried]) -> dict[str, Trial]:
    return {each.approach: each for each in found if isinstance(each, Trial)}


def test_before_a_run_the_untuned_arms_answer_and_nothing_is_made(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", rows=60)
    before = sorted(folder.rglob("*"))
    found = tuple(Workbench(case.read(folder)).tries(FREE))
    assert [each.arm for each in found] == ["Zero-shot", "Few-shot", "LoRA"]
    assert found[2] == NotTried(arm="LoRA", reason="Not trained yet: run the experiments first.")
    few = tried(found)["few_shot"]
    assert few.note == FIRST_SETTING
    assert few.settings == {"shots": 4}
    assert len(few.prompt) == 1 + 2 * 4 + 1
    assert few.prompt[-1].content == FREE
    assert few.score is None
    assert isinstance(few.outcome, Reply)
    assert few.outcome.usage.prompt_tokens > 0
    assert few.usd is not None and few.usd > 0
    assert sorted(folder.rglob("*")) == before


def test_after_a_run_every_arm_answers_and_the_store_stays_as_it_is(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(tuning, "create", train)
    before = stored(finished)
    bench = Workbench(case.read(finished))
    found = tried(bench.tries(bench.examples[0].question))
    assert set(found) == {"zero_shot", "few_shot", "tuned"}
    assert stored(finished) == before
    assert found["few_shot"].note == ""
    assert found["tuned"].prompt == bench.examples[0].messages
    assert all(each.score is not None for each in found.values())


def test_a_validation_example_gets_the_prompt_and_the_score_of_the_experiment(finished: Path) -> None:
    read = case.read(finished)
    bench = Workbench(read)
    found = tried(bench.tries(bench.examples[3].question.upper() + "  "))
    results = experiment.stored(read)
    shots = next(arm.settings["shots"] for arm in results.arms if arm.approach == "few_shot")
    few = found["few_shot"]
    assert few.settings["shots"] == shots
    rows = [line for line in stored(finished) if bench.examples[3].id in line and "'validation'" in line]
    assert any(all(written(message) in row for message in few.prompt) for row in rows)
    assert isinstance(few.outcome, Reply)
    assert few.score is not None
    assert few.score.value == float(few.outcome.text == bench.examples[3].answer)


def test_a_question_of_the_test_split_is_refused(finished: Path) -> None:
    bench = Workbench(case.read(finished))
    question = bench.prepared.parts["test"][0].question
    with pytest.raises(BadInput, match="locked test split"):
        tuple(bench.tries(f"  {question.upper()}"))
    with pytest.raises(BadInput, match="no question"):
        tuple(bench.tries(" \n"))


def test_a_changed_instruction_goes_to_the_untuned_arms_only(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    case.edit(copy, {"task.instruction": "Think of the customer."})
    experiment.run(case.read(copy))
    found = tried(Workbench(case.read(copy)).tries(FREE))
    assert found["zero_shot"].prompt[0].content.startswith("Think of the customer.\nAnswer with exactly one")
    assert found["zero_shot"].note == ""
    assert found["tuned"].note == NO_INSTRUCTION
    assert "Think" not in found["tuned"].prompt[0].content


def test_the_instruction_of_the_case_is_in_the_prompt_as_in_the_experiment(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", rows=60, arms='[[arms]]\napproach = "zero_shot"\n')
    text = (folder / "case.toml").read_text(encoding="utf-8")
    (folder / "case.toml").write_text(text.replace("[data]", 'instruction = "Be kind."\n[data]'), encoding="utf-8")
    read = case.read(folder)
    experiment.run(read)
    system = tried(Workbench(read).tries(FREE))["zero_shot"].prompt[0]
    assert system.content.startswith("Be kind.\nAnswer with")
    assert any(written(system) in line for line in stored(folder))


def test_a_training_whose_folder_is_gone_is_not_trained(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    assert "tuned" in tried(Workbench(case.read(copy)).tries(FREE))
    shutil.rmtree(copy / "fits")
    assert "tuned" not in tried(Workbench(case.read(copy)).tries(FREE))
    assert not (copy / "fits").exists()


def test_the_workbench_fits_each_arm_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[str] = []

    def spied(plain: Any) -> Any:
        def fit(self: object, bench: object) -> object:
            fits.append(type(self).__name__)
            return plain(self, bench)

        return fit

    monkeypatch.setattr(FewShot, "fit", spied(FewShot.fit))
    monkeypatch.setattr(Tuned, "asking", spied(Tuned.asking))
    read = case.read(finished)
    bench = Workbench(read)
    bench.prompts(FREE)
    tuple(bench.tries(FREE))
    changed = read.model_copy(update={"task": read.task.model_copy(update={"instruction": "Another prompt."})})
    found = tried(bench.of(changed).tries(FREE))
    assert found["zero_shot"].prompt[0].content.startswith("Another prompt.")
    assert sorted(fits) == ["FewShot", "Tuned"]
    assert "Another" not in tried(bench.tries(FREE))["zero_shot"].prompt[0].content


def test_each_arm_comes_as_soon_as_it_has_answered(tmp_path: Path) -> None:
    log = tmp_path / "asked.txt"
    model = f'[[models]]\nname = "oracle"\nprovider = "oracle"\noptions = {{ log = {json.dumps(str(log))} }}\n'
    bench = Workbench(case.read(write_case(tmp_path / "c", rows=60, model=model)))
    told: list[str] = []
    tries = bench.tries(FREE, progress=lambda what, done, total: told.append(f"{what} {done}/{total}"))
    assert not log.exists()
    assert next(tries).arm == "Zero-shot"
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    assert not bench.turn.locked()
    assert [each.arm for each in tries] == ["Few-shot", "LoRA"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2
    assert told == ["Zero-shot 0/3", "Few-shot 1/3", "all arms 3/3"]


def test_prompts_are_those_that_are_sent_and_no_model_is_asked(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(case.read(finished))
    sent = {each.arm: each.prompt for each in tried(bench.tries(FREE)).values()}

    def answer(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(Oracle, "answer", answer)
    shown = bench.prompts(FREE)
    assert {each.arm: each.messages for each in shown if isinstance(each, Prompt)} == sent
    with pytest.raises(BadInput, match="locked test split"):
        bench.prompts(bench.prepared.parts["test"][0].question)


def test_the_validation_examples_are_found_without_a_model(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = case.read(finished)
    wanted = Workbench(read).examples

    def create(*_: object, **__: object) -> None:
        raise AssertionError("made")

    monkeypatch.setattr(models, "create", create)
    assert trial.validation(read) == wanted


def test_arms_that_cannot_be_asked_say_why(tmp_path: Path) -> None:
    arms = '[[arms]]\napproach = "rag"\n[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "classical"\n'
    found = tuple(Workbench(case.read(write_case(tmp_path / "c", rows=60, arms=arms))).tries(FREE))
    reasons = {each.arm: each.reason for each in found if isinstance(each, NotTried)}
    assert reasons == {"RAG": "The case has no documents."}
    assert set(tried(found)) == {"zero_shot", "classical"}


def test_passages_are_shown_in_full(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", rows=60, arms='[[arms]]\napproach = "rag"\nsettings = { retriever = "bm25" }\n')
    (folder / "documents").mkdir()
    (folder / "documents" / "van.md").write_text("# Vans\n\nThe parcel van comes on Monday.\n", encoding="utf-8")
    text = (folder / "case.toml").read_text(encoding="utf-8")
    (folder / "case.toml").write_text(text.replace("[data]", '[data]\ndocuments = "documents"'), encoding="utf-8")
    rag = tried(Workbench(case.read(folder)).tries(FREE))["rag"]
    assert rag.passages[0].text.endswith("The parcel van comes on Monday.")


def test_without_a_usable_price_there_is_no_cost(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", rows=60, extra='[money]\nmachine = "abacus"\n')
    assert tried(Workbench(case.read(folder)).tries(FREE))["zero_shot"].usd is None


@pytest.mark.parametrize(
    ("messages", "instruction", "system"),
    [
        ((Message(role="system", content="You sort."),), "Be kind.", "You sort.\nBe kind."),
        ((Message(role="system", content="Be kind."),), "Be kind.", "Be kind."),
        ((), "Be kind.", "Be kind."),
        ((Message(role="system", content="You sort."),), "", "You sort."),
    ],
)
def test_the_instruction_stands_after_the_examples_own(
    messages: tuple[Message, ...], instruction: str, system: str
) -> None:
    asked = Message(role="user", content="?")
    made = trial.instructed(Example(id="1", messages=(*messages, asked), answer=""), instruction)
    assert [message.content for message in made.messages] == [system, "?"]


def test_without_any_instruction_the_example_stays_as_it_is() -> None:
    example = Example(id="1", messages=(Message(role="user", content="?"),), answer="")
    assert trial.instructed(example, "") == example
