"""A form that adds a model to a case: where it runs, what it is called there, and what reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from finetune_advisor import case as cases
from finetune_advisor.case import Case
from finetune_advisor.errors import BadInput
from finetune_advisor.experiment.charges import rates_of
from finetune_advisor.experiment.money import price_table
from finetune_advisor.models import create
from finetune_advisor.models.embedded import EmbeddedModel
from finetune_advisor.pages.ask import change, show_refusal

ADD = "add-model"
PLACE = "new-model-place"
CONCURRENCY = 8
"""What the models themselves take where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class _Field:
    """A text that an option of a model takes; `needed` where there is no model without it."""

    option: str
    label: str
    example: str
    help: str = ""
    needed: bool = False


PLACES: Mapping[str, str] = {
    "embedded": "On this machine: the small model that comes along",
    "huggingface": "On this machine: a model from Hugging Face or a folder",
    "openai": "OpenAI",
    "azure": "Azure OpenAI",
    "compatible": "Another server with OpenAI's API, by its address",
}
FIELDS: Mapping[str, tuple[_Field, ...]] = {
    "embedded": (),
    "huggingface": (
        _Field(
            option="id",
            label="Hugging Face id or folder",
            example="Qwen/Qwen3-0.6B",
            help="It is fetched when it is first asked. A model with more than a few billion parameters needs a GPU.",
            needed=True,
        ),
    ),
    "openai": (_Field(option="id", label="Model", example="gpt-4.1-mini-2025-04-14", needed=True),),
    "azure": (
        _Field(
            option="id",
            label="Name of the deployment",
            example="my-mini",
            help="The name that your resource gives to the deployed model.",
            needed=True,
        ),
        _Field(
            option="base",
            label="The model that is deployed",
            example="gpt-4.1-mini-2025-04-14",
            help="Prices and tuning go by it. Empty where the deployment has the name of its model.",
        ),
        _Field(
            option="api_version",
            label="Version of the older API",
            example="Empty for today's v1 API",
            help="Such as 2024-10-21, where your resource does not have the v1 API yet.",
        ),
    ),
    "compatible": (
        _Field(option="id", label="Model", example="Qwen/Qwen3-8B", help="As the server lists it.", needed=True),
        _Field(
            option="base_url",
            label="Address",
            example="http://127.0.0.1:8000/v1",
            help="Up to /v1. vLLM, Ollama, llama.cpp, LM Studio, OpenRouter, Together, Fireworks and others have one.",
            needed=True,
        ),
        _Field(
            option="key_env",
            label="Environment variable with the key",
            example="Empty where the server takes none",
            help="Its name, which ends in _API_KEY or _TOKEN. The key itself belongs into the environment, never here.",
        ),
    ),
}


def add_model(case: Case) -> None:
    """The form, folded away."""
    with st.expander("Add a model", icon=":material/add:"):
        place = st.selectbox("Where it runs", list(PLACES), format_func=PLACES.__getitem__, key=PLACE)
        for field in FIELDS[place]:
            st.text_input(field.label, key=_key(field.option), placeholder=field.example, help=field.help or None)
        if place in ("openai", "azure", "compatible"):
            _how(place)
        st.text_input(
            "What to call it",
            key=_key("name"),
            placeholder="Empty for its own name",
            help="In tables and charts. Each model of a case has a name of its own.",
        )
        st.button("Add", key=ADD, type="primary", icon=":material/add:", on_click=_add, args=(case,))
    show_refusal(ADD)


def _key(option: str) -> str:
    return f"new-model-{option}"


def _how(place: str) -> None:
    """How a model at a provider is asked."""
    left, right = st.columns(2)
    left.segmented_control(
        "API",
        ("chat", "responses"),
        default="chat",
        required=True,
        key=_key("api"),
        help="Chat completions is what most servers have; responses is OpenAI's newer one.",
    )
    right.number_input(
        "Questions at the same time",
        value=CONCURRENCY,
        min_value=1,
        max_value=256,
        key=_key("concurrency"),
        help="More is faster, until the provider's limits slow it down again.",
    )
    if place == "azure":
        st.checkbox("Log in by Entra ID instead of a key", key=_key("entra"))
    if place == "openai":
        st.checkbox(
            "Use the Batch API",
            key=_key("batch"),
            help="Half the price, but answers may take up to a day.",
        )
    if place == "compatible":
        st.text_input(
            "Name of its price",
            key=_key("price"),
            placeholder="Empty where nobody charges by the token",
            help="As the price table or your own price file has it, such as together:Qwen/Qwen3.5-9B. Without one, the "
            "time of the machine of this case counts.",
        )


def _add(case: Case) -> None:
    place = str(st.session_state[PLACE])
    change(case, ADD, lambda fresh: _added(fresh, place), _sound)
    if f"{ADD}-refused" not in st.session_state:
        for option in ("name", "price", *(field.option for field in FIELDS[place])):
            st.session_state[_key(option)] = ""


def _added(case: Case, place: str) -> Mapping[str, object]:
    missing = next((field for field in FIELDS[place] if field.needed and not _text(field.option)), None)
    if missing:
        raise BadInput(f"{missing.label} is missing.", hint=f"For example: {missing.example}.")
    options = _options(place)
    name = _text("name") or options.get("id", EmbeddedModel.ID)
    if name in [model.name for model in case.models]:
        raise BadInput(f"The case has a model called {name} already.", hint="Give this one another name.")
    if name.isdecimal():
        raise BadInput(f"{name} is a number, not a name.", hint="Put a word before it.")
    price = {"price": _text("price")} if place == "compatible" and _text("price") else {}
    said = {"options": options} if options else {}
    return {cases.key("models", name): {"name": name, "provider": place, **said, **price}}


def _text(option: str) -> str:
    return str(st.session_state.get(_key(option)) or "").strip()


def _options(place: str) -> dict[str, Any]:
    """What was filled in and differs from what the model takes anyway."""
    options: dict[str, Any] = {field.option: _text(field.option) for field in FIELDS[place] if _text(field.option)}
    if place not in ("openai", "azure", "compatible"):
        return options
    if _text("api") == "responses":
        options["api"] = "responses"
    at_once = st.session_state.get(_key("concurrency"))
    if at_once and at_once != CONCURRENCY:
        options["concurrency"] = int(at_once)
    flag = {"azure": "entra", "openai": "batch"}.get(place, "")
    return {**options, flag: True} if flag and st.session_state.get(_key(flag)) else options


def _sound(case: Case) -> None:
    """Without the price of what is charged for, no run would begin."""
    added = case.models[-1]
    rates_of(create(added.provider, **{"name": added.name, **added.options}), added.price, price_table(case))
