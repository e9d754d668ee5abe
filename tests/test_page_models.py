"""Models of a case on the page of step 3: shown, added, removed, asked once, and never before it is agreed to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_case import NAME, shown, words
from app_provider import BASE, KEY, emulated, finish, settled
from finetune_advisor import case as cases
from finetune_advisor import jobs
from finetune_advisor.case import trust
from finetune_advisor.emulator.faults import FaultSettings
from finetune_advisor.emulator.serve import Running
from finetune_advisor.store import Store
from oracle import write_case
from sample_results import HOSTILE

FAKE = '[[models]]\nname = "fake"\nprovider = "fake"\n'
MINI = f'[[models]]\nname = "mini"\nprovider = "openai"\noptions = {{ id = "{BASE}", batch = true }}\n'
ARMS = '[[arms]]\napproach = "zero_shot"\n'
NO_KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "MY_API_KEY")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of cases; what a page has started ends with its test."""
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    for name in NO_KEYS:
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    finish()


@pytest.fixture
def toy(root: Path) -> Path:
    return write_case(root / NAME, rows=60, model=FAKE, arms=ARMS)


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with emulated(tmp_path / "provider", monkeypatch) as server:
        yield server


def added(place: str, **fields: str) -> Any:
    """The page after the form was filled in and sent."""
    at = shown("alternatives")
    at.selectbox(key="new-model-place").set_value(place).run()
    for option, text in fields.items():
        at.text_input(key=f"new-model-{option}").set_value(text)
    at.button(key="add-model").click().run()
    assert not at.exception
    return at


def stated(folder: Path) -> list[tuple[str, str, dict[str, Any], str | None]]:
    return [(each.name, each.provider, each.options, each.price) for each in cases.read(folder).models]


def asked(place: int = 0) -> Any:
    return settled(shown("alternatives").button(key=f"hello-{place}").click().run())


def test_a_model_at_openai_is_added_and_the_form_is_empty_again(toy: Path) -> None:
    at = shown("alternatives")
    at.selectbox(key="new-model-place").set_value("openai").run()
    at.text_input(key="new-model-id").set_value(f" {BASE} ")
    at.text_input(key="new-model-name").set_value("mini")
    at.segmented_control(key="new-model-api").set_value("responses")
    at.number_input(key="new-model-concurrency").set_value(3)
    at.checkbox(key="new-model-batch").set_value(True)
    at.button(key="add-model").click().run()
    assert not at.exception and not at.error
    options = {"id": BASE, "api": "responses", "concurrency": 3, "batch": True}
    assert stated(toy)[1] == ("mini", "openai", options, None)
    assert at.text_input(key="new-model-id").value == "" == at.text_input(key="new-model-name").value
    text = words(at)
    assert f"OpenAI · id {BASE} · responses API · Batch API · price {BASE}" in text
    assert "by some customers" in text or "cannot be tuned" in text
    assert "OPENAI_API_KEY: not set" in text


def test_a_deployment_at_azure_is_added(toy: Path) -> None:
    at = added("azure", id="my-mini", base=BASE, api_version="2024-10-21")
    assert not at.error
    assert stated(toy)[1] == ("my-mini", "azure", {"id": "my-mini", "base": BASE, "api_version": "2024-10-21"}, None)
    assert f"deployment my-mini · which is {BASE} · price azure\\:{BASE}" in words(at)


