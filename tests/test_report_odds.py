"""The report's newer blocks: odds, assumptions, routes, learning curve, side effects, and what costs are made of."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from markdown_it import MarkdownIt

from finetune_advisor.charts import figure
from finetune_advisor.costs.parts import PARTS
from finetune_advisor.records import Decision, Interval, Results
from finetune_advisor.report.answer import answer
from finetune_advisor.report.blocks import Block, Callout, Chart, Details, Heading, KeyFigures, Table
from finetune_advisor.report.build import build
from finetune_advisor.report.csv import to_csv
from finetune_advisor.report.formats import dollars, quantity
from finetune_advisor.report.html import to_html
from finetune_advisor.report.markdown import to_markdown
from finetune_advisor.report.ownership import GROUPS, group
from sample_odds import HOSTILE, URDU, arm_odds, odds
from sample_results import sample_results, without_new_facts

RESULTS = sample_results()
PLAIN = without_new_facts(RESULTS)


def flat(blocks: Iterable[Block]) -> list[Block]:
    return [found for block in blocks for found in (block, *(flat(block.blocks) if isinstance(block, Details) else ()))]


def sections(results: Results) -> list[str]:
    return [block.text for block in build(results) if isinstance(block, Heading) and block.level == 2]


NEW_SECTIONS = [
    "How sure is the answer?",
    "Which assumptions decide?",
    "Where can the model be tuned, and until when?",
    "Would more examples help?",
    "What else did tuning change?",
]


def test_a_report_without_the_new_facts_has_its_old_sections_and_first_page() -> None:
    assert sections(PLAIN) == [
        "How good is each approach?",
        "Could the differences be chance?",
        "What is taken for what",
        "What does each approach cost?",
        "Where the approaches disagree",
        "Your answers, and the evidence",
        "The data",
        "How were the settings chosen?",
        "Training",
        "What did not run, and why",
        "Which prices and figures went in?",
        "What this report cannot tell you",
        "How to repeat this",
    ]
    assert [name for name in sections(RESULTS) if name not in sections(PLAIN)] == NEW_SECTIONS
    assert answer(PLAIN) == tuple(
        block
        for block in answer(RESULTS)
        if not isinstance(block, KeyFigures) and "to know more before deciding" not in str(block)
    )
    assert to_html(PLAIN, figure)


def test_the_first_page_says_how_sure_it_is_what_it_brings_and_how_old_the_prices_are() -> None:
    block = next(block for block in build(RESULTS) if isinstance(block, KeyFigures))
    assert [(each.name, each.value) for each in block.figures] == [
        ("Chance that tuning is right", "86 of 100"),
        ("What tuning brings, net", "+$1,240"),
        ("The prices hold until", "31 January 2027"),
    ]
    chance, net, prices = (each.note for each in block.figures)
    assert "In 86 of 100 simulated draws the benefits of tuning outweigh its costs" in chance
    assert "a GO needs 90, a NO-GO 10 or fewer" in chance
    assert "between −$312 and +$2,790" in net
    assert "checked, on 2 November 2026" in prices
    text = str(build(RESULTS))
    assert "“Label 120 more test examples” is worth $263 on average and costs $180." in text


def with_odds(**changes: Any) -> Results:
    return replace(RESULTS, verdict=replace(RESULTS.verdict, odds=replace(odds(), **changes)))


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0, "0 of 100"),
        (0.0004, "fewer than 1 of 100"),
        (0.1, "10 of 100"),
        (0.1004, "11 of 100"),
        (0.5, "50 of 100"),
        (0.8996, "89 of 100"),
        (0.9, "90 of 100"),
        (0.9996, "more than 99 of 100"),
        (1.0, "100 of 100"),
    ],
)
def test_a_chance_is_never_rounded_onto_a_limit_or_to_certainty(p: float, shown: str) -> None:
    block = next(block for block in build(with_odds(p_tuning=p)) if isinstance(block, KeyFigures))
    assert block.figures[0].value == shown


def test_where_something_else_than_the_chance_decides_the_report_says_so() -> None:
    assert "By this chance alone" not in str(answer(RESULTS))
    assert "By this chance alone the answer would be GO." in str(answer(with_odds(p_tuning=0.97)))
    assert "By this chance alone the answer would be NO-GO." in str(answer(with_odds(p_tuning=0.1)))


@pytest.mark.parametrize(
    ("unit", "mean", "shown"),
    [("score", 0.1234, "+12.3 points"), ("seconds", -0.42, "−0.42 s")],
)
def test_without_money_the_advantage_has_its_own_unit(unit: str, mean: float, shown: str) -> None:
    results = with_odds(unit=unit, advantage_mean=mean, advantage=Interval(low=mean - 0.1, high=mean + 0.1))
    block = next(block for block in build(results) if isinstance(block, KeyFigures))
    assert (block.figures[1].name, block.figures[1].value) == ("What tuning brings", shown)
    assert "The money was not judged." in block.figures[1].note
    assert to_html(results, figure)


def test_odds_without_any_money_have_a_table_and_no_chart() -> None:
    results = with_odds(arms=(arm_odds("LoRA", 0.8, 0.9, None, 0.7), arm_odds("few-shot", 0.2, 0.3, None, 0.3)))
    assert not [block for block in build(results) if isinstance(block, Chart) and block.kind == "odds"]
    table = next(b for b in build(results) if isinstance(b, Table) and b.columns[1] == "Best in")
    assert table.rows[0] == ("LoRA", "70 of 100", "not known", "80% to 90%", "100 of 100")
    assert "nothing" not in table.caption


def test_what_doing_nothing_is_best_in_is_said() -> None:
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[1] == "Best in")
    assert "to do nothing is best in the other 6 of 100" in table.caption
    assert table.columns[-1] == "At least 80% in"


def test_experiments_are_weighed_against_their_price_the_best_first() -> None:
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[0] == "Experiment")
    assert table.rows == (
        ("Label 120 more test examples", "$263", "$180", "yes"),
        ("Train twice more, with other seeds", "$21.40", "$31.00", "no"),
        (HOSTILE, "$12.00", "–", "the price is not known"),
    )
    poor = with_odds(worths=odds().worths[1:2])
    assert "No experiment that was looked at is worth its price." in str(answer(poor))


def test_the_questionnaires_guess_stands_beside_the_measurement() -> None:
    text = str(build(RESULTS))
    assert "The questionnaire alone would have said NO-GO." in text
    assert "The measurements say NOT YET. Where the two disagree the measurements count" in text
    assert "The measured lift lies above everything that the published tables show" in text
    guess = RESULTS.verdict.prior
    assert guess is not None
    agreed = replace(guess, decision=Decision.NOT_YET, high=0.3)
    text = str(build(replace(RESULTS, verdict=replace(RESULTS.verdict, prior=agreed))))
    assert "The measurements say the same." in text
    assert "lies above" not in text
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[1:2] == ("Answer",))
    assert [row[2] for row in table.rows] == ["+6 (−2 to +14)", "+17 (+7 to +27)"]


def test_the_assumptions_that_can_turn_the_answer_are_named() -> None:
    assert "These do: Score of LoRA (even at 84%)." in str(build(RESULTS))
    steady = with_odds(swings=odds().swings[:2])
    assert "no single assumption turns the answer within its range" in str(build(steady))


def test_ranges_say_where_they_come_from_the_assumed_ones_first() -> None:
    table = next(b for b in flat(build(RESULTS)) if isinstance(b, Table) and b.columns[0] == "Assumption")
    assert table.rows[0] == ("Hours of work", "1", "2", "8", "hours", "ASSUMED", URDU)
    assert table.rows[1][:6] == ("Requests", "20,000", "40,000", "80,000", "requests per month", "given by you")
    assert table.rows[2][1:4] == ("× 0.7", "× 1", "× 1.3")
    assert {row[5] for row in table.rows} == {
        "ASSUMED",
        "given by you",
        "from the source named",
        "measured in this run",
    }


def test_stale_prices_are_flagged_by_the_day_of_the_results() -> None:
    assert "Prices out of date" not in str(build(RESULTS))
    later = replace(RESULTS, provenance=replace(RESULTS.provenance, time=datetime(2027, 2, 1, tzinfo=UTC)))
    caution = next(b for b in build(later) if isinstance(b, Callout) and b.title == "Prices out of date")
    assert "more than 90 days before this run: cpu_machine." in caution.text
    assert "The prices are out of date since" in str(build(later))
    day_before = replace(later, provenance=replace(later.provenance, time=datetime(2027, 1, 31, 23, tzinfo=UTC)))
    assert "Prices out of date" not in str(build(day_before))


def test_closing_dates_are_flagged_and_open_ends_are_not() -> None:
    block = next(b for b in build(RESULTS) if isinstance(b, Callout) and b.title == "Closing dates")
    assert "gpt-4.1-mini at OpenAI: new trainings are possible until 6 January 2027 (45 more days)" in block.text
    assert "the tuned model answers until 14 January 2027 (53 more days)." in block.text
    assert "new trainings ended on 7 May 2026" in block.text
    assert "SmolLM2" not in block.text
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[0] == "Base model")
    assert [row[4] for row in table.rows] == ["no end announced", "6 January 2027 (SOON)", "CLOSED since 7 May 2026"]
    assert table.rows[1][-1] == "https://example.org/deprecations, checked 2026-06-01 (STALE)"
    open_ended = replace(RESULTS, routes=RESULTS.routes[:1])
    assert "Closing dates" not in str(build(open_ended))


def with_curve(**changes: Any) -> Results:
    assert RESULTS.learning_curve
    return replace(RESULTS, learning_curve=replace(RESULTS.learning_curve, **changes))


def test_the_learning_curve_says_whether_how_many_and_at_what_price() -> None:
    text = str(build(RESULTS))
    assert "Yes, more training examples would help. With 480 examples, 240 more than now" in text
    assert "expected to score 94% (90% to 97%), against 90% now. The 240 would cost $360." in text
    assert "9 trainings, 3 different seeds, scored on 60 validation examples" in text
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[0] == "Training examples")
    assert table.rows == (
        ("480", "240", "94% (90% to 97%)", "+4", "$360"),
        ("960", "720", "96% (90% to 99%)", "+6", "$1,080"),
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"more_helps": False}, "No, more training examples would bring nothing that could be seen."),
        ({"more_helps": None}, "The measured points cannot tell."),
        ({"usd_per_example": None}, "What they would cost was not said."),
        ({"forecasts": ()}, "Yes, more training examples would help."),
    ],
)
def test_the_learning_curve_says_what_it_does_not_know(changes: dict[str, Any], says: str) -> None:
    results = with_curve(**changes)
    assert says in str(build(results))
    assert to_html(results, figure)


@pytest.mark.parametrize(
    ("need", "says"),
    [
        (0.95, "The needed 95% is expected with 960 examples."),
        (0.99, "The needed 99% is not expected with 960 examples either."),
    ],
)
def test_the_learning_curve_says_when_the_needed_score_is_reached(need: float, says: str) -> None:
    assert says in str(build(replace(RESULTS, needed_score=need)))


def test_a_learning_curve_without_points_is_left_out() -> None:
    assert "Would more examples help?" not in sections(with_curve(points=()))


def test_side_effects_tell_lost_from_open_from_untestable() -> None:
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and "What that says" in b.columns)
    assert [row[-1] for row in table.rows] == [
        "no loss shown; one of up to 30 points is not excluded",
        "lost",
        "cannot be told: the base handles only 3 of 12",
        "no loss shown; one of up to 20 points is not excluded",
    ]
    text = str(build(RESULTS))
    assert "Tuning has cost abilities that it was not meant to touch. LoRA: refusing what is harmful." in text
    kept = str(build(replace(RESULTS, side_effects=RESULTS.side_effects[:1])))
    assert "No loss of another ability was shown." in kept
    untold = str(build(replace(RESULTS, side_effects=RESULTS.side_effects[2:3])))
    assert "cannot be told: the base model has too little of them to lose" in untold


def test_costs_are_split_by_kind_and_every_part_is_listed() -> None:
    table = next(b for b in build(RESULTS) if isinstance(b, Table) and b.columns[-1] == "In all")
    assert table.columns == ("Arm", "Requests", "Set-up work", "Training", "In all")
    assert table.rows[0] == ("LoRA", "$0.62", "$170", "$0.0030", "$171")
    assert {group(name) for name in PARTS} == set(GROUPS) - {"Other"}
    assert "Labour to tune, once" in str(build(RESULTS))


def test_a_part_of_a_cost_that_is_not_known_by_name_is_shown_all_the_same() -> None:
    cost = replace(RESULTS.costs[0], parts={"usd_somewhere": Decimal(3)})
    results = replace(RESULTS, costs=(cost, *RESULTS.costs[1:]))
    table = next(b for b in build(results) if isinstance(b, Table) and b.columns[-1] == "In all")
    assert table.columns[-2] == "Other"
    assert "usd somewhere" in str(build(results))


def test_no_charts_csv_can_be_run_by_a_spreadsheet() -> None:
    hostile = replace(RESULTS, arms=(replace(RESULTS.arms[0], name="=1+1"), *RESULTS.arms[1:]))
    found = {block.kind: to_csv(block.rows) for block in flat(build(hostile)) if isinstance(block, Chart)}
    assert "'=1+1" in found["scores"]
    for kind, text in found.items():
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-(?![\d.])", cell)], kind


def test_markdown_has_the_key_figures_and_one_table_a_block() -> None:
    text = to_markdown(RESULTS)
    assert "- **Chance that tuning is right:** 86 of 100 (In 86 of 100 simulated draws" in text
    assert "- **What tuning brings, net:** +\\$1,240" in text
    assert "| Label 120 more test examples | \\$263 | \\$180 | yes |" in text
    assert "**What tuning brings when one assumption changes**" in text
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    shown = {child.content for token in tokens for child in token.children or ()}
    assert any("javascript:alert(1)" in each for each in shown)
    assert not any(child.type == "link_open" for token in tokens for child in token.children or ())
    tables = [block for block in flat(build(RESULTS)) if isinstance(block, Table | Chart)]
    assert sum(token.type == "table_open" for token in tokens) == len(tables)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (20_000, "requests_per_month", "20,000 requests per month"),
        (1, "hours", "1 hour"),
        (1.5, "hours", "1.5 hours"),
        (0.844, "score", "84.4%"),
        (0.0049, "usd_per_answer", "$0.0049 per answer"),
        (85, "USD", "$85.00"),
        (0.5, "times", "× 0.5"),
    ],
)
def test_assumptions_show_their_unit(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0049, "$0"), (-1234.5, "−$1,230"), (float("inf"), "–")])
def test_simulated_sums_have_three_digits_at_most(value: float, shown: str) -> None:
    assert dollars(value) == shown


def test_bars_meet_at_what_tuning_brings_where_all_is_likely_whatever_the_mean_of_the_draws() -> None:
    chart = next(b for b in build(with_odds(advantage_mean=9_000.0)) if isinstance(b, Chart) and b.kind == "tornado")
    assert chart.guides["most likely"] == pytest.approx(1236, rel=0.01)
    one_point = replace(odds().swings[0], low=2, high=2)
    chart = next(b for b in build(with_odds(swings=(one_point,))) if isinstance(b, Chart) and b.kind == "tornado")
    assert chart.guides == {"most likely": 1236.0}


def test_long_lists_on_the_first_page_are_folded_and_nothing_is_lost() -> None:
    reasons, flips = tuple(f"Reason {i}." for i in range(5)), tuple(f"Flip {i}." for i in range(9))
    blocks = answer(replace(RESULTS, verdict=replace(RESULTS.verdict, reasons=reasons, flips=flips)))
    folded = {block.title: str(block.blocks) for block in blocks if isinstance(block, Details)}
    assert "Reason 3." in folded["Further reasons"]
    assert "Flip 4." in folded["What else would change it"]
    assert all(each in str(blocks) for each in (*reasons, *flips))


def test_knowledge_that_changes_nothing_is_worth_nothing() -> None:
    results = with_odds(worths=(replace(odds().worths[0], usd_worth=1e-9),))
    assert "To know more before deciding is worth nothing" in str(answer(results))
    table = next(b for b in build(results) if isinstance(b, Table) and b.columns[0] == "Experiment")
    assert table.rows[0][1:] == ("$0", "–", "no")
