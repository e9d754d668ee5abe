"""Trainings at a provider on the page of step 7: estimate, start, live state, cancel; and deployments at Azure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app_case import NAME, shown, words
from app_provider import BASE, KEY, emulated, finish, settled
from finetune_advisor import case as cases
from finetune_advisor.case import trust
from finetune_advisor.emulator.faults import FaultSettings
from finetune_advisor.emulator.serve import Running
from finetune_advisor.pages.trainings import outside
from finetune_advisor.report.markdown import escape
from finetune_advisor.store import FILE, Store
from finetune_advisor.tuning import deployments
from finetune_advisor.tuning.deployments import Deployment
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.trl import Trl
from oracle import write_case
from sample_results import HOSTILE

MINI = f'[[models]]\nname = "mini"\nprovider = "openai"\noptions = {{ id = "{BASE}" }}\n'
AZURE = f'[[models]]\nname = "mini"\nprovider = "azure"\noptions = {{ id = "{BASE}", base = "{BASE}" }}\n'
LOOKS = 2
"""What a page does with a training takes a thread, and looking how it stands then another."""

TUNED = '[[arms]]\napproach = "tuned"\n'


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of cases; what a page has started ends with its test."""
    monkeypatch.setenv("FINETUNE_ADVISOR_CASES", str(tmp_path))
    yield tmp_path
    finish()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with emulated(tmp_path / "provider", monkeypatch) as server:
        yield server


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Trainings at the provider wait until it is set."""
    opened, tune = threading.Event(), Lora.tune

    def held(self: Lora, work: Any, progress: Any) -> Any:
        while not opened.wait(0.02):
            progress("training", 1, 2)
        return tune(self, work, progress)

    monkeypatch.setattr(Lora, "tune", held)
    yield opened
    opened.set()


@pytest.fixture
def folder(root: Path, provider: Running) -> Path:
    return write_case(root / NAME, model=MINI, arms=TUNED)


def worked_out() -> Any:
    """The page with what the trainings will take."""
    return settled(shown("how").button(key="work-out").click().run(), LOOKS)


def key_of(at: Any, what: str) -> str:
    (key,) = [each.key for each in (*at.button, *at.checkbox) if str(each.key).startswith(f"{what}-")]
    return key


def keys(at: Any) -> str:
    return " ".join(str(each.key) for each in at.button)


def started(at: Any) -> Any:
    at.checkbox(key=key_of(at, "sure")).set_value(True).run()
    return settled(at.button(key=key_of(at, "start")).click().run(), LOOKS)


def ended(at: Any) -> Any:
    while "cancel-" in keys(at):
        at = settled(at, LOOKS)
    assert not at.error
    return at


def text(at: Any) -> str:
    tables = "\n".join(each.value.to_string() for each in at.table)
    return f"{words(at)}\n{tables}".replace("\\", "")


def test_a_case_that_trains_here_has_no_such_section(root: Path) -> None:
    write_case(root / NAME, model='[[models]]\nname = "fake"\nprovider = "fake"\n', arms=TUNED)
    assert "Trainings" not in [each.value for each in shown("how").header]


def test_nothing_is_read_or_locked_before_it_is_asked_for(folder: Path) -> None:
    at = shown("how")
    (name,) = outside(cases.read(folder))
    assert f"To be trained: {name}." in words(at)
    assert not (folder / FILE).exists()


def test_the_estimate_names_tokens_money_and_what_it_rests_on(folder: Path, provider: Running) -> None:
    said = text(worked_out())
    assert "Tokens to train on" in said and "Expected to cost" in said
    assert "### $0." in said and "What OpenAI bills" in said
    assert "per million tokens" in said and "Who may tune" in said
    assert "Not started." in said
    assert not provider.state.files
    assert "Not started." in text(settled(shown("how"), LOOKS)), "a second visit works it out by itself"


def test_a_training_is_started_watched_to_its_end_and_paid_for_once(folder: Path, provider: Running) -> None:
    at = worked_out()
    start = at.button(key=key_of(at, "start"))
    assert start.disabled
    assert "spend about \\$0." in at.checkbox(key=key_of(at, "sure")).label
    at = ended(started(at))
    said = text(at)
    assert "It is done." in said
    assert "Tuned model" in said and "ft:gpt-4.1-mini" in said and "ftjob-" in said
    assert "Checkpoint after step" in said and "What happened" in [each.label for each in at.expander]
    assert "start-" not in keys(at) and "cancel-" not in keys(at)
    with Store(folder) as store:
        (charge,) = store.charges()
    assert charge.usd > 0 and charge.what.startswith("the training ")
    assert KEY not in said


def test_a_running_training_is_shown_live_cancelled_and_started_again(folder: Path, gate: threading.Event) -> None:
    at = started(worked_out())
    assert "It is training." in words(at) or "It waits" in words(at)
    assert "start-" not in keys(at)
    at = settled(at.button(key=key_of(at, "cancel")).click().run(), LOOKS)
    assert "It was cancelled." in words(at)
    gate.set()
    at = ended(started(at))
    assert "It is done." in words(at)


def test_who_may_not_train_reads_why_and_may_look_again(folder: Path, provider: Running) -> None:
    at = worked_out()
    provider.faults.set(FaultSettings(rates={"403_training": 1.0}))
    at = started(at)
    (error,) = at.error
    assert KEY not in error.value and len(error.value) > 20
    assert "look-" in keys(at)
    at = settled(at.button(key=key_of(at, "look")).click().run(), LOOKS)
    assert not at.error and "Not started." in words(at)


def test_while_a_run_holds_the_case_the_page_says_so(folder: Path) -> None:
    with Store(folder) as store, store.exclusive():
        at = settled(shown("how"), LOOKS)
        assert "Another run is using" in at.error[0].value
    assert "Not started." in words(settled(at, LOOKS))


def test_an_imported_case_shows_its_servers_before_anything_else(folder: Path) -> None:
    trust.mark_imported(folder)
    at = shown("how")
    assert "would send data to" in words(at)
    assert not [each for each in at.button if each.key == "work-out"]
    at.button(key="agree").click().run()
    assert not at.exception and not trust.needs_trust(cases.read(folder))
    assert [each for each in at.button if each.key == "work-out"]


def test_deployments_are_listed_with_what_they_cost_and_deleted(root: Path, provider: Running) -> None:
    write_case(root / NAME, model=AZURE, arms=TUNED)
    account = deployments.account(provider.azure_url)
    at = shown("how")
    assert "Deployments at Azure" in [each.value for each in at.header]
    at = settled(at.button(key="deployments").click().run(), LOOKS)
    assert "No tuned model is deployed" in words(at)
    ended(started(worked_out()))
    (tuned,) = provider.state.tuned
    deployments.create(account, "costly", tuned)
    at = settled(at.button(key="deployments").click().run(), LOOKS)
    said = text(at)
    assert "**costly**" in said and "· $1.70 an hour" in said
    at = settled(at.button(key="delete-costly").click().run(), LOOKS)
    assert not at.error and not deployments.running(account)
    assert "No tuned model is deployed" in words(at)


def test_a_deployment_says_what_it_has_cost_and_when_it_ends_whatever_its_name(
    root: Path, provider: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(root / NAME, model=AZURE, arms=TUNED)
    found = Deployment(
        name=HOSTILE,
        model=HOSTILE,
        sku="developertier",
        state="creating",
        usd_per_hour=Decimal(0),
        usd=Decimal("12.34"),
        ends=datetime(2026, 11, 24, tzinfo=UTC),
    )

    def running(where: deployments.Account) -> list[Deployment]:
        return [found]

    monkeypatch.setattr(deployments, "running", running)
    at = settled(shown("how").button(key="deployments").click().run(), LOOKS)
    assert "· $0 an hour · $12.34 so far · ends by itself on 24 November 2026" in text(at)
    assert f"**{escape(HOSTILE)}** :gray-badge[creating]" in words(at)
    assert not [each for each in at.markdown if each.allow_html]


def test_without_an_endpoint_or_a_model_at_azure_deployments_are_not_mentioned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "deployments" not in keys(shown("how"))
    (folder / "case.toml").write_text(
        (folder / "case.toml").read_text(encoding="utf-8").replace('"openai"', '"azure"'), encoding="utf-8"
    )
    assert "deployments" in keys(shown("how"))
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    assert "deployments" not in keys(shown("how"))


def test_hostile_names_are_shown_as_text(root: Path, provider: Running) -> None:
    name = HOSTILE.replace("\\", "").replace('"', "'").replace("\n", " ")
    write_case(root / NAME, model=f"{MINI.replace('mini', name, 1)}{AZURE}", arms=TUNED)
    at = worked_out()
    assert not [each for each in at.markdown if each.allow_html]
    names = outside(cases.read(root / NAME))
    assert name in names[0]
    assert [escape(each) for each in names] == [each.value for each in at.subheader][: len(names)]
    assert name not in "\n".join(str(each.value) for each in (*at.markdown, *at.caption))


def test_costs_show_what_a_training_takes_where_a_provider_trains(folder: Path) -> None:
    at = shown("costs")
    at = at.segmented_control(key="part").set_value("Which models").run()
    at = settled(at.button(key="work-out").click().run(), LOOKS)
    assert "What a training takes there" in [each.value for each in at.header]
    assert "tokens" in text(at) and "$" in text(at)
    assert [each for each in at.get("page_link") if "Start it under How" in each.proto.label]


def test_a_trainer_of_its_own_costs_machine_time_and_says_what_it_cannot_train(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        """Loads no torch."""

    monkeypatch.setattr(Trl, "_seconds", unknown)
    fake = '[[models]]\nname = "fake"\nprovider = "fake"\n'
    write_case(root / NAME, model=fake, arms=TUNED + 'settings = { trainer = "trl" }\n')
    at = worked_out()
    assert "### machine time" in words(at)
    assert at.checkbox(key=key_of(at, "sure")).label.endswith("with the time of this machine")
    at = started(at)
    assert "TRL cannot train the pretended model" in at.error[0].value
