"""Fine-tuning jobs and deployments of the emulator: their whole life, with the fake model and with a real one."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

import tiny_model
from finetune_advisor import models
from finetune_advisor.datasets.tokens import chat_tokens, encoding
from finetune_advisor.emulator.deployments import Deployments
from finetune_advisor.emulator.jobs import Jobs
from finetune_advisor.emulator.state import ApiError, State
from finetune_advisor.models import fake
from finetune_advisor.records import Batch, Message, Reply, Request, TrainingPair

BASE = "gpt-4.1-mini-2025-04-14"


def line(question: str, answer: str, **more: Any) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]
    return json.dumps({"messages": messages})


LINES = [line(f"colour of fruit {number}", f"shade {number}") for number in range(12)]


def upload(state: State, lines: list[str], purpose: str = "fine-tune", encoding: str = "utf-8") -> str:
    return state.add_file("data.jsonl", purpose, "\n".join(lines).encode(encoding)).id


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def ended(jobs: Jobs, id: str) -> FineTuningJob:
    until(lambda: jobs.retrieve(id).status in ("succeeded", "failed", "cancelled"))
    return jobs.retrieve(id)


def asked(state: State, model: str, *messages: Message) -> str:
    batch = Batch(requests=(Request(example_id="", messages=messages, max_tokens=8),))
    (reply,) = state.answering(model).answer(batch)
    assert isinstance(reply, Reply)
    return reply.text


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state", models.create("fake"))


@pytest.fixture
def jobs(state: State) -> Iterator[Jobs]:
    made = Jobs(state)
    yield made
    made.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The fake model's training waits for it."""
    opened = threading.Event()
    write = fake.write_adapter

    def waiting(folder: Path, pairs: list[TrainingPair]) -> None:
        opened.wait(30)
        write(folder, pairs)

    monkeypatch.setattr(fake, "write_adapter", waiting)
    yield opened
    opened.set()


