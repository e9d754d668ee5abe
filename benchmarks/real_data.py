"""Do all arms come out as the literature says on real data: banking77 (form) and xquad (facts)?

Run: python -m benchmarks.real_data banking77|xquad FOLDER [--data ../shared/data]

Makes a case in FOLDER from the data set, runs every arm with the embedded model, prints a Markdown table for LOG.md.
banking77: 20 of the 77 intents (the first in the label list), 20 training examples each, 500 test rows.
xquad: all 581 training questions, the 240-passage corpus, 300 test rows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune_advisor import case, experiment
from finetune_advisor.records import Results

CASES = {
    "banking77": """
[task]
kind = "classification"
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
test_rows = 500
[[arms]]
approach = "classical"
[[arms]]
approach = "zero_shot"
[[arms]]
approach = "few_shot"
settings = { shots = [10, 20] }
[[arms]]
approach = "nearest_shot"
settings = { shots = [4, 8] }
[[arms]]
approach = "tuned"
settings = { epochs = 4 }
""",
    "xquad": """
[task]
kind = "qa"
[data]
train = "train.jsonl"
test = "test.jsonl"
documents = "corpus.jsonl"
test_rows = 300
validation_share = 0.1
[[arms]]
approach = "zero_shot"
[[arms]]
approach = "few_shot"
settings = { shots = [4, 8] }
[[arms]]
approach = "rag"
settings = { depth = [1, 2], shots = [0, 2] }
[[arms]]
approach = "tuned"
[[arms]]
approach = "tuned_rag"
settings = { depth = 1, epochs = 2 }
""",
}
HEAD = 'schema = 1\ntitle = "NAME"\n[[models]]\nname = "smollm2-135m"\nprovider = "embedded"\n'


def main() -> None:
    """Make the case, run it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CASES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    if not given.data.exists():
        parser.exit(0, f"skipped: {given.data} is not here\n")
    given.folder.mkdir(parents=True, exist_ok=True)
    (banking77 if given.name == "banking77" else xquad)(given.data, given.folder)
    text = HEAD.replace("NAME", given.name) + CASES[given.name]
    (given.folder / case.FILE).write_text(text, encoding="utf-8")
    began = time.monotonic()
    results = experiment.run(case.read(given.folder))
    print(table(results))
    print(f"\n{time.monotonic() - began:.0f} s. {results.verdict.decision.value}: {results.verdict.headline}")


def banking77(data: Path, folder: Path) -> None:
    """20 intents; the first 20 training rows of each, 8 further ones for validation."""
    intents = set(json.loads((data / "banking77_labels.json").read_text(encoding="utf-8"))[:20])
    train: dict[str, list[Any]] = defaultdict(list)
    for row in _rows(data / "banking77_train.jsonl"):
        train[row["messages"][-1]["content"]].append(row)
    _write(folder / "train.jsonl", (row for intent in sorted(intents) for row in train[intent][:20]))
    _write(folder / "validation.jsonl", (row for intent in sorted(intents) for row in train[intent][20:24]))
    test = _rows(data / "banking77_test.jsonl")
    _write(folder / "test.jsonl", (row for row in test if row["messages"][-1]["content"] in intents))


def xquad(data: Path, folder: Path) -> None:
    """The files as they are."""
    for source, target in (("qa_train", "train"), ("qa_test", "test"), ("corpus", "corpus")):
        shutil.copyfile(data / f"xquad_en_{source}.jsonl", folder / f"{target}.jsonl")


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def table(results: Results) -> str:
    """The arms as a Markdown table, best first."""
    lines = [
        "| arm | settings | score | 95% | wrong form | prompt tokens | s/request | train s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in sorted(results.arms, key=lambda arm: -arm.score):
        settings = ", ".join(f"{k} {v}" for c in arm.choices if c.chosen for k, v in c.settings.items())
        lines.append(
            f"| {arm.name} | {settings} | {arm.score:.3f} | {arm.interval.low:.3f} to {arm.interval.high:.3f} "
            f"| {arm.format_failures} | {arm.prompt_tokens:.0f} | {arm.seconds:.3f} "
            f"| {arm.training.seconds if arm.training else 0:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
