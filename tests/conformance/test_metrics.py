from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_advisor import metrics, plugins
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Example, Message

NAMES = sorted(plugins.known(metrics.GROUP, metrics.TABLE))
PROPER = {"numeric": "The answer is 42", "json_fields": '{"a": [1, {"b": null}]}', "sql": "SELECT 42 AS answer"}
NASTY = [
    "",
    " \n\t",
    "\x00",
    "\ud800",
    "\ufeff",
    "null",
    "[" * 100_000,
    '{"a":' * 5_000,
    "9" * 10_000,
    "1e999999999999999999999",
    "-",
    "####",
    "answer is",
    "NaN",
    '{"a": NaN}',
    "```json\n{\n```",
    "```",
    "SELECT",
    "SELECT 1; DROP TABLE x",
    "((((",
    "'",
    "👍🏽",
    "مرحبا ١٢٫٥",
    "答案是四十二",
    "٣" * 300 + ",",
    "a " * 5_000,
]


def example(answer: str, *references: str) -> Example:
    return Example(id="x", messages=(Message(role="user", content="?"),), answer=answer, references=references)


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name: str) -> None:
    metric = metrics.create(name)
    assert metric.title
    assert isinstance(metric.binary, bool)
    assert isinstance(metric.higher_is_better, bool)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_itself_scores_one(name: str) -> None:
    metric = metrics.create(name)
    answer = PROPER.get(name, "blue whale")
    wanted = example(answer)
    score = metric.score(answer, wanted)
    if name not in metrics.TABLE and not score.format_ok:
        pytest.skip("a third party's metric whose form is not known here")
    assert (score.value, score.format_ok) == (1.0, True)
    assert metric.score("elephant", wanted).value < 1
    assert metric.score(answer, example("elephant 7", answer)).value == 1, "any reference will do"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_takes_any_text(name: str, text: str) -> None:
    _check(name, text, PROPER.get(name, "blue whale"))
    _check(name, PROPER.get(name, "blue whale"), text)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(max_size=60) | st.recursive(st.none() | st.floats() | st.text(max_size=5), st.lists).map(json.dumps),
    answer=st.text(max_size=30),
)
def test_never_raises(name: str, text: str, answer: str) -> None:
    _check(name, text, answer)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_text_is_the_wrong_form(name: str) -> None:
    score = metrics.create(name).score("", example(PROPER.get(name, "blue whale")))
    assert (score.value, score.format_ok) == (0.0, False)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_in_words(name: str) -> None:
    with pytest.raises(BadInput, match=name):
        metrics.create(name, no_such_option=1)


def _check(name: str, text: str, answer: str) -> None:
    metric, wanted = metrics.create(name), example(answer)
    score = metric.score(text, wanted)
    assert 0 <= score.value <= 1
    assert score.format_ok or score.value == 0
    assert metric.score(text, wanted) == score
    extras = metric.extras([text], [wanted])
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in extras.values())
    assert metric.extras([], []) == {}
