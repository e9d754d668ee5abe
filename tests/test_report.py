"""Results into HTML, Markdown, JSON and CSV: complete, readable, and safe with hostile text."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from finetune_advisor.charts import figure
from finetune_advisor.errors import BadInput, StoreProblem
from finetune_advisor.records import Decision, Interval, LossPoint, Results
from finetune_advisor.report.blocks import (
    Block,
    Callout,
    Chart,
    ChartKind,
    Details,
    ExampleCard,
    Heading,
    Table,
)
from finetune_advisor.report.build import build
from finetune_advisor.report.csv import to_csv
from finetune_advisor.report.document import from_json, to_json
from finetune_advisor.report.formats import percent, percent_with, points, probability, requests, seconds, usd
from finetune_advisor.report.html import to_html
from finetune_advisor.report.learning import learning
from finetune_advisor.report.markdown import escape, fenced, paragraph, to_markdown
from finetune_advisor.report.ownership import ownership
from sample_results import HOSTILE, URDU, sample_results

CHROMIUM = Path("/usr/bin/chromium")
RESULTS = sample_results()
SIMULATED = sample_results(simulated=True)


class Page(HTMLParser):
    """Start tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page_text() -> str:
    return to_html(RESULTS, figure)


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    return [found for block in blocks for found in (block, *(flat(block.blocks) if isinstance(block, Details) else ()))]


def with_first_arm(results: Results, **changes: Any) -> Results:
    return replace(results, arms=(replace(results.arms[0], **changes), *results.arms[1:]))


def test_the_first_page_answers_before_anything_else() -> None:
    blocks = build(RESULTS)
    first = blocks[: next(i for i, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2)]
    text = str(first)
    verdict = RESULTS.verdict
    for sentence in (*verdict.reasons, *verdict.flips, verdict.next_step, *verdict.cautions):
        assert sentence in text
    headline = next(block for block in first if isinstance(block, Callout))
    assert headline.kind == "not-yet"
    assert headline.title == "NOT YET: tuning looks better, but 60 test examples cannot show it."


@pytest.mark.parametrize(("decision", "kind"), [(Decision.GO, "go"), (Decision.NO_GO, "no-go")])
def test_the_decision_leads_the_headline(decision: Decision, kind: str) -> None:
    results = replace(RESULTS, verdict=replace(RESULTS.verdict, decision=decision, headline="Fine-tune: it pays."))
    headline = next(block for block in build(results) if isinstance(block, Callout))
    assert (headline.kind, headline.title) == (kind, f"{decision.value}: Fine-tune: it pays.")


def test_every_part_of_the_results_is_in_the_report(page_text: str) -> None:
    text = Page(page_text).text
    wanted = [
        RESULTS.title,
        *(arm.name for arm in RESULTS.arms),
        "75% (64–83)",
        "(baseline)",
        "exact McNemar",
        "0.064",
        "differences of 18 points or more",
        "1,744 examples would show 3 points",
        "33,333,334 (69 years)",
        "never",
        "Tickets should reach the right team.",
        "near_duplicate",
        "Warnings: 25, the first 20",
        RESULTS.split.hash,
        "learning_rate 0.001, epochs 3",
        "The prompt does not fit into the context window of 2,048 tokens.",
        "has been scored on the test examples 2 times",
        "What this report cannot tell you",
        "ASSUMED",
        "measured in this run",
        RESULTS.provenance.data_hash,
        RESULTS.provenance.commit,
        "transformers",
        URDU,
    ]
    assert [each for each in wanted if each not in text] == []


def test_only_the_first_findings_of_a_severity_are_listed() -> None:
    details = next(b for b in build(RESULTS) if isinstance(b, Details) and b.title.startswith("Warnings"))
    table = details.blocks[0]
    assert isinstance(table, Table)
    assert len(table.rows) == 20


def test_at_most_twelve_examples_are_shown() -> None:
    results = replace(RESULTS, disagreements=RESULTS.disagreements * 10)
    assert sum(isinstance(block, ExampleCard) for block in build(results)) == 12


def test_every_table_row_has_a_cell_per_column() -> None:
    for table in (block for block in flat(build(RESULTS)) if isinstance(block, Table)):
        assert len(table.align) == len(table.columns)
        assert {len(row) for row in table.rows} <= {len(table.columns)}


def test_simulated_arms_are_called_so_wherever_they_stand() -> None:
    assert not any(isinstance(block, Callout) and block.kind == "simulated" for block in build(RESULTS))
    callout = build(SIMULATED)[3]
    assert isinstance(callout, Callout)
    assert callout.kind == "simulated"
    for block in flat(build(SIMULATED)):
        if isinstance(block, Table | Chart):
            assert not re.search(r"zero-shot(?! \(simulated\))", str(block)), block
    text = Page(to_html(SIMULATED, figure)).text
    assert "SIMULATED RESULTS" in text
    assert to_markdown(SIMULATED).count("(simulated)") >= 8


