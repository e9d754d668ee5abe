"""How long a whole case takes, from its start to the written report, beside the same arms run by hand.

Run: python -m benchmarks.whole_case [CASE] [--only ours|by-hand] [--arms zero_shot,tuned] [--again] [--batch-size 1]
[--dtype auto].
CASE is a case folder with one local model; without one, the shipped sample. Ours is `finetune-advisor demo` on a fresh
copy with an empty store, libraries, audit, side effects and report included. By hand (by_hand.py) is a program for each
piece of work of an arm: the transformers pipeline on the very prompts of our approaches, each setting tried on
validation where there are several, TRL's SFTTrainer with the arm's data, epochs, batch, rank, learning rate and adapted
layers, and a search by bm25s; only the import of libraries is free there. --batch-size and --dtype are the pipeline's.

Every piece that is done is kept in runs/bench/whole_case, so that a stopped run goes on, and is printed again by a run
that has nothing to do; --again forgets the chosen side and arms first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from benchmarks.by_hand import LIBRARIES, Lora
from benchmarks.measured import ROOT, RUNS, Outcome, absent, publish
from finetune_advisor import approaches, case, jobs, metrics
from finetune_advisor.approaches.tuned import Training, pairs
from finetune_advisor.case.editing import edit
from finetune_advisor.costs import shape
from finetune_advisor.errors import require
from finetune_advisor.experiment.arms import Plan, plans, unfit
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.records import Example, Message, TrainingPair, no_progress
from finetune_advisor.statistics import compare

WORK = RUNS / "whole_case"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bm25s")
QUESTION = "How long does a whole case take, beside the same arms run by hand?"

Run = Callable[[str, Sequence[str], Path], "Ran"]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a program took: wall clock, its largest resident memory, and the share of the cores that others took."""

    seconds: float
    peak_gib: float
    others: float


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm on one side. `pieces` are its seconds by piece of work, `scores` those of the test examples in order.

    `others` is the share of the cores that other programs took, in the worst piece.
    """

    scores: tuple[float, ...]
    pieces: Mapping[str, float]
    peak_gib: float | None = None
    others: float | None = None

    @property
    def seconds(self) -> float:
        """All pieces together."""
        return sum(self.pieces.values())


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is known of one side: its arms by name, all seconds, the peak; `rest` is what ours does besides the arms."""

    arms: Mapping[str, Arm] = field(default_factory=dict[str, Arm])
    seconds: float | None = None
    peak_gib: float | None = None
    others: float | None = None
    rest: Mapping[str, float] = field(default_factory=dict[str, float])


def ran(module: str, arguments: Sequence[str], log: Path) -> Ran:
    """Run a module as a program of its own, its output in a file.

    Raises:
        SystemExit: It failed.
    """
    # finetune_advisor sets it for its own process when it is imported; no child is to find it set.
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    started, busy = time.perf_counter(), _busy_seconds()
    with log.open("wb") as out:
        command = [sys.executable, "-m", module, *arguments]
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{module} failed; {log} says why.")
    seconds = time.perf_counter() - started
    others = (_busy_seconds() - busy - usage.ru_utime - usage.ru_stime) / seconds / (os.cpu_count() or 1)
    return Ran(seconds=seconds, peak_gib=usage.ru_maxrss / 2**20, others=max(0.0, others))


def _busy_seconds() -> float:
    """Seconds that all cores together have worked since the start of the machine."""
    times = require("psutil", extra="local").cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq


def run_ours(source: Path | None, chosen: Sequence[str], work: Path, run: Run, *, again: bool) -> None:
    """Run the case as `finetune-advisor demo` does, once; what it took is kept in ours.json."""
    file, folder = work / "ours.json", work / "ours"
    if file.exists() and not again:
        return
    shutil.rmtree(folder, ignore_errors=True)
    fresh(source, folder)
    keep_arms(folder, chosen)
    took = run("finetune_advisor", ["demo", str(folder), "--json"], work / "ours.log")
    file.write_text(json.dumps(asdict(took)), encoding="utf-8")


def fresh(source: Path | None, folder: Path) -> None:
    """A copy of a case without store, trainings and report; of the sample where no source is named."""
    if source is None:
        case.sample(folder)
    else:
        left = shutil.ignore_patterns("store.sqlite*", "fits", "report", "job.log")
        shutil.copytree(source, folder, ignore=left)


def keep_arms(folder: Path, chosen: Sequence[str]) -> None:
    """Take all other arms out of a case; none are chosen for all."""
    named = [arm.approach for arm in case.read(folder).arms]
    unwanted = [place for place, name in enumerate(named, start=1) if chosen and name not in chosen]
    if unwanted:
        edit(folder, {f"arms.{place}": None for place in reversed(unwanted)})


