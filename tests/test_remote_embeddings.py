"""Embeddings from a provider: right, charged once, and kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import retrieval
from finetune_advisor.datasets.tokens import encoding
from finetune_advisor.errors import BadInput, Missing
from finetune_advisor.models.cache import VARIABLE
from finetune_advisor.models.connection import Unavailable
from finetune_advisor.retrieval.remote import FILE, MOST_TOKENS, Remote
from provider_stub import KEY, Answer, Clock, Sent, Stub, at_provider, embedded, error

TEXTS = ["reset the blue pump", "parcels leave at six", "refunds take five days"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path) -> Iterator[Stub]:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with at_provider(monkeypatch) as made:
        made.respond = embedded
        yield made


def remote(**options: Any) -> Remote:
    made = retrieval.create("remote", **{"id": "text-embedding-3-small", **options})
    assert isinstance(made, Remote)
    return made


def asked(stub: Stub) -> list[str]:
    return [text for sent in stub.sent for text in sent.body["input"]]


def tokens(*texts: str) -> int:
    return sum(encoding("cl100k_base").count(text) for text in texts)


def test_the_nearest_text_is_found(stub: Stub) -> None:
    index = remote().index(TEXTS)
    assert index.search(["the blue pump", "a refund in days"], 1) == [[0], [2]]
    assert stub.sent[0].path == "/v1/embeddings" and stub.sent[0].headers["authorization"] == f"Bearer {KEY}"
    assert stub.sent[0].body == {"model": "text-embedding-3-small", "input": TEXTS, "encoding_format": "float"}


def test_vectors_have_length_one_and_the_order_of_their_texts(stub: Stub) -> None:
    vectors = remote().embed([*TEXTS[::-1], TEXTS[0]])
    assert [math.isclose(float(row @ row), 1, rel_tol=1e-4) for row in vectors] == [True] * 4
    assert (vectors[2] == vectors[3]).all() and (remote().embed(TEXTS)[0] == vectors[2]).all()


def test_no_text_is_paid_for_twice(stub: Stub) -> None:
    first = remote()
    assert first.tokens_to_pay([*TEXTS, TEXTS[0], " "]) == tokens(*TEXTS)
    first.index([*TEXTS, TEXTS[0]])
    assert first.paid_tokens == tokens(*TEXTS) and first.tokens_to_pay(TEXTS) == 0
    later = remote()
    later.index([*TEXTS, "something new"]).search(TEXTS, 1)
    assert asked(stub) == [*TEXTS, "something new"]
    assert later.paid_tokens == tokens("something new")


def test_other_models_dimensions_and_servers_have_vectors_of_their_own(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({}, {"id": "other"}, {"dimensions": 256}):
        remote(**options).index(TEXTS[:1])
    monkeypatch.setenv("OPENAI_BASE_URL", stub.url.replace("127.0.0.1", "localhost"))
    remote().index(TEXTS[:1])
    assert len(asked(stub)) == 4 and stub.sent[2].body["dimensions"] == 256


def test_what_was_paid_for_is_kept_when_the_rest_fails(stub: Stub) -> None:
    stub.replies(embedded, error(401))
    with pytest.raises(Missing, match="401"):
        remote(batch_size=2).index(TEXTS)
    stub.respond = embedded
    stub.sent.clear()
    remote(batch_size=2).index(TEXTS)
    assert asked(stub) == TEXTS[2:]


def test_threads_do_not_pay_for_the_same_text(stub: Stub) -> None:
    start = threading.Barrier(4)

    def embed(_: int) -> None:
        start.wait(10)
        remote().index(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(embed, range(4)))
    assert asked(stub) == TEXTS


@pytest.mark.parametrize(
    "fault",
    [
        error(429, retry_after="3"),
        error(503),
        Answer(body="{not json"),
        Answer(body={"data": []}),
        Answer(body={"data": [{"index": 0, "embedding": [1.0, None]}]}),
        Answer(body={"data": [{"index": 7, "embedding": [1.0]}]}),
        Answer(body={"data": [{"index": 0, "embedding": []}]}),
        Answer(body="x" * 100, cut=True),
    ],
)
def test_a_reply_that_is_none_is_asked_for_again(stub: Stub, clock: Clock, fault: Answer) -> None:
    stub.replies(fault, embedded)
    assert remote().index(TEXTS[:1]).search(TEXTS[:1], 1) == [[0]]
    assert len(stub.sent) == 2 and clock.waited


def test_faults_that_last_end_it(stub: Stub) -> None:
    stub.replies(Answer(body="{not json"))
    with pytest.raises(Unavailable, match="not what this API gives"):
        remote().index(TEXTS)
    stub.replies(error(400, "input is bad"))
    with pytest.raises(BadInput, match="refuses to embed the texts: input is bad"):
        remote().index(TEXTS)


def test_requests_hold_no_more_than_servers_take(stub: Stub) -> None:
    remote(batch_size=2).index(TEXTS)
    assert [len(sent.body["input"]) for sent in stub.sent] == [2, 1]
    stub.sent.clear()
    remote().index([f"{n} " + "word " * 9000 for n in range(30)])
    assert max(tokens(*sent.body["input"]) for sent in stub.sent) <= 200_000 and len(stub.sent) == 2
    assert max(tokens(text) for text in asked(stub)) <= MOST_TOKENS


def test_texts_that_nobody_can_send_cost_nothing(stub: Stub) -> None:
    index = remote().index(["", "  ", *TEXTS])
    assert index.search(["", "pump \ud800"], 2) == [[0, 1], [2, 0]]
    assert asked(stub) == [*TEXTS, "pump ?"]
    assert remote().index([" "]).search([""], 1) == [[0]]


def test_usage_that_cannot_be_is_counted_here(stub: Stub) -> None:
    def respond(sent: Sent) -> Answer:
        return Answer(body={**embedded(sent).body, "usage": {"prompt_tokens": 10**9}})

    stub.respond = respond
    made = remote()
    made.index(TEXTS)
    assert made.paid_tokens == tokens(*TEXTS)


@pytest.mark.parametrize(
    ("options", "path", "header"),
    [
        ({"provider": "azure"}, "/openai/v1/embeddings", "authorization"),
        (
            {"provider": "azure", "api_version": "2024-10-21"},
            "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21",
            "api-key",
        ),
        ({"provider": "compatible", "key_env": "LOCAL_API_KEY"}, "/v1/embeddings", "authorization"),
        ({"provider": "compatible"}, "/v1/embeddings", ""),
    ],
)
def test_every_provider_is_reached(stub: Stub, options: dict[str, Any], path: str, header: str) -> None:
    base = {"base_url": stub.url} if options["provider"] == "compatible" else {}
    made = remote(**options, **base)
    made.index(TEXTS)
    assert stub.sent[0].path == path and made.addresses == (stub.origin.removeprefix("http://"),)
    assert {name for name, value in stub.sent[0].headers.items() if KEY in value} == ({header} if header else set())


@pytest.mark.parametrize(
    "options",
    [{"id": " "}, {"provider": "nobody"}, {"provider": "compatible"}, {"batch_size": 0}, {"dimensions": -1}],
)
def test_options_that_cannot_be_are_bad_input(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        remote(**options)
    with pytest.raises(BadInput):
        retrieval.create("remote")


def test_neither_texts_nor_key_are_on_disk(stub: Stub, tmp_path: Path) -> None:
    remote().index(TEXTS)
    kept = (tmp_path / FILE).read_bytes()
    assert KEY.encode() not in kept and b"pump" not in kept


def test_a_spoilt_file_says_so(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database at all, but long enough to be read as one" * 9, encoding="utf-8")
    with pytest.raises(BadInput, match="stored embeddings") as caught:
        remote().index(TEXTS)
    assert "delete the file" in caught.value.hint
