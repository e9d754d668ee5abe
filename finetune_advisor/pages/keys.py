"""Keys of others' services: taken from the environment or from Streamlit's secrets, and never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from finetune_advisor import models
from finetune_advisor.case import Case, ModelSection
from finetune_advisor.errors import AdvisorError
from finetune_advisor.report.markdown import escape

HELP = "Set it in the environment before you start the app, or in Streamlit's secrets. It is never shown or stored."
NEEDED = {
    "huggingface": ("HF_TOKEN", "Needed only for models that ask for a login."),
    "azure": ("AZURE_OPENAI_ENDPOINT", "The address of your resource, such as https://NAME.openai.azure.com."),
}
"""The environment variables that some providers' models read beside their key, and what for."""


def keys(case: Case) -> None:
    """Whether the keys that the models of the case may need are set; a run inherits them by environment."""
    named = dict(each for model in case.models for each in _named(model))
    for name, why in named.items():
        state = "set" if _given(name) else "not set"
        st.caption(f":material/key: {escape(name)}: {state}", help=f"{why} {HELP}".strip())


def _named(section: ModelSection) -> Iterator[tuple[str, str]]:
    if section.provider in NEEDED:
        yield NEEDED[section.provider]
    try:
        model = section.make()
    except AdvisorError:
        return
    if models.is_remote(model) and model.secret:
        yield model.secret, "The key of this provider or server."


def _given(name: str) -> bool:
    if name not in os.environ:
        try:
            secret = st.secrets.get(name)
        except StreamlitSecretNotFoundError:
            secret = None
        if secret:
            os.environ[name] = str(secret)
    return bool(os.environ.get(name))
