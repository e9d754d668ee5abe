"""Tuning at OpenAI, with the real client against a small server of our own."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.resources import Files
from openai.resources.fine_tuning.jobs import Jobs

from fine_tuning_server import FineTuningServer, serving
from finetune_advisor import tuning
from finetune_advisor.datasets.chat import check_line
from finetune_advisor.errors import AdvisorError, BadInput, Missing
from finetune_advisor.models import TUNED_MODEL, waiting
from finetune_advisor.models.connection import Unavailable
from finetune_advisor.records import Message, TrainingPair, no_progress
from finetune_advisor.tuning import Trainer, TuningWork, chat_files, closed
from finetune_advisor.tuning.closed import TrainingClosed, alternatives
from finetune_advisor.tuning.follow import TrainingFailed
from finetune_advisor.tuning.openai import OpenAITrainer

MODEL = "gpt-4.1-mini-2025-04-14"
KEY = "sk-secret-of-the-test-0123456789"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def pairs(count: int, start: int = 0) -> tuple[TrainingPair, ...]:
    return tuple(
        TrainingPair(
            messages=(Message(role="developer", content="Be brief."), Message(role="user", content=f"Number {n}?")),
            answer=f"It is {n}.",
        )
        for n in range(start, start + count)
    )


def no_wait(seconds: float) -> None:
    return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[FineTuningServer]:
    monkeypatch.setattr(waiting, "wait", no_wait)
    with serving(FineTuningServer()) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield running


@pytest.fixture
def work(tmp_path: Path) -> TuningWork:
    return TuningWork(source=MODEL, train=pairs(12), validation=pairs(4, 12), folder=tmp_path / "tuned")


def begun(trainer: OpenAITrainer, work: TuningWork) -> None:
    trainer.prepare(work)
    trainer.start(work)


def rows(work: TuningWork, part: str = "train") -> list[dict[str, Any]]:
    text = (work.folder / "data" / f"{part}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_it_is_a_trainer_of_the_table() -> None:
    assert isinstance(tuning.create("openai", epochs=2), Trainer)


def test_the_whole_life_of_a_job(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer(epochs=2, seed=7, suffix="mine", wandb_project="p", metadata={"team": "x"})
    assert trainer.watch(work).state == "not started"
    begun(trainer, work)
    body = server.bodies[0]
    assert body["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    assert (body["seed"], body["suffix"], body["model"]) == (7, "mine", MODEL)
    assert body["integrations"] == [{"type": "wandb", "wandb": {"project": "p"}}]
    assert body["metadata"] == {"team": "x", "finetune_advisor": trainer.key(work)}
    assert server.data[body["training_file"]] == (work.folder / "data" / "train.jsonl").read_bytes()
    assert server.data[body["validation_file"]] == (work.folder / "data" / "validation.jsonl").read_bytes()

    server.jobs["ftjob-1"]["status"] = "running"
    server.jobs["ftjob-1"]["estimated_finish"] = 1_800_000_000
    status = trainer.watch(work)
    assert (status.state, status.job, status.done, status.total) == ("running", "ftjob-1", 2, 4)
    assert [event.message[:6] for event in status.events] == ["Create", "Step 1", "Step 2"]
    assert "2027-01-15" in status.message

    server.losses = (2.0, 1.8)
    server.succeed()
    assert trainer.watch(work).ended
    run = trainer.result(work)
    assert (run.tokens, run.estimated_tokens) == (4321, trainer.estimate(work).tokens)
    assert (run.steps, run.best_step, run.seconds, run.job) == (4, 4, 600.0, "ftjob-1")
    assert run.tuned_model == f"ft:{MODEL}:org::ftjob-1"
    assert [(p.step, p.loss) for p in run.losses if p.split == "validation"] == [(2, 1.8), (4, 2.1)]
    assert [p.loss for p in run.losses if p.split == "train"] == [2.5, 1.5, 1.0, 0.7]


def test_the_checkpoint_with_the_lowest_loss_on_the_validation_part_is_used(
    server: FineTuningServer, work: TuningWork
) -> None:
    trainer = OpenAITrainer()
    begun(trainer, work)
    server.succeed()
    assert [(c.step, c.validation_loss) for c in trainer.watch(work).checkpoints] == [(2, 1.8), (4, 2.1)]
    run = trainer.result(work)
    named = json.loads((work.folder / TUNED_MODEL).read_text(encoding="utf-8"))
    assert (run.best_step, run.steps) == (2, 4)
    assert named["model"] == run.tuned_model == f"ft:{MODEL}:org::ftjob-1:ckpt-step-2"
    assert (named["provider"], named["step"], named["steps"]) == ("openai", 2, 4)


def test_a_finished_training_is_returned_without_a_request(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer(every_seconds=0)
    begun(trainer, work)
    server.succeed()
    first = trainer.tune(work, no_progress)
    asked = len(server.requests)
    again = trainer.tune(work, no_progress)
    assert again == first and len(server.requests) == asked
    trainer.start(work)
    assert len(server.requests) == asked and server.posts("/jobs") == 1


def test_another_process_finds_the_job_by_the_folder(server: FineTuningServer, work: TuningWork) -> None:
    begun(OpenAITrainer(), work)
    OpenAITrainer().start(work)
    assert OpenAITrainer().watch(work).job == "ftjob-1"
    assert server.posts("/jobs") == 1 and server.posts("/files") == 2


@pytest.mark.parametrize("made", [Files, Jobs])
def test_a_kill_after_the_post_makes_nothing_twice(
    server: FineTuningServer, work: TuningWork, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    create = made.create

    def dies(self: object, **body: Any) -> None:
        create(self, **body)
        raise KeyboardInterrupt("killed")

    trainer = OpenAITrainer()
    trainer.prepare(work)
    with monkeypatch.context() as patched:
        patched.setattr(made, "create", dies)
        with pytest.raises(KeyboardInterrupt):
            trainer.start(work)
    assert (len(server.files), len(server.jobs)) == ((1, 0) if made is Files else (2, 1))
    trainer.start(work)
    assert (server.posts("/files"), server.posts("/jobs")) == (2, 1)
    assert json.loads((work.folder / "job.json").read_text(encoding="utf-8"))["job"] == "ftjob-1"


@pytest.mark.parametrize("keeps_metadata", [True, False])
def test_a_lost_answer_makes_nothing_twice(server: FineTuningServer, work: TuningWork, keeps_metadata: bool) -> None:
    server.keeps_metadata = keeps_metadata
    server.loses = {("POST", "/files"), ("POST", "/jobs"), ("GET", "/jobs")}
    begun(OpenAITrainer(), work)
    assert (server.posts("/files"), server.posts("/jobs")) == (2, 1)


def test_a_failed_job_is_said_and_can_be_started_again(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer(every_seconds=0)
    begun(trainer, work)
    error = {"code": "invalid_training_file", "message": f"Line 3 is wrong ({KEY}).", "param": "training_file"}
    server.jobs["ftjob-1"] |= {"status": "failed", "error": error}
    status = trainer.watch(work)
    assert status.state == "failed" and "Line 3" in status.message and KEY not in status.message and status.hint
    with pytest.raises(AdvisorError, match="has not succeeded"):
        trainer.result(work)
    trainer.start(work)
    assert trainer.watch(work).job == "ftjob-2"


def test_waiting_for_a_job_that_is_cancelled_ends(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer(every_seconds=0)

    def cancels(what: str, done: int, total: int) -> None:
        trainer.cancel(work)

    with pytest.raises(TrainingFailed, match="was cancelled"):
        trainer.tune(work, cancels)
    trainer.cancel(work)
    assert server.posts("/cancel") == 1


def test_a_cancellation_that_was_done_and_not_confirmed_is_no_error(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer()
    begun(trainer, work)
    server.loses = {("POST", "/cancel")}
    trainer.cancel(work)
    assert trainer.watch(work).state == "cancelled"


def test_pause_and_resume(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer()
    begun(trainer, work)
    trainer.pause(work)
    assert trainer.watch(work).state == "paused"
    trainer.resume(work)
    assert trainer.watch(work).state == "running"


def test_a_closed_platform_is_a_fact_with_alternatives(server: FineTuningServer, work: TuningWork) -> None:
    server.refuse[("POST", "/jobs")] = [(403, {"message": "winding down", "code": "training_not_available"})]
    trainer = OpenAITrainer()
    trainer.prepare(work)
    with pytest.raises(TrainingClosed) as caught:
        trainer.start(work)
    assert "OpenAI starts no more trainings" in caught.value.message
    assert caught.value.routes and all(route.provider != "openai" for route in caught.value.routes)
    assert "Azure" in caught.value.hint and "own machine" in caught.value.hint
    assert server.posts("/jobs") == 1


def test_who_may_still_tune_depends_on_the_day() -> None:
    assert "within 60 days" in closed.closed("openai", MODEL, date(2026, 11, 22)).message
    assert "closed to everybody since 2027-01-06" in closed.closed("openai", MODEL, date(2027, 2, 1)).message
    same = alternatives("openai", MODEL, date(2026, 11, 22))[0]
    assert (same.provider, same.base) == ("azure", f"azure:{MODEL}")


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (400, "invalid_file", BadInput, "refuses"),
        (401, "invalid_api_key", Missing, "login"),
        (403, "forbidden", Missing, "login"),
        (404, "model_not_found", BadInput, "no model"),
        (429, "insufficient_quota", Missing, "no good"),
        (500, "", Unavailable, "no usable answer"),
    ],
)
def test_refusals_are_errors_for_people(
    server: FineTuningServer, work: TuningWork, status: int, code: str, error: type[AdvisorError], words: str
) -> None:
    server.refuse[("POST", "/jobs")] = [(status, {"message": f"no good {KEY}", "code": code})] * 99
    trainer = OpenAITrainer()
    trainer.prepare(work)
    with pytest.raises(error, match=words) as caught:
        trainer.start(work)
    assert caught.value.hint and KEY not in f"{caught.value.message} {caught.value.hint}"


def test_busy_servers_are_asked_again(server: FineTuningServer, work: TuningWork) -> None:
    busy = (429, {"message": "slow down", "code": "rate_limit_exceeded"})
    broken = (503, {"message": "overloaded"})
    server.refuse = {("POST", "/jobs"): [busy, broken], ("GET", "/files"): [broken], ("GET", "/events"): [broken, busy]}
    trainer = OpenAITrainer()
    begun(trainer, work)
    assert trainer.watch(work).job == "ftjob-1" and len(server.jobs) == 1


def test_the_key_comes_from_the_environment_and_goes_nowhere(
    server: FineTuningServer, work: TuningWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = OpenAITrainer()
    begun(trainer, work)
    server.succeed()
    run = trainer.result(work)
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    written = [path.read_text(encoding="utf-8") for path in work.folder.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in [*written, repr(run), repr(trainer)])
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(Missing, match="OPENAI_API_KEY"):
        replace(trainer, epochs=5).start(work)


def test_a_job_that_the_provider_forgot_has_failed(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer()
    begun(trainer, work)
    server.jobs.clear()
    assert trainer.watch(work).state == "failed"


def test_going_on_from_a_tuned_model(server: FineTuningServer, work: TuningWork) -> None:
    earlier = f"ft:{MODEL}:org::first"
    trainer = OpenAITrainer(continue_from=earlier)
    begun(trainer, work)
    assert server.bodies[0]["model"] == earlier
    assert trainer.estimate(work).usd == OpenAITrainer().estimate(work).usd is not None


def test_the_estimate_is_tokens_times_epochs_times_the_dated_price(work: TuningWork) -> None:
    estimate = OpenAITrainer(epochs=2).estimate(work)
    lengths = chat_files.chat_file("train", work.train, "supervised").tokens(MODEL)
    assert estimate.tokens == 2 * sum(lengths) and estimate.epochs == 2
    assert estimate.usd == Decimal("5.00") * estimate.tokens / 10**6
    assert any("last published" in line for line in estimate.assumed)
    assert OpenAITrainer().estimate(work).epochs == 8
    undated = replace(work, source="gpt-4.1-mini")
    assert OpenAITrainer(epochs=2).estimate(undated).usd == estimate.usd
    assert OpenAITrainer().estimate(replace(work, source="gpt-6-luna")).usd is None


def test_the_files_keep_tools_weights_turns_and_developer_messages(work: TuningWork) -> None:
    messages = (
        Message(role="developer", content="Be brief."),
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Hi", extra={"weight": 1}),
        Message(role="user", content="Weather?"),
        Message(role="assistant", content="Where?"),
        Message(role="user", content="Bonn"),
    )
    calls = TrainingPair(messages=messages, answer='[{"arguments":{"city":"Bonn"},"name":"weather"}]', tools=(TOOL,))
    plain = TrainingPair(messages=messages, answer='[{"arguments":{},"name":"other"}]', tools=(TOOL,))
    OpenAITrainer().prepare(replace(work, train=(calls, plain, *pairs(9))))
    first, second, *_ = rows(work)
    assert [(m["role"], m.get("weight")) for m in first["messages"][:-1]] == [
        ("developer", None),
        ("user", None),
        ("assistant", 1),
        ("user", None),
        ("assistant", 0),
        ("user", None),
    ]
    assert first["messages"][-1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Bonn"}'}
    assert second["messages"][-1] == {"role": "assistant", "content": '[{"arguments":{},"name":"other"}]'}
    assert first["tools"] == [TOOL]
    lines = (work.folder / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(check_line(line, 1, "train.jsonl")[0] for line in lines)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=10, max_size=12))
def test_any_text_comes_back_from_the_file_as_it_was(texts: Sequence[str]) -> None:
    made = [TrainingPair(messages=(Message(role="user", content=text),), answer=text) for text in texts]
    file = chat_files.chat_file("train", made, "supervised")
    chat_files.check(file, MODEL)
    lines = file.data.decode("utf-8").removesuffix("\n").split("\n")
    assert [[m["content"] for m in json.loads(line)["messages"]] for line in lines] == [[text, text] for text in texts]


def test_a_rule_that_is_broken_names_the_first_place(work: TuningWork) -> None:
    trainer = OpenAITrainer()
    with pytest.raises(BadInput, match="9 training examples"):
        trainer.prepare(replace(work, train=pairs(9)))
    empty = replace(pairs(1)[0], answer=" ")
    with pytest.raises(BadInput, match=r"Line 11 of train.jsonl"):
        trainer.prepare(replace(work, train=(*pairs(10), empty, empty)))
    long = replace(pairs(1)[0], answer="word " * 66_000)
    with pytest.raises(BadInput, match=r"Line 2 of validation.jsonl has .* tokens"):
        trainer.prepare(replace(work, validation=(*pairs(1), long)))
    trainer.prepare(replace(work, source="an-unknown-model", validation=(long,)))


def test_a_file_may_not_be_larger_than_the_provider_takes(work: TuningWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_files, "MAX_BYTES", 1_000)
    with pytest.raises(BadInput, match=r"train.jsonl has 0 MB"):
        OpenAITrainer().prepare(work)


def test_fewer_validation_examples_where_a_limit_is_set(work: TuningWork) -> None:
    OpenAITrainer(validation_limit=3).prepare(work)
    assert len(rows(work, "validation")) == 3


def test_preference_tuning_needs_worse_answers(server: FineTuningServer, work: TuningWork) -> None:
    trainer = OpenAITrainer(method="dpo", beta=0.5)
    with pytest.raises(BadInput, match="example 1 has no worse answer"):
        trainer.prepare(work)
    worse = tuple(
        replace(p, messages=(*p.messages[:-1], replace(p.messages[-1], extra={chat_files.NON_PREFERRED: "No idea."})))
        for p in pairs(10)
    )
    liked = replace(work, train=worse, validation=())
    begun(trainer, liked)
    assert rows(work)[0] == {
        "input": {
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Number 0?"}]
        },
        "preferred_output": [{"role": "assistant", "content": "It is 0."}],
        "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
    }
    assert server.bodies[0]["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5}}}
    assert trainer.estimate(liked).tokens > OpenAITrainer().estimate(liked).tokens


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"epochs": "many"},
        {"epochs": True},
        {"batch_size": 257},
        {"learning_rate_multiplier": 0},
        {"beta": 0.1},
        {"method": "dpo", "beta": 3},
        {"method": "rft"},
        {"suffix": "x" * 65},
        {"metadata": {"finetune_advisor": "x"}},
        {"metadata": {str(n): "" for n in range(16)}},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        tuning.create("openai", **options)
    assert OpenAITrainer(suffix="x" * 64)


def test_what_decides_the_training_decides_its_key(work: TuningWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    key = OpenAITrainer().key(work)
    assert OpenAITrainer(every_seconds=1, key_env="MY_API_KEY", wandb_project="p").key(work) == key
    assert OpenAITrainer(epochs=2).key(work) != key
    assert OpenAITrainer().key(replace(work, train=pairs(13))) != key
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:2/v1")
    assert OpenAITrainer().key(work) != key
