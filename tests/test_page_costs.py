"""Step 4 of the app: assumptions that move the charts at once, routes with dates, estimates, worth of labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oracle import write_case
from sample_results import HOSTILE, sample_results

pytest.importorskip("streamlit", reason="the app needs streamlit")

from streamlit.testing.v1 import AppTest

from finetune_advisor import case as cases
from finetune_advisor import experiment, models
from finetune_advisor.case.sections import GoalSection, MoneySection, UncertaintySection
from finetune_advisor.costs import prices
from finetune_advisor.pages.assumptions import FIELDS, bounds, given, origin, reckoned
from finetune_advisor.pages.tunability import meaning, status
from finetune_advisor.questions import QUESTIONS
from finetune_advisor.records import Route
from finetune_advisor.report.document import to_json

APP = Path(__file__).parents[1] / "app.py"
TODAY = date(2026, 11, 22)
ORACLE = '[[models]]\nname = "oracle"\nprovider = "oracle"\n'
FAKE = '[[models]]\nname = "pretender"\nprovider = "fake"\n'
MONEY = """
[goal]
needed_score = 0.2
[money]
requests_per_month = 20_000
usd_per_right_answer = 0.1
usd_per_labour_hour = 60   # per hour
usd_per_label = 2
deployment_hours = 8
[answers]
data_may_leave = false
"""


@pytest.fixture(scope="module", autouse=True)
def oracle() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.TABLE, "oracle", "oracle:Oracle")
        yield


def run(folder: Path, model: str) -> Path:
    """A case that has been run."""
    write_case(folder, model=model, extra=MONEY)
    (folder / "report").mkdir()
    (folder / "report" / "results.json").write_text(to_json(experiment.run(cases.read(folder))), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, oracle: None) -> Path:
    return run(tmp_path_factory.mktemp("run") / "toy", ORACLE)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    return tmp_path


@pytest.fixture
def ran(root: Path, measured: Path) -> Path:
    return Path(shutil.copytree(measured, root / "toy"))


@pytest.fixture
def fresh(root: Path) -> Path:
    return write_case(root / "toy", model=FAKE, extra=MONEY)


def shown(**parameters: str) -> Any:
    """The page after its first run; typed Any because AppTest's elements are."""
    at = AppTest.from_file(APP, default_timeout=30)
    for name, value in {"case": "toy", **parameters}.items():
        at.query_params[name] = value
    at = at.run().switch_page("finetune_advisor/pages/costs.py")
    for name, value in parameters.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def words(at: Any) -> str:
    kinds = ("subheader", "markdown", "caption", "info", "error", "warning", "success", "text")
    labels = [str(each.label) for each in at.get("expander")]
    return "\n".join([*(str(each.value) for kind in kinds for each in at.get(kind)), *labels])


def decided(at: Any) -> str:
    """The box with the decision."""
    boxes = [str(each.value) for kind in ("info", "success", "error") for each in at.get(kind)]
    return next(each for each in boxes if "simulated futures" in each)


def test_every_figure_of_the_case_that_moves_money_has_one_place_on_the_page() -> None:
    asked = {each.id for each in QUESTIONS if each.section == "Costs"}
    here = {field.place for field in FIELDS}
    assert len(here) == len(FIELDS)
    money = {f"money.{name}" for name in MoneySection.model_fields}
    goal = {f"goal.{name}" for name in set(GoalSection.model_fields) - {"kind", "latency_seconds"}}
    uncertain = {f"uncertainty.{name}" for name in UncertaintySection.model_fields}
    ranged = {f"uncertainty.{field.name}" for field in FIELDS if field.ranged}
    questions = {f"money.{name}" for name in asked}
    with_embedding = {"money.question_tokens"}
    assert here | ranged | with_embedding | (questions & money) == money | goal | uncertain
    assert not here & questions


