"""Results measured elsewhere: the same verdict as ever, and one clear sentence for everything that cannot be judged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor.costs import prices
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment import outside
from finetune_advisor.records import Decision

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "evidence"
DOCUMENT = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def judged(tmp_path: Path, change: Change, name: str = "tuning_helps") -> outside.Judged:
    """The shipped files with something changed."""
    evidence, money = (json.loads((FILES / f"{each}.json").read_text(encoding="utf-8")) for each in (name, "money"))
    change(evidence, money)
    for file, content in (("evidence", evidence), ("money", money)):
        (tmp_path / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    return outside.judge(tmp_path / "evidence.json", tmp_path / "money.json")


@pytest.mark.parametrize(("name", "decision"), [("tuning_helps", Decision.GO), ("tuning_does_not", Decision.NO_GO)])
def test_clear_results_get_a_clear_verdict(name: str, decision: Decision) -> None:
    found = outside.judge(FILES / f"{name}.json", FILES / "money.json")
    assert found.verdict.decision is decision
    assert (found.verdict.best_tuned, found.verdict.best_untuned) == ("lora", "few-shot")
    assert found.unpriced == {}
    assert [each.arm for each in found.comparisons] == ["lora"]


def test_each_arm_is_paid_as_the_money_file_says() -> None:
    usd_per_hour = float(prices.load().get("l4")["usd_per_hour"].value)
    few_shot, lora = outside.judge(FILES / "tuning_helps.json", FILES / "money.json").costs
    # gpt-4.1-mini: 150 of 1,450 tokens at $0.40 and 1,300 at $0.10 per million, 6 answer tokens at $1.60.
    # Now and then the cache has expired, which costs a little more.
    assert Decimal("0.1996") <= few_shot.usd_per_1000 < Decimal("0.21")
    assert few_shot.usd_one_off == 0
    # 40 hours at $60 and 9 minutes of an L4.
    assert float(lora.usd_one_off) == pytest.approx(2400 + 0.15 * usd_per_hour)
    assert float(lora.usd_per_1000) == pytest.approx(1000 * 0.21 / 3600 * usd_per_hour / 0.5)


def test_the_json_holds_everything() -> None:
    judged_files = outside.judge(FILES / "tuning_helps.json", FILES / "money.json")
    found, judged_lora_usd = json.loads(judged_files.to_json()), judged_files.costs[1].usd_per_1000
    assert found["schema"] == 1
    assert found["verdict"]["decision"] == "GO"
    assert found["verdict"]["odds"]["p_tuning"] >= 0.9
    assert found["costs"][1]["usd_per_1000"] == str(judged_lora_usd)
    assert len(found["arms"][0]["scores"]) == 200


def test_the_same_files_give_the_same_verdict() -> None:
    one, two = (outside.judge(FILES / "tuning_helps.json", FILES / "money.json").verdict for _ in range(2))
    assert one == two


def test_what_was_not_measured_has_no_cost(tmp_path: Path) -> None:
    def change(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        del evidence["arms"][0]["prompt_tokens"]
        del evidence["arms"][1]["training"]

    found = judged(tmp_path, change)
    assert found.costs == ()
    assert set(found.unpriced) == {"few-shot", "lora"}
    assert "prompt_tokens" in found.unpriced["few-shot"]
    assert "training" in found.unpriced["lora"]


def test_near_duplicates_make_the_evidence_weaker(tmp_path: Path) -> None:
    def change(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        arms = evidence["arms"]
        for arm in arms:
            arm["scores"] = [score for score in arm["scores"][:50] for _ in range(4)]

    def grouped(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        change(evidence, money)
        evidence["clusters"] = [at // 4 for at in range(200)]

    alone, together = judged(tmp_path, change), judged(tmp_path, grouped)
    for one, other in zip(alone.arms, together.arms, strict=True):
        assert other.interval.high - other.interval.low > one.interval.high - one.interval.low


def test_a_leak_a_second_look_and_a_simulation_decide_nothing(tmp_path: Path) -> None:
    def leak(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        evidence["findings"] = [{"code": "leak_exact", "severity": "error", "message": "seen in training"}]

    def look(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        evidence["arms"][1]["touches"] = 2

    def simulate(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        evidence["arms"][1]["simulated"] = True

    for change in (leak, look, simulate):
        assert judged(tmp_path, change).verdict.decision is Decision.NOT_YET


def test_where_the_data_may_not_leave_a_provider_is_ruled_out(tmp_path: Path) -> None:
    def change(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        money["answers"] = {"tuning_place": "OpenAI", "data_may_leave": False}

    found = judged(tmp_path, change).verdict
    assert found.decision is not Decision.GO
    assert "may not leave" in " ".join(found.reasons)


def test_failures_and_wrong_forms_are_counted_apart(tmp_path: Path) -> None:
    def change(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        arm = evidence["arms"][0]
        arm["scores"] = [0, 0, 0, 0.4, *[1] * 196]
        arm["forms"] = [False, False, True, True, *[True] * 196]
        arm["failures"] = 1

    found = judged(tmp_path, change).arms[0]
    assert (found.failures, found.format_failures, found.wrong) == (1, 1, 2)


def test_what_the_documentation_shows_runs(tmp_path: Path) -> None:
    evidence, money = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "e.json").write_text(evidence, encoding="utf-8")
    (tmp_path / "m.json").write_text(money, encoding="utf-8")
    found = outside.judge(tmp_path / "e.json", tmp_path / "m.json")
    assert found.verdict.decision is Decision.NOT_YET
    assert "10 of at least 30" in found.verdict.headline
    assert len(found.costs) == 2


def test_the_documentation_names_every_key() -> None:
    documented = set(re.findall(r"`([a-z_.\[\]]+)`", DOCUMENT))
    assert {"task.kind", "task.metric"} <= documented
    assert {f"arms[].{name}" for name in outside.ArmEntry.model_fields} <= documented
    assert {*outside.EvidenceFile.model_fields, *outside.MoneyFile.model_fields} - {"version", "task"} <= documented
    assert {*outside.FindingEntry.model_fields, *outside.TrainingEntry.model_fields} <= documented


def setting(where: str, value: Any) -> Change:
    """A change of one key: ``evidence.arms.0.name`` and the like; None takes the key away."""

    def change(evidence: dict[str, Any], money: dict[str, Any]) -> None:
        *path, last = [int(part) if part.isdigit() else part for part in where.split(".")]
        at: Any = {"evidence": evidence, "money": money}
        for part in path:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


def twice(evidence: dict[str, Any], money: dict[str, Any]) -> None:
    evidence["arms"][1] = {**evidence["arms"][0], "name": "lora", "tuned": True}


def untimed(evidence: dict[str, Any], money: dict[str, Any]) -> None:
    money["goal"]["kind"] = "speed"
    del evidence["arms"][0]["seconds"]


REFUSED: list[tuple[Change, str, str]] = [
    (setting("money.money.usd_per_right_answer", -1), "money.usd_per_right_answer", ""),
    (setting("money.money.usd_per_labour_hour", -0.5), "money.usd_per_labour_hour", ""),
    (setting("money.money.requests_per_month", 0), "money.requests_per_month", ""),
    (setting("money.money.horizon_months", 0), "money.horizon_months", ""),
    (setting("money.money.horizon", 12), "money.horizon", "docs/evidence.md"),
    (setting("money.goal.needed_score", 87), "goal.needed_score is 87", "87% is 0.87"),
    (untimed, "no seconds for the arm 'few-shot'", "another goal"),
    (setting("money.schema", None), "schema is missing", ""),
    (setting("money.schema", 2), "schema", ""),
    (setting("money.priced_as", {"other arm": "gpt-4.1-mini"}), "'other arm'", "few-shot, lora"),
    (setting("money.priced_as", {"lora": "no-such-model"}), "'no-such-model'", ""),
    (setting("money.answers", {"colour": "red"}), "colour", ""),
    (setting("evidence.arms", []), "no arm", "few-shot"),
    (setting("evidence.arms.1", None), "one arm", "few-shot"),
    (setting("evidence.arms.1.name", "few-shot"), "two arms are named 'few-shot'", ""),
    (setting("evidence.arms.0.name", ""), "arms.0.name", ""),
    (twice, "'few-shot' and 'lora' are identical", ""),
    (setting("evidence.arms.0.scores", []), "arms.0.scores", ""),
    (setting("evidence.arms.0.scores", [0.5] * 199), "200 scores and 'few-shot' has 199", ""),
    (setting("evidence.arms.0.scores.3", 87), "arms.0.scores.3 is 87", "87% is 0.87"),
    (setting("evidence.arms.0.scores.3", -0.1), "arms.0.scores.3 (-0.1)", ""),
    (setting("evidence.arms.0.scores.3", float("nan")), "arms.0.scores.3", ""),
    (setting("evidence.arms.0.scores.3", "right"), "arms.0.scores.3 ('right')", ""),
    (setting("evidence.arms.0.seconds", float("inf")), "arms.0.seconds", ""),
    (setting("evidence.arms.0.prompt_tokens", -5), "arms.0.prompt_tokens", ""),
    (setting("evidence.arms.0.scores", None), "how many answers were right is not enough", ""),
    (setting("evidence.arms.0.forms", [True]), "1 forms for 200 scores", ""),
    (setting("evidence.arms.0.failures", 199), "199 failures", ""),
    (setting("evidence.clusters", [1, 2]), "clusters has 2 entries", ""),
    (setting("evidence.examples", ["a"]), "examples has 1 entries", ""),
    (setting("evidence.task.kind", "poetry"), "task.kind", ""),
    (setting("evidence.arms.0.color", "red"), "arms.0.color is not a known key", ""),
]


@pytest.mark.parametrize(("change", "sentence", "hint"), REFUSED, ids=[sentence for _, sentence, _ in REFUSED])
def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, change: Change, sentence: str, hint: str) -> None:
    with pytest.raises(BadInput) as refused:
        judged(tmp_path, change)
    assert sentence in refused.value.message
    assert hint in refused.value.hint
    assert refused.value.hint
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3", '"x"', "null", "\0"])
def test_what_is_no_evidence_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"evidence\.json"):
        outside.judge(path, FILES / "money.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        outside.judge(tmp_path / "none.json", FILES / "money.json")
