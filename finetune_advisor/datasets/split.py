"""The locked split: stratified by label, grouped so that near duplicates stay together, the same for any row order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune_advisor.datasets import duplicates
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Example, Part, Task, TaskKind

PARTS: tuple[Part, ...] = ("train", "validation", "test")
FEWEST_EXAMPLES = 10

_Group = tuple[Example, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Example ids by part, each in ascending order; `hash` changes with the seed and with any id's part.

    `groups` counts the groups of near duplicates among all the examples; `label_counts` has, for a
    classification, the number of examples by part and label.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    groups: int
    seed: int
    hash: str
    label_counts: Mapping[str, Mapping[str, int]]


def split(
    examples: Sequence[Example],
    task: Task,
    *,
    seed: int,
    validation: float = 0.15,
    test: float = 0.3,
    test_rows: int | None = None,
    train_rows: int | None = None,
    validation_rows: int | None = None,
) -> Split:
    """Divide examples into train, validation and test.

    Near duplicates stay in one part. For a classification every label with three or more groups appears in each
    part, and a label with a single one only in train. Rows with the same id count once.

    Args:
        examples: All examples, in any order.
        task: Whether to stratify by answer.
        seed: Another seed gives another split.
        validation: Share of the examples for choices.
        test: Share of the examples for the final test.
        test_rows: So many test examples instead of a share; about, as groups are kept whole.
        train_rows: At most so many training examples, stratified; the others are left out of the split.
        validation_rows: At most so many validation examples, in the same way.

    Raises:
        BadInput: Too few examples, only one class, shares that leave nothing, or nothing for the test.
    """
    rows = _distinct(examples)
    _check_rows(rows, task)
    share = min(test_rows, len(rows)) / len(rows) if test_rows is not None else test
    if share <= 0:
        raise BadInput("The test part would be empty.", hint="Choose a test share or a number of test rows above 0.")
    _check_train_share(1 - share - validation, validation)
    groups = _groups(rows)
    divided = _assign(groups, task, {"train": 1 - validation - share, "validation": validation, "test": share}, seed)
    if not divided["test"]:
        raise BadInput(
            "The test part is empty: the examples are too much alike to hold some of them back.",
            hint="Near duplicates stay in one part; add examples that differ, or give a test file of its own.",
        )
    at_most = {"train": train_rows, "validation": validation_rows}
    return _made(_thinned_parts(divided, at_most, task, seed), task, len(groups), seed)


def given(
    train: Sequence[Example],
    validation: Sequence[Example] | None,
    test: Sequence[Example],
    task: Task,
    *,
    seed: int,
    validation_share: float = 0.15,
    train_rows: int | None = None,
    validation_rows: int | None = None,
    test_rows: int | None = None,
) -> Split:
    """The split that separate files make.

    The test examples are taken as they are. A row that stands in several files counts for the test first, then for
    validation. Where there is no validation file, groups of near duplicates are taken out of the training examples.

    Args:
        train: Training examples.
        validation: Validation examples, or None.
        test: Test examples.
        task: Whether to stratify by answer.
        seed: Decides what is carved out and what is left out.
        validation_share: Share of the training examples that becomes validation where there is none.
        train_rows: At most so many training examples, stratified.
        validation_rows: At most so many validation examples, stratified.
        test_rows: At most so many test examples, stratified.

    Raises:
        BadInput: An empty file, too few examples, or only one class.
    """
    tested = _distinct(test)
    chosen = _without(_distinct(validation or ()), tested)
    rest = _without(_distinct(train), [*tested, *chosen])
    _check_given(rest, tested)
    _check_train_share(1 - validation_share, validation_share)
    _check_rows([*rest, *chosen, *tested], task)
    if not chosen:
        shares: dict[Part, float] = {"train": 1 - validation_share, "validation": validation_share}
        carved = _assign(_groups(rest), task, shares, seed)
        rest, chosen = carved["train"], carved["validation"]
    groups = len(_groups(_distinct([*rest, *chosen, *tested])))
    divided: dict[Part, list[Example]] = {"train": rest, "validation": chosen, "test": tested}
    at_most = {"train": train_rows, "validation": validation_rows, "test": test_rows}
    return _made(_thinned_parts(divided, at_most, task, seed), task, groups, seed)


def _check_given(train: Sequence[Example], test: Sequence[Example]) -> None:
    if not test:
        raise BadInput("The test part is empty.", hint="Give a test file with rows, or none: then some are held back.")
    if not train:
        raise BadInput(
            "No training examples are left.",
            hint="Rows that are in the test or validation file too are not trained on.",
        )


def _check_train_share(train: float, validation: float) -> None:
    if not (0 < train <= 1 and 0 <= validation < 1):
        raise BadInput(
            f"Shares of {validation:.0%} for validation and {train:.0%} for training make no split.",
            hint="Shares lie between 0 and 1, and something has to be left for training.",
        )


def _check_rows(rows: Sequence[Example], task: Task) -> None:
    if len(rows) < FEWEST_EXAMPLES:
        raise BadInput(
            f"There are {len(rows)} different examples; at least {FEWEST_EXAMPLES} are needed to hold some back.",
            hint="Label more examples; a few hundred make a useful comparison.",
        )
    if task.kind is TaskKind.CLASSIFICATION and len({_label(row) for row in rows}) == 1:
        raise BadInput(
            f"Every example has the label {_label(rows[0])!r}, so there is nothing to tell apart.",
            hint="Add examples of the other labels, or choose another kind of task.",
        )


def _distinct(examples: Sequence[Example]) -> list[Example]:
    return sorted({example.id: example for example in reversed(examples)}.values(), key=lambda row: row.id)


def _without(examples: Sequence[Example], taken: Sequence[Example]) -> list[Example]:
    ids = {row.id for row in taken}
    return [row for row in examples if row.id not in ids]


def _label(example: Example) -> str:
    return example.answer.strip()


def _groups(rows: Sequence[Example]) -> list[_Group]:
    members: defaultdict[int, list[Example]] = defaultdict(list)
    for row, number in zip(rows, duplicates.groups(duplicates.prompt_texts(rows)), strict=True):
        members[number].append(row)
    return [tuple(group) for group in members.values()]


def _strata(groups: Sequence[_Group], task: Task) -> list[list[_Group]]:
    """Groups by their commonest label, in the order of the labels; one stratum where answers are free text."""
    if task.kind is not TaskKind.CLASSIFICATION:
        return [list(groups)]
    strata: defaultdict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        counts = Counter(_label(row) for row in group)
        strata[min(counts, key=lambda label: (-counts[label], label))].append(group)
    return [strata[label] for label in sorted(strata)]


def _rank(seed: int, row: Example) -> str:
    """A place in a shuffle that depends on the seed and the row only."""
    return hashlib.sha256(f"{seed}:{row.id}".encode()).hexdigest()


def _assign(groups: Sequence[_Group], task: Task, shares: Mapping[Part, float], seed: int) -> dict[Part, list[Example]]:
    """Give each stratum's groups to the parts, so that every part comes near its share of the rows."""
    divided: dict[Part, list[Example]] = {part: [] for part in PARTS}
    owed: dict[Part, float] = {part: 0.0 for part, share in shares.items() if share > 0}
    for stratum in _strata(groups, task):
        rows = sum(map(len, stratum))
        # What a stratum's rounding leaves over goes to the next one, but no more than one row: strata stay alike.
        owed = {part: max(-1.0, min(1.0, left)) + shares[part] * rows for part, left in owed.items()}
        stratum.sort(key=lambda group: (-len(group), min(_rank(seed, row) for row in group)))
        _assign_stratum(stratum, owed, divided)
    return divided