def test_the_life_of_a_job(state: State, jobs: Jobs) -> None:
    wandb = {"type": "wandb", "wandb": {"project": "colours", "tags": ["a"]}}
    file = upload(state, LINES)
    body = {
        "model": "gpt-4.1-mini",
        "training_file": file,
        "suffix": "fruit",
        "seed": 7,
        "metadata": {"case": "one"},
        "integrations": [wandb],
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 4}}},
    }
    created = jobs.create(body)
    assert (created.status, created.model, created.fine_tuned_model) == ("validating_files", BASE, None)
    assert created.hyperparameters.n_epochs == "auto"
    job = ended(jobs, created.id)
    assert job.status == "succeeded" and job.error is None and job.finished_at and not job.estimated_finish
    assert job.hyperparameters.to_dict() == {"n_epochs": 8, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job.method and job.method.supervised and job.method.supervised.hyperparameters
    assert job.method.supervised.hyperparameters.to_dict() == job.hyperparameters.to_dict()
    tokens = sum(chat_tokens(json.loads(row)["messages"], encoding()) for row in LINES)
    assert job.trained_tokens == 8 * tokens
    assert (job.seed, job.metadata) == (7, {"case": "one"})
    assert job.integrations and job.integrations[0].to_dict() == wandb
    assert job.fine_tuned_model and job.fine_tuned_model == f"ft:{BASE}:emulator:fruit:{job.id[-8:]}"
    assert [(charge.what, charge.training_tokens) for charge in state.charges] == [("training", 8 * tokens)]
    assert asked(state, job.fine_tuned_model, Message(role="user", content="colour of fruit 7")) == "shade 7"


def test_events_checkpoints_and_results_of_a_job(state: State, jobs: Jobs) -> None:
    job = ended(jobs, jobs.create({"model": BASE, "training_file": upload(state, LINES)}).id)
    rows = jobs.events(job.id, limit=100)["data"]
    events = [FineTuningJobEvent.model_validate(row) for row in reversed(rows)]
    assert [event.message for event in events[:4]] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert events[-1].message == "The job has successfully completed"
    measured = [event.data for event in events if event.type == "metrics"]
    assert measured == [{"step": 1, "train_loss": 3.0}, {"step": 16, "train_loss": 0.1}]
    (row,) = jobs.checkpoints(job.id)["data"]
    checkpoint = FineTuningJobCheckpoint.model_validate(row)
    assert checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
    assert checkpoint.metrics.to_dict() == {"step": 16, "train_loss": 0.1}
    table = state.file(job.result_files[0])
    assert table.purpose == "fine-tune-results"
    first = next(csv.DictReader(table.path.read_text(encoding="utf-8").splitlines()))
    assert first == {
        "step": "1",
        "train_loss": "3.0",
        "train_mean_token_accuracy": "",
        "valid_loss": "",
        "valid_mean_token_accuracy": "",
        "full_valid_loss": "",
        "full_valid_mean_token_accuracy": "",
    }


def test_pages_go_from_the_newest_to_the_oldest(state: State, jobs: Jobs) -> None:
    file = upload(state, LINES)
    made = [jobs.create({"model": BASE, "training_file": file, "metadata": {"n": str(n % 2)}}).id for n in range(5)]
    first = jobs.list(limit=2)
    assert [row["id"] for row in first["data"]] == [made[4], made[3]] and first["has_more"]
    second = jobs.list(after=made[3], limit=3)
    assert [row["id"] for row in second["data"]] == [made[2], made[1], made[0]] and not second["has_more"]
    assert [row["id"] for row in jobs.list(metadata={"n": "1"})["data"]] == [made[3], made[1]]
    everything = [FineTuningJob.model_validate(row) for row in jobs.list()["data"]]
    assert len(everything) == 5
    wrong_ones: list[dict[str, Any]] = [{"after": "ftjob-none"}, {"limit": 0}, {"limit": 101}]
    for wrong in wrong_ones:
        with pytest.raises(ApiError) as caught:
            jobs.list(**wrong)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        (LINES[:9], "invalid_n_examples", "Training file has 9 example(s), but must have at least 10 examples"),
        ([], "invalid_n_examples", "has 0 example"),
        ([*LINES, "{"], "invalid_training_file", "Example 13"),
        ([*LINES, ""], "succeeded", ""),
        ([*LINES[:3], "", *LINES], "invalid_training_file", "Example 4"),
        ([*LINES, line("a", "b", weight=2)], "invalid_training_file", "weight"),
        ([*LINES, line("word " * 70_000, "b")], "invalid_training_file", "at most 65536"),
        ([line("a", f"{n}", weight=0) for n in range(10)], "invalid_training_file", "nothing to learn"),
    ],
)
def test_files_are_checked_after_the_job_is_created(
    state: State, jobs: Jobs, lines: list[str], code: str, words: str
) -> None:
    job = ended(jobs, jobs.create({"model": BASE, "training_file": upload(state, lines)}).id)
    if code == "succeeded":
        assert job.status == "succeeded"
        return
    assert job.status == "failed" and job.finished_at and job.trained_tokens is None
    assert job.error and (job.error.code, job.error.param) == (code, "training_file")
    assert words in job.error.message
    assert jobs.events(job.id)["data"][0]["level"] == "error"
    assert not state.charges and not state.tuned


