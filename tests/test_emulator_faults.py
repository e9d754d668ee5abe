"""The emulator's faults, as OpenAI's own client meets them."""

from __future__ import annotations

import time
from collections.abc import Generator

import httpx2
import openai
import pytest

from emulated import HELLO, SPEC, client, close_clients, said, trained
from finetune_advisor import models
from finetune_advisor.emulator.faults import KINDS, LOST, Faults, FaultSettings
from finetune_advisor.emulator.serve import Options, Running, running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with running(tmp_path_factory.mktemp("emulator"), models.create("fake"), options=Options(spec=SPEC)) as emulator:
        yield emulator


@pytest.fixture
def emulator(started: Running) -> Running:
    started.faults.set(FaultSettings())
    started.state.charges.clear()
    return started


@pytest.fixture(autouse=True)
def closing() -> Generator[None]:
    yield
    close_clients()


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded"),
        ("429_bare", openai.RateLimitError, "rate_limit_exceeded"),
        ("500", openai.InternalServerError, None),
        ("503", openai.InternalServerError, None),
        ("401", openai.AuthenticationError, "invalid_api_key"),
        ("404_retired", openai.NotFoundError, "model_not_found"),
    ],
)
def test_refusals_cost_nothing(
    emulator: Running, fault: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    emulator.faults.set(FaultSettings(rates={fault: 1}, at_most=1, retry_after_seconds=0.5))
    with pytest.raises(error) as raised:
        said(emulator)
    assert raised.value.code == code
    assert raised.value.response.headers.get("retry-after") == ("0.5" if fault == "429" else None)
    assert not emulator.state.charges and emulator.faults.counts == {fault: 1}
    assert said(emulator) == "hello to all of us"


@pytest.mark.parametrize("fault", sorted(LOST))
def test_what_is_lost_on_the_way_is_charged_all_the_same(emulator: Running, fault: str) -> None:
    emulator.faults.set(FaultSettings(rates={fault: 1}))
    with pytest.raises((openai.APIConnectionError, ValueError)):
        client(emulator).with_options(timeout=0.5).chat.completions.create(model="gpt-6-luna", messages=HELLO)
    assert [(c.completion_tokens, c.delivered) for c in emulator.state.charges] == [(5, False)]


def test_a_stream_can_be_cut_too(emulator: Running) -> None:
    emulator.faults.set(FaultSettings(rates={"cut": 1}))
    with pytest.raises((openai.APIError, httpx2.TransportError)):
        list(client(emulator).chat.completions.create(model="gpt-6-luna", messages=HELLO, stream=True))


def test_slow_answers_arrive_unless_the_client_gives_up(emulator: Running) -> None:
    emulator.faults.set(FaultSettings(rates={"slow": 1}, slow_seconds=0.4))
    assert said(emulator) == "hello to all of us"
    with pytest.raises(openai.APITimeoutError):
        client(emulator).with_options(timeout=0.1).chat.completions.create(model="gpt-6-luna", messages=HELLO)
    while len(emulator.state.charges) < 2:
        time.sleep(0.02)
    assert [charge.delivered for charge in emulator.state.charges] == [True, False]


def test_wrong_usage_is_shown_and_the_true_one_charged(emulator: Running) -> None:
    emulator.faults.set(FaultSettings(rates={"wrong_usage": 1}))
    usage = client(emulator).chat.completions.create(model="gpt-6-luna", messages=HELLO).usage
    assert usage and usage.prompt_tokens_details and usage.completion_tokens == 0
    assert (usage.prompt_tokens_details.cached_tokens or 0) > usage.prompt_tokens
    assert (emulator.state.charges[0].prompt_tokens, emulator.state.charges[0].completion_tokens) == (10, 5)


def test_faults_of_trainings(emulator: Running) -> None:
    api = client(emulator)
    emulator.faults.set(FaultSettings(rates={"400_file": 1}))
    with pytest.raises(openai.BadRequestError) as bad:
        api.files.create(file=("x", b"x"), purpose="fine-tune")
    assert bad.value.code == "invalid_file"
    emulator.faults.set(FaultSettings(rates={"403_training": 1}))
    with pytest.raises(openai.PermissionDeniedError) as closed:
        trained(api)
    assert closed.value.code == "training_not_available"
    emulator.faults.set(FaultSettings(rates={"job_fails": 1}))
    job = trained(api)
    assert job.status == "failed" and job.error.message and job.fine_tuned_model is None
    assert not emulator.state.charges and emulator.faults.counts == {"job_fails": 1}


def test_faults_are_set_and_counted_over_the_wire(emulator: Running) -> None:
    url = f"{emulator.azure_url}/emulator/faults"
    assert httpx2.post(url, json={"rates": {"503": 1}, "seed": 3}).json()["counts"] == {}
    with pytest.raises(openai.InternalServerError):
        said(emulator)
    assert httpx2.get(url).json() | {"rates": 0} == {
        "rates": 0, "seed": 3, "at_most": None, "slow_seconds": 2.0, "retry_after_seconds": 1.0,
        "requests": 1, "counts": {"503": 1},
    }  # fmt: skip
    for wrong in ('{"rates": {"418": 1}}', '{"rates": {"503": 2}}', '{"rate": {}}', "no json"):
        assert httpx2.post(url, content=wrong).status_code == 400


def test_faults_are_drawn_by_seed_at_their_rates() -> None:
    def drawn(seed: int, what: str) -> list[str]:
        faults = Faults(FaultSettings(rates={"429": 0.2, "cut": 0.1, "403_training": 0.5}, seed=seed))
        return [faults.decide(what) for _ in range(4000)]

    assert drawn(1, "chat") == drawn(1, "chat") != drawn(2, "chat")
    assert drawn(1, "chat").count("429") == pytest.approx(800, abs=100)
    assert drawn(1, "chat").count("cut") == pytest.approx(400, abs=80)
    assert "403_training" not in drawn(1, "chat")
    assert drawn(1, "jobs").count("403_training") == pytest.approx(2000, abs=130)
    assert set(KINDS) >= LOST
