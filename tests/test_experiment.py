from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from finetune_advisor import case, experiment
from finetune_advisor.errors import BadInput, StoreProblem
from finetune_advisor.experiment import arms
from finetune_advisor.experiment.rejudging import rejudge
from finetune_advisor.records import Decision, Message, Results
from finetune_advisor.report.document import from_json, to_json
from finetune_advisor.store import Store
from oracle import Oracle, write_case

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("oracle")


def run(folder: Path, *, relock: bool = False) -> Results:
    return experiment.run(case.read(folder), relock=relock)


def test_expand_is_the_product_in_writing_order() -> None:
    assert arms.expand({"depth": [1, 3], "shots": 0}) == [{"depth": 1, "shots": 0}, {"depth": 3, "shots": 0}]
    assert arms.expand({}) == [{}]


def test_a_run_finds_the_better_arm(tmp_path: Path) -> None:
    results = run(write_case(tmp_path / "c", rows=300))
    by_name = {arm.name: arm for arm in results.arms}
    assert {arm.approach for arm in results.arms} == {"zero_shot", "few_shot", "tuned"}
    tuned = next(arm for arm in results.arms if arm.tuned)
    assert all(arm.n == results.split.test == len(arm.example_ids) for arm in results.arms)
    assert tuned.score > max(arm.score for arm in results.arms if not arm.tuned)
    assert results.verdict.best_tuned == tuned.name
    assert results.verdict.decision is Decision.GO
    assert {c.arm for c in results.comparisons} == set(by_name) - {results.comparisons[0].baseline}
    assert all(arm.format_failures + arm.wrong + arm.failures <= arm.n for arm in results.arms)
    assert results.disagreements
    few = next(arm for arm in results.arms if arm.approach == "few_shot")
    assert sum(choice.chosen for choice in few.choices) == 1


def test_running_again_asks_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    model = f'[[models]]\nname = "oracle"\nprovider = "oracle"\noptions = {{ log = {json.dumps(str(log))} }}\n'
    folder = write_case(tmp_path / "c", model=model)
    first = run(folder)
    asked = log.read_text(encoding="utf-8")
    second = run(folder)
    assert log.read_text(encoding="utf-8") == asked
    stored = experiment.stored(case.read(folder))
    assert [a.scores for a in first.arms] == [a.scores for a in second.arms] == [a.scores for a in stored.arms]
    assert max(Counter(asked.split()).values()) == 1
    assert all(arm.touches == 1 for arm in second.arms)


