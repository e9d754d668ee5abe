"""The pages of the walk: without a case, with a broken one, before a run, with results, with hostile text."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from streamlit.testing.v1 import AppTest

from app_case import APP, NAME, make_case, shown, words
from finetune_advisor import case as cases
from finetune_advisor import jobs, workspace
from finetune_advisor.errors import NoSpace
from finetune_advisor.jobs import Job, Step
from finetune_advisor.records import Interval
from finetune_advisor.store import JobState
from sample_results import HOSTILE, sample_results

STEPS = ("use_case", "data", "alternatives", "costs", "benefits", "verdict", "how")
PAGES = (*STEPS, "experiments", "examples")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    monkeypatch.delenv("FINETUNE_ADVISOR_CASE", raising=False)
    return tmp_path


def home() -> Any:
    at: Any = AppTest.from_file(APP, default_timeout=60).run()
    assert not at.exception
    return at


@pytest.mark.parametrize("page", PAGES)
def test_without_a_case_every_page_leads_to_the_list(page: str) -> None:
    at = shown(page, name="")
    assert "No case is open" in words(at)
    assert [link.proto.label for link in at.get("page_link")] == ["Choose a case"]


@pytest.mark.parametrize("name", ["../elsewhere", "nowhere", ".trash"])
def test_a_name_that_is_no_case_opens_nothing(root: Path, name: str) -> None:
    make_case(root)
    assert "There is no case" in words(shown("use_case", name=name))


@pytest.mark.parametrize("page", PAGES)
def test_a_broken_case_gets_one_sentence(root: Path, page: str) -> None:
    folder = make_case(root)
    (folder / cases.FILE).write_text("schema = ", encoding="utf-8")
    at = shown(page)
    assert len(at.error) == 1
    assert "not valid TOML" in at.error[0].value


@pytest.mark.parametrize("page", PAGES)
def test_every_page_works_before_anything_was_run(root: Path, page: str) -> None:
    make_case(root)
    at = shown(page)
    assert at.title
    assert not at.error


@pytest.mark.parametrize("page", PAGES)
def test_every_page_works_with_results_and_shows_hostile_text_as_text(root: Path, page: str) -> None:
    make_case(root, sample_results())
    at = shown(page)
    assert at.title
    assert not at.error
    assert not [each for each in at.markdown if each.allow_html]
    assert HOSTILE not in "\n".join(str(each.value) for each in (*at.markdown, *at.caption, *at.warning, *at.info))


@pytest.mark.parametrize("page", ["verdict", "benefits", "examples"])
def test_simulated_results_are_called_so(root: Path, page: str) -> None:
    make_case(root, sample_results(simulated=True))
    assert any("SIMULATED RESULTS" in each.value for each in shown(page).error)


@pytest.mark.parametrize("content", [b'{"schema": 1, "tit', b"\xff\xfe\x00", b'{"schema": 99}'])
def test_broken_results_get_one_sentence(root: Path, content: bytes) -> None:
    folder = make_case(root, sample_results())
    (folder / "report" / "results.json").write_bytes(content)
    at = shown("verdict")
    assert len(at.error) == 1
    assert "Nothing has been measured yet" not in words(at)


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_each_step_says_why_and_links_to_its_neighbours(root: Path, place: int) -> None:
    make_case(root)
    at = shown(STEPS[place])
    text = words(at)
    assert f"Step {place + 1} of 7" in text
    assert "Skip this step" in text or STEPS[place] == "how"
    labels = [link.proto.label for link in at.get("page_link")]
    assert any(label.startswith("Next: ") for label in labels) == (place < 6)


def test_an_empty_home_offers_the_sample_which_opens_with_one_click(root: Path) -> None:
    at = home()
    assert "There is none yet" in words(at)
    at.button(key="sample").click().run()
    assert not at.exception
    assert (root / "sample" / cases.FILE).is_file()
    assert "Step 1 of 7" in words(at)


def test_a_new_case_is_made_from_a_title(root: Path) -> None:
    at = home()
    at.text_input(key="title").set_value("Ticket routing")
    next(button for button in at.button if button.label == "Make it").click().run()
    assert not at.exception
    (entry,) = workspace.cases(root)
    assert entry.title == "Ticket routing"


def test_the_list_says_what_each_case_is_and_removes_it_into_the_trash(root: Path) -> None:
    make_case(root, sample_results())
    make_case(root, name="broken").joinpath(cases.FILE).write_text("schema = ", encoding="utf-8")
    at = home()
    assert "NOT YET" in words(at)
    assert len(at.error) == 1
    at.button(key=f"really-{NAME}").click().run()
    assert not at.exception
    assert [entry.name for entry in workspace.cases(root)] == ["broken"]
    assert list((root / ".trash").iterdir())


def test_the_app_goes_to_the_case_that_it_was_started_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_case(root, sample_results())
    monkeypatch.setenv("FINETUNE_ADVISOR_CASE", NAME)
    assert "Step 6 of 7" in words(home())


def test_an_answer_is_in_the_file_at_once_and_an_impossible_one_is_refused(root: Path) -> None:
    folder = make_case(root)
    at = shown("use_case")
    at.number_input(key="answer-requests_per_month").set_value(30_000).run()
    assert cases.read(folder).money.requests_per_month == 30_000
    at.number_input(key="answer-requests_per_month-At most").set_value(50_000).run()
    assert cases.read(folder).uncertainty.requests_per_month == (30_000, 50_000)
    at.segmented_control(key="answer-data_may_leave").set_value(True).run()
    assert cases.read(folder).answers["data_may_leave"] is True
    at.text_area(key="answer-task").set_value("").run()
    assert "task" not in cases.read(folder).answers
    assert not at.error
    at.number_input(key="answer-requests_per_month-At least").set_value(90_000).run()
    assert len(at.error) == 1
    assert cases.read(folder).uncertainty.requests_per_month == (30_000, 50_000)


def test_what_the_command_line_changed_is_shown_on_the_next_run(root: Path) -> None:
    folder = make_case(root)
    at = shown("use_case")
    cases.edit(folder, {"goal.needed_score": 0.6})
    at.run()
    assert at.number_input(key="answer-needed_score").value == 0.6


def test_a_changed_assumption_judges_the_same_measurements_anew(root: Path) -> None:
    folder = make_case(root, sample_results())
    before = words(shown("use_case"))
    cases.edit(folder, {"money.requests_per_month": 40_000})
    after = words(shown("use_case"))
    costs = [re.findall(r"costs \\\$([\d.,]+) a month", text) for text in (before, after)]
    assert costs[0]
    assert costs[0] != costs[1]


def test_two_people_work_on_two_cases_at_once(root: Path) -> None:
    folders = [make_case(root, name=name) for name in ("one", "two")]
    pages = [shown("use_case", name=folder.name) for folder in folders]
    for at, number in zip(pages, (1_000, 2_000), strict=True):
        at.number_input(key="answer-requests_per_month").set_value(number).run()
    assert [cases.read(folder).money.requests_per_month for folder in folders] == [1_000, 2_000]
    for at in pages:
        at.run()
    assert [at.number_input(key="answer-requests_per_month").value for at in pages] == [1_000, 2_000]


def test_the_sign_off_goes_into_the_case_and_onto_the_page(root: Path) -> None:
    folder = make_case(root, sample_results())
    at = shown("verdict")
    at.text_input(key="sign-name").set_value("Noor Haddad")
    at.date_input(key="sign-date").set_value(date(2026, 11, 22))
    at.radio(key="sign-decision").set_value("not yet")
    next(button for button in at.button if button.label == "Sign").click().run()
    signed = cases.read(folder).sign_off
    assert signed is not None
    assert (signed.name, signed.date, signed.decision) == ("Noor Haddad", date(2026, 11, 22), "not yet")
    assert "Signed on 22 November 2026" in words(at)


def test_signing_without_a_name_is_refused(root: Path) -> None:
    folder = make_case(root, sample_results())
    at = shown("verdict")
    next(button for button in at.button if button.label == "Sign").click().run()
    assert not at.exception
    assert len(at.error) == 1
    assert cases.read(folder).sign_off is None


def test_the_report_can_be_taken_away_in_every_format(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_case(root, sample_results())
    labels = [button.proto.label for button in shown("verdict").get("download_button")]
    assert {"Word", "HTML, opens in any browser", "Markdown", "JSON, every number"} <= set(labels)
    monkeypatch.setenv("FINETUNE_ADVISOR_BROWSER", str(root / "no-browser"))
    at = shown("verdict")
    assert "PDF" not in [button.proto.label for button in at.get("download_button")]
    assert "No PDF here" in words(at)


def test_every_part_of_the_benefits_has_its_charts_with_words_and_data(root: Path) -> None:
    make_case(root, sample_results())
    at = shown("benefits")
    parts = at.segmented_control(key="part").options
    assert parts == ["Quality", "Cost", "Extensibility", "How sure", "More data", "Settings and training"]
    for part in parts:
        at.segmented_control(key="part").set_value(part).run()
        assert not at.exception
        charts = at.get("plotly_chart")
        assert charts or part == "How sure"  # the sample has touched the test split twice: nothing is drawn
        assert all(chart.proto.alt for chart in charts)
        assert len([each for each in at.get("download_button") if each.proto.id.endswith("-csv")]) == len(charts)


def test_examples_can_be_filtered_by_arm_and_outcome(root: Path) -> None:
    make_case(root, sample_results())
    at = shown("examples")
    assert "2 of 2 examples" in words(at)
    at = at.selectbox(key="arm").set_value("LoRA").run()
    at = at.pills(key="outcome").set_value("wrong").run()
    assert "1 of 2 examples" in words(at)
    assert [each.value for each in at.caption if "Test example" in each.value] == ["Test example e021"]
    at = at.pills(key="outcome").set_value("no answer").run()
    assert not at.exception
    assert "No example fits" in words(at)


def test_a_run_is_started_with_its_limits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_case(root)
    started: list[dict[str, Any]] = []

    def start(folder: Path, **limits: Any) -> None:
        started.append(limits)

    monkeypatch.setattr(jobs, "start", start)
    at = shown("experiments")
    at.number_input(key="minutes").set_value(5.0).run()
    at.checkbox(key="relock").check().run()
    at.button(key="start").click().run()
    assert not at.exception
    assert started == [{"minutes": 5.0, "usd": None, "relock": True}]


LIVE, OVER, OPEN = {"pause", "cancel"}, {"start"}, {"resume", "cancel", "start"}


@pytest.mark.parametrize(
    ("state", "buttons", "says"),
    [
        ("running", LIVE, "You may close this page"),
        ("starting", LIVE, "The run is starting"),
        ("paused", OPEN, "paused"),
        ("stopped", OPEN, "stopped from outside"),
        ("failed", OPEN, "The disk is full"),
        ("budget used up", OVER, "a new run goes on from there"),
        ("cancelled", OVER, "was cancelled"),
        ("done", OVER, "All experiments are done"),
    ],
)
def test_a_run_is_shown_in_every_state(
    root: Path, monkeypatch: pytest.MonkeyPatch, state: JobState, buttons: set[str], says: str
) -> None:
    make_case(root)
    now = datetime.now(UTC)
    steps = (
        Step(name="Zero-shot", state="done", seconds=9.0, score=0.5, interval=Interval(low=0.4, high=0.6), n=20),
        Step(name="LoRA", state="running", doing="training", done=3, total=9, seconds=70, seconds_left=140),
        Step(name="RAG", state="skipped", reason=HOSTILE),
    )
    job = Job(
        id="1", state=state, wanted=None, relock=False, minutes=10, usd=Decimal(2), usd_per_hour=Decimal("0.1"),
        created=now, started=now, heartbeat=now, seconds=79, seconds_left=140, pid=None,
        error="The disk is full." if state == "failed" else "", hint="", steps=steps,
    )  # fmt: skip

    def latest(folder: Path) -> Job:
        return job

    monkeypatch.setattr(jobs, "latest", latest)
    at = shown("experiments")
    shown_buttons = {name for name in ("pause", "cancel", "start", "resume") if [b for b in at.button if b.key == name]}
    assert shown_buttons == buttons
    text = words(at)
    assert says in text
    assert "score **50.0%** (40.0% to 60.0%), 20 examples" in text
    assert HOSTILE not in text
    assert [each.value for each in at.metric][:2] == ["2 of 3", "1 min 19 s"]
    assert "13% of the budget used, 8 min 41 s and $1.9978 left" in text


def test_a_store_from_a_newer_version_gets_one_sentence(root: Path) -> None:
    folder = make_case(root)
    with sqlite3.connect(folder / "store.sqlite") as store:
        store.execute("PRAGMA user_version = 99")
    for page in ("experiments", "data"):
        at = shown(page)
        assert len(at.error) == 1
        assert "newer version" in at.error[0].value


def test_a_range_that_would_lose_its_figure_is_refused_before_it_hides_the_results(root: Path) -> None:
    folder = make_case(root, sample_results())
    cases.edit(folder, {"uncertainty.requests_per_month": [5_000, 30_000]})
    at = shown("use_case")
    at.number_input(key="answer-requests_per_month").set_value(50_000).run()
    assert len(at.error) == 1
    assert "does not hold 50000" in at.error[0].value
    assert cases.read(folder).money.requests_per_month == 20_000
    cases.edit(folder, {"money.requests_per_month": 50_000})
    at = shown("verdict")
    assert len(at.error) == 1
    assert "Nothing has been measured yet" not in words(at)


def test_a_range_without_its_figure_says_what_is_missing(root: Path) -> None:
    folder = make_case(root)
    at = shown("use_case")
    at.number_input(key="answer-usd_per_wrong_answer-At least").set_value(5.0).run()
    assert "Give that figure first" in at.error[0].value
    assert cases.read(folder).uncertainty.usd_per_wrong_answer is None


def test_what_stands_in_the_file_is_shown_whatever_it_is(root: Path) -> None:
    folder = make_case(root)
    cases.edit(folder, {"money.machine": "h200", "goal.latency_seconds": 0.005})
    assert shown("costs").selectbox(key="answer-machine").value == "h200"
    assert shown("use_case").number_input(key="answer-latency_seconds").value == 0.005
    assert cases.read(folder).money.machine == "h200"


def test_prices_of_ones_own_count_as_soon_as_they_are_saved(root: Path) -> None:
    folder = make_case(root, sample_results())
    row = '[[price]]\nname = "mine"\nsource = "bill"\nchecked = 2026-11-20\nvalues = {{ usd_per_hour = {} }}\n'
    (folder / "prices.toml").write_text(row.format("1"), encoding="utf-8")
    cases.edit(folder, {"money.prices": "prices.toml", "money.machine": "mine"})
    before = words(shown("use_case"))
    (folder / "prices.toml").write_text(row.format("100"), encoding="utf-8")
    assert words(shown("use_case")) != before


@pytest.mark.parametrize(("token", "says"), [("hf_verysecret", "HF_TOKEN: set"), ("", "HF_TOKEN: not set")])
def test_a_key_is_only_called_set_or_not(root: Path, monkeypatch: pytest.MonkeyPatch, token: str, says: str) -> None:
    folder = make_case(root, sample_results())
    monkeypatch.setenv("HF_TOKEN", token)
    assert "HF_TOKEN" not in words(shown("experiments"))
    hub = {"provider": "huggingface", "options": {"id": "someone/a-model"}}
    cases.edit(folder, {"models.smollm2-135m": None, "models.hub": hub})
    at = shown("experiments")
    assert says in words(at)
    assert "verysecret" not in words(at) + str(at)
    assert not token or token not in (folder / cases.FILE).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_gets_a_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(root: Path) -> Path:
        raise NoSpace("The disk is full.", hint="Free some space.")

    monkeypatch.setattr(workspace, "open_sample", refused)
    at = home()
    at.button(key="sample").click().run()
    assert not at.exception
    assert "The disk is full" in at.error[0].value


def test_the_app_finds_its_pages_from_where_the_wheel_puts_it(root: Path) -> None:
    elsewhere = root / "site" / "app.py"
    elsewhere.parent.mkdir()
    shutil.copy(APP, elsewhere)
    at: Any = AppTest.from_file(elsewhere, default_timeout=60).run()
    assert not at.exception
    assert at.title


def test_an_exported_case_comes_back_the_same(root: Path) -> None:
    folder = make_case(root, sample_results())
    packed = workspace.export_zip(folder)
    assert cases.FILE in "".join(ZipFile(BytesIO(packed)).namelist())
    again = workspace.import_zip(root, BytesIO(packed))
    assert cases.read(again).title == cases.read(folder).title
    assert json.loads((again / "report" / "results.json").read_text(encoding="utf-8"))["title"]
