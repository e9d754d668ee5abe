"""How many examples a case has in each part, and how long those to learn from are; read once for each version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.datasets import tokens
from finetune_advisor.experiment.prepare import fix_task, locked_split, read_pool
from finetune_advisor.pages.data_reading import Version, locked, named, version
from finetune_advisor.store import Lock


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Examples by part, and the tokens of each one to learn from, by a common vocabulary."""

    train: int
    validation: int
    test: int
    tokens: tuple[int, ...]


def counted(case: Case) -> Counted:
    """Count the parts of the locked split, or of the one that a run would lock.

    Raises:
        AdvisorError: The data cannot be read or split, or is not what the split was locked on.
    """
    locks = locked(case)
    stated = case.data.model_dump_json() + case.task.model_dump_json()
    return _counted(case.folder, stated, version(named(case)), tuple(lock.hash for lock in locks), case, locks)


@st.cache_resource(max_entries=16, show_spinner="Counting the tokens of the examples…")
def _counted(
    folder: Path,
    stated: str,
    versions: Version,
    hashes: tuple[str, ...],
    _case: Case,
    _locks: list[Lock],
) -> Counted:
    """Count once for each version of the data; the arguments before the case tell the versions apart."""
    pool = read_pool(_case)
    split = locked_split(pool, fix_task(_case, pool.given["train"]), _case, _locks, relock=False)
    counter, learned = tokens.encoding(), set(split.train)
    return Counted(
        train=len(split.train),
        validation=len(split.validation),
        test=len(split.test),
        tokens=tuple(tokens.chat_tokens(each, counter) for each in pool.examples if each.id in learned),
    )