def test_a_case_without_arms_still_makes_a_report() -> None:
    empty = replace(
        RESULTS,
        arms=(),
        comparisons=(),
        costs=(),
        power=None,
        disagreements=(),
        answered=(),
        findings=(),
        skipped={"LoRA": "torch is not installed."},
        verdict=replace(RESULTS.verdict, best_tuned=None, best_untuned=None),
    )
    text = Page(to_html(empty, figure)).text
    assert "LoRA: torch is not installed." in text
    assert "fewer than two arms ran" in text
    assert to_markdown(empty)


def test_hostile_text_never_becomes_markup(page_text: str) -> None:
    page = Page(page_text)
    assert HOSTILE in page.text
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [each for each in scripts if each.get("type") != "application/json"] == [{}, {}]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert all(link and link.startswith("#") for link in links)


def test_hostile_names_stay_inside_the_charts_json() -> None:
    results = with_first_arm(RESULTS, name="</script><script>alert(1)</script>")
    page = Page(to_html(results, figure))
    assert [a for tag, a in page.tags if tag == "script" and a.get("type") != "application/json"] == [{}, {}]


def test_the_page_asks_the_network_for_nothing(page_text: str) -> None:
    page = Page(page_text)
    assert not [attributes for _, attributes in page.tags if "src" in attributes or "srcset" in attributes]
    assert not [tag for tag, _ in page.tags if tag in {"link", "iframe", "object", "embed", "base", "form", "img"}]
    policy = next(str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"('sha256-[A-Za-z0-9+/]+=' ?){2}", rules["script-src"])
    assert "connect-src" not in rules


def test_users_text_finds_its_own_direction(page_text: str) -> None:
    assert re.search(rf'dir="auto">{re.escape(URDU)}', page_text)


def test_each_chart_has_its_words_and_numbers(page_text: str) -> None:
    charts = [block for block in flat(build(RESULTS)) if isinstance(block, Chart)]
    assert {chart.kind for chart in charts} == set(get_args(ChartKind))
    labels = {attributes.get("aria-label") for _, attributes in Page(page_text).tags}
    assert {chart.alt for chart in charts} <= labels


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_it_without_network_or_complaint(tmp_path: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    hostile = "<img src=http://evil.example/x onerror=window.hit=1> <a href='javascript:window.hit=1'>x</a>"
    results = with_first_arm(RESULTS, name=hostile)
    charts = [block for block in flat(build(results)) if isinstance(block, Chart)]
    (tmp_path / "report.html").write_text(to_html(results, figure), encoding="utf-8")
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector(".chart .main-svg")
        assert page.locator(".chart:has(.main-svg)").count() == len(charts)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hit") is None
        assert page.locator("svg a[href^='javascript']").count() == 0
        browser.close()
    assert said == []
    assert asked == [(tmp_path / "report.html").as_uri()]


def test_markdown_renders_text_and_no_markup_of_others() -> None:
    text = to_markdown(RESULTS)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    html_found = {token.content.strip() for token in tokens if token.type == "html_block"}
    assert all(each.startswith(("<details><summary>", "</details>")) for each in html_found)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inline if child.type in {"link_open", "image", "html_inline"}]
    assert HOSTILE in [token.content.strip() for token in tokens if token.type == "fence"]
    assert "javascript:alert(1)" in "".join(child.content for child in inline)
    assert sum(token.type == "table_open" for token in tokens) >= 10


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=60))
def test_escaped_text_renders_as_itself(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(paragraph(text))
    shown = "".join(child.content for token in tokens for child in token.children or ())
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert {child.type for token in tokens for child in token.children or ()} <= {"text", "text_special"}
    assert shown == " ".join(text.split())


def test_escape_disarms_what_streamlit_reads() -> None:
    assert escape("costs $5 or $6 :red[x] :material/home: a|b") == r"costs \$5 or \$6 \:red\[x\] \:material/home: a\|b"
    assert escape("delivery_status is _not_ at 10:30") == r"delivery_status is \_not\_ at 10:30"


def test_a_fence_is_longer_than_any_inside() -> None:
    assert fenced("a ```` b").splitlines() == ["`````text", "a ```` b", "`````"]


def test_json_reads_back_as_the_same_results() -> None:
    for results in (RESULTS, SIMULATED):
        assert from_json(to_json(results)) == results


def test_json_has_every_key_money_as_text_and_its_schema() -> None:
    document = json.loads(to_json(RESULTS))
    assert document["schema"] == 1
    assert set(document) == {"schema", *Results.__dataclass_fields__}
    assert document["costs"][0]["usd_per_1000"] == "0.0021"
    assert document["verdict"]["decision"] == "NOT YET"
    assert datetime.fromisoformat(document["provenance"]["time"]) == datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
    assert URDU in to_json(RESULTS)


def test_a_diverged_loss_survives_json_and_charts() -> None:
    training = RESULTS.arms[4].training
    assert training is not None
    losses = (LossPoint(step=1, loss=math.inf, split="train"), LossPoint(step=2, loss=math.nan, split="train"))
    results = with_first_arm(RESULTS, training=replace(training, losses=losses))
    read = from_json(to_json(results)).arms[0].training
    assert read is not None
    assert read.losses[0].loss == math.inf
    assert math.isnan(read.losses[1].loss)
    assert to_html(results, figure)


def test_half_a_surrogate_does_not_stop_the_writing() -> None:
    results = replace(RESULTS, title="broken \ud83d title")
    for text in (to_html(results, figure), to_markdown(results), to_json(results)):
        text.encode("utf-8")
    assert from_json(to_json(results)).title == results.title


def test_results_of_a_newer_version_are_refused() -> None:
    text = to_json(RESULTS).replace('"schema": 1', '"schema": 2', 1)
    with pytest.raises(StoreProblem, match=r"schema 2.*up to 1"):
        from_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ('{"schema": 1, "tit', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no schema version"),
        ('{"schema": 1}', "damaged at title"),
        (to_json(RESULTS).replace('"n": 60', '"n": "many"', 1), r"damaged at arms\.0\.n"),
    ],
)
def test_damaged_results_get_one_sentence(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        from_json(text)
    assert "\n" not in caught.value.message
    assert "finetune-advisor report" in caught.value.hint


def test_csv_disarms_formulas_and_keeps_numbers() -> None:
    rows = [{"arm": text, "change": -0.5} for text in ("=1+1", "+1", "-1", "@SUM(A1)", "plain, text", "\t=1")]
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [row["arm"] for row in read] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "plain, text", "'\t=1"]
    assert {row["change"] for row in read} == {"-0.5"}
    assert to_csv([]) == ""


