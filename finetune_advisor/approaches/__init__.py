"""Approaches by name: the ways to get better answers.

Plug-in point: entry-point group ``finetune_advisor.approaches``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from finetune_advisor import plugins
from finetune_advisor.models import Model
from finetune_advisor.records import Example, Passage, Progress, Request, Task, TrainingRun

GROUP = "approaches"
TABLE = {
    "zero_shot": "finetune_advisor.approaches.prompting:ZeroShot",
    "few_shot": "finetune_advisor.approaches.prompting:FewShot",
    "nearest_shot": "finetune_advisor.approaches.prompting:NearestShot",
    "rag": "finetune_advisor.approaches.rag:Rag",
    "tuned": "finetune_advisor.approaches.tuned:Tuned",
    "tuned_rag": "finetune_advisor.approaches.tuned:TunedRag",
    "classical": "finetune_advisor.approaches.classical:Classical",
}


def free(what: str, usd: Decimal) -> None:
    """An `Bench.approve` that allows everything and pays nothing."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What an approach may use. There is no test example in it, by construction.

    `approve` is told what a training at a provider is expected to cost before it is started, and may refuse.
    """

    task: Task
    train: Sequence[Example]
    validation: Sequence[Example]
    passages: Sequence[Passage]
    model: Model | None
    folder: Path
    seed: int
    progress: Progress
    approve: Callable[[str, Decimal], None] = free


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """An approach ready to answer: the model to ask, and how examples become prompts.

    `ask` takes several examples at once, so that retrieval is done in one go; it reads the examples'
    questions, never their answers.
    """

    model: Model
    ask: Callable[[Sequence[Example]], list[Request]]
    training: TrainingRun | None = None


class Approach(Protocol):
    """A way to get answers, made from a frozen options dataclass.

    `grid` holds, by option name, the settings to compare on validation data where the case names none.
    `tuned` says that it trains weights, `needs_documents` that it searches the corpus, `needs_model` that it
    asks a language model, `kinds` the task kinds that it can do (empty: all).
    """

    title: ClassVar[str]
    tuned: ClassVar[bool]
    needs_documents: ClassVar[bool]
    needs_model: ClassVar[bool]
    kinds: ClassVar[frozenset[str]]
    grid: ClassVar[Mapping[str, Sequence[Any]]]

    def fit(self, bench: Bench) -> Fitted:
        """Choose examples, build indexes, train: everything before the first answer."""
        ...


def create(name: str, **options: Any) -> Approach:
    """The approach of that name.

    Raises:
        BadInput: Unknown name or option.
    """
    return cast(Approach, plugins.create(GROUP, TABLE, name, options))


def named(name: str) -> type[Approach]:
    """The class of that name, to read what it needs before one is made.

    Raises:
        BadInput: Unknown name.
    """
    return cast(type[Approach], plugins.load(GROUP, TABLE, name))