def read_ours(work: Path) -> Side:
    """What our run took, by its own record of steps, and how its arms scored."""
    if not (work / "ours.json").exists():
        return Side()
    took = Ran(**_json(work / "ours.json"))
    results = _json(case.read(work / "ours").results_file)
    job = jobs.latest(work / "ours")
    steps = {step.name: step.seconds for step in (job.steps if job else ())}
    scores = {each["name"]: tuple(map(float, each["scores"])) for each in results["arms"]}
    arms = {name: Arm(scores=each, pieces={"": steps.pop(name)}) for name, each in scores.items()}
    start = took.seconds - sum(steps.values()) - sum(arm.seconds for arm in arms.values())
    rest = {"start and libraries": start} | steps
    return Side(arms=arms, seconds=took.seconds, peak_gib=took.peak_gib, others=took.others, rest=rest)


def write_prompts(source: Path | None, file: Path) -> None:
    """Everything that both sides ask, in the words of our approaches, and the data to learn, as JSON."""
    folder = file.with_suffix(".case")
    shutil.rmtree(folder, ignore_errors=True)
    fresh(source, folder)
    loaded = case.read(folder)
    prepared = prepare(loaded, [], no_progress)
    task, test = prepared.task, prepared.parts["test"]
    whole = {
        "metric": task.metric,
        "options": dict(task.metric_options),
        "clusters": prepared.test_groups,
        "wanted": {part: [_wanted(each) for each in prepared.parts[part]] for part in ("validation", "test")},
        "ids": [example.id for example in test],
        "arms": [_arm(plan, prepared) for plan in plans(loaded, prepared.models) if not unfit(plan, prepared)],
    }
    file.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def _wanted(example: Example) -> dict[str, Any]:
    return {"answer": example.answer, "references": example.references}


def _arm(plan: Plan, prepared: Prepared) -> dict[str, Any]:
    settings = [_setting(plan, options, prepared) for options in plan.grid]
    source = plan.model.source if plan.model else ""
    limit = prepared.task.max_answer_tokens
    first = approaches.create(plan.approach, **plan.grid[0])
    learnt = _learnt(first, plan, prepared) if isinstance(first, Training) else {}
    searched = _searched(first, prepared) if hasattr(first, "retriever") else {}
    same = {"name": plan.name, "approach": plan.approach, "model": source, "limit": limit}
    return {**same, "settings": settings, "learnt": learnt, "searched": searched}


