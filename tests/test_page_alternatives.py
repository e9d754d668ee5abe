"""The page of step 3: the prompt, what is compared, room for examples, and one question through every alternative."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import case, experiment, models
from finetune_advisor.errors import Missing
from finetune_advisor.experiment import trial
from finetune_advisor.report.document import to_json
from oracle import Oracle, write_case

pytest.importorskip("streamlit", reason="the app needs streamlit")

from streamlit.testing.v1 import AppTest

from finetune_advisor.pages.background import THREAD

APP = Path(__file__).parents[1] / "app.py"
PAGE = "finetune_advisor/pages/alternatives.py"
HOSTILE = '<img src=x onerror=alert(1)> **bold** [link](javascript:alert(1)) :red[x] "quoted"'
FAKE = '[[models]]\nname = "fake"\nprovider = "fake"\n'
PRICED = FAKE + 'price = "toy"\n'
PRICES = '[[price]]\nname = "toy"\nvalues.usd_per_mtok_input = 2\nvalues.usd_per_mtok_output = 8\n'
ARMS = """[[arms]]
approach = "zero_shot"
[[arms]]
approach = "few_shot"
settings = { shots = 2 }
[[arms]]
approach = "tuned"
settings = { epochs = 2 }
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of cases; what a page has started ends with its test."""
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    monkeypatch.setitem(models.TABLE, "oracle", "oracle:Oracle")
    yield tmp_path
    finish()


@pytest.fixture
def toy(root: Path) -> Path:
    return write_case(root / "toy", rows=60, model=FAKE, arms=ARMS)


def finish() -> None:
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)
            assert not thread.is_alive()


def shown(name: str = "toy") -> Any:
    """The page of a case after its first run; typed Any because AppTest's elements are."""
    at: Any = AppTest.from_file(APP, default_timeout=30)
    at.query_params["case"] = name
    at.run()
    return settled(at.switch_page(PAGE).run())


def settled(at: Any) -> Any:
    """The page when its threads are through: a browser would have looked again by itself."""
    assert not at.exception
    finish()
    at.run()
    assert not at.exception
    return at


def opened(at: Any, expander: str) -> Any:
    at.session_state[expander] = True
    return settled(at.run())


def asked(at: Any) -> Any:
    return settled(at.button(key="ask").click().run())


def words(at: Any, *kinds: str) -> str:
    kinds = kinds or ("subheader", "markdown", "caption", "text", "info", "error", "warning")
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))


def errors(at: Any) -> list[str]:
    return [each.value for each in at.error]


def arms(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(arm.approach, arm.settings) for arm in case.read(folder).arms]


def with_results(folder: Path) -> Path:
    read = case.read(folder)
    results = experiment.run(read)
    read.reports.mkdir()
    (read.reports / "results.json").write_text(to_json(results), encoding="utf-8")
    return folder


def test_without_a_case_or_with_a_broken_one_the_page_says_so(root: Path, toy: Path) -> None:
    at = shown("nowhere")
    assert "no case nowhere" in words(at)
    (toy / "case.toml").write_text("schema = 1\n[task", encoding="utf-8")
    assert "not valid TOML" in errors(shown())[0]


def test_before_a_run_the_page_is_whole_and_shows_no_measurement(toy: Path) -> None:
    at = shown()
    assert [each.value for each in at.subheader] == ["Models", "The prompt", "What to compare", "Try one question"]
    assert {toggle.label for toggle in at.toggle if toggle.value} == {"Zero-shot", "Few-shot", "LoRA"}
    assert "Measured" not in words(at)
    assert not at.warning
    assert len(at.selectbox(key="try-example").options) == len(trial.validation(case.read(toy)))


def test_the_instruction_is_saved_and_removed(toy: Path) -> None:
    at = shown()
    at = at.text_area(key="instruction").set_value("Be kind.\nBe short.").run()
    assert case.read(toy).task.instruction == "Be kind.\nBe short."
    at = at.text_area(key="instruction").set_value("  ").run()
    assert "instruction" not in (toy / "case.toml").read_text(encoding="utf-8")
    case.edit(toy, {"task.instruction": "From elsewhere."})
    assert at.run().text_area(key="instruction").value == "From elsewhere."


def test_results_stand_beside_the_arms_and_another_prompt_is_pointed_out(toy: Path) -> None:
    with_results(toy)
    at = shown()
    assert words(at, "caption").count("Simulated:") == 3
    assert "another instruction" not in words(at)
    at.text_area(key="instruction").set_value("Think.").run()
    assert "measured with another instruction" in words(at, "warning")


