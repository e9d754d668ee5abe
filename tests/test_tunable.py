"""Which model can be tuned where and until when: the dates of the reference."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.costs import tunable
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Route

TODAY = date(2026, 11, 22)
OPENAI = ("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18")
RECENT = "organisations that used a fine-tuned model within 60 days"


def only(base: str, on: date = TODAY) -> Route:
    (route,) = tunable.routes(base, on=on)
    return route


@pytest.mark.parametrize("base", ["gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "ft:gpt-4.1-mini-2025-04-14:org::id"])
def test_openai_is_open_only_to_recent_users_and_dies_before_a_year_is_over(base: str) -> None:
    route = only(base)
    assert (route.provider, route.who) == ("openai", RECENT)
    assert tunable.open_on(route, TODAY) and not tunable.open_to_new_customers(route, TODAY)
    assert route.answers_until == date(2027, 1, 14)
    assert tunable.pays_until(route, TODAY) == pytest.approx(53 / 30.4375)
    assert tunable.retires_within(route, TODAY, 12) and not tunable.retires_within(route, TODAY, 1)


def test_openai_closed_in_three_steps() -> None:
    assert tunable.open_to_new_customers(only("gpt-4.1", date(2026, 5, 6)), date(2026, 5, 6))
    for first, who in (
        (date(2026, 5, 7), "organisations that have fine-tuned before"),
        (date(2026, 7, 2), RECENT),
    ):
        assert only("gpt-4.1", first).who == who


@pytest.mark.parametrize("base", OPENAI)
def test_nobody_can_start_a_job_at_openai_after_the_last_day(base: str) -> None:
    for day, able in ((date(2027, 1, 6), True), (date(2027, 1, 7), False)):
        assert any(tunable.open_on(route, day) for route in tunable.routes(base, on=day)) is able
    assert tunable.pays_until(only(base, date(2027, 2, 1)), date(2027, 2, 1)) == 0


def test_no_route_at_openai_is_open_to_anybody_after_the_last_day() -> None:
    day = date(2027, 1, 7)
    theirs = [route for route in tunable.routes(on=day) if route.provider == "openai"]
    assert theirs and not any(tunable.open_on(route, day) for route in theirs)


@pytest.mark.parametrize("base", ["gpt-3.5-turbo-0125", "gpt-4.1-nano", "o4-mini", "davinci-002"])
def test_models_that_died_in_october_are_known_as_dead(base: str) -> None:
    route = only(base)
    assert route.answers_until == date(2026, 10, 23)
    assert not tunable.open_on(route, TODAY)
    assert tunable.pays_until(route, TODAY) == 0


def test_the_replacement_cannot_be_tuned() -> None:
    route = only("gpt-6-luna")
    assert route.methods == () and not tunable.open_on(route, TODAY)


@pytest.mark.parametrize(
    ("base", "jobs", "answers"),
    [
        ("azure:gpt-4.1-mini", date(2027, 4, 14), date(2027, 10, 14)),
        ("azure:ft:gpt-4.1-nano-2025-04-14", date(2027, 4, 14), date(2027, 10, 14)),
        ("gpt-4o-mini-2024-07-18.ft-0123", date(2027, 4, 1), date(2027, 10, 1)),
        ("azure:o4-mini", date(2027, 4, 16), date(2027, 10, 16)),
    ],
)
def test_azure_goes_on_for_existing_customers(base: str, jobs: date, answers: date) -> None:
    route = only(base)
    assert (route.provider, route.who) == ("azure", "existing customers")
    assert (route.new_jobs_until, route.answers_until) == (jobs, answers)
    assert not tunable.open_to_new_customers(route, TODAY) and tunable.retires_within(route, TODAY, 12)


def test_open_weights_on_azure_have_no_date() -> None:
    route = only("azure:gpt-oss-20b")
    assert tunable.open_to_new_customers(route, TODAY) and tunable.pays_until(route, TODAY) is None


@pytest.mark.parametrize("base", ["cohere:command-r", "mistral:mistral-small-latest", "google:gemini-2.5-flash"])
def test_closed_providers_are_known_as_closed(base: str) -> None:
    assert not tunable.open_on(only(base), TODAY)


@pytest.mark.parametrize("base", ["google:gemini-3.5-flash", "google:gemini-2.5-pro", "bedrock:nova-lite"])
def test_providers_without_an_announced_end(base: str) -> None:
    route = only(base)
    assert tunable.open_to_new_customers(route, TODAY) and tunable.pays_until(route, TODAY) is None


def test_an_open_model_can_be_tuned_by_anybody_without_an_end(tmp_path: Path) -> None:
    for base in ("Qwen/Qwen3.5-9B", str(tmp_path)):
        found = tunable.routes(base, on=TODAY)
        assert {route.provider for route in found} == {"own machine", "together", "fireworks", "autotrain"}
        assert all(tunable.open_to_new_customers(route, TODAY) for route in found)
        assert not any(tunable.retires_within(route, TODAY, 1200) for route in found)
        assert "unmaintained" in next(route.note for route in found if route.provider == "autotrain")


@pytest.mark.parametrize(
    "base", ["gpt-9", "gpt-4o-2024-05-13", "h100", "/no/such/folder", "a/b/c", "ft:gpt-9:org::id", "\N{PILE OF POO}"]
)
def test_nothing_is_claimed_about_an_unknown_model(base: str) -> None:
    assert tunable.routes(base, on=TODAY) == ()
    assert not tunable.is_open_model(base)


def test_every_route_has_a_source_a_date_and_a_circle() -> None:
    shipped = tunable.routes(on=TODAY)
    assert len(shipped) > 30
    assert all(route.source and route.note and date.fromisoformat(route.checked) <= TODAY for route in shipped)
    assert all(route.methods or route.who == "nobody" for route in shipped)


def test_routes_checked_long_ago_are_flagged() -> None:
    assert tunable.stale(only("azure:gpt-4.1"), TODAY)
    assert not tunable.stale(only("gpt-4.1"), TODAY)


def test_a_users_file_replaces_our_rows_and_adds_its_own(tmp_path: Path) -> None:
    own = tmp_path / "routes.toml"
    own.write_text(
        '[[route]]\nbases = ["gpt-4.1-mini", "in-house"]\nprovider = "openai"\nmethods = ["sft"]\nwho = "anyone"\n'
        "answers_until = 2028-01-01\n",
        encoding="utf-8",
    )
    for base in ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"):
        (route,) = tunable.routes(base, on=TODAY, override=own)
        assert (route.who, route.answers_until, route.source) == ("anyone", date(2028, 1, 1), str(own))
    assert tunable.routes("in-house", on=TODAY, override=own)[0].methods == ("sft",)
    assert tunable.routes("gpt-4.1", on=TODAY, override=own) == tunable.routes("gpt-4.1", on=TODAY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[route]", "not valid TOML"),
        ("", "route"),
        ('[[route]]\nbases = []\nprovider = "x"\nmethods = []\nwho = "anyone"\n', "route 0 bases"),
        (
            '[[route]]\nbases = ["a"]\nprovider = "x"\nmethods = []\nwho = "anyone"\nanswers_until = "soon"\n',
            "answers_until",
        ),
    ],
)
def test_an_unusable_file_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    own = tmp_path / "routes.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        tunable.routes(override=own)
    with pytest.raises(BadInput, match="cannot be read"):
        tunable.routes(override=tmp_path / "none.toml")


@given(st.dates(date(2024, 1, 1), date(2030, 1, 1)), st.floats(0, 60))
def test_what_retires_within_a_time_retires_within_a_longer_one(day: date, months: float) -> None:
    for route in tunable.routes(on=day):
        left = tunable.pays_until(route, day)
        assert left is None or left >= 0
        assert not tunable.retires_within(route, day, months) or tunable.retires_within(route, day, months + 1)
