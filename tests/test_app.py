"""Every page of the app: with results, without, with broken ones, and with hostile text."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sample_results import HOSTILE, sample_results, without_new_facts

pytest.importorskip("streamlit", reason="the app needs streamlit")

from streamlit.testing.v1 import AppTest

from finetune_advisor.records import Results
from finetune_advisor.report.document import to_json

APP = Path(__file__).parents[1] / "app.py"
PAGES = ("overview", "data", "scores", "examples", "report")


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "report").mkdir()
    monkeypatch.setenv("FINETUNE_ADVISOR_CASE", str(tmp_path))
    return tmp_path


def write(case: Path, results: Results) -> None:
    (case / "report" / "results.json").write_text(to_json(results), encoding="utf-8")


def shown(page: str) -> Any:
    """A page after its first run; typed Any because AppTest's elements are."""
    at = AppTest.from_file(APP, default_timeout=30).run()
    at = at.switch_page(f"finetune_advisor/pages/{page}.py").run()
    assert not at.exception
    return at


def words(at: Any) -> str:
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "text",
        "info",
        "error",
        "warning",
        "success",
        "code",
    )
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_results(case: Path, page: str) -> None:
    write(case, sample_results())
    at = shown(page)
    assert at.title
    assert not at.error


@pytest.mark.parametrize("page", PAGES)
def test_every_page_warns_of_simulated_results(case: Path, page: str) -> None:
    write(case, sample_results(simulated=True))
    assert any("SIMULATED RESULTS" in each.value for each in shown(page).error)


@pytest.mark.parametrize("page", PAGES)
def test_without_results_every_page_says_which_command_to_run(case: Path, page: str) -> None:
    at = shown(page)
    assert [each.value for each in at.code] == [f"finetune-advisor run {case}"]
    assert len(at.info) == 1


def test_without_a_case_the_app_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNE_ADVISOR_CASE", raising=False)
    assert [each.value for each in shown("overview").code] == ["finetune-advisor app CASE"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("content", [b'{"schema": 1, "tit', b"\xff\xfe\x00", b'{"schema": 99}'])
def test_broken_results_get_one_sentence(case: Path, page: str, content: bytes) -> None:
    (case / "report" / "results.json").write_bytes(content)
    at = shown(page)
    assert len(at.error) == 1
    assert not at.title


def test_new_results_replace_the_cached_ones(case: Path) -> None:
    write(case, sample_results())
    at: Any = AppTest.from_file(APP, default_timeout=30).run()
    write(case, replace(sample_results(), title="Another title, with another length"))
    assert at.run().title[0].value == "Another title, with another length"


def test_the_verdict_is_on_the_first_page(case: Path) -> None:
    write(case, sample_results())
    text = words(shown("overview"))
    assert "NOT YET: tuning looks better" in text
    assert "Label 120 more test examples" in text
    assert "### 86 of 100" in text
    assert "a GO needs 90" in text
    assert "is worth \\$263 on average and costs \\$180" in text


def test_findings_can_be_filtered(case: Path) -> None:
    write(case, sample_results())
    at = shown("data")
    assert len(at.dataframe[0].value) == 27
    at = at.pills(key="severity").set_value(["error"]).run()
    assert list(at.dataframe[0].value["Code"]) == ["contradictory_label"]
    at = at.pills(key="severity").set_value([]).run()
    at = at.multiselect(key="code").set_value(["small_class"]).run()
    assert len(at.dataframe[0].value) == 1


def test_examples_can_be_filtered_by_arm_and_outcome(case: Path) -> None:
    write(case, sample_results())
    at = shown("examples")
    assert "2 of 2 examples" in words(at)
    at = at.selectbox(key="arm").set_value("LoRA").run()
    at = at.pills(key="outcome").set_value("wrong").run()
    assert "1 of 2 examples" in words(at)
    assert [each.value for each in at.caption if "Test example" in each.value] == ["Test example e021"]
    at = at.pills(key="outcome").set_value("no answer").run()
    assert not at.exception
    assert "No example fits" in words(at)


def test_many_examples_come_in_pages(case: Path) -> None:
    sample = sample_results()
    write(case, replace(sample, disagreements=sample.disagreements * 4))
    assert sum("Test example" in each.value for each in shown("examples").caption) == 5


PARTS = ["Quality", "How sure", "Cost", "More data", "Side effects", "Settings and training", "Your answers"]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_results_page(case: Path, part: str) -> None:
    write(case, sample_results())
    at = shown("scores").segmented_control(key="part").set_value(part).run()
    assert not at.exception
    charts = at.get("plotly_chart")
    assert all(chart.proto.alt for chart in charts)
    assert len([button for button in at.get("download_button") if button.proto.id.endswith("-csv")]) == len(charts)


def test_parts_without_results_are_not_offered(case: Path) -> None:
    write(case, sample_results())
    assert shown("scores").segmented_control(key="part").options == PARTS
    write(case, without_new_facts(sample_results()))
    old = [part for part in PARTS if part not in {"How sure", "More data", "Side effects"}]
    assert shown("scores").segmented_control(key="part").options == old


@pytest.mark.parametrize(
    ("part", "kinds", "says"),
    [
        ("How sure", 1, "The questionnaire alone would have said NO-GO"),
        ("Cost", 4, "can turn the answer alone"),
        ("More data", 1, "Yes, more training examples would help"),
        ("Side effects", 1, "Tuning has cost abilities"),
    ],
)
def test_new_facts_stand_in_their_part(case: Path, part: str, kinds: int, says: str) -> None:
    write(case, sample_results())
    at = shown("scores").segmented_control(key="part").set_value(part).run()
    assert says in words(at)
    assert len(at.get("plotly_chart")) == kinds


def test_hostile_text_is_shown_as_text(case: Path) -> None:
    write(case, sample_results())
    at = shown("examples")
    assert HOSTILE in [each.value for each in at.text]
    assert not [each for each in at.markdown if each.allow_html]
    assert HOSTILE not in "\n".join(each.value for each in (*at.markdown, *at.caption))


def test_the_report_page_offers_three_files(case: Path) -> None:
    write(case, sample_results())
    labels = [button.proto.label for button in shown("report").get("download_button")]
    assert [label.split(",")[0] for label in labels] == ["HTML", "Markdown", "JSON"]


def test_the_app_finds_its_pages_from_where_the_wheel_puts_it(case: Path, tmp_path: Path) -> None:
    write(case, sample_results())
    elsewhere = tmp_path / "site" / "app.py"
    elsewhere.parent.mkdir()
    shutil.copy(APP, elsewhere)
    at: Any = AppTest.from_file(elsewhere, default_timeout=30).run()
    assert not at.exception
    assert at.title
