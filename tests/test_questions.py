"""The questionnaire: complete, checked, and shown beside what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor import questions
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Results
from sample_results import sample_results

BY_ID = {question.id: question for question in questions.QUESTIONS}


def measured(results: Results) -> dict[str, str]:
    return questions.evidence(
        arms=results.arms,
        comparisons=results.comparisons,
        costs=results.costs,
        findings=results.findings,
        task=results.task,
        split=results.split,
    )


def test_every_section_is_asked_in_order_and_every_question_says_why() -> None:
    sections = [question.section for question in questions.QUESTIONS]
    assert tuple(dict.fromkeys(sections)) == get_args(questions.Section)
    assert sections == sorted(sections, key=get_args(questions.Section).index)
    assert len(BY_ID) == len(questions.QUESTIONS)
    assert all(question.text.endswith("?") and question.why.endswith(".") for question in questions.QUESTIONS)


def test_choices_belong_to_choice_questions_and_hold_their_default() -> None:
    for question in questions.QUESTIONS:
        assert bool(question.choices) == (question.kind == "choice")
        assert not question.choices or question.default in (None, *question.choices)


def test_good_answers_pass() -> None:
    questions.check({})
    questions.check({"task": "Sort mail", "prompting": "not tried", "more_examples": 2, "data_may_leave": False})


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"colour": "red"}, "no question 'colour'"),
        ({"requests_per_month": 5}, r"belongs under \[money\]"),
        ({"needed_score": 0.5}, r"belongs under \[goal\]"),
        ({"more_examples": "2"}, "more_examples has to be a number"),
        ({"more_examples": -1}, "number of 0 or more"),
        ({"more_examples": math.nan}, "number of 0 or more"),
        ({"more_examples": math.inf}, "number of 0 or more"),
        ({"more_examples": True}, "number of 0 or more"),
        ({"data_may_leave": "yes"}, "true or false"),
        ({"prompting": "great"}, "one of: not tried"),
        ({"task": 3}, "has to be text"),
        ({"task": 3, "colour": "red"}, "text. There is no question"),
    ],
)
def test_each_bad_answer_is_one_clear_sentence(answers: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        questions.check(answers)
    assert "prompting" in caught.value.hint


def test_answers_stand_beside_the_evidence_with_their_units() -> None:
    given_by = {"requests_per_month": 20_000, "usd_per_right_answer": Decimal("0.15"), "data_may_leave": False, "x": 1}
    shown = dict(zip(BY_ID, questions.answered(given_by, {"task": "seen"}), strict=True))
    assert shown["requests_per_month"].answer == "20,000 requests"
    assert shown["usd_per_right_answer"].answer == "0.15 US dollars"
    assert shown["data_may_leave"].answer == "No"
    assert shown["task"].answer == "Not answered."
    assert shown["task"].evidence == "seen"
    assert shown["horizon_months"].answer == "Not answered; reckoned with 12 months."


def test_evidence_is_one_for_known_questions_and_quotes_the_measured_figures() -> None:
    results = sample_results()
    found = measured(results)
    assert set(found) <= set(BY_ID)
    few_shot = next(arm for arm in results.arms if arm.approach == "few_shot")
    interval = f"[{few_shot.interval.low:.2f}, {few_shot.interval.high:.2f}]"
    assert f"scored {few_shot.score:.2f} {interval} on {few_shot.n} held-out examples." in found["prompting"]
    tuned = max((arm for arm in results.arms if arm.tuned), key=lambda arm: arm.score)
    cost = next(cost for cost in results.costs if cost.arm == tuned.name)
    assert f"{tuned.name} costs ${cost.usd_per_month:,.2f} a month." in found["requests_per_month"]
    assert str(results.split.test) in found["quality_measure"]
    assert tuned.name in found["worthwhile_difference"]


def test_shots_and_pretended_models_are_named() -> None:
    arm = next(arm for arm in sample_results().arms if arm.approach == "few_shot")
    pretended = replace(arm, settings={"shots": 8}, simulated=True)
    found = measured(replace(sample_results(), arms=(pretended,), comparisons=()))
    assert found["prompting"].startswith(f"{arm.name} (8 shots) (simulated) scored")


def test_without_arms_only_the_data_speak() -> None:
    found = measured(replace(sample_results(), arms=(), comparisons=(), costs=()))
    assert set(found) == {"task", "quality_measure", "more_examples"}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*BY_ID, "else"]), scalars))
def test_any_answers_are_either_refused_clearly_or_shown(answers: dict[str, Any]) -> None:
    try:
        questions.check(answers)
    except BadInput as error:
        assert error.message
    else:
        assert len(questions.answered(answers, {})) == len(questions.QUESTIONS)
