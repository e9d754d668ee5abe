"""Where an answer and the evidence disagree: each rule both ways, and silence where the evidence is thin."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from finetune_advisor import questions, statistics
from finetune_advisor.questions.contradictions import FEWEST, RULES
from finetune_advisor.records import ArmResult, Finding, Interval, LearningCurve, Results, SideEffect
from sample_results import arm, cost, sample_results

N = 200


def scored(name: str, approach: str, right: int, *, n: int = N, **changes: Any) -> ArmResult:
    """An arm that is right on the first so many of n examples."""
    scores = tuple(float(i < right) for i in range(n))
    return arm(
        name,
        approach,
        0,
        n=n,
        score=right / n,
        scores=scores,
        interval=statistics.interval(scores, binary=True),
        example_ids=tuple(map(str, range(n))),
        **changes,
    )


def measured(*arms: ArmResult, **changes: Any) -> Results:
    plain: dict[str, Any] = {"arms": arms, "comparisons": (), "findings": (), "learning_curve": None}
    return replace(sample_results(), **{**plain, "side_effects": (), "costs": (), **changes})


def said(question: str, answer: object, results: Results, **others: object) -> str:
    return questions.contradictions({question: answer, **others}, results).get(question, "")


FEW, LORA = scored("Few-shot", "few_shot", 148), scored("LoRA", "tuned", 152)


def test_rules_are_for_questions_that_there_are() -> None:
    assert set(RULES) <= {question.id for question in questions.QUESTIONS}


def test_without_answers_nothing_disagrees() -> None:
    assert questions.contradictions({}, sample_results()) == {}
    assert questions.contradictions({name: None for name in RULES}, sample_results()) == {}


def test_prompting_that_comes_near_the_tuned_model_is_said_with_its_figures() -> None:
    sentence = said("prompting", "not good enough", measured(FEW, LORA))
    assert sentence.startswith("You answered that a good prompt with examples is not good enough; measured here")
    assert "Few-shot is within 2 points of LoRA: scored 0.74 [" in sentence
    assert said("prompting", "nearly good enough", measured(FEW, LORA)) == ""
    assert said("prompting", "not tried", measured(FEW, LORA)) == ""


def test_prompting_that_is_far_off_agrees_with_not_good_enough() -> None:
    assert said("prompting", "not good enough", measured(scored("Few-shot", "few_shot", 90), LORA)) == ""


def test_prompting_is_held_against_the_needed_score() -> None:
    results = measured(FEW)
    assert "reaches the 0.6 that you need" in said("prompting", "not good enough", results, needed_score=0.6)
    assert "reaches" in said("prompting", "nearly good enough", results, needed_score=Decimal("0.6"))
    assert said("prompting", "nearly good enough", results, needed_score=0.75) == ""
    assert "short of the 0.9 that you need" in said("prompting", "good enough", results, needed_score=0.9)
    assert said("prompting", "good enough", results, needed_score=0.75) == ""
    assert said("prompting", "good enough", results) == ""


def test_a_prompt_that_beats_the_tuned_model_is_as_good() -> None:
    sentence = said("prompting", "not good enough", measured(FEW, scored("LoRA", "tuned", 120)))
    assert "Few-shot is as good as LoRA" in sentence


@pytest.mark.parametrize("right", [9, 10])
def test_thin_evidence_says_nothing(right: int) -> None:
    few = scored("Few-shot", "few_shot", right, n=FEWEST - 1)
    assert said("prompting", "not good enough", measured(few, scored("LoRA", "tuned", right, n=FEWEST - 1))) == ""
    noisy = replace(few, n=30, scores=(0.0, 1.0) * 15, score=0.5)
    other = replace(scored("LoRA", "tuned", 0, n=30), scores=(1.0, 0.0) * 15, score=0.5)
    assert said("prompting", "not good enough", measured(noisy, other)) == ""


def test_a_model_that_only_pretends_is_no_evidence() -> None:
    pretended = measured(replace(FEW, simulated=True), replace(LORA, simulated=True))
    assert said("prompting", "not good enough", pretended, needed_score=0.6) == ""


def test_the_interval_of_a_comparison_goes_first() -> None:
    wide = replace(
        sample_results().comparisons[0],
        arm="LoRA",
        baseline="Few-shot",
        difference=0.02,
        interval=Interval(low=-0.2, high=0.2),
    )
    assert said("prompting", "not good enough", measured(FEW, LORA, comparisons=(wide,))) == ""
    narrow = replace(wide, interval=Interval(low=-0.02, high=0.06))
    assert said("prompting", "not good enough", measured(FEW, LORA, comparisons=(narrow,)))


def test_documents_that_help_or_do_not() -> None:
    helps = measured(FEW, scored("RAG", "rag", 190))
    useless = measured(FEW, scored("RAG", "rag", 140))
    assert "help: RAG scored 0.95" in said("facts_in_documents", False, helps)
    assert said("facts_in_documents", True, helps) == ""
    assert "do not help: RAG scored 0.70" in said("facts_in_documents", True, useless)
    assert said("facts_in_documents", False, useless) == ""
    assert said("facts_in_documents", True, measured(FEW)) == ""


def test_documents_that_help_a_tuned_model_alone_do_help() -> None:
    arms = FEW, scored("RAG", "rag", 140), LORA
    learnt = measured(*arms, scored("LoRA + RAG", "tuned_rag", 190))
    assert said("facts_in_documents", True, learnt) == ""
    assert "help: LoRA + RAG scored 0.95" in said("facts_in_documents", False, learnt)
    neither = said("facts_in_documents", True, measured(*arms, scored("LoRA + RAG", "tuned_rag", 145)))
    assert "do not help: RAG scored 0.70" in neither and "; LoRA + RAG scored 0.72" in neither


def test_a_classifier_that_does_it_or_does_not() -> None:
    near, far = scored("TF-IDF", "classical", 150), scored("TF-IDF", "classical", 100)
    assert "TF-IDF is within 1 point of LoRA" in said("simple_method", False, measured(FEW, LORA, near))
    assert said("simple_method", True, measured(FEW, LORA, near)) == ""
    assert "it is worse: TF-IDF scored 0.50" in said("simple_method", True, measured(FEW, LORA, far))
    assert said("simple_method", False, measured(FEW, LORA, far)) == ""
    assert "reaches the 0.4" in said("simple_method", False, measured(FEW, LORA, far), needed_score=0.4)
    assert said("simple_method", True, measured(FEW, LORA, far), needed_score=0.4) == ""
    assert said("simple_method", False, measured(FEW, LORA)) == ""


def test_a_needed_score_that_no_arm_reaches() -> None:
    assert "no arm reaches it: the best, LoRA, scored 0.76" in said("needed_score", 0.9, measured(FEW, LORA))
    assert said("needed_score", 0.78, measured(FEW, LORA)) == ""
    assert said("needed_score", 0.9, measured()) == ""


def test_answers_that_take_too_long() -> None:
    slow = replace(LORA, seconds=5.1)
    assert "LoRA took 5.1 seconds on average" in said("latency_seconds", 2, measured(FEW, slow))
    assert "Few-shot" not in said("latency_seconds", 2, measured(FEW, slow))
    assert said("latency_seconds", 6, measured(FEW, slow)) == ""


def curve(helps: bool | None) -> LearningCurve:
    known = sample_results().learning_curve
    assert known is not None
    return replace(known, more_helps=helps)


def test_more_examples_by_the_learning_curve() -> None:
    flat, steep, unsure = (measured(LORA, learning_curve=curve(helps)) for helps in (False, True, None))
    assert "500 more examples; by the learning curve" in said("more_examples", 500, flat)
    assert said("more_examples", 0, flat) == ""
    assert "to about 0.96 with 960" in said("more_examples", 0, steep)
    assert said("more_examples", 500, steep) == ""
    assert said("more_examples", 0, unsure) == said("more_examples", 5, unsure) == ""
    assert said("more_examples", 500, measured(FEW, learning_curve=curve(False))) == ""


def test_shorter_prompts_that_save_or_do_not() -> None:
    short = replace(LORA, prompt_tokens=41.0, seconds=0.05)
    cheap = measured(FEW, short, costs=(cost("Few-shot", "0.0056", "0", None), cost("LoRA", "0.0013", "0", None)))
    prices = cost("Few-shot", "0.001", "0", None), cost("LoRA", "0.002", "0", None)
    dear = measured(FEW, replace(short, seconds=0.08), costs=prices)
    assert "they do: Few-shot takes 98 prompt tokens, 0.08 seconds and $0.0056" in said("shorter_prompts", False, cheap)
    assert said("shorter_prompts", True, cheap) == ""
    assert "they do not: Few-shot" in said("shorter_prompts", True, dear)
    assert said("shorter_prompts", False, dear) == ""
    assert said("shorter_prompts", True, measured(FEW, LORA)) == ""


def effect(low: float, high: float, name: str = "LoRA") -> SideEffect:
    return SideEffect(
        arm=name, ability="general", n=12, base=1.0, tuned=0.5, interval=Interval(low=low, high=high), lost=()
    )


def test_skills_that_were_lost() -> None:
    lost = measured(LORA, side_effects=(effect(-0.8, -0.2),))
    assert "general, 12 of 12 prompts handled before tuning and 6 after" in said("other_skills", True, lost)
    assert said("other_skills", False, lost) == ""
    assert said("other_skills", True, measured(LORA, side_effects=(effect(-0.8, 0.1),))) == ""
    assert said("other_skills", True, measured(LORA, side_effects=(effect(-0.8, -0.2, "LoRA + RAG"),))) == ""


def test_a_data_set_with_errors_is_not_ready() -> None:
    error = Finding(file="a", line=1, code="leak", severity="error", message="It leaks.")
    assert "the audit found 1 error." in said("data_set", True, measured(findings=(error,)))
    assert said("data_set", False, measured(findings=(error,))) == ""
    assert said("data_set", True, measured(findings=(replace(error, severity="warning"),))) == ""
