"""Which models can be tuned, where, until when, and what that means for the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.costs import tunable
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.stops import routes_of
from finetune_advisor.pages.draw import download_csv
from finetune_advisor.pages.shell import refuse
from finetune_advisor.records import Route
from finetune_advisor.report.formats import day
from finetune_advisor.report.markdown import escape, paragraph

OWN = "own machine"
"""The provider of what is tuned where the data already is."""

NAMES: Mapping[str, str] = {
    "openai": "OpenAI",
    "azure": "Azure OpenAI",
    "google": "Google",
    "bedrock": "Amazon Bedrock",
    "cohere": "Cohere",
    "mistral": "Mistral",
    OWN: "Your own or a rented machine",
    "together": "Together",
    "fireworks": "Fireworks",
    "autotrain": "AutoTrain",
}
METHODS: Mapping[str, str] = {
    "sft": "supervised examples",
    "dpo": "pairs of better and worse answers",
    "rft": "a grader's scores",
    "lora": "LoRA, a small adapter",
    "qlora": "QLoRA, an adapter on a 4-bit model",
    "full": "every parameter",
}
"""What each method learns from or trains."""

COLOURS = {"open": "green", "open to some": "orange", "CLOSED": "gray"}
STATES = tuple(COLOURS)


def tunability(case: Case) -> None:
    """The table of today, filtered."""
    today = datetime.now(UTC).date()
    st.subheader("Which models can be tuned, where, until when?", anchor=False)
    st.caption(f"As known on {day(today)}. An end that nobody announced may still come.")
    try:
        routes, own = tunable.routes(on=today), routes_of(case, today)
    except AdvisorError as error:
        refuse(error)
        return
    found = sorted(_chosen(routes, today), key=lambda route: (route not in own, STATES.index(status(route, today))))
    st.caption(
        f"{len(found)} of {len(routes)} models and places. Those that concern the models and the answers of this case "
        "come first, marked with a star."
    )
    if not found:
        st.info("Nothing fits this choice.", icon=":material/info:")
        return
    for group in _grouped(found):
        _show(case, group, today, starred=any(route in own for route in group))
    rows = [_row(case, route, today) for route in found]
    download_csv(rows, "tunable", "All of these as a table, CSV")


def _grouped(routes: Iterable[Route]) -> Iterable[list[Route]]:
    """Routes that differ by nothing but the model, in the order of the first of each."""
    groups: dict[Route, list[Route]] = {}
    for route in routes:
        groups.setdefault(replace(route, base=""), []).append(route)
    return groups.values()


def _chosen(routes: Sequence[Route], today: date) -> list[Route]:
    places = st.multiselect(
        "Where",
        sorted({route.provider for route in routes}),
        format_func=provider,
        placeholder="Anywhere",
        key="places",
        bind="query-params",
    )
    methods = st.pills(
        "Method",
        [name for name in METHODS if any(name in route.methods for route in routes)],
        selection_mode="multi",
        format_func=lambda name: METHODS[name],
        key="methods",
        bind="query-params",
    )
    still = st.toggle("Only what takes new trainings today", key="still-open", bind="query-params")
    return [
        route
        for route in routes
        if (not places or route.provider in places)
        and (not methods or set(methods) & set(route.methods))
        and (not still or tunable.open_on(route, today))
    ]


def provider(name: str) -> str:
    """What a provider is called; one of the user's own table goes by its name there."""
    return NAMES.get(name, name)


def _show(case: Case, group: Sequence[Route], today: date, *, starred: bool) -> None:
    """Models about which the same is known: names, place and dates in one line, the rest folded away."""
    route, state = group[0], status(group[0], today)
    star, models = "★ " if starred else "", escape(", ".join(map(_base, group)))
    ends = escape("; ".join(_ends(route, today)))
    if state != "CLOSED" and tunable.retires_within(route, today, case.money.horizon_months):
        ends += f" :red-badge[ends within {case.money.horizon_months} months]"
    with st.expander(
        f":{COLOURS[state]}-badge[{state}] {star}**{models}**, {escape(provider(route.provider))}. {ends}"
    ):
        st.markdown("\n".join(f"- {paragraph(text)}" for text in meaning(case, route, today)))
        st.markdown(paragraph(route.note))
        st.caption(
            escape(f"Method: {_methods(route)}. Source: {route.source}, checked {route.checked or 'on no day'}.")
        )


def _ends(route: Route, today: date) -> Iterable[str]:
    if route.new_jobs_until:
        over = route.new_jobs_until < today
        yield f"New trainings {'ended on' if over else 'until'} {day(route.new_jobs_until)}"
    if route.answers_until:
        over = route.answers_until < today
        yield f"tuned models {'stopped answering on' if over else 'answer until'} {day(route.answers_until)}"


def _methods(route: Route) -> str:
    return ", ".join(METHODS.get(method, method) for method in route.methods) or "none"


def _row(case: Case, route: Route, today: date) -> Mapping[str, str]:
    return {
        "model": _base(route),
        "where": provider(route.provider),
        "today": status(route, today),
        "new trainings until": str(route.new_jobs_until or ""),
        "tuned model answers until": str(route.answers_until or ""),
        "what it means here": " ".join(meaning(case, route, today)),
        "for whom": route.who,
        "method": _methods(route),
        "note": route.note,
        "source": route.source,
        "checked": route.checked,
    }


def _base(route: Route) -> str:
    place, colon, model = route.base.partition(":")
    if route.base == tunable.OPEN:
        return "any model with open weights"
    return ("every model" if model == "*" else model) if colon else place


def status(route: Route, today: date) -> str:
    """Whether a training can be started today: one of `STATES`."""
    if not tunable.open_on(route, today) or route.who == "nobody":
        return "CLOSED"
    return "open" if tunable.open_to_new_customers(route, today) else "open to some"


def meaning(case: Case, route: Route, today: date) -> Iterable[str]:
    """What a route means for this case, in short sentences, the strongest first."""
    months = case.money.horizon_months
    if status(route, today) == "CLOSED":
        yield "No new training is taken."
    elif route.who != tunable.ANYONE:
        yield _circle(case, route)
    if route.provider != OWN and case.answers.get("data_may_leave") is False:
        yield "Your data may not leave your machines, as you answered."
    left = tunable.pays_until(route, today)
    if left is None and route.methods:
        yield "No end is announced."
    elif left == 0:
        yield "A tuned model does not answer any more."
    elif tunable.retires_within(route, today, months):
        yield f"It ends within your {months} months: the tuned model has to be made again elsewhere."
    if tunable.stale(route, today):
        yield "Checked long ago: look it up again."


def _circle(case: Case, route: Route) -> str:
    before = case.answers.get("tuned_there_before")
    if before is True:
        return f"Open to: {route.who}. You answered that you have tuned at a provider lately; check that it was there."
    return f"Only for: {route.who}." + (" You answered that you have not tuned there." if before is False else "")
