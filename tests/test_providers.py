"""The whole way at a provider: every arm, a real tuning job, a storm of faults, and no key anywhere.

The provider is the emulator, over HTTP, asked by the real `openai` client.
"""

from __future__ import annotations

import json
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from at_provider import BASE, KEY, briefly, deploy, provider
from finetune_advisor import case, cli, experiment, jobs
from finetune_advisor.emulator.faults import FaultSettings
from finetune_advisor.errors import Missing
from finetune_advisor.experiment.charges import Budget, OverBudget
from finetune_advisor.models import waiting
from finetune_advisor.models.cache import VARIABLE as CACHE
from finetune_advisor.records import ArmResult, Decision, Results
from finetune_advisor.store import Store
from oracle import write_case

ARMS = "".join(
    f'[[arms]]\napproach = "{name}"\n'
    for name in ("zero_shot", "few_shot", "nearest_shot", "rag", "tuned", "tuned_rag", "classical")
)
HINTS = {"refund": "Money back goes to refund.", "repair": "A hinge is repaired.", "delivery": "The van delivers."}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "wait", briefly)


def a_case(folder: Path, model: str, *, arms: str = ARMS, rows: int = 120) -> case.Case:
    documents = folder / "documents"
    documents.mkdir(parents=True)
    for name, text in HINTS.items():
        (documents / f"{name}.md").write_text(f"# {name}\n\n{text}\n", encoding="utf-8")
    write_case(folder, rows=rows, arms=arms, model=model)
    text = (folder / "case.toml").read_text(encoding="utf-8")
    text = text.replace("[data]\n", '[data]\ndocuments = "documents"\n')
    (folder / "case.toml").write_text(text, encoding="utf-8")
    return case.read(folder)


def openai_model(options: str = "") -> str:
    return f'[[models]]\nname = "mini"\nprovider = "openai"\noptions = {{ id = "{BASE}"{options} }}\n'


def azure_model(options: str = "") -> str:
    return f'[[models]]\nname = "mini"\nprovider = "azure"\noptions = {{ id = "{BASE}", base = "{BASE}"{options} }}\n'


def by_approach(results: Results) -> dict[str, ArmResult]:
    return {arm.approach: arm for arm in results.arms}


@pytest.mark.parametrize(
    "model",
    [openai_model(), openai_model(', api = "responses"'), azure_model(), azure_model(', api_version = "2024-10-21"')],
    ids=["openai", "responses", "azure v1", "azure"],
)
def test_every_arm_runs_and_the_tuned_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    with provider(tmp_path / "provider", monkeypatch) as server:
        if "azure" in model:
            deploy(server)
        loaded = a_case(tmp_path / "case", model)
        results = jobs.run(loaded)
        assert results.skipped == {}
        arms = by_approach(results)
        assert set(arms) == {"zero_shot", "few_shot", "nearest_shot", "rag", "tuned", "tuned_rag", "classical"}
        training = arms["tuned"].training
        assert training is not None and training.job and training.tuned_model in server.state.tuned
        assert training.tokens > 0 and training.estimated_tokens and training.losses
        report = (loaded.reports / "report.md").read_text(encoding="utf-8")
        assert "tokens were billed" in report and f"Job {training.job}" in report.replace("\\", "")
        assert arms["tuned"].score > arms["zero_shot"].score
        assert any("was asked at 127.0.0.1" in note for note in results.notes), "the emulator passes for the provider"
        asked = len(server.state.charges)
        assert experiment.run(loaded).arms == results.arms
        assert len(server.state.charges) == asked, "what is stored was paid for again"


def run_until_done(loaded: case.Case, limit: Decimal) -> Results:
    """As a person would: where the provider refuses, the same run is started again."""
    while True:
        with Store(loaded.folder) as store, store.exclusive():
            budget = Budget(store=store, job="storm", limit=limit)
            try:
                results = experiment.run_held(loaded, store, budget=budget)
            except Missing:
                continue
            if not results.skipped:
                return results


