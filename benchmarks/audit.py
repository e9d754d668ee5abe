"""How long the audit of a large data file takes, and how much memory. Run: python -m benchmarks.audit [--rows N].

A chat file of a million rows, about a gigabyte, is made up (`chats`, seeded, of ../shared/data) and audited by
`finetune_advisor.experiment.audit`, which is what `finetune-advisor check FILE` calls, and by the check of OpenAI's
cookbook as a script (`cookbook_check`), with tiktoken, as its notebook does, and with quicktok, a faster one. Each is
a process of its own; its time includes starting Python, its memory that of all its processes, by proportional set
size. The script's time is measured on the first ROWS rows and scaled, which is linear in its work; its peak too.

The two do not do the same: the script counts the tokens of every row, the audit only where they matter; the audit looks
for repeats, near duplicates, contradictions and personal data, the script does not. The faults that both count are
compared. Near duplicates are compared with those of the exact method on texts of several lengths, `--recall` of each.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import chats, measured
from finetune_advisor.datasets import gather, near, repeats, shards

FILES = measured.ROOT / "runs"
PACKAGES = ("msgspec", "xxhash", "numpy", "scipy", "joblib", "tiktoken", "quicktok-v1")
LENGTHS = (30, 100, 300, 1_000, 5_000)
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds from start to end, peak memory in GiB of all processes, and what was printed."""

    seconds: float
    gib: float
    printed: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--recall", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if not chats.DATA.is_dir():
        print(f"{chats.DATA} is not here; it is what the rows are made of.")
        return
    file = made(chosen.rows)
    measured.publish(outcome(file, chosen), "audit", PACKAGES)


def made(rows: int) -> Path:
    """The file of so many rows, made where it is not there yet."""
    FILES.mkdir(parents=True, exist_ok=True)
    file = FILES / f"chats-{rows}.jsonl"
    if not file.exists():
        kinds = chats.write(file, rows)
        file.with_suffix(".kinds.json").write_text(json.dumps(kinds, indent=1), encoding="utf-8")
    return file


def outcome(file: Path, chosen: argparse.Namespace) -> measured.Outcome:
    """Everything that is asked, as a table and notes."""
    scale = chosen.rows / min(chosen.rows, chosen.peer_rows)
    peers: dict[str, list[Measured]] = {"tiktoken": [], "quicktok": []}
    ours: list[Measured] = []
    for _ in range(chosen.rounds):
        ours.append(run("benchmarks.audit_once", str(file)))
        for library, runs in peers.items():
            runs.append(run("benchmarks.cookbook_check", str(file), library, str(chosen.peer_rows)))
    rows = [row("finetune-advisor check", ours, 1.0)]
    rows += [row(f"cookbook's check, {library}", runs, scale) for library, runs in peers.items()]
    for each in rows:
        each["times ours"] = each["seconds"] / rows[0]["seconds"]
    details = {"ours": json.loads(ours[-1].printed), "recall": recall(chosen.recall)}
    return measured.Outcome(
        question=f"Audit of {chosen.rows:,} rows, {file.stat().st_size / 1e9:.2f} GB",
        rows=rows,
        notes=(
            f"the scripts were run on the first {min(chosen.rows, chosen.peer_rows):,} rows, figures times {scale:g}",
            f"recall of near duplicates against the exact method: {details['recall']}",
            f"found: {details['ours']}",
        ),
        details=details,
    )


def row(name: str, runs: Sequence[Measured], scale: float) -> dict[str, Any]:
    """One contender as a row of the table."""
    taken = sorted(each.seconds * scale for each in runs)
    return {
        "what": name,
        "seconds": taken[len(taken) // 2],
        "fastest": taken[0],
        "slowest": taken[-1],
        "peak GiB": max(each.gib for each in runs) * scale,
    }


def run(module: str, *arguments: str) -> Measured:
    """Run a module in a process of its own, and watch its memory and that of its children.

    Raises:
        RuntimeError: It failed.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=measured.ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        most = 0
        while process.poll() is None:
            most = max(most, sum(_kib(pid) for pid in _family(process.pid)))
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - started
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{module} failed with {process.returncode}")
    return Measured(seconds=seconds, gib=most / 2**20, printed=printed)


def _family(pid: int) -> list[int]:
    """A process and all its descendants that are still there."""
    found, at = [pid], 0
    while at < len(found):
        try:
            children = Path(f"/proc/{found[at]}/task/{found[at]}/children").read_text(encoding="ascii").split()
        except OSError:
            children = []
        found += [int(child) for child in children]
        at += 1
    return found


def _kib(pid: int) -> int:
    """The proportional set size of a process: what it has alone, and its share of what it has with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def recall(pairs: int) -> dict[str, dict[str, int]]:
    """How many near duplicates the exact method finds, the sketches, and both, among texts of about so many letters.

    Args:
        pairs: Texts of each length, each followed by a copy with up to one word in twenty spoiled.
    """
    chance, pool = random.Random(1), chats.phrases()
    found: dict[str, dict[str, int]] = {}
    for letters in LENGTHS:
        texts = [chats.talk(chance, pool, letters) for _ in range(pairs)]
        copies = [chats.near(chance, text) for text in texts]
        exact, sketched = (repeated([*texts, *copies], most) for most in (2 * pairs, 0))
        both = len(exact & sketched)
        found[f"{letters} letters"] = {"exact": len(exact), "sketched": len(sketched), "both": both}
    return found


def repeated(texts: Sequence[str], exact_up_to: int) -> set[int]:
    """The places of texts that nearly repeat another one, asked in a file of their own."""
    rows = ({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "x"}]} for text in texts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        limits = gather.Limits(exact_up_to=exact_up_to, workers=1)
        gathered = gather.gather(shards.Source(path=file, name="", shape=None), 0, 64, limits)
        first = repeats.first_of_each(near.groups(gathered)[0].group)
    return {at for at, other in enumerate(first.tolist()) if at != other}


if __name__ == "__main__":
    main()