def _setting(plan: Plan, options: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    approach, bench = approaches.create(plan.approach, **options), prepared.bench(plan.model, Path())
    ask = approach.asking(bench) if isinstance(approach, Training) else approach.fit(bench).ask
    chats = {
        part: [_chat(request.messages) for request in ask(prepared.parts[part])]
        for part in (("validation", "test") if len(plan.grid) > 1 else ("test",))
    }
    return {"label": ", ".join(f"{name} {value}" for name, value in options.items()), **chats}


def _learnt(approach: Training, plan: Plan, prepared: Prepared) -> dict[str, Any]:
    """The training as TRL takes it."""
    ask = approach.asking(prepared.bench(plan.model, Path()))
    rows = {part: [_row(pair) for pair in pairs(prepared.parts[part], ask)] for part in ("train", "validation")}
    layers = int(shape.read(plan.model.source if plan.model else "")["num_hidden_layers"])
    lora = Lora(
        rank=approach.rank,
        alpha=approach.alpha,
        epochs=approach.epochs,
        batch_size=approach.batch_size,
        learning_rate=approach.learning_rate,
        seed=prepared.seed,
        layers=range(layers - approach.top_layers, layers) if approach.top_layers else (),
    )
    return {**rows, "lora": {**asdict(lora), "layers": [*lora.layers]}}


def _row(pair: TrainingPair) -> dict[str, Any]:
    return {"prompt": _chat(pair.messages), "completion": [{"role": "assistant", "content": pair.answer}]}


def _chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _searched(approach: object, prepared: Prepared) -> dict[str, Any]:
    """What is searched: the passages, or the training questions; for training too where the arm is trained."""
    options = asdict(cast(Any, approach))
    train = [example.question for example in prepared.parts["train"]]
    asked = [example.question for example in prepared.parts["test"]]
    if "depth" not in options:
        return {"texts": train, "queries": asked, "depth": options["shots"]}
    texts = [f"{passage.title}\n{passage.text}" for passage in prepared.passages]
    return {
        "texts": texts,
        "queries": (train if isinstance(approach, Training) else []) + asked,
        "depth": options["depth"],
    }


class ByHand:
    """The arms by hand, piece by piece.

    Args:
        work: Where the prompts lie, and what is done is kept.
        how: `batch_size` and `dtype` of the pipeline.
        run: Runs a program.
    """

    def __init__(self, work: Path, how: Mapping[str, Any], run: Run) -> None:
        self._folder = work / "by-hand"
        self.how = how
        self._run = run
        self._asked: dict[str, Any] = _json(self._folder / "prompts.json")

    def do(self, chosen: Sequence[str], *, again: bool = False) -> list[str]:
        """Run what is not done yet of the chosen arms, all where none is chosen; what is missing for others."""
        notes: list[str] = []
        for arm in self._asked["arms"]:
            if chosen and arm["approach"] not in chosen:
                continue
            missing = [note for kind in _kinds(arm) for note in _missing(kind)]
            notes += [f"{arm['name']} by hand: {note}" for note in missing]
            if not missing:
                if again:
                    shutil.rmtree(self._place(arm), ignore_errors=True)
                self._do(arm)
        return notes

    def read(self) -> Side:
        """What is known of the arms that are done."""
        found = {
            arm["name"]: self._read(arm)
            for arm in self._asked["arms"]
            if (self._place(arm) / "test.done.json").exists()
        }
        whole = len(found) == len(self._asked["arms"])
        seconds = sum(arm.seconds for arm in found.values()) if whole else None
        return Side(
            arms=found, seconds=seconds, peak_gib=max((arm.peak_gib or 0 for arm in found.values()), default=None)
        )

    def agreed(self, ours: Side, name: str) -> str:
        """By how much ours scores higher, with the interval of the paired difference."""
        pair = (ours.arms[name].scores, self.read().arms[name].scores)
        metric = metrics.create(self._asked["metric"], **self._asked["options"])
        found = compare("ours", pair[0], "by hand", pair[1], binary=metric.binary, clusters=self._asked["clusters"])
        return f"{found.difference:+.3f} ({found.interval.low:+.3f} to {found.interval.high:+.3f})"

    def _place(self, arm: Mapping[str, Any]) -> Path:
        return self._folder / " ".join(map(str, self.how.values())) / arm["name"].replace("/", "-")

    def _do(self, arm: Mapping[str, Any]) -> None:
        if arm["searched"]:
            self._piece(arm, "search", {"kind": "search", **arm["searched"]})
        if arm["learnt"]:
            place = str(self._place(arm) / "adapter")
            self._piece(arm, "train", {"kind": "train", "model": arm["model"], "folder": place, **arm["learnt"]})
        best = self._best(arm)
        self._piece(arm, "test", self._answering(arm, best["test"]))

    def _best(self, arm: Mapping[str, Any]) -> Mapping[str, Any]:
        """The setting that is best on validation; of equals the first."""
        settings: list[Mapping[str, Any]] = arm["settings"]
        if len(settings) == 1:
            return settings[0]
        for setting in settings:
            self._piece(arm, f"validation {setting['label']}", self._answering(arm, setting["validation"]))
        means = [fmean(self._scores(arm, f"validation {setting['label']}", "validation")) for setting in settings]
        return settings[means.index(max(means))]

    def _answering(self, arm: Mapping[str, Any], chats: Sequence[Any]) -> dict[str, Any]:
        model = str(self._place(arm) / "adapter") if arm["learnt"] else arm["model"]
        return {"kind": "answer", "model": model, "chats": chats, "limit": arm["limit"], **self.how}

    def _piece(self, arm: Mapping[str, Any], name: str, job: Mapping[str, Any]) -> None:
        place = self._place(arm)
        done, file = place / f"{name}.done.json", place / f"{name}.json"
        if done.exists():
            return
        place.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
        took = self._run("benchmarks.by_hand", [str(file)], place / f"{name}.log")
        done.write_text(json.dumps({**_json(done), "took": asdict(took)}, ensure_ascii=False), encoding="utf-8")
        print(f"{arm['name']}, {name}: {_json(done)['seconds']:.1f} s", file=sys.stderr, flush=True)

    def _scores(self, arm: Mapping[str, Any], piece: str, part: str) -> list[float]:
        texts = _json(self._place(arm) / f"{piece}.done.json")["found"]
        metric = metrics.create(self._asked["metric"], **self._asked["options"])
        wanted = [Example(id="", messages=(), **each) for each in self._asked["wanted"][part]]
        return [metric.score(text, example).value for text, example in zip(texts, wanted, strict=True)]

    def _read(self, arm: Mapping[str, Any]) -> Arm:
        done = {file.name.removesuffix(".done.json"): _json(file) for file in self._place(arm).glob("*.done.json")}
        return Arm(
            scores=tuple(self._scores(arm, "test", "test")),
            pieces={name: each["seconds"] for name, each in sorted(done.items())},
            peak_gib=max(each["took"]["peak_gib"] for each in done.values()),
            others=max(each["took"]["others"] for each in done.values()),
        )


def _kinds(arm: Mapping[str, Any]) -> list[str]:
    return ["answer", *(["train"] if arm["learnt"] else []), *(["search"] if arm["searched"] else [])]


def _missing(kind: str) -> list[str]:
    names = [name.partition(".")[0] for name in LIBRARIES[kind]]
    return [note for name in names if (note := absent(name, name))]


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def rows(ours: Side, hand: Side, agreed: Callable[[str], str]) -> list[dict[str, Any]]:
    """A row for each arm, for what ours does besides, and for the whole."""
    names = dict.fromkeys([*ours.arms, *hand.arms])
    made = [_row_of(name, ours.arms.get(name), hand.arms.get(name), agreed) for name in names]
    if ours.rest:
        made.append(_times("start, data, side effects, report", sum(ours.rest.values()), None))
    whole = _times("the whole", ours.seconds, hand.seconds)
    peaks = {"peak GiB, ours": ours.peak_gib or "", "peak GiB, by hand": hand.peak_gib or ""}
    others = "" if ours.others is None else f"{ours.others:.0%} (ours)"
    return [*made, {**whole, **peaks, "cores taken by others": others}]


def _row_of(name: str, ours: Arm | None, hand: Arm | None, agreed: Callable[[str], str]) -> dict[str, Any]:
    return {
        **_times(name, ours.seconds if ours else None, hand.seconds if hand else None),
        "score, ours": f"{fmean(ours.scores):.3f}" if ours else "",
        "score, by hand": f"{fmean(hand.scores):.3f}" if hand else "",
        "difference, 95% interval": agreed(name) if ours and hand else "",
        "peak GiB, ours": "",
        "peak GiB, by hand": hand.peak_gib if hand else "",
        "pieces by hand, s": ", ".join(f"{piece} {took:.0f}" for piece, took in hand.pieces.items()) if hand else "",
        "cores taken by others": "" if hand is None or hand.others is None else f"{hand.others:.0%}",
    }


def _times(name: str, ours: float | None, hand: float | None) -> dict[str, Any]:
    return {
        "arm": name,
        "ours, s": "" if ours is None else f"{ours:.0f}",
        "by hand, s": "" if hand is None else f"{hand:.0f}",
        "times as fast": "" if ours is None or hand is None else f"{hand / ours:.2f}",
    }


def outcome(work: Path, hand: ByHand, notes: Sequence[str]) -> Outcome:
    """The table of all that is known so far."""
    ours, theirs = read_ours(work), hand.read()
    said = f"Peak: of our one process, of the largest by hand. The pipeline has {dict(hand.how)}."
    made = rows(ours, theirs, lambda name: hand.agreed(ours, name))
    details = {"ours": asdict(ours), "by hand": asdict(theirs)}
    return Outcome(question=QUESTION, rows=made, notes=[said, *notes], details=details)


def main(arguments: Sequence[str] | None = None, run: Run = ran, work: Path = WORK) -> None:
    """Run what is wanted and not done yet, and print all that is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", type=Path)
    parser.add_argument("--only", choices=["ours", "by-hand"])
    parser.add_argument("--arms", default="", help="approaches, separated by commas; all where left out")
    parser.add_argument("--again", action="store_true", help="forget what is done of the chosen side and arms")
    parser.add_argument("--batch-size", type=int, default=1, help="of the transformers pipeline")
    parser.add_argument("--dtype", default="auto", help="of the transformers pipeline")
    parser.add_argument("--write-prompts", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.write_prompts:
        write_prompts(given.case, given.write_prompts)
        return
    chosen = [name for name in given.arms.split(",") if name]
    hand = by_hand(given.case, {"batch_size": given.batch_size, "dtype": given.dtype}, work, run)
    notes: list[str] = []
    if given.only != "by-hand":
        run_ours(given.case, chosen, work, run, again=given.again)
    if given.only != "ours":
        notes = hand.do(chosen, again=given.again)
    publish(outcome(work, hand, notes), "whole_case", PACKAGES)


def by_hand(source: Path | None, how: Mapping[str, Any], work: Path, run: Run) -> ByHand:
    """The other side, its prompts written first; by a process of its own, so that this one stays small."""
    file = work / "by-hand" / "prompts.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        wanted = [str(source)] if source else []
        run("benchmarks.whole_case", [*wanted, "--write-prompts", str(file)], file.with_suffix(".log"))
    return ByHand(work, how, run)


if __name__ == "__main__":
    main()
