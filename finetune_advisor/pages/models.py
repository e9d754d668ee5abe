"""The models of a case: what each is, where it runs, what it costs; one question to try it; add and remove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import streamlit as st

from finetune_advisor import case as cases
from finetune_advisor.case import Case, ModelSection, trust
from finetune_advisor.costs import tunable
from finetune_advisor.costs.pricing import Rates
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.charges import most_usd, price_name, rates_of, usd_of
from finetune_advisor.experiment.money import price_table
from finetune_advisor.models import Model, create, is_remote
from finetune_advisor.pages.ask import change, show_refusal
from finetune_advisor.pages.background import AT_ONCE_SECONDS, LOOK_AGAIN_SECONDS, start
from finetune_advisor.pages.keys import keys
from finetune_advisor.pages.model_form import add_model
from finetune_advisor.pages.shell import refuse
from finetune_advisor.pages.tunability import STATES, status
from finetune_advisor.records import Failure, Message, Reply, Request
from finetune_advisor.report.formats import count, seconds, usd
from finetune_advisor.report.markdown import escape

QUESTION = "Say hello in one short sentence."
MOST_TOKENS = 200
"""Room for the answer, and for what a reasoning model thinks before it."""

PLACES: Mapping[str, str] = {
    "embedded": "comes along with this program, on this machine",
    "huggingface": "Hugging Face, on this machine",
    "openai": "OpenAI",
    "azure": "Azure OpenAI",
    "compatible": "another server with OpenAI's API",
    "fake": "pretended, for trying this program out",
}
TUNABLE: Mapping[str, str] = {
    "open": ":green-badge[can be tuned]",
    "open to some": ":orange-badge[can be tuned by some customers]",
    "CLOSED": ":gray-badge[cannot be tuned]",
}


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What a model made of the question; `usd` is None where it does not charge by the token."""

    outcome: Reply | Failure
    usd: Decimal | None
    simulated: bool


def models(case: Case, may_ask: bool) -> None:
    """The section of the models.

    Args:
        case: The case.
        may_ask: Whether they may be asked.
    """
    st.subheader("Models", anchor=False)
    st.markdown(
        "The language models to compare. Every alternative below that needs one is tried on each of them. For a model "
        "at a provider you pay by the token, a token being a piece of a word; one on this machine costs its time."
    )
    for place, section in enumerate(case.models):
        with st.container(border=True):
            _model(case, section, place, may_ask)
    keys(case)
    _put_back(case)
    add_model(case)


def _model(case: Case, section: ModelSection, place: int, may_ask: bool) -> None:
    model = _made(section, section.options)
    st.markdown(f"**{escape(section.name)}** {_tunable(model)}")
    st.caption(escape(" · ".join(_about(section, model))))
    rates: Rates | AdvisorError | None = None
    try:
        rates = rates_of(_at_once(section), section.price, price_table(case))
    except AdvisorError as error:
        rates = error
        st.warning(f"{escape(error.message)} {escape(error.hint)}", icon=":material/payments:")
    with st.container(horizontal=True):
        _ask_button(case, section, place, disabled=not may_ask or isinstance(rates, AdvisorError))
        _remove_button(case, section, place)
    show_refusal(f"model-{place}")
    if not isinstance(rates, AdvisorError):
        st.caption(_price_of_asking(rates))
    _answer(case, section, place)


def _made(section: ModelSection, options: Mapping[str, Any]) -> Model:
    return create(section.provider, **{"name": section.name, **options})


def _at_once(section: ModelSection) -> Model:
    """The model without the Batch API, by which an answer may take a day."""
    return _made(section, {name: value for name, value in section.options.items() if name != "batch"})


def _about(section: ModelSection, model: Model) -> Iterator[str]:
    yield PLACES.get(section.provider, section.provider)
    stated = {name: str(section.options[name]) for name in ("id", "base") if name in section.options}
    if "id" in stated:
        yield f"{'deployment' if section.provider == 'azure' else 'id'} {stated['id']}"
    if "base" in stated:
        yield f"which is {stated['base']}"
    if is_remote(model) and section.provider == "compatible":
        yield f"at {', '.join(model.addresses)}"
    if section.options.get("api") == "responses":
        yield "responses API"
    if section.options.get("batch"):
        yield "Batch API"
    price = _price(section, model)
    yield f"price {price}" if price else "costs the time of the machine"


def _price(section: ModelSection, model: Model) -> str:
    return section.price or (price_name(model.describe()) if is_remote(model) else "")


