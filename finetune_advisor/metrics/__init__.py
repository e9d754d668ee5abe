"""Scorers by name. Plug-in point: entry-point group ``finetune_advisor.metrics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

from finetune_advisor import plugins
from finetune_advisor.records import Example, Score

GROUP = "metrics"
TABLE = {
    "label": "finetune_advisor.metrics.labels:Label",
    "exact": "finetune_advisor.metrics.text:ExactMatch",
    "token_f1": "finetune_advisor.metrics.text:TokenF1",
    "rouge_l": "finetune_advisor.metrics.text:RougeL",
    "chrf": "finetune_advisor.metrics.text:ChrF",
    "numeric": "finetune_advisor.metrics.numeric:Numeric",
    "json_fields": "finetune_advisor.metrics.structured:JsonFields",
    "sql": "finetune_advisor.metrics.sql:SqlExecution",
}


class Metric(Protocol):
    """Judges answers, one at a time.

    `binary` says that every value is 0 or 1, which decides the statistics that apply.
    """

    higher_is_better: ClassVar[bool]
    binary: ClassVar[bool]
    title: ClassVar[str]

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; never raises, whatever the text."""
        ...

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Further figures over a whole set, such as macro-F1; empty where there are none."""
        ...


def create(name: str, **options: Any) -> Metric:
    """The scorer of that name.

    Raises:
        BadInput: Unknown name or option.
    """
    return cast(Metric, plugins.create(GROUP, TABLE, name, options))