def test_an_old_prompt_put_back_needs_no_new_answers(root: Path) -> None:
    log = root / "asked.txt"
    model = f'[[models]]\nname = "oracle"\nprovider = "oracle"\noptions = {{ log = {str(log)!r} }}\n'
    folder = write_case(root / "toy", rows=60, model=model, arms='[[arms]]\napproach = "zero_shot"\n')

    def asked_in_a_run() -> int:
        log.write_text("", encoding="utf-8")
        experiment.run(case.read(folder))
        return len(log.read_text(encoding="utf-8").splitlines())

    first = asked_in_a_run()
    at = shown()
    at.text_area(key="instruction").set_value("Think.").run()
    assert asked_in_a_run() == first > 0
    at.text_area(key="instruction").set_value("").run()
    assert asked_in_a_run() == 0


def test_an_arm_is_removed_and_comes_back_with_its_settings(toy: Path) -> None:
    at = shown()
    at = at.toggle(key="arm-tuned").set_value(False).run()
    assert [name for name, _ in arms(toy)] == ["zero_shot", "few_shot"]
    at = at.toggle(key="arm-classical").set_value(True).run()
    at = at.toggle(key="arm-tuned").set_value(True).run()
    assert arms(toy)[2:] == [("classical", {}), ("tuned", {"epochs": 2})]
    assert not at.error


def test_several_arms_of_an_approach_go_and_come_together(toy: Path) -> None:
    case.edit(toy, {"arms.4": {"approach": "few_shot", "settings": {"shots": 8}}})
    at = shown()
    at = at.toggle(key="arm-few_shot").set_value(False).run()
    assert [name for name, _ in arms(toy)] == ["zero_shot", "tuned"]
    at.toggle(key="arm-few_shot").set_value(True).run()
    assert arms(toy)[2:] == [("few_shot", {"shots": 2}), ("few_shot", {"shots": 8})]


def test_the_only_arm_and_arms_that_do_not_fit_cannot_be_switched(root: Path) -> None:
    write_case(root / "toy", rows=60, model=FAKE, arms='[[arms]]\napproach = "zero_shot"\n')
    case.edit(root / "toy", {"task.kind": "qa"})
    at = shown()
    off = {toggle.label for toggle in at.toggle if toggle.disabled}
    assert off == {"Zero-shot", "RAG", "LoRA + RAG", "No language model"}
    text = words(at, "caption")
    assert "the only one" in text
    assert "It needs documents" in text
    assert "classification only; here a right answer is a few words" in text


def test_a_case_without_a_model_can_only_be_classified(root: Path) -> None:
    folder = write_case(root / "toy", rows=60, model="# none\n", arms='[[arms]]\napproach = "classical"\n')
    at = shown()
    assert "the case names none" in words(at)
    assert "refund" in words(asked(at), "text")
    assert arms(folder) == [("classical", {})]


def test_a_change_in_another_tab_is_not_undone(toy: Path) -> None:
    at = shown()
    case.edit(toy, {"arms.zero_shot": None})
    at.multiselect(key="arm-few_shot-0-shots").set_value(["16"]).run()
    assert arms(toy) == [("few_shot", {"shots": 16}), ("tuned", {"epochs": 2})]
    case.edit(toy, {"arms.few_shot": None})
    at.multiselect(key="arm-few_shot-0-shots").set_value(["8"]).run()
    assert arms(toy) == [("tuned", {"epochs": 2})]


def test_the_number_of_examples_is_one_or_several_or_the_usual(toy: Path) -> None:
    at = shown()
    field = "arm-few_shot-0-shots"
    at = at.multiselect(key=field).set_value(["16", "2", "2"]).run()
    assert arms(toy)[1] == ("few_shot", {"shots": [2, 16]})
    at = at.multiselect(key=field).set_value(["3"]).run()
    assert arms(toy)[1] == ("few_shot", {"shots": 3})
    at = at.multiselect(key=field).set_value([]).run()
    assert arms(toy)[1] == ("few_shot", {})
    assert at.multiselect(key=field).value == ["4", "8"]


@pytest.mark.parametrize(("typed", "said"), [("lots", "no whole number"), ("0", "at least 1")])
def test_what_is_no_number_of_examples_is_refused(toy: Path, typed: str, said: str) -> None:
    case.edit(toy, {"arms.few_shot.settings.shots": typed})
    before = (toy / "case.toml").read_bytes()
    at = shown()
    at.multiselect(key="arm-few_shot-0-shots").set_value([typed, "4"]).run()
    assert len(errors(at)) == 1
    assert (toy / "case.toml").read_bytes() == before


