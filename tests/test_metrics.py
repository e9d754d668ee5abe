from __future__ import annotations

import json
import random
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor import metrics
from finetune_advisor.errors import BadInput, require
from finetune_advisor.metrics.labels import Label
from finetune_advisor.metrics.numeric import Numeric, number
from finetune_advisor.metrics.sql import SqlExecution, is_ordered
from finetune_advisor.metrics.structured import JsonFields
from finetune_advisor.metrics.text import ChrF, ExactMatch, RougeL, TokenF1, squad_normalised, tokens
from finetune_advisor.records import Example, Message, Score

DATA = Path(__file__).parents[2] / "shared" / "data"
WRONG_FORM = Score(value=0.0, format_ok=False)
SCHEMA = """
CREATE TABLE singer (id INTEGER, name TEXT, age INTEGER);
INSERT INTO singer VALUES (1, 'Joe', 52), (2, 'Ann', 29), (3, 'Tim', 29), (4, 'Zoë', 41);
"""


def example(answer: str, *references: str, **meta: Any) -> Example:
    message = Message(role="user", content="?")
    return Example(id="x", messages=(message,), answer=answer, references=references, meta=meta)


def value(metric: metrics.Metric, text: str, *references: str) -> float:
    return metric.score(text, example(*references)).value


# Labels


@pytest.mark.parametrize(
    "text",
    [
        "card_arrival",
        " Card Arrival.\n",
        "**card_arrival**",
        "`card_arrival`",
        '"Card_Arrival"',
        "ｃａｒｄ＿ａｒｒｉｖａｌ",
        "«card arrival»。",
    ],
)
def test_a_label_is_recognised_in_its_wrapping(text: str) -> None:
    metric = Label(labels=("card_arrival", "card_linking"))
    assert metric.score(text, example("card_arrival")) == Score(value=1.0)
    assert metric.score(text, example("card_linking")) == Score(value=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "The label is card_arrival",
        "card_arrival, card_linking",
        "card",
        "card_arrival\n\nQ: next",
        "",
        "***",
        "unknown",
    ],
)
def test_what_merely_contains_a_label_has_the_wrong_form(text: str) -> None:
    assert Label(labels=("card_arrival", "card_linking")).score(text, example("card_arrival")) == WRONG_FORM


def test_labels_made_of_signs_stay_apart() -> None:
    metric = Label(labels=("C", "C#", "C++", "-1", "1", "?", "!"))
    for label in metric.labels:
        assert [other for other in metric.labels if value(metric, label, other)] == [label]


def test_without_a_list_any_single_line_is_a_label() -> None:
    assert Label().score("anything", example("x")) == Score(value=0.0)
    assert Label().score("two\nlines", example("x")) == WRONG_FORM


def test_a_label_from_outside_the_list_can_be_right() -> None:
    assert Label(labels=("a",)).score("b", example("b")) == Score(value=1.0)


def test_macro_f1_is_scikit_learns() -> None:
    chance = random.Random(0)
    names = ("red", "green", "blue", "teal")
    wanted = [chance.choice(names) for _ in range(300)]
    texts = [want if chance.random() < 0.6 else chance.choice([*names, "no idea at all"]) for want in wanted]
    extras = Label(labels=names).extras(texts, [example(want) for want in wanted])
    f1_score = require("sklearn.metrics", extra="all").f1_score
    expected = f1_score(wanted, texts, labels=names, average="macro", zero_division=0)
    assert extras["macro_f1"] == pytest.approx(expected)
    in_form = [(text, want) for text, want in zip(texts, wanted, strict=True) if text in names]
    assert extras["accuracy_given_format"] == pytest.approx(sum(t == w for t, w in in_form) / len(in_form))


# Text


def test_squad_normalisation_is_the_official_one() -> None:
    assert squad_normalised("The  Denver Broncos!") == "denver broncos"
    assert squad_normalised("an apple, a day: $5.00") == "apple day 500"
    assert squad_normalised("A") == "a"
    assert squad_normalised("¿Qué? «Sí»") == "qué sí"


def test_token_f1_is_squads() -> None:
    assert value(TokenF1(), "the cat sat", "cat sat down") == pytest.approx(0.8)
    assert value(TokenF1(), "Denver Broncos", "The Broncos") == pytest.approx(2 / 3)
    assert value(TokenF1(), "to be to be", "to be") == pytest.approx(2 / 3)
    assert value(TokenF1(), "Denver", "Seattle", "Denver") == 1
    assert TokenF1().extras(["Denver.", "x"], [example("denver"), example("y")]) == {"exact_match": 0.5}


