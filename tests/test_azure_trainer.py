"""Tuning at Azure OpenAI and its deployments, with the real clients against a small server of our own."""

from __future__ import annotations

import codecs
import json
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fine_tuning_server import FineTuningServer, serving
from finetune_advisor import tuning
from finetune_advisor.errors import AdvisorError, BadInput, Missing
from finetune_advisor.models import TUNED_MODEL, waiting
from finetune_advisor.models.connection import Unavailable
from finetune_advisor.records import Message, TrainingPair, no_progress
from finetune_advisor.tuning import Trainer, TuningWork, deployments
from finetune_advisor.tuning.azure import AzureTrainer
from finetune_advisor.tuning.closed import TrainingClosed
from finetune_advisor.tuning.deployments import Account, DeploymentFailed

MODEL = "gpt-4.1-mini-2025-04-14"
TUNED = f"{MODEL}.ft-ftjob-1"
KEY = "azure-key-of-the-test-0123456789"
TOKEN = "management-token-of-the-test"
STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)


def no_wait(seconds: float) -> None:
    return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[FineTuningServer]:
    monkeypatch.setattr(waiting, "wait", no_wait)
    with serving(FineTuningServer(azure=True, plain_results=True)) as running:
        named = {
            "AZURE_OPENAI_ENDPOINT": running.url,
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_RESOURCE": "shop",
            "AZURE_SUBSCRIPTION_ID": "sub-1",
            "AZURE_RESOURCE_GROUP": "group 1",
            "AZURE_MANAGEMENT_TOKEN": TOKEN,
            "AZURE_MANAGEMENT_ENDPOINT": running.url,
        }
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def work(tmp_path: Path) -> TuningWork:
    pairs = tuple(
        TrainingPair(messages=(Message(role="user", content=f"Größe {n}?"),), answer=f"It is {n}.") for n in range(14)
    )
    return TuningWork(source=MODEL, train=pairs[:10], validation=pairs[10:], folder=tmp_path / "tuned")


@pytest.fixture
def where(server: FineTuningServer) -> Account:
    return Account(subscription="sub-1", resource_group="group 1", resource="shop", management=server.url)


def begun(trainer: AzureTrainer, work: TuningWork) -> None:
    trainer.prepare(work)
    trainer.start(work)


def test_it_is_a_trainer_of_the_table() -> None:
    assert isinstance(tuning.create("azure", training_type="global"), Trainer)


@pytest.mark.parametrize("api_version", ["", "2024-10-21"])
def test_the_whole_life_of_a_job_in_both_shapes(server: FineTuningServer, work: TuningWork, api_version: str) -> None:
    trainer = AzureTrainer(training_type="global", api_version=api_version, suffix="mine", every_seconds=0)
    begun(trainer, work)
    assert server.bodies[0]["trainingType"] == "GlobalStandard"
    prefix = "/openai" if api_version else "/openai/v1"
    assert ("POST", f"{prefix}/fine_tuning/jobs") in server.requests
    sent = server.data[server.bodies[0]["training_file"]]
    assert sent.startswith(codecs.BOM_UTF8) and "Größe" in sent.decode("utf-8-sig")
    server.succeed()
    run = trainer.tune(work, no_progress)
    named = json.loads((work.folder / TUNED_MODEL).read_text(encoding="utf-8"))
    assert (named["provider"], named["model"], run.tuned_model) == ("azure", TUNED, TUNED)
    made = server.deployments[named["deployment"]]
    assert made["sku"] == {"name": "globalstandard", "capacity": 1}
    assert made["properties"]["model"] == {"format": "OpenAI", "name": TUNED, "version": "1"}
    assert (run.best_step, run.steps, len(run.losses)) == (4, 4, 6)
    asked = len(server.requests)
    assert trainer.tune(work, no_progress) == run
    assert len(server.requests) == asked


def test_a_training_without_a_deployment(server: FineTuningServer, work: TuningWork) -> None:
    trainer = AzureTrainer(deploy=False)
    begun(trainer, work)
    server.succeed()
    trainer.result(work)
    assert not server.deployments
    assert "deployment" not in json.loads((work.folder / TUNED_MODEL).read_text(encoding="utf-8"))