def test_room_says_how_many_examples_fit_and_what_each_number_costs(root: Path) -> None:
    folder = write_case(root / "toy", rows=60, model=PRICED, arms=ARMS, extra='[money]\nprices = "prices.toml"\n')
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    at = shown()
    assert not at.table
    at = opened(at, "room")
    table = at.table[0].value
    assert list(table.columns) == [
        "Examples",
        "Tokens of a usual prompt",
        "Tokens they add",
        "Price they add per 1,000 requests",
    ]
    one = table.iloc[1]
    assert list(one) == ["1", "52", "20", "\\$0.040"]
    assert "8,192" in words(at)


def test_where_a_machine_is_paid_by_the_hour_room_says_what_is_not_known(toy: Path) -> None:
    at = opened(shown(), "room")
    assert len(at.table[0].value.columns) == 3
    assert "paid by the hour" in words(at)


def test_every_model_has_its_own_room(root: Path) -> None:
    small = '[[models]]\nname = "small"\nprovider = "fake"\noptions = { context_window = 200 }\n'
    write_case(root / "toy", rows=60, model=FAKE + small, arms=ARMS)
    at = opened(shown(), "room")
    at = settled(at.selectbox(key="room-of").set_value("small").run())
    assert "What small can read at once" in words(at)


def test_the_full_prompts_are_shown_as_code_and_follow_the_instruction(toy: Path) -> None:
    at = opened(shown(), "prompts")
    assert at.selectbox(key="prompt-of").value == "Few-shot"
    assert len(at.code) == 1 + 2 * 2 + 1
    at = settled(at.text_area(key="instruction").set_value(HOSTILE).run())
    assert at.code[0].value.startswith(HOSTILE)
    assert HOSTILE not in words(at)
    at = at.selectbox(key="prompt-of").set_value("LoRA").run()
    assert "Not trained yet" in words(at, "info")


def test_a_validation_example_goes_through_every_arm(toy: Path) -> None:
    with_results(toy)
    at = asked(shown())
    text = words(at)
    example = trial.validation(case.read(toy))[0]
    for name in ("Zero-shot", "Few-shot", "LoRA"):
        assert f"**{name}** (simulated) :" in text
    assert "SIMULATED ANSWERS" in text
    assert example.question in words(at, "text")
    assert example.answer in words(at, "text")
    assert "tokens in" in text
    assert "per 1,000 requests" in text
    assert not [each for each in at.button if each.key == "stop"]


def test_a_free_question_has_no_score_and_hostile_text_stays_text(toy: Path) -> None:
    at = shown()
    at = at.segmented_control(key="try-source").set_value("A question of my own").run()
    at = asked(at.text_area(key="try-own").set_value(HOSTILE).run())
    assert HOSTILE in words(at, "text")
    assert HOSTILE not in words(at, "markdown", "caption")
    outcomes = ("[right]", "[wrong]", "[wrong form]", "[no answer]")
    assert not [each for each in outcomes if each in words(at, "markdown")]
    assert "Not asked. Not trained yet" in words(at, "caption")


def test_a_test_question_or_none_is_refused(toy: Path) -> None:
    at = shown().segmented_control(key="try-source").set_value("A question of my own").run()
    assert "no question" in errors(asked(at))[0]
    test = trial.Workbench(case.read(toy)).prepared.parts["test"][0]
    assert "locked test split" in errors(asked(at.text_area(key="try-own").set_value(test.question).run()))[0]


def test_while_it_asks_the_page_goes_on_and_can_stop_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(root / "toy", rows=60)
    at = shown()
    go_on, answer = threading.Event(), Oracle.answer

    def slow(self: Oracle, batch: Any) -> Any:
        assert go_on.wait(30)
        return answer(self, batch)

    monkeypatch.setattr(Oracle, "answer", slow)
    at = at.button(key="ask").click().run()
    assert not at.exception
    at = at.toggle(key="arm-classical").set_value(True).run()
    assert ("classical", {}) in arms(root / "toy")
    at = at.button(key="stop").click().run()
    go_on.set()
    text = words(settled(at), "markdown")
    assert "**Few-shot**" not in text


def test_data_that_cannot_be_read_is_said_and_read_again_when_mended(toy: Path) -> None:
    moved = shutil.move(toy / "examples.jsonl", toy / "elsewhere.jsonl")
    at = shown()
    assert len(errors(at)) == 1
    assert len(errors(asked(at))) == 2
    shutil.move(moved, toy / "examples.jsonl")
    assert len(errors(settled(at))) == 1
    assert "tokens in" in words(asked(at))


def test_a_model_that_is_not_there_is_said_and_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(root / "toy", rows=60)
    at = shown()

    def count(*_: object) -> int:
        raise Missing("This needs weights.", hint="Get them.")

    with monkeypatch.context() as patch:
        patch.setattr(Oracle, "count_tokens", count)
        at = opened(at, "room")
        assert "This needs weights. Get them." in errors(at)
    assert not errors(settled(settled(at)))
