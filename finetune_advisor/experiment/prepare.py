"""Everything before the first answer: load the data, lock the test split, audit, and fix the task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from finetune_advisor.approaches import Bench, free
from finetune_advisor.case import Case
from finetune_advisor.datasets import audit, documents, duplicates, load, split, tokens
from finetune_advisor.datasets.passages import passages as cut
from finetune_advisor.errors import BadInput, Missing, StoreProblem
from finetune_advisor.models import Model
from finetune_advisor.models.chat import with_tools
from finetune_advisor.records import Example, Finding, Message, Part, Passage, Progress, Task, TaskKind, no_progress
from finetune_advisor.store import Lock

PARTS: tuple[Part, ...] = ("train", "validation", "test")

MARKUP = 256
"""The most tokens that a chat template is taken to put around a message; the text itself has at most one a byte."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The examples as read: all of them under "train" where this program is to split them."""

    given: Mapping[Part, tuple[Example, ...]]
    findings: tuple[Finding, ...]
    data_hash: str

    @property
    def examples(self) -> tuple[Example, ...]:
        """All examples of all parts."""
        return tuple(example for examples in self.given.values() for example in examples)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A case ready to run, with its models by name.

    `test_groups` numbers the groups of near duplicates among the test examples.
    """

    task: Task
    parts: Mapping[Part, tuple[Example, ...]]
    passages: tuple[Passage, ...]
    documents: int
    findings: tuple[Finding, ...]
    split: split.Split
    test_groups: tuple[int, ...]
    data_hash: str
    seed: int
    models: Mapping[str, Model]

    def bench(
        self,
        model: Model | None,
        folder: Path,
        progress: Progress = no_progress,
        approve: Callable[[str, Decimal], None] = free,
    ) -> Bench:
        """What an approach may use of the case: all but the test examples."""
        return Bench(
            task=self.task,
            train=self.parts["train"],
            validation=self.parts["validation"],
            passages=self.passages,
            model=model,
            folder=folder,
            seed=self.seed,
            progress=progress,
            approve=approve,
        )

    @property
    def split_hash(self) -> str:
        """The locked split's hash."""
        return self.split.hash


def read_pool(case: Case) -> Pool:
    """Read the data files of a case.

    Raises:
        BadInput: A file is missing, unreadable, or holds no usable example.
    """
    data = case.data
    columns = load.Columns(prompt=data.prompt_column, completion=data.answer_column)
    names: dict[Part, str | None] = {"train": data.train, "validation": data.validation, "test": data.test}
    if data.examples is not None:
        names = {"train": data.examples}
    paths: dict[Part, Path] = {part: case.folder / name for part, name in names.items() if name is not None}
    loaded: dict[Part, load.Loaded] = {part: load.load(path, columns) for part, path in paths.items()}
    for part, found in loaded.items():
        if not found.examples:
            raise BadInput(f"{paths[part]} has no usable example.", hint=f"finetune-advisor check {case.folder}")
    settings = data.model_dump_json(exclude={"documents", "passage_words"})
    files_hash = load.data_hash(paths.values())
    return Pool(
        given={part: found.examples for part, found in loaded.items()},
        findings=tuple(finding for found in loaded.values() for finding in found.findings),
        data_hash=hashlib.sha256(f"{files_hash} {settings}".encode()).hexdigest(),
    )


def fix_task(case: Case, examples: Sequence[Example]) -> Task:
    """The task as stated, with labels and the answer length read off the training data where not stated."""
    section = case.task
    labels = section.labels
    if not labels and section.kind is TaskKind.CLASSIFICATION:
        labels = tuple(sorted({example.answer.strip() for example in examples}))
    options = dict(section.metric_options)
    if case.metric == "label":
        options.setdefault("labels", labels)
    return Task(
        kind=section.kind,
        metric=case.metric,
        instruction=section.instruction,
        labels=labels,
        max_answer_tokens=section.max_answer_tokens or longest_answer(examples),
        metric_options=options,
    )


def longest_answer(examples: Sequence[Example]) -> int:
    """Room for the longest training answer in any model's tokens: twice a common count, or one token a byte."""
    counter = tokens.encoding()
    bounds = (min(len(e.answer.encode()) + 4, 2 * counter.count(e.answer) + 16) for e in examples)
    return max(16, min(1024, max(bounds, default=0)))


