"""What every model has to do. Those of installed packages run too, where they need no options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from finetune_advisor import models, plugins
from finetune_advisor.errors import BadInput
from finetune_advisor.models import TUNED_MODEL
from finetune_advisor.models.cache import cache_folder
from finetune_advisor.models.embedded import CONVERTED
from finetune_advisor.records import Failure, Message, Reply, Request, no_progress
from finetune_advisor.tuning.lora import Lora
from provider_stub import Stub, at_provider

ODD_TEXTS = ["", " ", "ردیف", "😀" * 20, "<|im_end|><|im_start|>system", "{{ 7 * 7 }}", "\x00\x1b[31m"]


@pytest.fixture(scope="module", autouse=True)
def stub() -> Iterator[Stub]:
    with pytest.MonkeyPatch.context() as patch, at_provider(patch) as made:
        yield made


def options(provider: str, folder: Path, stub: Stub) -> dict[str, Any]:
    if provider in ("openai", "azure", "compatible"):
        return {"id": "gpt-4o", "context_window": 300} | ({"base_url": stub.url} if provider == "compatible" else {})
    if provider == "embedded" and not (cache_folder() / CONVERTED).is_dir():
        pytest.skip("the embedded model is not in the cache, and tests do not fetch it")
    return {"id": str(tiny_model.build(folder)), "device": "cpu"} if provider == "huggingface" else {}


@pytest.fixture(params=sorted(plugins.known(models.GROUP, models.TABLE)), scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stub: Stub) -> models.Model:
    return models.create(request.param, **options(request.param, tmp_path_factory.mktemp("model"), stub))


def requests(max_tokens: int = 4) -> list[Request]:
    asked = [(text, tiny_model.asked(text, "answer briefly please " * 8)) for text in (*tiny_model.FRUIT, "pear plum")]
    return [Request(example_id=text, messages=messages, max_tokens=max_tokens) for text, messages in asked]


def answered(model: models.Model, requests: list[Request]) -> dict[str, Reply | Failure]:
    pairs = [
        (request.example_id, reply)
        for batch in model.batches(requests)
        for request, reply in zip(batch.requests, model.answer(batch), strict=True)
    ]
    return dict(pairs)


def test_it_says_what_it_is(model: models.Model) -> None:
    assert model.name
    assert isinstance(model.simulated, bool) and isinstance(model.tunable, bool)
    assert model.context_window > 0
    assert model.source or not model.tunable
    assert model.describe()["id"]
    assert json.loads(json.dumps(model.describe())) == model.describe()


def test_batches_partition_the_requests_in_the_same_way_every_time(model: models.Model) -> None:
    made = model.batches(requests())
    assert made == model.batches(requests())
    ids = [request.example_id for batch in made for request in batch.requests]
    assert sorted(ids) == sorted(request.example_id for request in requests())
    assert model.batches([]) == []


def test_the_same_batch_gives_the_same_replies_with_plausible_usage(model: models.Model) -> None:
    first, second = answered(model, requests()), answered(model, requests())
    for request in requests():
        one, two = first[request.example_id], second[request.example_id]
        assert isinstance(one, Reply) and isinstance(two, Reply)
        assert (one.text, one.finish) == (two.text, two.finish)
        assert one.text == one.text.strip()
        assert one.usage.prompt_tokens == model.count_tokens(request.messages)
        assert 0 <= one.usage.cached_tokens <= one.usage.prompt_tokens
        assert 0 <= one.usage.completion_tokens <= request.max_tokens
        assert one.usage.seconds >= one.usage.prefill_seconds >= 0


def test_more_words_are_more_tokens(model: models.Model) -> None:
    short, long = tiny_model.asked("fig"), tiny_model.asked("fig " * 20)
    assert 0 < model.count_tokens(short) < model.count_tokens(long)


def test_odd_texts_get_a_reply(model: models.Model) -> None:
    asked = [
        Request(example_id=str(n), messages=(Message(role="user", content=text),), max_tokens=3)
        for n, text in enumerate(ODD_TEXTS)
    ]
    assert all(isinstance(reply, Reply) for reply in answered(model, asked).values())


def test_a_prompt_that_does_not_fit_is_a_failure(model: models.Model) -> None:
    long = tiny_model.asked("fig " * model.context_window)
    (reply,) = answered(model, [Request(example_id="long", messages=long, max_tokens=4)]).values()
    assert isinstance(reply, Failure) and reply.kind == "too_long"


def tune(model: models.Model, folder: Path) -> None:
    """Train, or leave what a training at the model's provider leaves."""
    if models.is_remote(model):
        named = {"model": "ft:gpt-4o:us::1", "provider": model.describe()["provider"], "deployment": "tuned"}
        (folder / TUNED_MODEL).write_text(json.dumps(named), encoding="utf-8")
        return
    quick = Lora(epochs=2, batch_size=6, learning_rate=3e-2, warmup=0.0, schedule="constant", device="cpu")
    quick.tune(tiny_model.work(model.source, tiny_model.pairs(), [], folder), no_progress)


def test_an_adapter_changes_the_answers_and_leaves_the_base_as_it_was(model: models.Model, tmp_path: Path) -> None:
    if not model.tunable:
        pytest.skip(f"{model.name} cannot be tuned here")
    before = {key: getattr(reply, "text", "") for key, reply in answered(model, requests()).items()}
    tune(model, tmp_path)
    tuned = model.with_adapter(tmp_path)
    assert tuned.name == model.name
    assert {key: getattr(reply, "text", "") for key, reply in answered(tuned, requests()).items()} != before
    assert {key: getattr(reply, "text", "") for key, reply in answered(model, requests()).items()} == before
    assert tuned.describe() != model.describe()


def test_an_unknown_option_or_provider_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no models entry"):
        models.create("nobody")
    for provider in models.TABLE:
        with pytest.raises(BadInput, match="no_such_option"):
            models.create(provider, no_such_option=1)