def test_scripts_without_spaces_count_characters() -> None:
    assert tokens("我在 iPhone 上") == ["我", "在", "iPhone", "上"]
    assert value(TokenF1(), "北京市", "北京") == pytest.approx(0.8)
    assert value(TokenF1(), "ภาษาไทย", "ภาษา") == pytest.approx(2 * 4 / 11)
    assert value(TokenF1(), "서울 특별시", "서울") == pytest.approx(2 / 3)


def test_a_ramble_is_no_short_answer() -> None:
    rest = " and so it goes on" * 6
    for metric in (ExactMatch(), TokenF1()):
        assert metric.score("Denver" + rest, example("Denver")) == WRONG_FORM
        assert metric.score("It was Denver that won the game in the end", example("Denver")).format_ok


def test_exact_match_is_on_normalised_text() -> None:
    assert value(ExactMatch(), "the Broncos.", "Broncos") == 1
    assert value(ExactMatch(), "Broncos team", "Broncos") == 0


def test_rouge_l_by_hand() -> None:
    # Lin 2004: "police kill the gunman" against "police killed the gunman": LCS 3 of 4.
    assert value(RougeL(), "police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert value(RougeL(), "the gunman kill police", "police killed the gunman") == pytest.approx(0.5)
    assert value(RougeL(), "हिन्दी भाषा", "हिन्दी") == pytest.approx(2 / 3)
    assert value(RougeL(), "👍", "👍") == 1


@pytest.mark.parametrize(
    ("text", "references"),
    [("the cat is on a mat", ["the cat sat on the mat", "a cat on a mat"]), ("Żółw", ["żółw 龟"])],
)
def test_chrf_is_sacrebleus(text: str, references: list[str]) -> None:
    expected = require("sacrebleu", extra="all").sentence_chrf(text, references).score / 100
    assert 0 < expected < 1
    assert value(ChrF(), text, *references) == pytest.approx(expected)


@given(st.text(min_size=1).filter(str.strip))
def test_text_equal_to_its_reference_scores_one(text: str) -> None:
    for metric in (ExactMatch(), TokenF1(), RougeL()):
        assert metric.score(text, example(text)) == Score(value=1.0)


# Numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9 * 2 = $18 every day\n#### 18", "18"),
        ("#### 1,234.50\n\nQ: 7 apples", "1234.5"),
        ("So 16-3=13. The answer is 13. I used 2 steps.\nBye 9", "2"),
        ("The answer is:\n-5", "-5"),
        ("from 16-3", "3"),
        ("-$5.25", "-5.25"),
        ("−40 °C", "-40"),
        ("about 62%", "62"),
        ("12,34,567 rupees", "1234567"),
        ("12,50 €", "12.5"),
        ("1.234,56", "1234.56"),
        ("1.234.567", "1234567"),
        ("1\u202f234\u00a0567", "1234567"),
        ("1'000", "1000"),
        ("1, 2,3,4", "4"),
        (".5", "0.5"),
        ("6.02e23", "6.02e23"),
        ("١٬٢٣٤٫٥", "1234.5"),
        ("۴۲", "42"),
        ("１８", "18"),
        ("18.", "18"),
        ("none", None),
        ("5 m²", "5"),
    ],
)
def test_numbers_are_read(text: str, expected: str | None) -> None:
    assert number(text) == (None if expected is None else Decimal(expected))


def test_numeric_match_and_tolerance() -> None:
    assert value(Numeric(), "18.0", "#### 18") == 1
    assert value(Numeric(), "18.01", "#### 18") == 0
    assert value(Numeric(tolerance=0.01), "18.01", "#### 18") == 1
    assert Numeric().score("eighteen", example("#### 18")) == WRONG_FORM
    assert value(Numeric(), "1" * 5000, "1" * 5000) == 1


@given(st.integers(), st.sampled_from(["{}", "{:,}", "#### {}", "The answer is {:,}.", "{}%"]))
def test_every_integer_is_read_back(whole: int, form: str) -> None:
    assert number(form.format(whole)) == whole


# JSON

FLIGHT = '{"intent": "BookFlight", "slots": [{"slot": "from", "value": "Köln"}, {"slot": "to", "value": "Oslo"}]}'