def test_an_assumption_moves_the_decision_and_the_charts_at_once(ran: Path) -> None:
    at = shown(group="Values")
    before = at.get("plotly_chart")[0].proto.spec
    assert "→" not in decided(at)
    at.number_input(key="assumption-money.usd_per_right_answer").set_value(0.0001).run()
    assert not at.exception
    assert cases.read(ran).money.usd_per_right_answer == Decimal("0.0001")
    assert "Before your last change: GO" in decided(at)
    assert "now: **NO-GO" in decided(at)
    at.pills(key="group").set_value("Requests").run()
    at.number_input(key="assumption-money.requests_per_month").set_value(90_000).run()
    assert at.get("plotly_chart")[0].proto.spec != before
    assert "usd_per_labour_hour = 60   # per hour" in (ran / "case.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("chart", ["Parts", "Volume", "Horizon", "What decides"])
def test_every_chart_has_words_and_data(ran: Path, chart: str) -> None:
    at = shown(group="Machines")
    at.segmented_control(key="chart").set_value(chart).run()
    assert not at.exception
    charts = at.get("plotly_chart")
    assert charts and all(each.proto.alt for each in charts)
    assert sum("data as CSV" in each.proto.label for each in at.get("download_button")) == len(charts)


def test_simulated_results_are_marked(root: Path) -> None:
    run(root / "toy", FAKE)
    at = shown()
    assert any("SIMULATED RESULTS" in each.value for each in at.error)
    at.segmented_control(key="chart").set_value("What decides").run()
    assert "nothing to draw" in words(at)
    at.segmented_control(key="part").set_value("Data").run()
    assert not at.exception
    assert any("SIMULATED RESULTS" in each.value for each in at.error)


@pytest.mark.parametrize("group", ["Questions", "People", "Machines", "Requests", "Values", "Horizon", "Retraining"])
def test_without_results_everything_can_be_edited(fresh: Path, group: str) -> None:
    at = shown()
    at.pills(key="group").set_value(group).run()
    assert not at.exception
    assert at.number_input
    assert "Nothing has been measured yet" in words(at)
    assert not at.get("plotly_chart")
    assert all(each.help for each in at.number_input if not str(each.label).startswith(("At ", "Tokens of")))


def test_a_refused_value_shows_its_sentence_and_leaves_the_old_one(fresh: Path) -> None:
    text = (fresh / "case.toml").read_text(encoding="utf-8")
    at = shown()
    at.pills(key="group").set_value("People").run()
    at.number_input(key="assumption-money.judged_share").set_value(0.5).run()
    assert "give usd_per_judged_request too" in at.error[0].value
    assert (fresh / "case.toml").read_text(encoding="utf-8") == text
    assert at.number_input(key="assumption-money.judged_share").value is None
    assert not at.run().error


def test_a_value_with_which_nothing_can_be_reckoned_is_refused(ran: Path) -> None:
    """The case could be read with these: no price, and a busiest hour below the mean."""
    text = (ran / "case.toml").read_text(encoding="utf-8")
    at = shown()
    at.pills(key="group").set_value("Requests").run()
    at.number_input(key="assumption-money.peak_requests_per_hour").set_value(1.0).run()
    assert any("below the mean" in each.value for each in at.error)
    at.number_input(key="assumption-uncertainty.tokens-0").set_value(1.02).run()
    assert any("does not hold 1" in each.value for each in at.error)
    at.text_input(key="assumption-money.embedding").set_value("nobody's model")
    at.number_input(key="assumption-money.embedding-tokens").set_value(20.0)
    at.button[0].click().run()
    assert any("No price is known" in each.value for each in at.error)
    assert (ran / "case.toml").read_text(encoding="utf-8") == text
    assert decided(at)


def test_what_goes_together_is_saved_together(fresh: Path) -> None:
    at = shown()
    at.pills(key="group").set_value("Requests").run()
    at.text_input(key="assumption-money.embedding").set_value("text-embedding-3-small")
    at.number_input(key="assumption-money.embedding-tokens").set_value(20.0)
    at.button[0].click().run()
    assert not at.error
    money = cases.read(fresh).money
    assert (money.embedding, money.question_tokens) == ("text-embedding-3-small", 20)
    assert "Reckoned with \\$0.02" in words(at)
    at.text_input(key="assumption-money.embedding").set_value("")
    at.number_input(key="assumption-money.embedding-tokens").set_value(None)
    at.button[0].click().run()
    assert cases.read(fresh).money.embedding is None


def test_a_range_keeps_its_other_end_and_can_be_taken_back(fresh: Path) -> None:
    at = shown()
    at.pills(key="group").set_value("People").run()
    assert "ASSUMED: work overruns" in words(at)
    at.number_input(key="assumption-uncertainty.hours-1").set_value(3.0).run()
    assert cases.read(fresh).uncertainty.hours == (0.8, 3.0)
    at.number_input(key="assumption-uncertainty.hours-0").set_value(0.5).run()
    assert cases.read(fresh).uncertainty.hours == (0.5, 3.0)
    assert "Given by you" in words(at)
    at.number_input(key="assumption-uncertainty.hours-1").set_value(None).run()
    assert cases.read(fresh).uncertainty.hours is None


def test_a_case_that_cannot_be_reckoned_with_can_be_mended_here(fresh: Path) -> None:
    cases.edit(fresh, {"money.usd_per_labour_hour": None})
    at = shown()
    assert any("not what an hour costs" in each.value for each in at.error)
    at.pills(key="group").set_value("Machines").run()
    at.number_input(key="assumption-money.usd_per_machine_hour").set_value(0.5).run()
    assert cases.read(fresh).money.usd_per_machine_hour == Decimal("0.5")
    at.segmented_control(key="assumption-money.always_on").set_value(True).run()
    assert cases.read(fresh).money.always_on


def test_every_figure_says_where_it_comes_from(fresh: Path) -> None:
    cases.edit(fresh, {"money.machine": "l4", "uncertainty.requests_per_month": [10_000, 30_000]})
    case = cases.read(fresh)
    known = reckoned(case, prices.load(), TODAY)
    said = {field.place: origin(case, field, known, TODAY) for field in FIELDS}
    assert all(said.values())
    assert "checked 2026" in said["money.usd_per_machine_hour"]
    assert "ASSUMED" in said["money.utilisation"]
    assert said["money.usd_per_right_answer"] == "Given by you."
    old = reckoned(case, prices.load(), date(2028, 1, 1))
    hourly = next(field for field in FIELDS if field.name == "usd_per_machine_hour")
    assert "look it up again" in origin(case, hourly, old, date(2028, 1, 1))
    volume, right, wrong = (
        next(field for field in FIELDS if field.name == name)
        for name in ("requests_per_month", "usd_per_right_answer", "usd_per_wrong_answer")
    )
    assert bounds(case, volume, known) == (10_000, 30_000)
    assert bounds(case, right, known) == pytest.approx((0.08, 0.125))
    assert bounds(case, wrong, known) == (None, None)
    assert given(case, "money.horizon_months") is None


def test_every_price_that_went_in_can_be_seen(ran: Path) -> None:
    at = shown()
    assert "Which prices and figures went in?" not in words(at)
    at.toggle(key="figures").set_value(True).run()
    assert not at.exception
    assert any("Which prices and figures went in?" in each.value for each in at.header)


ROUTE = Route(
    base="gpt-x",
    provider="openai",
    methods=("sft",),
    who="anyone",
    new_jobs_until=date(2027, 1, 6),
    answers_until=date(2027, 1, 14),
    note="",
    source="a page",
    checked="2026-11-01",
)


def test_what_a_route_means_depends_on_the_case(fresh: Path) -> None:
    case = cases.read(fresh)
    assert status(ROUTE, TODAY) == "open"
    assert status(ROUTE, date(2027, 1, 7)) == "CLOSED"
    assert status(replace(ROUTE, who="existing customers"), TODAY) == "open to some"
    said = " ".join(meaning(case, ROUTE, TODAY))
    assert "may not leave" in said and "ends within your 12 months" in said
    late = " ".join(meaning(case, ROUTE, date(2027, 3, 1)))
    assert "No new training" in late and "does not answer any more" in late and "look it up again" in late
    for before, expected in ((True, "you have tuned"), (False, "have not tuned there")):
        customer = case.model_copy(update={"answers": {"tuned_there_before": before}})
        assert expected in " ".join(meaning(customer, replace(ROUTE, who="existing customers"), TODAY))
    assert "No end is announced" in " ".join(meaning(case, replace(ROUTE, answers_until=None), TODAY))


def test_routes_can_be_filtered_by_place_and_method(fresh: Path) -> None:
    at = shown()
    at.segmented_control(key="part").set_value("Which models").run()
    every = len(at.get("expander"))
    assert "As known on" in words(at)
    assert any("CLOSED" in each.label for each in at.get("expander"))
    assert all("checked" in each.value for each in at.caption if "Source:" in each.value)
    at.multiselect(key="places").set_value(["openai"]).run()
    assert all("OpenAI" in each.label for each in at.get("expander"))
    at.pills(key="methods").set_value(["qlora"]).run()
    assert "Nothing fits" in words(at)
    at.multiselect(key="places").set_value([]).run()
    at.pills(key="methods").set_value([]).run()
    at.toggle(key="still-open").set_value(True).run()
    assert not at.exception
    assert 0 < len(at.get("expander")) < every
    assert not any("CLOSED" in each.label for each in at.get("expander"))


def test_an_estimate_counts_the_training_part_and_says_whether_it_fits(fresh: Path) -> None:
    at = shown()
    at.segmented_control(key="part").set_value("Training on a GPU").run()
    assert not at.exception
    train = len(json.loads(experiment_split(fresh)))
    assert f"{train} examples" in words(at)
    at.selectbox(key="gpu-model").set_value("llama-3.1-8b").run()
    at.selectbox(key="gpu-card").set_value("T4").run()
    at.selectbox(key="gpu-method").set_value("full").run()
    assert any("It does not fit" in each.value for each in at.error)
    at.selectbox(key="gpu-card").set_value("H100-SXM").run()
    at.selectbox(key="gpu-method").set_value("lora").run()
    assert any("It fits" in each.value for each in at.success)
    money = [each.value for each in at.markdown if each.value.startswith("### \\$")]
    at.number_input(key="gpu-epochs").set_value(6).run()
    assert [each.value for each in at.markdown if each.value.startswith("### \\$")] != money
    assert "What this rests on" in words(at)


def experiment_split(folder: Path) -> str:
    """The ids of the training part as JSON."""
    from finetune_advisor.experiment.prepare import fix_task, locked_split, read_pool

    case = cases.read(folder)
    pool = read_pool(case)
    return json.dumps(locked_split(pool, fix_task(case, pool.given["train"]), case, [], relock=False).train)


def test_an_estimate_without_data_has_no_time_and_no_money(fresh: Path) -> None:
    (fresh / "examples.jsonl").unlink()
    at = shown()
    at.segmented_control(key="part").set_value("Training on a GPU").run()
    assert len(at.error) == 1
    assert "no time and no money" in words(at)
    assert "### not known" in words(at)
    at.segmented_control(key="part").set_value("Data").run()
    assert not at.exception
    assert at.error


def test_a_model_whose_size_is_not_known_here_gets_one_sentence(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cases.edit(fresh, {"models.other": {"provider": "huggingface", "options": {"id": "no-one/has-this"}}})
    at = shown()
    at.segmented_control(key="part").set_value("Training on a GPU").run()
    assert any("no-one/has-this" in each.value for each in at.error)
    at.selectbox(key="gpu-model").set_value("gpt2").run()
    assert not at.error


def test_labels_without_results(fresh: Path) -> None:
    at = shown()
    at.segmented_control(key="part").set_value("Data").run()
    text = words(at)
    assert f"### {len(json.loads(experiment_split(fresh)))}" in text
    assert "100 of them cost \\$200" in text
    assert "Nothing has been measured yet" in text


def test_a_learning_curve_can_be_asked_for(ran: Path) -> None:
    at = shown()
    at.segmented_control(key="part").set_value("Data").run()
    assert "They cost \\$200" in words(at)
    at.button[0].click().run()
    curve = cases.read(ran).learning_curve
    assert curve is not None and curve.seeds == 3
    assert "The next run does it" in words(at)
    assert not at.button


def test_a_measured_learning_curve_is_drawn(ran: Path) -> None:
    (ran / "report" / "results.json").write_text(to_json(sample_results()), encoding="utf-8")
    at = shown()
    at.segmented_control(key="part").set_value("Data").run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 1


def test_hostile_text_is_shown_as_text(ran: Path) -> None:
    sample = sample_results()
    named = replace(sample, arms=(replace(sample.arms[0], name=HOSTILE), *sample.arms[1:]))
    (ran / "report" / "results.json").write_text(to_json(named), encoding="utf-8")
    at = shown()
    assert not at.exception
    assert not [each for each in at.markdown if each.allow_html]
    assert HOSTILE not in "\n".join(str(each.value) for each in (*at.markdown, *at.caption))


def test_without_a_case_or_with_a_broken_one_the_page_says_so(root: Path) -> None:
    assert "There is no case toy here" in words(shown())
    (root / "toy").mkdir()
    (root / "toy" / "case.toml").write_text("schema = \n", encoding="utf-8")
    assert len(shown().error) == 1