def test_files_as_azure_wants_them_and_a_bad_validation_file(state: State, jobs: Jobs) -> None:
    good = upload(state, LINES, encoding="utf-8-sig")
    latin = upload(state, [line("a", "Käse").replace("\\u00e4", "ä")], encoding="latin-1")
    job = ended(jobs, jobs.create({"model": BASE, "training_file": good, "validation_file": good}).id)
    assert job.status == "succeeded"
    job = ended(jobs, jobs.create({"model": BASE, "training_file": good, "validation_file": latin}).id)
    assert job.error and (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")


def test_what_cannot_be_started(state: State, jobs: Jobs) -> None:
    file = upload(state, LINES)
    good = {"model": BASE, "training_file": file}
    state.retired.add("gpt-4o-mini-2024-07-18")
    many = {str(n): "" for n in range(17)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"model": "gpt-6-luna"}, "model"),
        ({"model": f"ft:{BASE}:emulator::unknown"}, "model"),
        ({"model": "gpt-4o-mini"}, "model"),
        ({"training_file": "file-none"}, "training_file"),
        ({"training_file": upload(state, LINES, purpose="batch")}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"suffix": "s" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": many}, "metadata"),
        ({"temperature": 1}, "temperature"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"integrations": [{"type": "other", "wandb": {"project": "p"}}]}, "integrations"),
    ]
    for change, param in wrong:
        with pytest.raises(ApiError) as caught:
            jobs.create({**good, **change})
        assert caught.value.status == 400 and str(caught.value.param).startswith(param), change
    with pytest.raises(ApiError) as caught:
        jobs.create({**good, "suffix": "nineteen-characters"}, azure=True)
    assert caught.value.param == "suffix"
    assert jobs.list()["data"] == []
    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.events, jobs.checkpoints):
        with pytest.raises(ApiError) as caught:
            call("ftjob-none")
        assert caught.value.status == 404


def test_one_job_at_a_time_and_others_wait(state: State, jobs: Jobs, gate: threading.Event) -> None:
    body = {"model": BASE, "training_file": upload(state, LINES)}
    first, second, third = (jobs.create(body).id for _ in range(3))
    until(lambda: jobs.retrieve(first).status == "running")
    until(lambda: jobs.retrieve(third).status == jobs.retrieve(second).status == "queued")
    assert jobs.pause(third).status == "paused"
    assert jobs.cancel(second).status == "cancelled"
    assert jobs.pause(first).status == "paused"
    with pytest.raises(ApiError, match="is paused and cannot be paused"):
        jobs.pause(first)
    gate.set()
    with pytest.raises(ApiError, match="is cancelled and cannot be resumed"):
        jobs.resume(second)
    assert jobs.resume(third).status == "queued"
    assert ended(jobs, third).status == "succeeded"
    assert jobs.retrieve(first).status == "paused" and jobs.retrieve(first).fine_tuned_model is None
    jobs.resume(first)
    assert ended(jobs, first).status == "succeeded"
    assert jobs.retrieve(second).status == "cancelled" and jobs.checkpoints(second)["data"] == []
    with pytest.raises(ApiError, match="is succeeded and cannot be cancelled"):
        jobs.cancel(first)


def test_a_cancelled_job_never_succeeds(state: State, jobs: Jobs, gate: threading.Event) -> None:
    body = {"model": BASE, "training_file": upload(state, LINES)}
    first = jobs.create(body).id
    until(lambda: jobs.retrieve(first).status == "running")
    jobs.cancel(first)
    gate.set()
    assert ended(jobs, jobs.create(body).id).status == "succeeded"
    assert jobs.retrieve(first).status == "cancelled" and len(state.charges) == 1


def test_a_job_that_is_told_to_fail(state: State, jobs: Jobs) -> None:
    body = {"model": BASE, "training_file": upload(state, LINES)}
    state.next_job_fails = True
    job = ended(jobs, jobs.create(body).id)
    assert job.status == "failed" and job.error and job.error.code == "server_error"
    assert not state.next_job_fails and not state.tuned
    assert ended(jobs, jobs.create(body).id).status == "succeeded"


def test_a_tuned_fake_model_is_tuned_further(state: State, jobs: Jobs) -> None:
    first = ended(jobs, jobs.create({"model": BASE, "training_file": upload(state, LINES)}).id)
    more = [line(f"price of vegetable {number}", f"price {number}") for number in range(10)]
    body = {"model": first.fine_tuned_model, "training_file": upload(state, more)}
    second = ended(jobs, jobs.create(body).id)
    assert second.model == first.fine_tuned_model
    assert second.fine_tuned_model and second.fine_tuned_model.startswith(f"ft:{BASE}:emulator::")
    for question, answer in (("colour of fruit 3", "shade 3"), ("price of vegetable 3", "price 3")):
        assert asked(state, second.fine_tuned_model, Message(role="user", content=question)) == answer


