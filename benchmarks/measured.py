"""What every benchmark says of itself: the machine, versions, paired timings, a table and a JSON file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "bench"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one contender, one for each round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a benchmark found: `rows` as they are printed, and whatever else a later reader may want."""

    question: str
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def alternated(contenders: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> list[Timing]:
    """Time contenders in turn, round by round, so that a noisy minute meets all of them.

    Args:
        contenders: What to call, by name.
        rounds: How often each is timed.
        warm: Whether each is called once before, unmeasured.
    """
    for call in contenders.values() if warm else ():
        call()
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return [Timing(name=name, seconds=tuple(seconds)) for name, seconds in taken.items()]


def machine(packages: Sequence[str]) -> dict[str, str]:
    """Processor, cores, load, commit, time, and the versions of Python and of packages."""
    versions = {name: version(name) for name in packages}
    return {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "commit": _commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **versions,
    }


def version(package: str) -> str:
    """The installed version of a package, or "absent"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def absent(module: str, install: str) -> str:
    """The sentence for a peer that is not installed; empty where it is."""
    return "" if importlib.util.find_spec(module) else f"{module} is not installed: pip install {install}"


def publish(outcome: Outcome, name: str, packages: Sequence[str]) -> None:
    """Print the table, and write everything to runs/bench/NAME.json."""
    facts = machine(packages)
    print(f"## {outcome.question}\n\n{table(outcome.rows)}\n")
    for note in outcome.notes:
        print(f"- {note}")
    print("- " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    RUNS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": facts, **asdict(outcome)}, ensure_ascii=False, indent=1, default=str)
    (RUNS / f"{name}.json").write_text(text, encoding="utf-8")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, its columns named as the first row's keys."""
    head = list(rows[0]) if rows else []
    lines = [head, ["---"] * len(head), *([_cell(row.get(name, "")) for name in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peak(arguments: Sequence[str]) -> tuple[float, str]:
    """The peak memory of a Python program in GiB, its children excepted, and what it printed.

    Args:
        arguments: What comes after `python`.
    """
    # What Linux says of a process's usage counts the program that started it: its own peak stands in its status.
    program = (
        "import resource, runpy, sys; from pathlib import Path; name = sys.argv[1]; sys.argv = sys.argv[1:];"
        "runpy.run_module(name, run_name='__main__', alter_sys=True);"
        "own = Path('/proc/self/status'); lines = own.read_text().splitlines() if own.exists() else [];"
        "high = [int(line.split()[1]) for line in lines if line.startswith('VmHWM')];"
        "print('PEAK', *high or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed, _, kib = done.stdout.rpartition("PEAK")
    return int(kib) / 2**20, printed


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