def test_json_counts_fields() -> None:
    metric = JsonFields()
    assert (
        value(
            metric,
            '{"slots": [{"value": "oslo", "slot": "to"}, {"slot": "from", "value": "KÖLN "}], "intent": "bookflight"}',
            FLIGHT,
        )
        == 1
    )
    swapped = FLIGHT.replace("Köln", "x").replace("Oslo", "Köln").replace('"x"', '"Oslo"')
    assert value(metric, swapped, FLIGHT) == pytest.approx(1 / 3), "a value belongs to its slot"
    assert value(metric, '{"intent": "BookFlight", "slots": []}', FLIGHT) == pytest.approx(2 / 5)
    assert value(metric, '{"a": [1, 1]}', '{"a": [1]}') == pytest.approx(2 / 3), "repeats count"
    assert value(metric, '{"a": 1.0, "b": true}', '{"a": 1, "b": 1}') == pytest.approx(1 / 2)
    assert value(metric, '{"a": "1"}', '{"a": 1}') == 0
    assert value(metric, "{}", "{}") == 1
    assert value(metric, '{"a": {"b": 1, "c": 2}}', '{"a": {"b": 1, "c": 3}}') == pytest.approx(1 / 2)


def test_only_the_named_fields_count() -> None:
    metric = JsonFields(fields=("intent",))
    assert value(metric, '{"intent": "BookFlight", "slots": 3}', FLIGHT) == 1
    assert set(metric.extras([FLIGHT], [example(FLIGHT)])) == {"json_valid", "exact_match", "field_intent"}


@pytest.mark.parametrize(
    "text",
    [
        "Sure! " + FLIGHT,
        FLIGHT + "\nDone.",
        FLIGHT[:-1],
        f"[{FLIGHT}]",
        '"x"',
        "{'a': 1}",
        '{"a": Infinity}',
        "[" * 10_000,
        "{} {}",
    ],
)
def test_what_is_not_the_wanted_json_has_the_wrong_form(text: str) -> None:
    assert JsonFields().score(text, example(FLIGHT)) == WRONG_FORM


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "\ufeff{}", "\n ```JSON {}``` "])
def test_a_fence_is_tolerated(fence: str) -> None:
    assert value(JsonFields(), fence.replace("{}", FLIGHT), FLIGHT) == 1


def test_json_extras() -> None:
    wrong_slots = FLIGHT.replace("Oslo", "Bergen")
    extras = JsonFields().extras([FLIGHT, wrong_slots, "no", "[]"], [example(FLIGHT)] * 4)
    assert extras == {"json_valid": 0.75, "exact_match": 0.25, "field_intent": 0.5, "field_slots": 0.25}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_equals_itself(content: Any) -> None:
    text = json.dumps(content)
    assert JsonFields().score(text, example(text)) == Score(value=1.0)


# SQL


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("SELECT name FROM singer WHERE age < 30", "SELECT name FROM singer WHERE age = 29", 1),
        ("```sql\nSELECT COUNT(*) AS n FROM singer;\n```", "SELECT 4", 1),
        ("SELECT name FROM singer ORDER BY age DESC", "SELECT name FROM singer", 1),
        ("SELECT name FROM singer", "SELECT name FROM singer ORDER BY name", 0),
        ("SELECT age FROM singer WHERE age=29 LIMIT 1", "SELECT age FROM singer WHERE age = 29", 0),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", 1),
        ("SELECT 1.0", "SELECT 1", 1),
        ("SELECT name, age FROM singer", "SELECT age, name FROM singer", 0),
        (
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<4) SELECT i FROM c",
            "SELECT id FROM singer",
            1,
        ),
        ("SELECT name FROM singer WHERE name = 'Zoë'", "SELECT name FROM singer WHERE age = 41", 1),
        ("SELECT id, row_number() OVER (ORDER BY id) FROM singer", "SELECT id, id FROM singer", 1),
    ],
)
def test_sql_compares_results(text: str, reference: str, expected: float) -> None:
    for metric, meta in ((SqlExecution(), {"schema": SCHEMA}), (SqlExecution(schema=SCHEMA), {})):
        assert metric.score(text, example(reference, **meta)) == Score(value=expected)


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("select a from t order  by a", True),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u ORDER BY a)", False),
        ("SELECT rank() OVER (PARTITION BY (b) ORDER BY a) FROM t", False),
        ("SELECT 'order by' FROM t -- order by a", False),
        ('SELECT ")" FROM (SELECT 1) ORDER BY 1', True),
    ],
)
def test_sorting_is_seen_on_the_outside_only(query: str, ordered: bool) -> None:
    assert is_ordered(query) is ordered


