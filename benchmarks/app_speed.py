"""How long the app takes on a large case. Run: python -m benchmarks.app_speed [FOLDER] [--arms 20] [--rows 5000].

The case is run for real with the fake model, so that all answers lie in the store. They mean nothing, and its results
are marked as if they did, for a verdict on simulated answers ends before its draws. Then each page is drawn by
Streamlit's own test harness, without a browser: once cold, then twenty times warm; and one assumption is changed
forty times on the Costs page, after a first time that does not count. Printed are medians and 95th percentiles of
wall and of CPU time. What a browser takes to draw the charts comes on top.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_advisor import case, experiment
from finetune_advisor.charts import figure
from finetune_advisor.report import files

LABELS = ("refund", "card", "login", "invoice", "delivery", "warranty", "other")
PAGES = ("home", "use_case", "data", "alternatives", "experiments", "costs", "benefits", "examples", "verdict", "how")
APP = Path(__file__).parents[1] / "app.py"
WARM, CHANGES = 20, 40


def main() -> None:
    """Make the case where it is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/app_speed"))
    parser.add_argument("--arms", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    given = parser.parse_args()
    folder = given.folder / f"{given.arms}x{given.rows}"
    if not (folder / "report" / "results.json").exists():
        make(folder, given.arms, given.rows)
    os.environ["FINETUNE_ADVISOR_CASES"] = str(folder.parent)
    print("| page | first, s | median, s | 95th percentile, s | CPU median, s |\n|---|---|---|---|---|")
    for page in PAGES:
        opened, cold = _timed(lambda page=page: _open(page, folder.name))
        warm = [_timed(opened.run)[1] for _ in range(WARM)]
        print(_row(page, cold[0], warm))
    opened = _open("costs", folder.name)
    _change(opened, folder, CHANGES)
    changed = [_timed(lambda at=at: _change(opened, folder, at))[1] for at in range(CHANGES)]
    print(_row("costs, one assumption changed", float("nan"), changed))


def make(folder: Path, arms: int, rows: int) -> None:
    """A labelling case with so many arms and test rows, run to its end and reported."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    for name, count in (("train", 500), ("test", rows)):
        lines = (_example(chance, f"{name} {at}") for at in range(count))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / case.FILE).write_text(_settings(arms), encoding="utf-8")
    loaded = case.read(folder)
    results = experiment.run(loaded)
    drawn = replace(results, arms=tuple(replace(arm, simulated=False) for arm in results.arms))
    files.write(loaded.reports, drawn, figure)


def _example(chance: random.Random, name: str) -> str:
    words = " ".join(chance.choices(("my", "lost", "late", "new", "old", "broken", "paid", "twice", "phone"), k=12))
    return json.dumps({"prompt": f"{name}: {words}", "completion": chance.choice(LABELS)}) + "\n"


def _settings(arms: int) -> str:
    shots = "".join(
        f'[[arms]]\napproach = "few_shot"\nsettings = {{ shots = {at + 1} }}\n' for at in range(max(0, arms - 2))
    )
    return (
        'schema = 1\ntitle = "A large case"\n[task]\nkind = "classification"\n'
        '[data]\ntrain = "train.jsonl"\ntest = "test.jsonl"\n[[models]]\nname = "fake"\nprovider = "fake"\n'
        f'[[arms]]\napproach = "zero_shot"\n{shots}[[arms]]\napproach = "tuned"\n'
        "[goal]\nneeded_score = 0.5\n[money]\nrequests_per_month = 20_000\nusd_per_right_answer = 0.05\n"
        "usd_per_labour_hour = 50\ndeployment_hours = 20\n[uncertainty]\nrequests_per_month = [10_000, 40_000]\n"
        "prices = [0.8, 1.5]\nhours = [0.7, 2]\n"
    )


def _open(page: str, name: str) -> Any:
    from streamlit.testing.v1 import AppTest

    at: Any = AppTest.from_file(APP, default_timeout=120)
    at.session_state["case"] = name
    at.run()
    at.switch_page(f"finetune_advisor/pages/{page}.py").run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def _change(opened: Any, folder: Path, at: int) -> None:
    case.edit(folder, {"money.deployment_hours": 20 + at})
    opened.run()
    assert not opened.exception


def _timed(act: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    made = act()
    return made, (time.perf_counter() - wall, time.process_time() - cpu)


def _row(page: str, cold: float, times: list[tuple[float, float]]) -> str:
    walls, cpus = (sorted(column) for column in zip(*times, strict=True))
    late = walls[math.ceil(0.95 * len(walls)) - 1]
    return f"| {page} | {cold:.2f} | {walls[len(walls) // 2]:.2f} | {late:.2f} | {cpus[len(cpus) // 2]:.2f} |"


if __name__ == "__main__":
    main()