def test_a_changed_instruction_asks_the_prompted_arms_again_and_trains_nothing(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    before = {arm.approach: arm for arm in run(folder).arms}
    case.edit(folder, {"task.instruction": "Be brief."})
    after = {arm.approach: arm for arm in run(folder).arms}
    assert before["tuned"].touches == after["tuned"].touches == 1
    assert before["tuned"].training == after["tuned"].training
    assert after["zero_shot"].touches == after["few_shot"].touches == 2


def test_a_changed_arm_touches_the_test_split_again(tmp_path: Path) -> None:
    only = '[[arms]]\napproach = "few_shot"\nsettings = { shots = 2 }\n'
    folder = write_case(tmp_path / "c", arms=only)
    assert run(folder).arms[0].touches == 1
    text = (folder / "case.toml").read_text(encoding="utf-8").replace("shots = 2", "shots = 3")
    (folder / "case.toml").write_text(text, encoding="utf-8")
    assert run(folder).arms[0].touches == 2


def test_changed_data_needs_a_new_lock(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    first = run(folder)
    data = folder / "examples.jsonl"
    data.write_text("\n".join(data.read_text(encoding="utf-8").splitlines()[:-9]) + "\n", encoding="utf-8")
    with pytest.raises(StoreProblem, match="locked"):
        run(folder)
    second = run(folder, relock=True)
    assert second.split.hash != first.split.hash
    assert any("locked 2 times" in note for note in second.notes)


def test_arms_that_do_not_apply_are_skipped_with_the_reason(tmp_path: Path) -> None:
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "rag"\n'
    results = run(write_case(tmp_path / "c", arms=arms))
    assert list(results.skipped.values()) == ["The case has no documents."]
    assert results.verdict.decision is Decision.NOT_YET


def test_nothing_run_yet(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c")
    with pytest.raises(StoreProblem, match="Nothing has been run"):
        experiment.stored(case.read(folder))
    Store(folder).__exit__()
    with pytest.raises(StoreProblem):
        experiment.stored(case.read(folder))


def test_two_models_in_one_case(tmp_path: Path) -> None:
    model = "".join(
        f'[[models]]\nname = "{name}"\nprovider = "oracle"\noptions = {{ skill = {skill} }}\n'
        for name, skill in (("small", 0.3), ("large", 0.8))
    )
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\nmodels = ["small"]\n'
    results = run(write_case(tmp_path / "c", rows=200, model=model, arms=arms))
    assert [(arm.approach, arm.model) for arm in results.arms] == [
        ("zero_shot", "small"), ("tuned", "small"), ("zero_shot", "large"),
    ]  # fmt: skip
    assert len({arm.name for arm in results.arms}) == 3


def test_test_labels_never_reach_an_approach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case(tmp_path / "c")
    seen: list[str] = []
    fit = arms.approaches.create

    def spy(name: str, **options: object) -> object:
        seen.append(name)
        return fit(name, **options)

    monkeypatch.setattr(arms.approaches, "create", spy)
    results = run(folder)
    assert seen
    with Store(folder) as store:
        body = json.loads(store.locks()[-1].body)
    assert not set(body["test"]) & (set(body["train"]) | set(body["validation"]))
    assert set(results.arms[0].example_ids) == set(body["test"])


ASSUMED = """[money]
usd_per_machine_hour = 0.5
usd_per_right_answer = 0.01
usd_per_label = 2
[goal]
needed_score = 0.5
[uncertainty]
tokens = [0.8, 1.3]
[learning_curve]
seeds = 2
[answers]
data_may_leave = true
tuning_place = "OpenAI"
"""

CHANGES = (
    ("usd_per_machine_hour = 0.5", "usd_per_machine_hour = 1.0"),
    ("usd_per_machine_hour = 0.5", 'machine = "l4"\nrequests_per_month = 7'),
    ("usd_per_right_answer = 0.01", "horizon_months = 30\ndiscount_rate = 0.1"),
    ("usd_per_label = 2", 'usd_per_label = 50\nprices = "prices.toml"'),
    ("needed_score = 0.5", 'kind = "cost"\nworthwhile_difference = 0.9'),
    ("tokens = [0.8, 1.3]", "hours = [0.1, 9]"),
    ("data_may_leave = true", "data_may_leave = false"),
    ('provider = "oracle"', 'provider = "oracle"\nprice = "gpt-4.1-mini"'),
)


def timeless(results: Results) -> Results:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    return replace(results, provenance=replace(results.provenance, time=start))


def test_rejudging_under_the_same_assumptions_changes_nothing(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", extra=ASSUMED)
    first = run(folder)
    assert first.learning_curve is not None and first.learning_curve.training_usd is not None
    assert timeless(rejudge(case.read(folder), first)) == timeless(first)
    read = rejudge(case.read(folder), from_json(to_json(first)))
    assert (read.verdict, read.costs, read.answered) == (first.verdict, first.costs, first.answered)


def test_rejudging_gives_what_the_store_gives_under_the_same_assumptions(tmp_path: Path) -> None:
    """Every kind of assumption; the results that are judged again come out of the file, the case lies nowhere."""
    folder = write_case(tmp_path / "c", extra=ASSUMED)
    first = from_json(to_json(run(folder)))
    rows = '[[price]]\nname = "cpu-2vcpu"\nvalues.usd_per_hour = 3\nsource = "a bill"\nchecked = 2026-11-01\n'
    for place in (folder, tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        (place / "prices.toml").write_text(rows, encoding="utf-8")
    text = (folder / "case.toml").read_text(encoding="utf-8")
    for old, new in CHANGES:
        assert text.count(old) == 1
        (folder / "case.toml").write_text(text.replace(old, new), encoding="utf-8")
        changed = case.read(folder)
        fresh = timeless(experiment.stored(changed))
        again = timeless(rejudge(changed.model_copy(update={"folder": tmp_path / "elsewhere"}), first))
        differing = [name for name in Results.__dataclass_fields__ if getattr(again, name) != getattr(first, name)]
        assert differing, new
        assert from_json(to_json(again)) == from_json(to_json(fresh)), new


def test_a_doubled_machine_price_doubles_what_is_paid_by_its_hours(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", extra=ASSUMED)
    first = run(folder)
    assert first.learning_curve is not None
    first = replace(first, learning_curve=replace(first.learning_curve, training_seconds=5400.0))
    asked = case.read(folder)
    dearer = asked.model_copy(update={"money": asked.money.model_copy(update={"usd_per_machine_hour": Decimal(1)})})
    second = rejudge(dearer, first)
    assert [cost.usd_per_1000 for cost in second.costs] == [2 * cost.usd_per_1000 for cost in first.costs]
    assert second.learning_curve is not None and second.learning_curve.training_usd == Decimal("1.5")


def test_results_without_what_rejudging_looks_at_can_still_be_rejudged(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "c", extra=ASSUMED)
    first = run(folder)
    document = json.loads(to_json(first))
    assert document["learning_curve"]["trainings"] > 0
    del document["clusters"], document["horizon_months"]
    for name in ("gain_error", "trainings", "training_seconds", "training_usd"):
        del document["learning_curve"][name]
    old = from_json(json.dumps(document))
    assert (old.clusters, old.horizon_months) == ((), 12)
    again = rejudge(case.read(folder), old)
    assert again.costs == first.costs
    assert again.verdict.decision == first.verdict.decision
    assert again.learning_curve and first.learning_curve
    assert again.learning_curve.more_helps == first.learning_curve.more_helps
    assert again.learning_curve.training_usd is None


@pytest.mark.parametrize("words", [0, 40, 5000])
def test_only_long_examples_are_counted_by_the_models_own_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int
) -> None:
    """The oracle reads 2,048 tokens, one a word."""
    counted: list[int] = []
    count = Oracle.count_tokens

    def spy(self: Oracle, messages: Sequence[Message]) -> int:
        counted.append(count(self, messages))
        return counted[-1]

    monkeypatch.setattr(Oracle, "count_tokens", spy)
    folder = write_case(tmp_path / "c")
    row = {"messages": [{"role": "user", "content": "word " * words + "?"}, {"role": "assistant", "content": "repair"}]}
    with (folder / "examples.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    found = [finding.code for finding in experiment.audit(folder).findings if "tokens" in finding.message]
    assert (counted, found) == (([5002], ["too_long"]) if words == 5000 else ([], []))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('kind = "classification"', 'kind = "poetry"'), "task.kind"),
        (('provider = "oracle"', 'provider = "gpt"'), "no models entry named 'gpt'"),
        (('approach = "zero_shot"', 'approach = "magic"'), "no approaches entry named 'magic'"),
        (('kind = "classification"', 'kind = "classification"\nmetric = "vibes"'), "no metrics entry named 'vibes'"),
        (('examples = "examples.jsonl"', 'examples = "gone.jsonl"'), "gone.jsonl"),
        (("schema = 1", "schema = 2"), "schema"),
        (("schema = 1", "schema = = 1"), "not valid TOML"),
        (('title = "Toy"', 'title = "Toy"\ncolour = 3'), "colour"),
    ],
)
def test_bad_cases_are_said_in_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    folder = write_case(tmp_path / "c")
    text = (folder / "case.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (folder / "case.toml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        run(folder)
    assert caught.value.hint


DRIVER = """
import sys
sys.path.insert(0, "tests")
from finetune_advisor import models
models.TABLE["oracle"] = "oracle:Oracle"
from finetune_advisor.cli import main
main()
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DRIVER, "run", str(folder), "--json"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=subprocess.PIPE, env=dict(os.environ))


def test_killed_at_random_moments_it_ends_with_the_same_results(tmp_path: Path) -> None:
    calm_log, log = tmp_path / "calm.log", tmp_path / "killed.log"
    option = '[[models]]\nname = "oracle"\nprovider = "oracle"\noptions = {{ pause = 0.02, log = {log} }}\n'
    calm = run(write_case(tmp_path / "calm", model=option.format(log=json.dumps(str(calm_log)))))
    folder = write_case(tmp_path / "killed", model=option.format(log=json.dumps(str(log))))
    kills, luck = 0, random.Random(4)
    for _ in range(5):
        process = start(folder)
        deadline = time.monotonic() + 60
        before = log.stat().st_size if log.exists() else 0
        # Wait until it has begun to answer, or it would be killed while it still loads its libraries.
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == before:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(luck.uniform(0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills >= 2
    final = start(folder)
    _, errors = final.communicate()
    assert final.returncode == 0, errors.decode()
    results = experiment.stored(case.read(folder))
    assert [(a.name, a.scores, a.choices) for a in results.arms] == [(a.name, a.scores, a.choices) for a in calm.arms]
    times = Counter(log.read_text(encoding="utf-8").split())
    assert set(times) == set(calm_log.read_text(encoding="utf-8").split())
    # Only a batch of 4 that was being answered when the process died is asked again.
    assert sum(times.values()) - len(times) <= 4 * kills