ATTACKS = [
    "DELETE FROM singer",
    "UPDATE singer SET age = 1",
    "INSERT INTO singer VALUES (9, 'x', 1) RETURNING *",
    "DROP TABLE singer",
    "CREATE TABLE x (a)",
    "ATTACH DATABASE '{0}/new.db' AS new",
    "VACUUM INTO '{0}/new.db'",
    "PRAGMA query_only = 0",
    "PRAGMA table_info(singer)",
    "SELECT * FROM pragma_database_list",
    "SELECT load_extension('{0}/x.so')",
    "SELECT writefile('{0}/new.db', 'x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT 1; DELETE FROM singer",
    "BEGIN",
    "REINDEX",
    "ANALYZE",
    "SELECT 1 FROM nowhere",
    "SELEC 1",
    "The query is SELECT 1",
    "-- nothing",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_sql_can_only_read(attack: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / "with space?#%.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
    connection.close()
    before = path.read_bytes()
    text = attack.format(tmp_path)
    metric = SqlExecution(database=str(path))
    assert metric.score(text, example("SELECT 1")) == WRONG_FORM
    assert metric.score(text, example("SELECT 1", schema=SCHEMA)) == WRONG_FORM
    assert metric.score("SELECT count(*) FROM singer", example("SELECT 4")) == Score(value=1.0)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.rglob("*")] == ["data", path.name]


@pytest.mark.parametrize(
    "script", ["ATTACH '{0}/new.db' AS n", "VACUUM INTO '{0}/new.db'", "PRAGMA temp_store_directory = '{0}'"]
)
def test_a_schema_script_cannot_leave_its_database(script: str, tmp_path: Path) -> None:
    metric = SqlExecution(schema=SCHEMA + script.format(tmp_path))
    assert metric.score("SELECT 1", example("SELECT 1")) == WRONG_FORM
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT max(i) FROM c",
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c",
        "SELECT zeroblob(2000000000)",
        "SELECT printf('%.2000000000c', 'x')",
        "SELECT format('%2000000000d', 1)",
        "SELECT hex(randomblob(90000))",
        "SELECT count(*) FROM " + ", ".join(f"singer s{i}" for i in range(20)),
    ],
)
def test_endless_and_huge_queries_are_cut_off(query: str) -> None:
    metric = SqlExecution(schema=SCHEMA, seconds=0.05)
    assert metric.score(query, example("SELECT 1")) == WRONG_FORM


def test_references_that_do_not_run_are_counted() -> None:
    examples = [example("SELECT 1"), example("SELECT x FROM missing")]
    assert SqlExecution().score("SELECT 1", examples[1]) == Score(value=0.0)
    assert SqlExecution().extras(["SELECT 1", "SELECT 1"], examples) == {"references_executed": 0.5}


def test_a_missing_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no database"):
        SqlExecution(database=str(tmp_path / "none.db"))


# Real data


@pytest.mark.parametrize(
    ("file", "name", "rows"),
    [
        ("banking77_test.jsonl", "label", 3080),
        ("snips_slots_test.jsonl", "json_fields", 700),
        ("xquad_en_qa_test.jsonl", "token_f1", 609),
        ("gsm8k_test.jsonl", "numeric", 1319),
        ("scitldr_test.jsonl", "rouge_l", 618),
    ],
)
def test_gold_answers_of_real_data_score_one(file: str, name: str, rows: int) -> None:
    if not (DATA / file).is_file():
        pytest.skip("the shared data are not on this machine")
    examples = [_read(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    labels = {"labels": tuple({item.answer for item in examples})} if name == "label" else {}
    metric = metrics.create(name, **labels)
    assert len(examples) == rows
    assert {metric.score(item.answer, item) for item in examples} == {Score(value=1.0)}
    shifted = zip(examples, examples[rows // 2 :] + examples[: rows // 2], strict=True)
    assert sum(metric.score(other.answer, item).value for item, other in shifted) < 0.5 * rows


def _read(line: str) -> Example:
    row: dict[str, Any] = json.loads(line)
    return example(row["messages"][-1]["content"], *row.get("meta", {}).get("refs", ()))
