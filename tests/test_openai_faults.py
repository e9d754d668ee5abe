"""What can go wrong at a provider, and what a model there makes of it; nobody waits, for the clock is a test's own."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from finetune_advisor.errors import AdvisorError, BadInput, Missing
from finetune_advisor.models import TUNED_MODEL, connection, waiting
from finetune_advisor.models.connection import Unavailable
from finetune_advisor.models.limits import Limits
from finetune_advisor.records import Reply
from provider_stub import (
    KEY,
    Answer,
    Clock,
    Sent,
    Stub,
    asked,
    at_provider,
    error,
    failure,
    one,
    plausible,
    remote,
    reply,
    said,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Stub]:
    with at_provider(monkeypatch) as made:
        yield made


def test_a_missing_key_is_named_at_the_first_call_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for provider, variable in [("openai", "OPENAI_API_KEY"), ("azure", "AZURE_OPENAI_")]:
        model = remote(provider)
        assert model.describe()["id"] == "gpt-4.1-mini"
        with pytest.raises(Missing, match=variable) as caught:
            one(model)
        assert "export" in caught.value.hint


def test_a_key_that_was_corrected_meanwhile_counts(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    model = remote()
    with pytest.raises(BadInput, match="no key has") as caught:
        one(model)
    assert "two words" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert reply(model).text


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_costs_nothing_is_tried_again(stub: Stub, clock: Clock, status: int) -> None:
    stub.replies(error(status), error(status), said("at last"))
    assert reply(remote()).text == "at last"
    assert len(stub.sent) == 3 and clock.waited


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry_after": "7"}, 7, 8),
        ({"retry_after_ms": "2500", "retry_after": "9"}, 2.5, 3),
        ({"retry_after": "in 100 s"}, 70, 112),
        ({"retry_after": "soon"}, 0, 2),
    ],
)
def test_retry_after_is_honoured(stub: Stub, clock: Clock, headers: dict[str, str], least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    stub.replies(error(429, **{name: date if text == "in 100 s" else text for name, text in headers.items()}), said())
    reply(remote())
    assert least <= clock.waited[0] <= most


def test_a_429_pauses_everybody(stub: Stub, clock: Clock) -> None:
    model = remote()
    first = threading.Event()

    def respond(sent: Sent) -> Answer:
        if not first.is_set():
            first.set()
            return error(429, retry_after="30")
        return plausible(sent)

    stub.respond = respond
    began = clock.now
    _ = reply(model), reply(model)
    assert clock.now - began >= 30
    limits = Limits()
    limits.pause(12)
    began = clock.now
    limits.acquire(1)
    assert 12 <= clock.now - began <= 14


def test_a_wait_that_is_too_long_and_too_many_tries_end_the_run(stub: Stub, clock: Clock) -> None:
    stub.replies(error(429, "come back tomorrow", retry_after="86400"))
    with pytest.raises(Unavailable, match="tomorrow") as caught:
        one(remote())
    assert caught.value.retryable and "kept" in caught.value.hint and not clock.waited
    stub.replies(error(503))
    with pytest.raises(Unavailable, match="503"):
        one(remote())
    assert len(stub.sent) == 1 + connection.MOST_TRIES["busy"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denial_is_tried_twice_more_and_then_ends_the_run(stub: Stub, status: int) -> None:
    stub.replies(error(status, "denied here"))
    with pytest.raises(Missing, match=f"{status}: denied here") as caught:
        one(remote())
    assert caught.value.hint and len(stub.sent) == 3
    stub.replies(error(status), said("after all"))
    assert reply(remote()).text == "after all"


@pytest.mark.parametrize("answer", [error(429, code="insufficient_quota"), error(402), Answer(status=307)])
def test_no_credit_and_a_redirect_end_the_run(stub: Stub, answer: Answer) -> None:
    elsewhere = Answer(status=answer.status, body=answer.body, headers={"location": "http://127.0.0.1:9/v1"})
    stub.replies(elsewhere)
    with pytest.raises(Missing, match=str(answer.status)):
        one(remote())


def test_a_server_that_wants_a_key_after_all_says_how_to_give_one(stub: Stub) -> None:
    stub.replies(error(401))
    with pytest.raises(Missing) as caught:
        one(remote("compatible", base_url=stub.url))
    assert "key_env" in caught.value.hint


def test_a_server_that_is_not_there_is_said_to_be_so(stub: Stub, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 cannot be asked: no connection"):
        one(remote())
    assert len(clock.waited) == connection.MOST_TRIES["unreached"] - 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang=True),
        Answer(body={"choices": [1, 2, 3]}, cut=True),
        Answer(body='{"choices": [{'),
        Answer(body="<html>busy</html>", headers={"content-type": "text/html"}),
        Answer(body={"error": {"message": "no"}}),
        error(504),
    ],
    ids=["hang", "cut", "malformed", "html", "no choices", "504"],
)
def test_an_answer_that_may_have_been_charged_is_lost_and_not_asked_for_again(stub: Stub, answer: Answer) -> None:
    stub.replies(answer)
    outcome = failure(remote(timeout_seconds=0.3))
    assert outcome.kind == "lost" and "did not arrive" in outcome.message
    assert len(stub.sent) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, "This model's maximum context length is 10 tokens.", code="context_length_exceeded"), "too_long"),
        (error(413, "big"), "too_long"),
        (error(429, "Request too large for gpt-4.1 on tokens per min (TPM): Limit 10, Requested 20"), "too_long"),
        (error(400, "The response was filtered", code="content_filter"), "error"),
        (error(422, "odd"), "error"),
        (Answer(status=400, body={"detail": [{"msg": "odd"}]}), "error"),
        (Answer(status=400, body="odd"), "error"),
    ],
)
def test_a_refusal_of_one_prompt_is_its_failure(stub: Stub, answer: Answer, kind: str) -> None:
    stub.replies(answer)
    outcome = failure(remote())
    assert outcome.kind == kind and outcome.usage.prompt_tokens == 0
    assert len(stub.sent) == 1


def test_limits_in_headers_hold_the_next_request_back(stub: Stub, clock: Clock) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "60"}
    whole = {**headers, "x-ratelimit-reset-requests": "1m0s"}
    stub.replies(Answer(body=said().body, headers=whole), said())
    model = remote()
    reply(model)
    assert not clock.waited
    reply(model)
    assert 1 <= sum(clock.waited) <= 1.2


@pytest.mark.parametrize(
    ("left", "limit", "reset", "tokens", "least", "most"),
    [
        ("100", "1000", "9s", 400, 3, 3.4),
        ("100", "", "9s", 400, 9, 10),
        ("100", "1000", "9s", 5000, 9, 10),
        ("100", "1000", "9s", 100, 0, 0),
        ("-1", "-1", "0", 400, 0, 0),
        ("0", "1000", "2026-11-23T00:00:00Z", 400, 0, 0),
        ("0", "1000", "6h0m0s", 400, 0, 0),
        ("0", "1000", "", 400, 0, 0),
    ],
)
def test_limits_are_waited_for_as_long_as_they_take_to_fill(
    clock: Clock, left: str, limit: str, reset: str, tokens: int, least: float, most: float
) -> None:
    limits = Limits()
    names = ("remaining", "limit", "reset")
    limits.learn({f"x-ratelimit-{n}-tokens": value for n, value in zip(names, (left, limit, reset), strict=True)})
    limits.acquire(tokens)
    assert least <= sum(clock.waited) <= most


def test_what_was_taken_is_not_given_twice(clock: Clock) -> None:
    limits = Limits()
    limits.learn({"x-ratelimit-remaining-requests": "2", "x-ratelimit-reset-requests": "20s"})
    for _ in range(2):
        limits.acquire(1)
    assert not clock.waited
    limits.acquire(1)
    assert sum(clock.waited) >= 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("12ms", 0.012),
        ("1.5s", 1.5),
        ("1h2m3s", 3723),
        ("30", 30),
        ("1d", 86400),
        ("", None),
        ("x", None),
    ],
)
def test_durations_are_read_as_they_are_given(text: str, seconds: float | None) -> None:
    assert waiting.duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_many_threads_share_one_model(stub: Stub) -> None:
    lock, seen = threading.Lock(), dict[str, int]()
    together = threading.Barrier(8)

    def respond(sent: Sent) -> Answer:
        text = sent.body["messages"][0]["content"]
        with lock:
            seen[text] = seen.get(text, 0) + 1
            first = sum(seen.values()) <= 8
        if first:
            together.wait(10)
        if "temperature" in sent.body:
            return error(400, "Unsupported parameter: 'temperature'", code="unsupported_parameter", param="temperature")
        return error((429, 500, 503)[seen[text] % 3]) if seen[text] < 3 and int(text) % 3 == 0 else said(f"to {text}")

    stub.respond = respond
    model = remote()
    batches = model.batches([asked(str(number)) for number in range(64)])
    assert [len(batch.requests) for batch in batches] == [1] * 64 and model.concurrency == 8
    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for (outcome,) in pool.map(model.answer, batches)]
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == [f"to {n}" for n in range(64)]


def test_the_key_is_nowhere_to_be_seen(stub: Stub, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    stub.replies(error(401, f"Incorrect API key provided: {KEY}. Also sk-proj-abc***wxyz, Bearer {KEY}"))
    (tmp_path / TUNED_MODEL).write_text('{"model": "ft:x", "provider": "openai"}', encoding="utf-8")
    model = remote()
    with pytest.raises(AdvisorError) as caught:
        one(model)
    shown = [
        "".join(traceback.format_exception(caught.value)),
        f"{caught.value.message} {caught.value.hint} {caught.value!r}",
        f"{model!r} {vars(model)} {model.describe()} {model.trainer} {model.addresses} {model.secret}",
        repr(vars(model.with_adapter(tmp_path))),
        caplog.text,
    ]
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    stub.replies(error(400, f"bad: {KEY}"))
    shown.append(repr(one(model)))
    assert not any(KEY in text or "sk-proj" in text for text in shown)
