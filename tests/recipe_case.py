"""A case small enough for a model that is built in memory, and results that fit it, for the tests of recipes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_model
from finetune_advisor import case as cases
from finetune_advisor.case import Case
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.records import Results, TrainingPair, no_progress
from sample_results import sample_results

PAIRS = tiny_model.pairs()
CASE = """schema = 1
title = "Colours of fruit"
[task]
kind = "qa"
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
documents = "documents.jsonl"
[[models]]
name = "m"
{model}
[[arms]]
approach = "zero_shot"
[[arms]]
approach = "tuned"
settings = {{ {settings} }}
[[arms]]
approach = "tuned_rag"
settings = {{ depth = 1, retriever = "bm25" }}
"""
FAKE = 'provider = "fake"'
EMBEDDED = 'provider = "embedded"'
HUB = 'provider = "huggingface"\noptions = {{ id = "{id}" }}'
QUICK = "epochs = 14, batch_size = 2, learning_rate = 1e-2, rank = 4"


def rows(pairs: Sequence[TrainingPair], prefix: str = "") -> str:
    asked = [{"role": "user", "content": prefix + pair.messages[1].content} for pair in pairs]
    system = {"role": "system", "content": "answer briefly"}
    lines = [
        {"messages": [system, turn, {"role": "assistant", "content": pair.answer}]}
        for turn, pair in zip(asked, pairs, strict=True)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def made(folder: Path, model: str = FAKE, settings: str = QUICK) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text(rows(PAIRS), encoding="utf-8")
    (folder / "validation.jsonl").write_text(rows(PAIRS[:3], "please "), encoding="utf-8")
    (folder / "test.jsonl").write_text(rows(PAIRS[3:], "please please "), encoding="utf-8")
    documents = [
        {"id": f"d{at}", "title": "", "text": f"the {pair.messages[1].content}"} for at, pair in enumerate(PAIRS)
    ]
    (folder / "documents.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents), encoding="utf-8")
    (folder / "case.toml").write_text(CASE.format(model=model, settings=settings), encoding="utf-8")
    return cases.read(folder)


def measured(case: Case, **changes: Any) -> Results:
    """Results of the case's tuned arms, on the split that the case has."""
    sample = sample_results()
    arms = [replace(arm, model="m" if arm.tuned else arm.model) for arm in sample.arms]
    split = prepare(case, [], no_progress).split_hash
    made = replace(sample, arms=tuple(arms), provenance=replace(sample.provenance, split_hash=split))
    return replace(made, **changes)