def test_names_at_azure(state: State, jobs: Jobs) -> None:
    body = {"model": BASE, "training_file": upload(state, LINES), "trainingType": "GlobalStandard"}
    plain = ended(jobs, jobs.create(body, azure=True).id)
    assert plain.fine_tuned_model == f"{BASE}.ft-{plain.id.removeprefix('ftjob-')}"
    named = ended(jobs, jobs.create({**body, "model": plain.fine_tuned_model, "suffix": "fruit"}, azure=True).id)
    assert named.fine_tuned_model == f"{BASE}.ft-{named.id.removeprefix('ftjob-')}-fruit"


def test_jobs_are_found_again_after_a_restart(state: State, gate: threading.Event) -> None:
    before = Jobs(state)
    body = {"model": BASE, "training_file": upload(state, LINES)}
    ids = [before.create(body).id for _ in range(3)]
    until(lambda: [before.retrieve(id).status for id in ids] == ["running", "queued", "queued"])
    before.pause(ids[2])
    closing = threading.Thread(target=before.close)
    closing.start()
    until(lambda: before.closing)
    gate.set()
    closing.join()
    assert before.retrieve(ids[0]).status == "running"
    again = State(state.folder, models.create("fake"))
    after = Jobs(again)
    assert [ended(after, id).status for id in ids[:2]] == ["succeeded", "succeeded"]
    assert after.retrieve(ids[2]).status == "paused"
    messages = [row["message"] for row in after.events(ids[0])["data"]]
    assert any("started again" in message for message in messages)
    assert [row["id"] for row in after.list()["data"]] == ids[::-1]
    after.close()


def tiny_lines() -> list[str]:
    rows = [[*({"role": m.role, "content": m.content} for m in pair.messages), answer(pair)] for pair in PAIRS]
    return [json.dumps({"messages": row}) for row in rows * 2]


def answer(pair: TrainingPair) -> dict[str, str]:
    return {"role": "assistant", "content": pair.answer}


PAIRS = tiny_model.pairs()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def real_state(folder: Path, tiny: Path) -> State:
    return State(folder, models.create("huggingface", id=str(tiny), dtype="float32", device="cpu"), rank=4)


def body_for(state: State) -> dict[str, Any]:
    file = upload(state, tiny_lines())
    numbers = {"n_epochs": 8, "batch_size": 4, "learning_rate_multiplier": 30.0}
    return {"model": BASE, "training_file": file, "validation_file": file, "seed": 1, "hyperparameters": numbers}


def losses(jobs: Jobs, id: str) -> list[Any]:
    rows = jobs.events(id, limit=100)["data"]
    return [row["data"] for row in reversed(rows) if row["type"] == "metrics"]


def test_a_real_training_paused_restarted_and_tuned_further(tmp_path: Path, tiny: Path) -> None:
    state = real_state(tmp_path / "state", tiny)
    jobs = Jobs(state)
    body = body_for(state)
    through = ended(jobs, jobs.create(body).id)
    stopped = jobs.create(body).id
    until(lambda: losses(jobs, stopped) and jobs.retrieve(stopped).estimated_finish)
    jobs.pause(stopped)
    until(lambda: (tmp_path / "state" / "jobs" / stopped / "training" / "checkpoints").exists())
    jobs.resume(stopped)
    until(lambda: jobs.retrieve(stopped).status == "running")
    jobs.close()
    state = real_state(tmp_path / "state", tiny)
    jobs = Jobs(state)
    again = ended(jobs, stopped)
    assert through.status == again.status == "succeeded", again.error
    assert losses(jobs, through.id) == losses(jobs, stopped)
    rows = [FineTuningJobCheckpoint.model_validate(row) for row in jobs.checkpoints(stopped)["data"]]
    assert [row.step_number for row in rows] == [24, 21, 18]
    assert rows[0].fine_tuned_model_checkpoint == again.fine_tuned_model
    assert rows[1].fine_tuned_model_checkpoint == f"{again.fine_tuned_model}:ckpt-step-21"
    assert rows[0].metrics.full_valid_loss and rows[0].metrics.full_valid_loss == rows[0].metrics.valid_loss
    for row in rows[:2]:
        answers = [asked(state, row.fine_tuned_model_checkpoint, *pair.messages) for pair in PAIRS]
        assert answers == [pair.answer for pair in PAIRS]
    shorter = {"model": again.fine_tuned_model, "training_file": body["training_file"]}
    further = ended(jobs, jobs.create({**shorter, "hyperparameters": {"n_epochs": 2, "batch_size": 4}}).id)
    assert losses(jobs, further.id)[0]["train_loss"] < 0.2 < 2 < losses(jobs, stopped)[0]["train_loss"]
    assert [row["step_number"] for row in jobs.checkpoints(further.id)["data"]] == [6, 3]
    jobs.close()