def _tunable(model: Model) -> str:
    """A badge; of providers' models by the dated table of who takes new trainings."""
    if not model.tunable:
        return TUNABLE["CLOSED"]
    name = price_name(model.describe()) if is_remote(model) else ""
    if not name:
        return TUNABLE["open"]
    today = datetime.now(UTC).date()
    found = [status(route, today) for route in tunable.routes(name, on=today)]
    return TUNABLE[min(found, key=STATES.index)] if found else ":gray-badge[not known whether it can be tuned]"


def _price_of_asking(rates: Rates | None) -> str:
    if rates is None:
        return "Asking it once sends one short question. Nobody charges for it by the token."
    most = most_usd([_request()], rates)
    return f"Asking it once sends one short question and costs {escape(usd(most))} at most."


def _request() -> Request:
    return Request(example_id="hello", messages=(Message(role="user", content=QUESTION),), max_tokens=MOST_TOKENS)


def _ask_button(case: Case, section: ModelSection, place: int, *, disabled: bool) -> None:
    if st.button("Ask it once", key=f"hello-{place}", icon=":material/waving_hand:", disabled=disabled):
        st.session_state[_asked(case, section)] = start(lambda: _ask(case, section))


def _asked(case: Case, section: ModelSection) -> str:
    """Where the session keeps the answer of a model, as it is stated now."""
    return f"hello {case.folder} {section.model_dump_json()}"


def _ask(case: Case, section: ModelSection) -> _Said:
    trust.check(case)
    model = _at_once(section)
    rates = rates_of(model, section.price, price_table(case))
    outcome = model.answer(model.batches([_request()])[0])[0]
    charged = None if rates is None else usd_of([outcome], rates)
    return _Said(outcome=outcome, usd=charged, simulated=model.simulated)


def _answer(case: Case, section: ModelSection, place: int) -> None:
    future: Future[_Said] | None = st.session_state.get(_asked(case, section))
    if future is None:
        return
    wait([future], AT_ONCE_SECONDS)
    if not future.done():
        st.fragment(_waiting, run_every=LOOK_AGAIN_SECONDS)(future)
        return
    try:
        _show(future.result())
    except AdvisorError as error:
        refuse(error)


def _waiting(future: Future[_Said]) -> None:
    if future.done():
        st.rerun()
    st.caption(":material/hourglass_top: Asked; waiting for the answer. A model on this machine is loaded first.")


def _show(said: _Said) -> None:
    mark = " (simulated)" if said.simulated else ""
    st.caption(f"Asked: {QUESTION} Answered{mark}:")
    if isinstance(said.outcome, Failure):
        st.text(said.outcome.message, width="stretch")
        return
    st.text(said.outcome.text or "(an empty answer)", width="stretch")
    used = said.outcome.usage
    tokens = f"{count(used.prompt_tokens)} tokens in, {count(used.completion_tokens)} out"
    price = "nothing charged by the token" if said.usd is None else f"cost {usd(said.usd)}"
    st.caption(escape(f"{seconds(used.seconds)} · {tokens} · {price}"))


def _remove_button(case: Case, section: ModelSection, place: int) -> None:
    st.button(
        "Remove",
        key=f"remove-{place}",
        icon=":material/delete:",
        type="tertiary",
        disabled=len(case.models) == 1,
        help="The only model of a case stays." if len(case.models) == 1 else "What it answered before stays stored.",
        on_click=_remove,
        args=(case, section, place),
    )


def _remove(case: Case, section: ModelSection, place: int) -> None:
    change(case, f"model-{place}", lambda fresh: _removed(case, fresh, section))


def _removed(case: Case, fresh: Case, section: ModelSection) -> Mapping[str, object]:
    if section not in fresh.models or len(fresh.models) == 1:
        return {}
    st.session_state[_kept(case)] = section.model_dump(exclude_defaults=True)
    return {cases.key("models", section.name): None}


def _kept(case: Case) -> str:
    return f"removed-model-{case.folder}"


def _put_back(case: Case) -> None:
    """What was removed last can be put back with all its options."""
    kept: dict[str, Any] | None = st.session_state.get(_kept(case))
    if kept and kept["name"] not in [model.name for model in case.models]:
        st.button(
            f"Put {escape(kept['name'])} back",
            key="put-back",
            icon=":material/undo:",
            on_click=_restore,
            args=(case, kept),
        )
    show_refusal("put-back")


def _restore(case: Case, kept: Mapping[str, Any]) -> None:
    change(case, "put-back", lambda _: {cases.key("models", kept["name"]): kept})
