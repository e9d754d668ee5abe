"""Confusion matrices: counted from answers, cut to what can be read, drawn."""

from __future__ import annotations

import json

from finetune_advisor import metrics
from finetune_advisor.charts import figure
from finetune_advisor.metrics.confusion import ELSE, confusions
from finetune_advisor.records import Confusion, Example, Message
from finetune_advisor.report.confusion import ELSE as OTHERS
from finetune_advisor.report.confusion import NONE, SHOWN, confusion
from sample_results import sample_results

RESULTS = sample_results()


def example(answer: str, *more: str) -> Example:
    message = Message(role="user", content="?")
    return Example(id="e", messages=(message,), answer=answer, references=(answer, *more) if more else ())


def test_labels_are_counted_by_what_was_wanted_and_what_was_answered() -> None:
    label = metrics.create("label", labels=("Refund", "delivery_status"))
    wanted = [example(name) for name in ("Refund", "Refund", "Refund", "delivery_status", "delivery_status")]
    (found,) = confusions(
        label, ["refund.", "Delivery status", "I think it is a refund", "delivery_status", ""], wanted
    )
    assert found.field == ""
    assert found.counts == {
        "Refund": {"Refund": 1, "delivery_status": 1, "": 1},
        "delivery_status": {"delivery_status": 1, "": 1},
    }


def test_an_answer_that_is_another_reference_counts_as_the_wanted_one() -> None:
    (found,) = confusions(metrics.create("label"), ["b", "c"], [example("a", "b"), example("a", "b")])
    assert found.counts == {"a": {"a": 1, ELSE: 1}}


def test_json_fields_with_few_values_have_a_matrix_and_others_none() -> None:
    wanted = [example(json.dumps({"kind": kind, "name": f"n{i}"})) for i, kind in enumerate("aaabbb")]
    answers = ['{"kind": "A"}', '```json\n{"kind": "b"}\n```', "no JSON", '{"kind": "z"}', '{"kind": "b"}', '{"x": 1}']
    (found,) = confusions(metrics.create("json_fields"), answers, wanted)
    assert found.field == "kind"
    assert found.counts == {"a": {"a": 1, "b": 1, "": 1}, "b": {ELSE: 2, "b": 1}}


def test_other_metrics_have_no_matrix() -> None:
    assert confusions(metrics.create("exact"), ["a"], [example("a")]) == ()


def many(labels: int) -> Confusion:
    """Every label is right 10 times and is taken for the next one as often as its number says."""
    names = [f"label {i:02}" for i in range(labels)]
    following = [*names[1:], names[0]]
    return Confusion(field="", counts={a: {a: 10, b: i} for i, (a, b) in enumerate(zip(names, following, strict=True))})


def test_the_chart_has_a_cell_for_every_wanted_and_answered_label() -> None:
    found = Confusion(field="kind", counts={"a": {"a": 3, "b": 1}, "b": {"b": 2, "": 2}})
    chart = confusion(RESULTS, "LoRA", found)
    cells = {(row["wanted"], row["answered"]): (row["count"], row["share"]) for row in chart.rows}
    assert cells == {
        ("a", "a"): (3, 0.75),
        ("a", "b"): (1, 0.25),
        ("a", NONE): (0, 0),
        ("b", "a"): (0, 0),
        ("b", "b"): (2, 0.5),
        ("b", NONE): (2, 0.5),
    }
    assert chart.title == "Confusion matrix of “LoRA”, field “kind”"
    assert "5 of 8 are right" in chart.alt
    assert "b taken for no label 2 of 4 times; a taken for b 1 of 4 times" in chart.alt


def test_of_many_labels_those_are_shown_that_are_confused_most() -> None:
    chart = confusion(RESULTS, "LoRA", many(30))
    wanted = list(dict.fromkeys(str(row["wanted"]) for row in chart.rows))
    assert wanted == [f"label {i}" for i in range(22, 30)]
    assert len(wanted) == SHOWN
    assert "the 8 of 30 labels that are confused most" in chart.alt
    for name in wanted:
        assert sum(int(str(row["count"])) for row in chart.rows if row["wanted"] == name) == sum(
            many(30).counts[name].values()
        )
    assert any(row["answered"] == OTHERS and row["count"] for row in chart.rows)


def test_the_matrix_is_drawn_with_its_numbers() -> None:
    drawn = json.loads(figure(confusion(RESULTS, "LoRA", many(3))).to_json())
    cells, numbers = drawn["data"]
    assert len(cells["z"]) == 3
    assert sorted(numbers["text"]) == ["1", "10", "10", "10", "2"]
    assert drawn["layout"]["yaxis"]["ticktext"][0] == "label 00"
