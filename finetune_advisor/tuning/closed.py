"""A provider that starts no more trainings for this organisation, and where else one can be started."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from finetune_advisor.costs.tunable import OPEN, open_on, routes
from finetune_advisor.errors import AdvisorError
from finetune_advisor.records import Route
from finetune_advisor.tuning.chat_files import base_of

_NAMES = {"openai": "OpenAI", "azure": "Azure"}
_MOST_SHOWN = 6


class TrainingClosed(AdvisorError):
    """The provider lets this organisation start no more trainings: a fact for the verdict rather than a fault.

    Args:
        message: Who may still tune there.
        hint: Where else one can tune.
        routes: The same as data: the ways that are open on the day.
    """

    def __init__(self, message: str, *, hint: str = "", routes: tuple[Route, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.routes = routes


def closed(provider: str, model: str, on: date | None = None) -> TrainingClosed:
    """What to say when that provider refuses to start a training, from the dated facts in `costs.tunable`.

    Args:
        provider: "openai" or "azure".
        model: What was to be tuned.
        on: The day; today where None.
    """
    day = on or datetime.now(UTC).date()
    others = alternatives(provider, model, day)
    shown = "; ".join(dict.fromkeys(map(_way, others[:_MOST_SHOWN])))
    return TrainingClosed(
        f"{_NAMES.get(provider, provider)} starts no more trainings for this organisation{_who(provider, model, day)}",
        hint=f"Other ways to tune that are open on {day}: {shown}. Or see how far prompts and retrieval get.",
        routes=others,
    )


def alternatives(provider: str, model: str, on: date) -> tuple[Route, ...]:
    """Where else somebody may start a training on that day: the same base first, then open models, then others."""
    base = base_of(model)
    ways = [route for route in routes(on=on) if open_on(route, on) and route.provider != provider]
    first = {provider: {base, f"azure:{base}", f"openai:{base}"} for provider in ("openai", "azure")}
    ranked = sorted(ways, key=lambda route: _rank(route, first.get(provider, set())))
    return tuple(_one_each(ranked))


def _rank(route: Route, same: set[str]) -> int:
    return 0 if route.base in same else 1 if route.base == OPEN else 2


def _one_each(ways: Iterable[Route]) -> Iterable[Route]:
    """The first route of each provider."""
    seen: set[str] = set()
    for route in ways:
        if route.provider not in seen:
            seen.add(route.provider)
            yield route


def _who(provider: str, model: str, day: date) -> str:
    ways = [route for route in routes(_named(provider, model), on=day) if route.provider == provider]
    known = next((route for route in ways if route.methods), None)
    if known is None:
        return "."
    if not open_on(known, day):
        return f": it has been closed to everybody since {known.new_jobs_until}."
    until = f" until {known.new_jobs_until}" if known.new_jobs_until else ""
    return f": only {known.who} may still start one{until}."


def _way(route: Route) -> str:
    name = "any open model" if route.base == OPEN else route.base.removeprefix(f"{route.provider}:")
    until = f" until {route.new_jobs_until}" if route.new_jobs_until else ""
    return f"{_NAMES.get(route.provider, route.provider)} ({name}, {route.who}{until})"


def _named(provider: str, model: str) -> str:
    return f"azure:{base_of(model)}" if provider == "azure" else base_of(model)
