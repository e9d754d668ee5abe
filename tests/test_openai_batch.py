"""The Batch API: found again after a crash, paid once, whatever became of some of its requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from finetune_advisor.errors import BadInput
from finetune_advisor.models import openai_batch
from finetune_advisor.models.connection import Unavailable
from finetune_advisor.records import Batch, Failure, Reply
from provider_stub import Answer, Clock, Sent, Stub, asked, at_provider, error, plausible, remote

Line = dict[str, Any]
Fate = Callable[[Line], "Answer | None"]


class Shop:
    """The part of a provider that takes batches; `fate` decides about each of their requests, None leaves it undone."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.jobs: list[dict[str, Any]] = []
        self.looks = 2
        self.ends = "completed"
        self.fate: Fate = lambda line: plausible(_sent(line))
        self.next: list[Answer] = []
        self.paid = 0

    def __call__(self, sent: Sent) -> Answer:
        if self.next:
            return self.next.pop(0)
        path = re.sub(r"^/(openai/)?(v1/)?|\?.*$", "", sent.path)
        if sent.method == "POST":
            return self._upload(sent) if path == "files" else self._create(sent.body)
        if path == "batches":
            return Answer(body={"object": "list", "data": self.jobs[::-1], "has_more": False})
        _, name, *_ = path.split("/")
        return self._content(name) if path.startswith("files/") else Answer(body=self._look(name))

    def _upload(self, sent: Sent) -> Answer:
        boundary = sent.headers["content-type"].partition("boundary=")[2].encode()
        part = next(each for each in sent.raw.split(b"--" + boundary) if b"filename=" in each)
        return Answer(body={"id": self._keep(part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n"))})

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def _content(self, name: str) -> Answer:
        return Answer(body=self.files[name].decode()) if name in self.files else error(404, "No such File object")

    def _create(self, body: Mapping[str, Any]) -> Answer:
        job = {"id": f"batch-{len(self.jobs)}", "status": "validating", "created_at": 100, "left": self.looks, **body}
        self.jobs.append(job)
        return Answer(body=job)

    def _look(self, name: str) -> dict[str, Any]:
        job = next(job for job in self.jobs if job["id"] == name)
        job["left"] -= 1
        if job["left"] <= 0 and job["status"] == "validating":
            self._finish(job)
        return job

    def _finish(self, job: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[job["input_file_id"]].decode().split("\n") if line]
        fates = {line["custom_id"]: self.fate(line) for line in lines} if self.ends != "failed" else {}
        good = {name: fate for name, fate in fates.items() if fate and fate.status == 200}
        self.paid += len(good)
        bad = [_line(name, fate) for name, fate in fates.items() if name not in good]
        job["output_file_id"] = self._keep(_jsonl([_line(name, fate) for name, fate in reversed(good.items())]))
        job["error_file_id"] = self._keep(_jsonl(bad)) if bad else None
        job["errors"] = {"data": [{"message": "the file is bad"}]} if self.ends == "failed" else None
        job.update(status=self.ends, completed_at=100 + 10 * len(lines))
        job["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}


def _sent(line: Line) -> Sent:
    return Sent(method="POST", path="", headers={}, raw=json.dumps(line["body"]).encode())


def _line(name: str, fate: Answer | None) -> Line:
    if fate is None:
        return {"custom_id": name, "response": None, "error": {"code": "batch_expired", "message": "not done in time"}}
    return {"custom_id": name, "response": {"status_code": fate.status, "body": fate.body}, "error": None}


def _jsonl(lines: list[Line]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Stub]:
    with at_provider(monkeypatch) as made:
        yield made


@pytest.fixture
def shop(stub: Stub) -> Shop:
    made = Shop()
    stub.respond = made
    return made


def together(number: int = 5) -> Batch:
    (batch,) = remote(batch=True).batches([asked(f"number {n}\u2028") for n in range(number)])
    return batch


def texts(outcomes: list[Reply | Failure]) -> list[str]:
    return [outcome.text if isinstance(outcome, Reply) else outcome.kind for outcome in outcomes]


def expected(batch: Batch) -> list[str]:
    bodies = [
        {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": r.example_id}]} for r in batch.requests
    ]
    found = [plausible(_sent({"body": body})).body for body in bodies]
    return [body["choices"][0]["message"]["content"] for body in found]


def test_a_batch_is_answered_in_its_order_after_some_looks(stub: Stub, shop: Shop, clock: Clock) -> None:
    batch = together()
    outcomes = remote(batch=True).answer(batch)
    assert texts(outcomes) == expected(batch) and len(shop.jobs) == 1
    assert all(outcome.usage.seconds == 10 and outcome.usage.prompt_tokens for outcome in outcomes)
    assert clock.waited == [5.0, 7.5]
    assert shop.jobs[0]["endpoint"] == "/v1/chat/completions" and shop.jobs[0]["completion_window"] == "24h"


@pytest.mark.parametrize(("version", "path"), [("", "/v1/chat/completions"), ("2024-10-21", "/chat/completions")])
def test_batches_at_azure(stub: Stub, shop: Shop, version: str, path: str) -> None:
    outcomes = remote("azure", batch=True, api_version=version).answer(together())
    assert texts(outcomes) == expected(together()) and shop.jobs[0]["endpoint"] == path
    lines = shop.files[shop.jobs[0]["input_file_id"]].decode().split("\n")
    assert json.loads(lines[0])["url"] == path


def test_the_next_process_finds_the_batch_and_pays_nothing(
    stub: Stub, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(openai_batch, "_looked_at", kill)
        with pytest.raises(Killed):
            remote(batch=True).answer(together())
    for _ in range(2):
        assert texts(remote(batch=True).answer(together())) == expected(together())
    assert len(shop.jobs) == 1 and shop.paid == 5
    remote(batch=True).answer(together(4))
    assert len(shop.jobs) == 2


@pytest.mark.parametrize("answer", [Answer(body="{}", cut=True), Answer(body="{not json"), error(504)])
def test_a_batch_whose_creation_was_not_confirmed_is_looked_for(stub: Stub, shop: Shop, answer: Answer) -> None:
    def respond(sent: Sent) -> Answer:
        made = shop(sent)
        return answer if sent.method == "POST" and "batches" in sent.path else made

    stub.respond = respond
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert len(shop.jobs) == 1


def test_looking_and_fetching_are_tried_again(stub: Stub, shop: Shop) -> None:
    faults = [Answer(body="{not json"), error(500), Answer(body="[" * 50, cut=True), error(429)]
    calls = 0

    def respond(sent: Sent) -> Answer:
        nonlocal calls
        calls += 1
        return faults.pop() if sent.method == "GET" and faults and calls % 2 else shop(sent)

    stub.respond = respond
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert not faults and shop.paid == 5


def test_what_a_batch_left_out_is_in_the_next_and_nothing_is_paid_twice(stub: Stub, shop: Shop) -> None:
    shop.ends = "expired"
    undone = {"number 1", "number 3"}

    def fate(line: Line) -> Answer | None:
        text = line["body"]["messages"][0]["content"].strip()
        if text not in undone:
            return plausible(_sent(line))
        undone.remove(text)
        return None if text == "number 1" else error(500)

    shop.fate = fate
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert [job["request_counts"]["total"] for job in shop.jobs] == [5, 2] and shop.paid == 5


def test_requests_that_are_never_answered_are_lost_in_the_end(stub: Stub, shop: Shop) -> None:
    shop.fate = lambda line: None
    assert set(texts(remote(batch=True).answer(together(2)))) == {"lost"}


def test_what_a_model_does_not_take_is_left_out_of_the_next_batch(stub: Stub, shop: Shop) -> None:
    def fate(line: Line) -> Answer:
        if "temperature" in line["body"]:
            return error(400, "Unsupported value: 'temperature'", code="unsupported_value", param="temperature")
        return plausible(_sent(line))

    shop.fate = fate
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert len(shop.jobs) == 2 and shop.paid == 5


def test_one_refused_request_is_a_failure_of_its_own(stub: Stub, shop: Shop) -> None:
    def fate(line: Line) -> Answer:
        bad = line["custom_id"] == "2"
        return error(400, "bad prompt", code="content_filter") if bad else plausible(_sent(line))

    shop.fate = fate
    outcomes = remote(batch=True).answer(together())
    assert texts(outcomes)[2] == "error" and len(shop.jobs) == 1
    assert sum(isinstance(outcome, Reply) for outcome in outcomes) == 4


def test_a_failed_batch_says_why_and_is_not_used_again(stub: Stub, shop: Shop) -> None:
    shop.ends = "failed"
    with pytest.raises(Unavailable, match="batch-0 failed: the file is bad"):
        remote(batch=True).answer(together())
    shop.ends = "completed"
    assert texts(remote(batch=True).answer(together())) == expected(together())


def test_a_batch_whose_results_were_deleted_is_made_anew(stub: Stub, shop: Shop) -> None:
    remote(batch=True).answer(together())
    shop.files.pop(shop.jobs[0]["output_file_id"])
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert len(shop.jobs) == 2


def test_a_batch_that_is_never_done_is_given_up_and_kept(
    stub: Stub, shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_batch, "MOST_SECONDS", 600.0)
    shop.looks = 10**9
    with pytest.raises(Unavailable, match="batch-0 is still not done") as caught:
        remote(batch=True).answer(together())
    assert "found again" in caught.value.hint and sum(clock.waited) > 600
    shop.jobs[0]["left"] = 1
    assert texts(remote(batch=True).answer(together())) == expected(together())
    assert len(shop.jobs) == 1


def test_a_provider_without_batches_says_so(stub: Stub) -> None:
    stub.replies(error(400, "Batches are not supported"))
    with pytest.raises(BadInput, match="does not take the batch: Batches are not supported") as caught:
        remote(batch=True).answer(together())
    assert "one by one" in caught.value.hint


def test_batches_keep_to_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_batch, "MOST_REQUESTS", 3)
    monkeypatch.setattr(openai_batch, "MOST_BYTES", 2000)
    requests = [asked(text) for text in ("a", "b", "c", "d", "e" * 800, "f" * 5000, "g")]
    made = remote(batch=True).batches(requests)
    assert [len(batch.requests) for batch in made] == [3, 2, 1, 1]
    assert [request for batch in made for request in batch.requests] == requests
    assert remote(batch=True).batches([]) == []