def test_a_kill_while_the_deployment_is_made_loses_nothing(
    server: FineTuningServer, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = AzureTrainer(deployment="mine")
    begun(trainer, work)
    server.succeed()

    def killed(seconds: float) -> None:
        raise KeyboardInterrupt("killed")

    with monkeypatch.context() as patched:
        patched.setattr(waiting, "wait", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.result(work)
    assert not (work.folder / "training.json").exists()
    trainer.start(work)
    assert trainer.result(work).tuned_model == TUNED
    assert server.posts("/jobs") == 1 and list(server.deployments) == ["mine"]


def test_a_file_that_azure_is_still_reading_is_waited_for(
    server: FineTuningServer, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def reads_on(seconds: float) -> None:
        waits.append(seconds)
        for file in server.files.values():
            file["status"] = "processed"

    monkeypatch.setattr(waiting, "wait", reads_on)
    server.new_file_status = "pending"
    begun(AzureTrainer(), work)
    assert waits and server.posts("/jobs") == 1


def test_a_file_that_azure_does_not_take_is_said(server: FineTuningServer, work: TuningWork) -> None:
    server.new_file_status = "error"
    with pytest.raises(BadInput, match="does not take the file"):
        begun(AzureTrainer(), work)


def test_the_estimate_tells_the_training_from_the_hosting(work: TuningWork) -> None:
    standard, developer = AzureTrainer().estimate(work), AzureTrainer(training_type="developer").estimate(work)
    assert standard.usd == Decimal("6.60") * standard.tokens / 10**6
    assert developer.usd == Decimal("2.50") * developer.tokens / 10**6
    assert any("1.70 USD an hour" in line and "1,241 USD a month" in line for line in standard.assumed)
    assert any("ends by itself after 24 hours" in line for line in developer.assumed)


@pytest.mark.parametrize("options", [{"suffix": "x" * 19}, {"suffix": "v1.2"}, {"training_type": "cheap"}])
def test_azures_narrower_rules(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        tuning.create("azure", **options)
    assert AzureTrainer(suffix="x" * 18)


def test_a_closed_platform_names_other_ways(server: FineTuningServer, work: TuningWork) -> None:
    server.refuse[("POST", "/jobs")] = [(403, {"message": "no", "code": "training_not_available"})]
    with pytest.raises(TrainingClosed, match=r"Azure starts no more trainings.*existing customers"):
        begun(AzureTrainer(), work)


def test_deployments_are_made_listed_with_their_cost_and_deleted(server: FineTuningServer, where: Account) -> None:
    made = deployments.create(where, "a", TUNED, sku="standard")
    assert (made.state, made.usd_per_hour) == ("succeeded", Decimal("1.70"))
    deployments.create(where, "b", TUNED, sku="developertier")
    deployments.create(where, "untuned", "gpt-6-luna", sku="globalstandard")
    listed = {each.name: each for each in deployments.running(where, now=STARTED + timedelta(hours=10))}
    assert sorted(listed) == ["a", "b"]
    assert (listed["a"].created, listed["a"].usd, listed["a"].ends) == (STARTED, Decimal("17.00"), None)
    assert (listed["b"].usd, listed["b"].ends) == (Decimal(0), STARTED + timedelta(hours=24))
    deployments.delete(where, "a")
    deployments.delete(where, "a")
    assert [each.name for each in deployments.running(where)] == ["b"]
    path = (
        "/subscriptions/sub-1/resourceGroups/group%201/providers/Microsoft.CognitiveServices/accounts/shop/deployments"
    )
    assert ("DELETE", f"{path}/a") in server.requests
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for headers in server.headers)


def test_an_existing_deployment_is_taken_as_it_is_or_left_alone(server: FineTuningServer, where: Account) -> None:
    deployments.create(where, "a", TUNED)
    deployments.create(where, "a", TUNED)
    assert sum(method == "PUT" for method, _ in server.requests) == 1
    with pytest.raises(BadInput, match="serves"):
        deployments.create(where, "a", f"{MODEL}.ft-other")
    assert server.deployments["a"]["properties"]["model"]["name"] == TUNED


def test_a_model_without_a_known_price_costs_an_unknown_amount(server: FineTuningServer, where: Account) -> None:
    deployments.create(where, "a", "novel-model.ft-1")
    (found,) = deployments.running(where)
    assert found.usd_per_hour is None and found.usd is None


def test_a_deployment_that_azure_cannot_make(server: FineTuningServer, where: Account) -> None:
    server.final_state = "Failed"
    with pytest.raises(DeploymentFailed):
        deployments.create(where, "a", TUNED)


@pytest.mark.parametrize(
    ("status", "error"), [(400, BadInput), (401, Missing), (403, Missing), (404, BadInput), (503, Unavailable)]
)
def test_refusals_of_the_management_api(
    server: FineTuningServer, where: Account, status: int, error: type[AdvisorError]
) -> None:
    server.refuse[("PUT", "/a")] = [(status, {"code": "x", "message": "not this"})] * 9
    with pytest.raises(error) as caught:
        deployments.create(where, "a", TUNED)
    assert caught.value.hint and TOKEN not in f"{caught.value.message} {caught.value.hint}"


def test_a_busy_management_api_is_asked_again(server: FineTuningServer, where: Account) -> None:
    server.refuse[("PUT", "/a")] = [(429, {}), (503, {}), (409, {}), (401, {})]
    server.loses = {("PUT", "/a"), ("GET", "/a")}
    assert deployments.create(where, "a", TUNED).state == "succeeded"


def test_the_token_follows_no_list_to_another_host(server: FineTuningServer, where: Account) -> None:
    server.next_link = "http://127.0.0.1:1/steal"
    with pytest.raises(AdvisorError, match="another address"):
        deployments.running(where)


def test_what_is_missing_for_a_deployment_is_named(server: FineTuningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployments.account("https://shop.openai.azure.com").resource == "shop"
    monkeypatch.delenv("AZURE_OPENAI_RESOURCE")
    assert deployments.account("https://other.openai.azure.com").resource == "other"
    monkeypatch.delenv("AZURE_RESOURCE_GROUP")
    with pytest.raises(Missing, match="AZURE_RESOURCE_GROUP must be set"):
        deployments.account("https://shop.openai.azure.com")


def test_without_a_token_the_way_to_one_is_said(where: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_MANAGEMENT_TOKEN")
    monkeypatch.setitem(__import__("sys").modules, "azure.identity", None)
    with pytest.raises(Missing, match="AZURE_MANAGEMENT_TOKEN"):
        deployments.running(where)


def test_open_models_are_deployed_under_their_makers_name(server: FineTuningServer, where: Account) -> None:
    deployments.create(where, "a", "gpt-oss-20b.ft-1", sku="globalstandard", capacity=100)
    assert server.deployments["a"]["properties"]["model"]["format"] == "Microsoft"
    assert server.deployments["a"]["sku"]["capacity"] == 100


def test_the_key_goes_to_azure_alone_and_into_no_file(server: FineTuningServer, work: TuningWork) -> None:
    trainer = AzureTrainer(deployment="mine", api_version="2024-10-21")
    begun(trainer, work)
    server.succeed()
    run = trainer.result(work)
    told = zip(server.requests, server.headers, strict=True)
    assert all(("api-key" in headers) == ("/openai/" in path) for (_, path), headers in told)
    written = [path.read_text(encoding="utf-8") for path in work.folder.rglob("*") if path.is_file()]
    assert not any(secret in text for secret in (KEY, TOKEN) for text in [*written, repr(run), repr(trainer)])


def test_how_it_is_deployed_does_not_make_another_training(server: FineTuningServer, work: TuningWork) -> None:
    trainer = AzureTrainer()
    otherwise = replace(trainer, deployment="x", sku="developertier", deploy=False, capacity=5)
    assert otherwise.key(work) == trainer.key(work)
    assert replace(trainer, training_type="global").key(work) != trainer.key(work)
