"""Keys of others' services: taken from the environment or from Streamlit's secrets, and never shown."""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from finetune_advisor.case import Case

KEYS = {"huggingface": "HF_TOKEN"}
"""The environment variable that each provider of models reads."""


def keys(case: Case) -> None:
    """Whether the keys that the models of the case may need are set; a run inherits them by environment."""
    for provider in dict.fromkeys(model.provider for model in case.models):
        if provider in KEYS:
            state = "set" if _given(KEYS[provider]) else "not set"
            st.caption(f":material/key: {KEYS[provider]}: {state}", help="Needed for models that ask for a login.")


def _given(name: str) -> bool:
    if name not in os.environ:
        try:
            secret = st.secrets.get(name)
        except StreamlitSecretNotFoundError:
            secret = None
        if secret:
            os.environ[name] = str(secret)
    return bool(os.environ.get(name))