def test_percentages_show_what_n_allows() -> None:
    interval = Interval(low=0.6213, high=0.8432)
    assert percent(0.7512, 60) == "75%"
    assert percent(0.7512, 200) == "75.1%"
    assert percent_with(0.7512, interval, 60) == "75% (62–84)"
    assert percent_with(0.7512, interval, 500) == "75.1% (62.1–84.3)"
    assert [points(d, 60) for d in (0.1667, -0.0667, 0.001, -0.001)] == ["+17", "−7", "0", "0"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "$0"),
        ("0.0000107", "$0.000011"),
        ("0.0021", "$0.0021"),
        ("0.096", "$0.096"),
        ("0.5", "$0.50"),
        ("12.349", "$12.35"),
        ("1234567.8", "$1,234,568"),
        ("-3.2", "−$3.20"),
    ],
)
def test_money_has_sensible_digits(value: str, shown: str) -> None:
    assert usd(Decimal(value)) == shown


def test_other_figures_read_well() -> None:
    assert requests(None, 100) == "never"
    assert requests(0, 100) == "at once"
    assert requests(41_000, 20_000) == "41,000 (2 months)"
    assert requests(41_000, 0) == "41,000"
    assert [probability(p) for p in (1e-9, 0.0213, 0.424)] == ["<0.001", "0.021", "0.42"]
    assert [seconds(s) for s in (0.0004, 0.25, 3.14, 112.6)] == ["0.4 ms", "250 ms", "3.1 s", "1 min 53 s"]


@pytest.mark.parametrize(("months", "said"), [(1, "first month"), (12, "first 12 months"), (36, "first 36 months")])
def test_the_cost_of_owning_is_over_the_horizon_of_the_case(months: int, said: str) -> None:
    results = replace(RESULTS, horizon_months=months)
    found = ownership(results)
    table = next(block for block in found if isinstance(block, Table))
    chart = next(block for block in found if isinstance(block, Chart))
    assert said in table.caption and "the horizon of this case" in table.caption
    assert said in chart.title
    lora = next(cost for cost in results.costs if cost.arm == "LoRA")
    sums = {row[0]: row[-1] for row in table.rows}
    assert sums["LoRA"] == usd(lora.usd_one_off + months * lora.usd_per_month)


def test_what_the_trainings_of_the_learning_curve_took_is_said_as_measured() -> None:
    curve = RESULTS.learning_curve
    assert curve is not None
    assert "this curve alone" not in str(learning(RESULTS))
    spent = replace(curve, trainings=8, training_seconds=901.4, training_usd=Decimal("0.02404"))
    results = replace(RESULTS, learning_curve=spent)
    sentence = "the 8 trainings for this curve alone took 15 min 1 s, $0.024 at the machine's price by the hour"
    assert f"Measured: {sentence}" in str(learning(results))
    arms = tuple(replace(arm, simulated=arm.name == curve.arm) for arm in results.arms)
    assert f"Simulated: {sentence}" in str(learning(replace(results, arms=arms)))
    one = replace(results, learning_curve=replace(spent, trainings=1, training_usd=None))
    assert "the 1 training for this curve alone took 15 min 1 s; " in str(learning(one))


def test_results_of_the_same_schema_that_lack_what_came_later_can_be_read() -> None:
    document = json.loads(to_json(RESULTS))
    for name in ("clusters", "horizon_months"):
        del document[name]
    for name in ("gain_error", "trainings", "training_seconds", "training_usd"):
        del document["learning_curve"][name]
    assert from_json(json.dumps(document)) == RESULTS
