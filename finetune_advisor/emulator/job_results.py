"""The results file of a fine-tuning job: what was measured, step by step."""

from __future__ import annotations

import csv as tables
import io
from collections.abc import Mapping

COLUMNS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
"""OpenAI's. The accuracies stay empty: nobody measures them here."""


def csv(metrics: Mapping[int, Mapping[str, float]]) -> bytes:
    """The file.

    Args:
        metrics: Measurements by step.
    """
    text = io.StringIO()
    table = tables.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([step, *(metrics[step].get(name, "") for name in COLUMNS[1:])] for step in sorted(metrics))
    return text.getvalue().encode()
