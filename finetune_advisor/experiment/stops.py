"""Hard stops that no score can tell: nowhere to tune, a model that ends too soon, data that may not leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from finetune_advisor.case import Case, ModelSection
from finetune_advisor.costs import tunable
from finetune_advisor.records import ArmResult, Route
from finetune_advisor.verdict import Stop

PLACES = {"OpenAI": "openai", "Azure OpenAI": "azure"}
"""Answers to the question where to tune that name a provider, and what the provider is called in tunable.toml."""

EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"
INSTEAD = "Tune an open model on your own or a rented machine"


def routes_of(case: Case, today: date) -> tuple[Route, ...]:
    """The ways to tune the case's models, and those of the provider that the person has in mind."""
    named = [_known_as(model) for model in case.models]
    found = [route for name in named if name for route in tunable.routes(name, on=today)]
    planned = PLACES.get(str(case.answers.get("tuning_place")))
    found += [route for route in tunable.routes(on=today) if route.provider == planned and route.methods]
    return tuple(dict.fromkeys(found))


def _known_as(model: ModelSection) -> str:
    """What the list of tunable models calls it; at Azure the deployment's name says nothing."""
    if model.provider == "embedded":
        return EMBEDDED
    name = str(model.options.get("base") or model.options.get("id", ""))
    return f"azure:{name}" if model.provider == "azure" else name


def stops(case: Case, arms: Sequence[ArmResult], today: date) -> tuple[Stop, ...]:
    """What rules the tuned arms out whatever they score.

    Args:
        case: Its answers say where the model is to be tuned, whether the data may leave, and for how long it counts.
        arms: All arms.
        today: The day from which providers' dates are looked at.
    """
    place = str(case.answers.get("tuning_place"))
    tuned = tuple(arm.name for arm in arms if arm.tuned)
    if place not in PLACES or not tuned:
        return ()
    reasons = (*_private(case, place), *_dated(case, place, today))
    return tuple(Stop(reason=reason, mend=mend, arms=tuned) for reason, mend in reasons)


def _private(case: Case, place: str) -> Iterator[tuple[str, str]]:
    if case.answers.get("data_may_leave") is False:
        yield f"the data may not leave your machines, and {place} would see them.", f"{INSTEAD}, or clear the data."


def _dated(case: Case, place: str, today: date) -> Iterator[tuple[str, str]]:
    routes = [route for route in routes_of(case, today) if route.provider == PLACES[place]]
    known = case.answers.get("tuned_there_before") is True
    open_to = tunable.open_on if known else tunable.open_to_new_customers
    usable = [route for route in routes if open_to(route, today)]
    months = case.money.horizon_months
    if not usable:
        who = "anybody" if known else "customers who have not tuned there before"
        yield f"{place} takes no new trainings from {who}.", f"{INSTEAD}; the list of routes says what is still open."
    elif all(tunable.retires_within(route, today, months) for route in usable):
        last = max(route.answers_until for route in usable if route.answers_until)
        yield (
            f"what can be tuned at {place} stops answering on {last}, before the {months} months that count are over.",
            f"{INSTEAD}, or count no more months than are left.",
        )
