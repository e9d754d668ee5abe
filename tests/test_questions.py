"""The questionnaire: complete, checked, and shown beside what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from finetune_advisor import questions
from finetune_advisor.case import GoalSection, MoneySection, UncertaintySection
from finetune_advisor.costs import prices
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
    steps = get_args(questions.Section)
    assert tuple(step.title for step in questions.STEPS) == steps
    assert sections == sorted(sections, key=steps.index)
    assert set(steps) - set(sections) == {"Data", "Verdict"}
    assert len(BY_ID) == len(questions.QUESTIONS)
    assert all(question.text.endswith("?") and question.why.endswith(".") for question in questions.QUESTIONS)


def test_every_step_says_what_goes_wrong_without_it() -> None:
    assert all(step.why.count(".") >= 3 and "\n" not in step.why for step in questions.STEPS)
    assert "a tuned model can be worse" in questions.STEPS[0].why


def test_choices_belong_to_choice_questions_and_hold_their_default() -> None:
    for question in questions.QUESTIONS:
        assert bool(question.choices) == (question.kind == "choice")
        assert not question.choices or question.default in (None, *question.choices)
        assert all(question.labels.values())


@pytest.mark.parametrize("question", [q for q in questions.QUESTIONS if q.table != "answers"], ids=lambda q: q.id)
def test_what_a_figure_may_be_is_what_the_case_takes(question: questions.Question) -> None:
    section: Any = {"goal": GoalSection, "money": MoneySection}[question.table]
    key = "kind" if question.id == "goal" else question.id

    def taken(value: object) -> bool:
        try:
            section.model_validate({key: value})
        except ValidationError:
            return False
        return True

    assert key in section.model_fields
    if question.kind == "choice":
        assert all(map(taken, question.choices))
        return
    assert taken(question.minimum)
    assert taken(min(question.maximum, 100_000))
    assert not taken(question.minimum - 1)
    assert question.maximum == math.inf or not taken(question.maximum + 1)
    assert taken(1.5 if question.maximum > 1 else 0.5) != question.whole
    assert question.default is None or section.model_fields[key].default in (question.default, None)


def test_only_ranged_figures_stand_in_the_uncertainty_table_under_their_own_name() -> None:
    in_both = {question.id for question in questions.QUESTIONS} & set(UncertaintySection.model_fields)
    assert in_both == {question.id for question in questions.QUESTIONS if question.ranged}


def test_the_machines_to_choose_from_have_a_price() -> None:
    table = prices.load()
    assert all("usd_per_hour" in table.get(name) for name in BY_ID["machine"].choices)


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
    assert shown["machine"].answer == "Not answered; reckoned with Two processors, no GPU."


def test_a_range_and_a_disagreement_stand_beside_the_answer() -> None:
    shown = questions.answered(
        {"requests_per_month": 20_000, "prompting": "not good enough"},
        {},
        {"prompting": "It is."},
        {"requests_per_month": (5_000, 30_000.0), "hours": (1, 2), "usd_per_right_answer": None},
    )
    by_id = dict(zip(BY_ID, shown, strict=True))
    assert by_id["requests_per_month"].answer == "20,000 requests (from 5,000 to 30,000)"
    assert by_id["prompting"].disagrees == "It is."
    assert by_id["prompting"].answer == "Tried: not good enough"
    assert not by_id["data_hours"].disagrees


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
    assert set(found) == {"task", "quality_measure", "more_examples", "data_set"}


def test_what_more_examples_are_expected_to_bring_is_shown_beyond_those_there_are() -> None:
    results = sample_results()
    found = questions.evidence(
        arms=results.arms,
        comparisons=(),
        costs=(),
        findings=(),
        task=results.task,
        split=results.split,
        learning_curve=results.learning_curve,
    )["more_examples"]
    assert "With 480 examples to learn from, LoRA is expected to score 0.94 [0.90, 0.97]." in found
    assert "With 240" not in found


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*BY_ID, "else"]), scalars))
def test_any_answers_are_either_refused_clearly_or_shown(answers: dict[str, Any]) -> None:
    try:
        questions.check(answers)
    except BadInput as error:
        assert error.message
    else:
        assert len(questions.answered(answers, {})) == len(questions.QUESTIONS)