def answers_of(loaded: case.Case) -> list[tuple[str, str]]:
    with Store(loaded.folder) as store:
        rows = store._read("SELECT part || example_id, body FROM answers")  # pyright: ignore[reportPrivateUsage]
    return sorted((name, json.loads(body)["outcome"]["text"]) for name, body in rows)


STORM = {
    "429": 0.04,
    "429_bare": 0.03,
    "500": 0.04,
    "503": 0.04,
    "slow": 0.03,
    "cut": 0.04,
    "malformed": 0.03,
    "401": 0.02,
    "404_retired": 0.02,
    "wrong_usage": 0.02,
    "hang": 0.002,
}


@pytest.mark.parametrize(("concurrency", "rows", "requests"), [(8, 100, 200), (64, 700, 2000)])
def test_a_storm_of_faults_changes_nothing_but_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrency: int, rows: int, requests: int
) -> None:
    """Of 2,000 requests 30% are faulty: nothing is lost or paid for twice, the budget holds, the results are equal."""
    arms = "".join(f'[[arms]]\napproach = "{name}"\n' for name in ("zero_shot", "few_shot", "nearest_shot", "rag"))
    # Long enough that only a server that hangs is given up, however busy this machine is.
    model = openai_model(f", concurrency = {concurrency}, timeout_seconds = 4")
    with provider(tmp_path / "calm", monkeypatch) as calm:
        quiet = a_case(tmp_path / "quiet", model, arms=arms, rows=rows)
        expected = experiment.run(quiet)
        answered = len(calm.state.charges)
    faults = FaultSettings(rates=STORM, seed=concurrency, slow_seconds=0.02, retry_after_seconds=0.01)
    with provider(tmp_path / "stormy", monkeypatch, faults) as storm:
        loaded = a_case(tmp_path / "case", model, arms=arms, rows=rows)
        limit = Decimal("1.00")
        results = run_until_done(loaded, limit)
        assert storm.faults.requests >= requests
        assert [(arm.name, arm.score, arm.scores) for arm in results.arms] == [
            (arm.name, arm.score, arm.scores) for arm in expected.arms
        ]
        assert answers_of(loaded) == answers_of(quiet)
        delivered = [charge for charge in storm.state.charges if charge.delivered]
        assert len(delivered) == answered, "an answer that arrived was asked for again"
        with Store(loaded.folder) as store:
            assert store.charged("storm") <= limit
            lost = [charge for charge in store.charges("storm") if charge.state == "lost"]
            undelivered = len(storm.state.charges) - len(delivered)
            assert undelivered <= len(lost) <= storm.faults.requests - answered, "what may be charged is not counted"
            assert not [charge for charge in store.charges("storm") if charge.state == "reserved"]


def test_a_closed_provider_is_a_fact_for_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """403 training_not_available: the other arms are measured, and the verdict says who may tune and where else."""
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n'
    with provider(tmp_path / "provider", monkeypatch, FaultSettings(rates={"403_training": 1.0})):
        loaded = a_case(tmp_path / "case", openai_model(), arms=arms)
        results = experiment.run(loaded)
        (refusal,) = results.refusals
        assert [arm.approach for arm in results.arms] == ["zero_shot"]
        assert "OpenAI starts no more trainings for this organisation" in refusal.reason
        assert "azure" in refusal.hint.lower() and "open" in refusal.hint.lower()
        assert results.verdict.decision is Decision.NOT_YET
        assert any("starts no more trainings" in reason for reason in results.verdict.reasons)
        assert experiment.stored(loaded).refusals == results.refusals, "a report written later says it too"


SHAPES = pytest.mark.parametrize(
    "model",
    [openai_model(), azure_model(), azure_model(', api_version = "2024-10-21"')],
    ids=["openai", "azure v1", "azure"],
)