def test_a_server_by_its_address_is_added_with_key_and_price(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", KEY)
    url = "http://127.0.0.1:9/v1"
    at = added("compatible", id="any", base_url=url, key_env="MY_API_KEY", price="gpt-6-luna", name="mine")
    assert not at.error
    assert stated(toy)[1] == (
        "mine",
        "compatible",
        {"id": "any", "base_url": url, "key_env": "MY_API_KEY"},
        "gpt-6-luna",
    )
    text = words(at)
    assert "cannot be tuned" in text and "MY_API_KEY: set" in text and KEY not in text


def test_models_on_this_machine_are_added(toy: Path) -> None:
    assert not added("embedded").error
    assert not added("huggingface", id="Qwen/Qwen3-0.6B", name="small").error
    assert stated(toy)[1:] == [
        ("SmolLM2-135M-Instruct", "embedded", {}, None),
        ("small", "huggingface", {"id": "Qwen/Qwen3-0.6B"}, None),
    ]


REFUSED: list[tuple[str, dict[str, str], str]] = [
    ("openai", {}, "Model is missing"),
    ("openai", {"id": "gpt-none-such"}, "No price"),
    ("openai", {"id": BASE, "name": "fake"}, "called fake already"),
    ("openai", {"id": BASE, "name": "1"}, "a number, not a name"),
    ("compatible", {"id": "any"}, "Address is missing"),
    ("compatible", {"id": "any", "base_url": "ftp://x"}, "not an http or https address"),
    ("compatible", {"id": "any", "base_url": "http://u:p@x/v1"}, "no user, password"),
    ("compatible", {"id": "any", "base_url": "http://x/v1", "key_env": KEY}, "has to name an environment variable"),
    ("compatible", {"id": "any", "base_url": "http://x/v1", "key_env": "OPENAI_API_KEY"}, "its own provider only"),
    ("compatible", {"id": "any", "base_url": "http://x/v1", "price": "none-such"}, "No price"),
]


def test_what_a_provider_does_not_take_is_refused_in_a_sentence(toy: Path) -> None:
    before = (toy / "case.toml").read_bytes()
    at = shown("alternatives")
    for place, fields, said in REFUSED:
        at.selectbox(key="new-model-place").set_value(place).run()
        for name in ("id", "name", *(["base_url", "key_env", "price"] if place == "compatible" else [])):
            at.text_input(key=f"new-model-{name}").set_value(fields.get(name, ""))
        at.button(key="add-model").click().run()
        assert not at.exception
        (error,) = at.error
        assert said in error.value.replace("\\", "") and KEY not in error.value
        assert all(at.text_input(key=f"new-model-{name}").value == text for name, text in fields.items())
    assert (toy / "case.toml").read_bytes() == before


def test_a_model_is_removed_and_put_back_but_not_the_last(root: Path) -> None:
    folder = write_case(root / NAME, rows=60, model=FAKE + MINI, arms=ARMS)
    before = stated(folder)
    at = shown("alternatives")
    at.button(key="remove-1").click().run()
    assert not at.exception and stated(folder) == before[:1]
    assert at.button(key="remove-0").disabled
    at.button(key="put-back").click().run()
    assert not at.exception and stated(folder) == before
    assert not [each for each in at.button if each.key == "put-back"]


def test_a_model_that_an_arm_names_is_not_removed(root: Path) -> None:
    folder = write_case(root / NAME, rows=60, model=FAKE + MINI, arms=ARMS + 'models = ["mini"]\n')
    at = shown("alternatives")
    at.button(key="remove-1").click().run()
    assert "names the model 'mini'" in at.error[0].value
    assert len(stated(folder)) == 2


def test_asking_once_says_the_cost_before_and_shows_answer_tokens_and_cost(root: Path, provider: Running) -> None:
    write_case(root / NAME, rows=60, model=MINI, arms=ARMS)
    at = shown("alternatives")
    assert "costs \\$0.00036 at most" in words(at)
    assert not provider.state.charges
    at = settled(at.button(key="hello-0").click().run())
    assert len(provider.state.charges) == 1
    assert "sentence." in words(at)
    text = words(at).replace("\\", "")
    assert "tokens in" in text and "cost $0.0000" in text and KEY not in text
    at.run()
    assert len(provider.state.charges) == 1


def test_a_model_on_this_machine_is_asked_for_nothing_and_a_pretended_one_called_so(toy: Path) -> None:
    text = words(asked())
    assert "Nobody charges for it" in text and "(simulated)" in text and "nothing charged by the token" in text


def test_a_missing_or_refused_key_is_one_sentence(
    root: Path, provider: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(root / NAME, rows=60, model=MINI, arms=ARMS)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}-wrong")
    (error,) = asked().error
    assert "answered 401" in error.value and KEY not in error.value
    monkeypatch.delenv("OPENAI_API_KEY")
    (error,) = asked().error
    assert "is not set" in error.value
    assert not provider.state.charges


def test_an_answer_that_is_lost_on_the_way_is_said(root: Path, provider: Running) -> None:
    write_case(root / NAME, rows=60, model=MINI, arms=ARMS)
    provider.faults.set(FaultSettings(rates={"malformed": 1.0}))
    assert "did not arrive" in words(asked())


def test_data_that_may_not_leave_is_asked_of_nobody_outside(root: Path, provider: Running) -> None:
    url = "https://models.example/v1"
    model = f'[[models]]\nname = "far"\nprovider = "compatible"\noptions = {{ id = "x", base_url = "{url}" }}\n'
    write_case(root / NAME, rows=60, model=model, arms=ARMS, extra="[answers]\ndata_may_leave = false\n")
    (error,) = asked().error
    assert "may not leave" in error.value


def test_a_price_that_is_not_known_is_said_and_nothing_is_asked(root: Path) -> None:
    write_case(root / NAME, rows=60, model=MINI.replace(BASE, "gpt-none-such"), arms=ARMS)
    at = shown("alternatives")
    assert "No price" in at.warning[0].value
    assert at.button(key="hello-0").disabled


def test_hostile_names_are_shown_as_text(root: Path) -> None:
    name = HOSTILE.replace("\\", "").replace('"', "'").replace("\n", " ")
    url = "http://127.0.0.1:9/v1"
    options = f'options = {{ id = "{name}", base_url = "{url}" }}\n'
    folder = write_case(
        root / NAME, rows=60, model=f'[[models]]\nname = "{name}"\nprovider = "compatible"\n{options}{FAKE}', arms=ARMS
    )
    at = shown("alternatives")
    assert not [each for each in at.markdown if each.allow_html]
    assert name not in "\n".join(str(each.value) for each in (*at.markdown, *at.caption))
    at.button(key="remove-0").click().run()
    assert [each[0] for each in stated(folder)] == ["fake"]
    assert name not in at.button(key="put-back").label
    at.button(key="put-back").click().run()
    assert [each[0] for each in stated(folder)] == ["fake", name]


def test_an_imported_case_asks_nobody_before_somebody_agreed(root: Path, provider: Running) -> None:
    folder = write_case(root / NAME, rows=60, model=MINI, arms=ARMS)
    trust.mark_imported(folder)
    at = shown("alternatives")
    text = words(at).replace("\\", "")
    assert "The model 'mini' would send data to '127.0.0.1:" in text and "with the key in 'OPENAI_API_KEY'" in text
    assert at.button(key="hello-0").disabled and at.button(key="ask").disabled
    at = shown("experiments")
    assert at.button(key="start").disabled
    at.button(key="agree").click().run()
    assert not at.exception and not trust.needs_trust(cases.read(folder))
    assert not at.button(key="start").disabled
    assert not shown("alternatives").button(key="hello-0").disabled


def test_other_servers_are_agreed_to_anew_and_a_paused_run_waits_for_it(root: Path, provider: Running) -> None:
    folder = write_case(root / NAME, rows=60, model=MINI, arms=ARMS)
    job = jobs.start(folder)
    jobs.cancel(folder)
    while (found := jobs.latest(folder)) and found.state in jobs.LIVE:
        time.sleep(0.05)
    with Store(folder) as store:
        store.change_job(job.id, state="paused")
    assert not shown("experiments").button(key="resume").disabled
    trust.mark_imported(folder)
    at = shown("experiments")
    assert at.button(key="resume").disabled and at.button(key="start").disabled
    assert "what providers charge" in str(at.number_input(key="usd").help).lower()
    (money,) = [each for each in at.metric if each.label == "Money so far"]
    assert "What providers charge" in money.help
