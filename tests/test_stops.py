"""Hard stops: closing dates of providers and data that may not leave."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor import case
from finetune_advisor.experiment.stops import routes_of, stops
from sample_results import sample_results

TODAY = date(2026, 11, 22)


def made(folder: Path, horizon: int = 12, **answers: Any) -> case.Case:
    case.sample(folder)
    read = case.read(folder)
    money = read.money.model_copy(update={"horizon_months": horizon})
    return read.model_copy(update={"answers": {**read.answers, **answers}, "money": money})


def reasons(folder: Path, today: date = TODAY, horizon: int = 12, **answers: Any) -> list[str]:
    return [stop.reason for stop in stops(made(folder, horizon, **answers), sample_results().arms, today)]


def test_tuning_an_open_model_on_an_own_machine_has_no_stop_and_no_end(tmp_path: Path) -> None:
    assert reasons(tmp_path, tuning_place="own machine", data_may_leave=False) == []
    own = [route for route in routes_of(made(tmp_path), TODAY) if route.provider == "own machine"]
    assert own
    assert all(route.answers_until is None for route in own)


def test_data_that_may_not_leave_rules_a_provider_out(tmp_path: Path) -> None:
    found = reasons(tmp_path, tuning_place="OpenAI", data_may_leave=False, tuned_there_before=True)
    assert any("may not leave" in reason for reason in found)


@pytest.mark.parametrize(
    ("today", "horizon", "before", "words"),
    [
        (TODAY, 12, False, "takes no new trainings from customers who have not tuned there before"),
        (TODAY, 12, True, "stops answering on 2027-01-14"),
        (date(2027, 1, 7), 1, True, "takes no new trainings from anybody"),
    ],
)
def test_openai_closes_by_its_dates(tmp_path: Path, today: date, horizon: int, before: bool, words: str) -> None:
    found = reasons(tmp_path, today, horizon, tuning_place="OpenAI", data_may_leave=True, tuned_there_before=before)
    assert any(words in reason for reason in found)


def test_a_model_that_lives_as_long_as_the_horizon_is_no_stop(tmp_path: Path) -> None:
    assert reasons(tmp_path, horizon=1, tuning_place="OpenAI", data_may_leave=True, tuned_there_before=True) == []