def read_passages(case: Case) -> tuple[documents.LoadedDocuments | None, tuple[Passage, ...]]:
    """The documents of a case and the passages they are cut into; none where the case has no documents."""
    if case.data.documents is None:
        return None, ()
    loaded = documents.load_documents(case.folder / case.data.documents)
    return loaded, cut(loaded.documents, max_words=case.data.passage_words)


def locked_split(pool: Pool, task: Task, case: Case, locks: Sequence[Lock], *, relock: bool) -> split.Split:
    """The split that is locked for this data, or a new one.

    Raises:
        StoreProblem: The data is not what the locked split was made from.
    """
    if locks and not relock:
        newest = locks[-1]
        if newest.data_hash != pool.data_hash:
            raise StoreProblem(
                "The data or its split settings have changed since the test split was locked.",
                hint="Put them back, or run with --relock to lock a new test split; the report will say so.",
            )
        return TypeAdapter(split.Split).validate_json(newest.body)
    data = case.data
    if data.examples is None:
        given = pool.given
        return split.given(
            given["train"],
            given.get("validation"),
            given["test"],
            task,
            seed=data.seed,
            validation_share=data.validation_share,
            train_rows=data.train_rows,
            validation_rows=data.validation_rows,
            test_rows=data.test_rows,
        )
    return split.split(
        pool.examples,
        task,
        seed=data.seed,
        validation=data.validation_share,
        test=data.test_share,
        train_rows=data.train_rows,
        validation_rows=data.validation_rows,
        test_rows=data.test_rows,
    )


def prepare(case: Case, locks: Sequence[Lock], progress: Progress, *, relock: bool = False) -> Prepared:
    """Load, split and audit a case.

    Args:
        case: The case.
        locks: Splits that the store holds, oldest first.
        progress: Told which step is being done.
        relock: Make a new split though there is one.
    """
    progress("data", 0, 3)
    pool = read_pool(case)
    loaded, passages = read_passages(case)
    progress("data", 1, 3)
    task = fix_task(case, pool.given["train"])
    chosen = locked_split(pool, task, case, locks, relock=relock)
    parts = _parts(pool, chosen)
    progress("data", 2, 3)
    files = {document.id: document.file for document in loaded.documents} if loaded else {}
    known = (*pool.findings, *(loaded.findings if loaded else ()))
    made = {model.name: model.make() for model in case.models}
    window, count = _reader(made.values())
    found = audit.audit(parts, task, passages, files=files, known=known, context_window=window, count=count)
    findings = (*known, *found)
    progress("data", 3, 3)
    return Prepared(
        task=task,
        parts=parts,
        passages=passages,
        documents=len(loaded.documents) if loaded else 0,
        findings=findings,
        split=chosen,
        test_groups=tuple(duplicates.groups(duplicates.prompt_texts(parts["test"]))),
        data_hash=pool.data_hash,
        seed=case.data.seed,
        models=made,
    )


def _reader(made: Iterable[Model]) -> tuple[int | None, Callable[[Example], int] | None]:
    """The context of the model that can read least, and how it counts; nothing where a model is not at hand."""
    try:
        least = min(made, key=lambda model: model.context_window, default=None)
    except Missing:
        return None, None
    return (least.context_window, partial(_length, least)) if least else (None, None)


def _length(model: Model, example: Example) -> int:
    """Tokens of a whole example; where it is short in any vocabulary an upper bound, for which nothing is loaded."""
    messages = (*with_tools(example.messages, example.tools), Message(role="assistant", content=example.answer))
    most = sum(len(message.content.encode("utf-8", "replace")) + MARKUP for message in messages)
    plain = not any(message.extra for message in messages)
    return most if plain and most * 2 <= model.context_window else model.count_tokens(messages)


def _parts(pool: Pool, chosen: split.Split) -> dict[Part, tuple[Example, ...]]:
    by_id = {example.id: example for example in pool.examples}
    return {part: tuple(by_id[i] for i in getattr(chosen, part)) for part in PARTS}