def _assign_stratum(stratum: Sequence[_Group], owed: dict[Part, float], divided: Mapping[Part, list[Example]]) -> None:
    """Give each group to the part that is owed most; train comes first, and no part stays empty that need not."""
    empty: list[Part] = list(owed)
    for position, group in enumerate(stratum):
        scarce = len(stratum) - position <= len(empty)
        open_parts: Sequence[Part] = ("train",) if position == 0 else empty if scarce else tuple(owed)
        part = max(open_parts, key=owed.__getitem__)
        divided[part].extend(group)
        owed[part] -= len(group)
        empty = [name for name in empty if name != part]


def _thinned_parts(
    divided: Mapping[Part, Sequence[Example]], at_most: Mapping[str, int | None], task: Task, seed: int
) -> dict[Part, list[Example]]:
    return {part: _thinned(rows, at_most.get(part), task, seed) for part, rows in divided.items()}


def _thinned(rows: Sequence[Example], at_most: int | None, task: Task, seed: int) -> list[Example]:
    """A sample of so many rows in which every label keeps its share, and none is lost while there is room."""
    if at_most is None or at_most >= len(rows):
        return list(rows)
    if at_most < 1:
        raise BadInput(f"{at_most} rows are not a part.", hint="Give a number of rows from 1 up, or none for all.")
    places: list[tuple[float, str, Example]] = []
    for stratum in _strata([(row,) for row in rows], task):
        ranked = sorted((_rank(seed, row), row.id, row) for (row,) in stratum)
        places += [(place / len(ranked), rank, row) for place, (rank, _, row) in enumerate(ranked)]
    return [row for _, _, row in sorted(places, key=lambda place: place[:2])[:at_most]]


def _made(divided: Mapping[Part, Sequence[Example]], task: Task, groups: int, seed: int) -> Split:
    ids = {part: tuple(sorted(row.id for row in divided[part])) for part in PARTS}
    content = json.dumps([seed, sorted((row_id, part) for part in PARTS for row_id in ids[part])])
    labelled = task.kind is TaskKind.CLASSIFICATION
    return Split(
        train=ids["train"],
        validation=ids["validation"],
        test=ids["test"],
        groups=groups,
        seed=seed,
        hash=hashlib.sha256(content.encode("utf-8")).hexdigest(),
        label_counts={part: _label_counts(divided[part]) for part in PARTS} if labelled else {},
    )


def _label_counts(rows: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(map(_label, rows)).items()))