@SHAPES
def test_the_whole_life_of_a_training_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n'
    with provider(tmp_path / "provider", monkeypatch) as server:
        deploy(server)
        folder = str(a_case(tmp_path / "case", model, arms=arms).folder)
        estimate = command("tune", folder, "--estimate", "--json")
        assert json.loads(estimate.output)["estimate"]["tokens"] > 0 and not server.state.files
        refused = command("tune", folder, "--usd", "0.000001")
        assert refused.exit_code == 6 and "does not allow for the training" in refused.stderr
        assert not server.state.charges
        assert command("tune", folder, "--no-wait").exit_code == 0
        done = command("tune", folder)
        assert done.exit_code == 0 and "State: succeeded" in done.output and "Tuned model: " in done.output
        paid = len(server.state.charges)
        assert command("tune", folder, "--status", "--json").exit_code == 0
        assert command("run", folder).exit_code == 0
        trainings = [charge for charge in server.state.charges if charge.training_tokens]
        assert len(trainings) == 1 and len(server.state.charges) > paid


def test_what_runs_at_azure_is_in_the_report_until_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n'
    with provider(tmp_path / "provider", monkeypatch) as server:
        deploy(server)
        loaded = a_case(tmp_path / "case", azure_model(), arms=arms)
        results = experiment.run(loaded)
        (note,) = [note for note in results.notes if ".ft-" in note]
        assert "at $1.70 an hour, $0.00 so far" in note
        name = note.rpartition(" ")[2]
        assert command("deployments", "--delete", name).exit_code == 0
        assert not [note for note in experiment.stored(loaded).notes if ".ft-" in note]


def command(*words: str) -> Result:
    return CliRunner().invoke(cli.main, [*words])


def test_a_budget_ends_the_run_with_all_answers_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "few_shot"\n'
    with provider(tmp_path / "provider", monkeypatch) as server:
        loaded = a_case(tmp_path / "case", openai_model(", concurrency = 64"), arms=arms)
        limit = Decimal("0.0008")
        with Store(loaded.folder) as store, store.exclusive():
            with pytest.raises(OverBudget, match="does not allow"):
                experiment.run_held(loaded, store, budget=Budget(store=store, job="j", limit=limit))
            assert 0 < store.charged("j") <= limit
        before = len(server.state.charges)
        assert before == len(answers_of(loaded))
        experiment.run(loaded)
        assert len(server.state.charges) == len(answers_of(loaded)) > before


def test_no_key_stands_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the case, the store, the log, the report, an error, or what other users of the machine can list."""
    faults = FaultSettings(rates={"401": 0.05}, seed=3)
    with provider(tmp_path / "provider", monkeypatch, faults):
        loaded = a_case(tmp_path / "case", openai_model())
        job = jobs.start(loaded.folder)
        seen = ""
        while jobs.latest(loaded.folder).state in jobs.LIVE:  # type: ignore[union-attr]
            seen += subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
            time.sleep(0.1)
        assert job.id in seen and KEY not in seen
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}-wrong")
        for file in (loaded.folder / "fits").rglob("*"):
            file.unlink() if file.name == "training.json" else None
        texts = b"".join(file.read_bytes() for file in loaded.folder.rglob("*") if file.is_file())
        assert KEY.encode() not in texts and b"gpt-4.1-mini" in texts


def test_embeddings_of_a_provider_are_paid_once_and_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = '{ depth = 1, shots = 0, retriever = "remote", retriever_options = { id = "text-embedding-3-small" } }'
    arms = f'[[arms]]\napproach = "rag"\nsettings = {settings}\n'
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    with provider(tmp_path / "provider", monkeypatch) as server:
        loaded = a_case(tmp_path / "case", openai_model(), arms=arms)
        with Store(loaded.folder) as store, store.exclusive():
            with pytest.raises(OverBudget, match="embeddings"):
                experiment.run_held(loaded, store, budget=Budget(store=store, job="j", limit=Decimal("0.0000001")))
            assert not server.state.charges
        results = experiment.run(loaded)
        assert results.skipped == {}
        with Store(loaded.folder) as store:
            embedded = [charge.usd for charge in store.charges() if "embeddings" in charge.what]
        assert embedded and all(usd > 0 for usd in embedded)
        before = len(server.state.charges)
        experiment.run(loaded)
        assert len(server.state.charges) == before
