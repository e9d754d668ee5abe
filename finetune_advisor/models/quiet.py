"""Silence for libraries that write to the terminal: progress bars, advice, warnings, telemetry."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from finetune_advisor.errors import require

LOGGERS = ("transformers", "trl", "peft", "accelerate", "datasets", "huggingface_hub", "torch")


@contextmanager
def quiet() -> Generator[None]:
    """No output from the model libraries, and no calls home, while this lasts."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _silence()
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def _silence() -> None:
    logs = require("transformers", extra="local").utils.logging
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    require("huggingface_hub.utils", extra="local").disable_progress_bars()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
