"""What a tuned arm was trained on: the case's own locked split, each prompt as the arm writes it, passages included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_advisor import approaches
from finetune_advisor.approaches import Bench
from finetune_advisor.approaches.tuned import Ask, Training, pairs
from finetune_advisor.errors import BadInput, StoreProblem
from finetune_advisor.experiment.prepare import fix_task, locked_split, read_passages, read_pool
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records import Example, Message, Passage, Progress, Task, TrainingPair, no_progress
from finetune_advisor.store import FILE as STORE
from finetune_advisor.store import Lock, Store


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The pairs of both parts, and the task that they teach. No test example is among them.

    `passages` are those that the prompts were searched in; none for an arm that does not search.
    """

    task: Task
    train: tuple[TrainingPair, ...]
    validation: tuple[TrainingPair, ...]
    passages: tuple[Passage, ...]


def training_data(recipe: Recipe, progress: Progress = no_progress) -> TrainingData:
    """The pairs that the arm was trained on, or would be.

    Args:
        recipe: The arm.
        progress: Told about reading and searching.

    Raises:
        BadInput: The data cannot be read, or the approach is not one of ours.
        StoreProblem: The data or the split is not what the results were measured on.
        Missing: A library that the arm's search needs is not installed.
    """
    case = recipe.case
    pool = read_pool(case)
    task = fix_task(case, pool.given["train"])
    split = locked_split(pool, task, case, _locks(case.folder), relock=False)
    if recipe.measured and recipe.results and split.hash != recipe.results.provenance.split_hash:
        raise StoreProblem(
            "The results were measured on another split of the data.", hint=f"finetune-advisor run {case.folder}"
        )
    by_id = {example.id: example for example in pool.examples}
    train, validation = ([by_id[name] for name in names] for names in (split.train, split.validation))
    searched = read_passages(case)[1] if approaches.named(recipe.approach).needs_documents else ()
    bench = Bench(
        task=task,
        train=train,
        validation=validation,
        passages=searched,
        model=None,
        folder=case.folder,
        seed=case.data.seed,
        progress=progress,
    )
    approach = approaches.create(recipe.approach, **recipe.settings)
    if not isinstance(approach, Training):
        raise BadInput(f"There is no recipe for the approach {recipe.approach}.", hint="Train it where it is made.")
    ask = approach.asking(bench)
    return TrainingData(
        task=task, train=_pairs(train, ask), validation=_pairs(validation, ask), passages=tuple(searched)
    )


Row = dict[str, Any]


def turns(pair: TrainingPair) -> list[Row]:
    """The messages of the prompt, and the answer as the last one."""
    return [*(_turn(message) for message in pair.messages), {"role": "assistant", "content": pair.answer}]


def chat_lines(pairs: Sequence[TrainingPair]) -> str:
    """Pairs as JSONL in the chat format."""
    return lines({"messages": turns(pair)} for pair in pairs)


def lines(rows: Iterable[Row]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def passage_lines(passages: Sequence[Passage]) -> str:
    """Passages as JSONL: id, title and text."""
    return lines({"id": each.id, "title": each.title, "text": each.text} for each in passages)


def data_files(data: TrainingData, write: Callable[[Sequence[TrainingPair]], str] = chat_lines) -> dict[str, str]:
    """The data of a folder by path, the pairs as `write` writes them."""
    made = {"data/train.jsonl": write(data.train)}
    if data.validation:
        made["data/validation.jsonl"] = write(data.validation)
    if data.passages:
        made["data/passages.jsonl"] = passage_lines(data.passages)
    return made


def _turn(message: Message) -> Row:
    return {"role": message.role, "content": message.content, **message.extra}


def _locks(folder: Path) -> list[Lock]:
    if not (folder / STORE).exists():
        return []
    with Store(folder) as store:
        return store.locks()


def _pairs(examples: Sequence[Example], ask: Ask) -> tuple[TrainingPair, ...]:
    return tuple(pairs(examples, ask)) if examples else ()