def put(deployments: Deployments, model: str, sku: str = "standard") -> tuple[int, dict[str, Any]]:
    body = {
        "sku": {"name": sku, "capacity": 1},
        "properties": {"model": {"format": "OpenAI", "name": model, "version": "1"}},
    }
    return deployments.put("mine", body)


def test_the_life_of_a_deployment(state: State, jobs: Jobs) -> None:
    now = [1_795_000_000.0]  # 2026-11-18, when the price of hosting holds
    job = ended(jobs, jobs.create({"model": BASE, "training_file": upload(state, LINES)}, azure=True).id)
    assert job.fine_tuned_model
    deployments = Deployments(state, ready_seconds=60, clock=lambda: now[0])
    status, made = put(deployments, job.fine_tuned_model)
    assert status == 201 and made["properties"]["provisioningState"] == "Creating"
    assert made["id"].endswith("/Microsoft.CognitiveServices/accounts/finetune-advisor/deployments/mine")
    with pytest.raises(ApiError) as caught:
        deployments.model_of("mine")
    assert (caught.value.status, caught.value.code) == (404, "DeploymentNotFound")
    now[0] += 60
    assert deployments.model_of("mine") == job.fine_tuned_model
    assert put(deployments, job.fine_tuned_model) == (200, deployments.get("mine"))
    assert deployments.get("mine")["properties"]["provisioningState"] == "Succeeded"
    again = Deployments(state, ready_seconds=60, clock=lambda: now[0])
    assert again.list() == {"value": [deployments.get("mine")]}
    now[0] += 2 * 3600 - 60
    (running,) = again.list_charges()
    assert (running.hours, running.usd, running.exists) == (2, Decimal("3.40"), True)
    assert again.delete("mine") == 200 and again.delete("mine") == 204
    now[0] += 3600
    (hosting,) = again.list_charges()
    assert (hosting.hours, hosting.exists) == (2, False)
    assert again.list() == {"value": []}
    with pytest.raises(ApiError) as caught:
        again.get("mine")
    assert caught.value.status == 404


def test_what_deployments_cost_nothing_and_what_cannot_be_deployed(state: State, jobs: Jobs) -> None:
    job = ended(jobs, jobs.create({"model": BASE, "training_file": upload(state, LINES)}, azure=True).id)
    assert job.fine_tuned_model
    now = [0.0]
    deployments = Deployments(state, clock=lambda: now[0])
    put(deployments, BASE)
    assert deployments.list_charges() == ()
    assert put(deployments, job.fine_tuned_model, sku="developertier")[0] == 200
    now[0] += 3600
    (hosting,) = deployments.list_charges()
    assert (hosting.hours, hosting.usd) == (1, 0)
    for model in ("gpt-9", f"{BASE}.ft-unknown"):
        with pytest.raises(ApiError) as caught:
            put(deployments, model)
        assert (caught.value.status, caught.value.code) == (400, "DeploymentModelNotSupported")
    with pytest.raises(ApiError) as caught:
        deployments.put("mine", {"sku": {"name": "standard"}})
    assert caught.value.status == 400
