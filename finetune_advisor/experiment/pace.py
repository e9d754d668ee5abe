"""How far a run is, and how long the rest takes: reckoned from what this process has measured, or not told at all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from finetune_advisor.experiment.watch import DATA, Event, Work
from finetune_advisor.store import Step

Kind = Literal["answers", "training", ""]
_KINDS: dict[str, Kind] = {
    "validation": "answers",
    "test": "answers",
    "everyday prompts": "answers",
    "training": "training",
}


class Pace:
    """The steps of a run with their progress; told by the run, asked by whoever shows it.

    A step's time left is that of the answers and trainings it still has to do. An answer takes as long as this step's
    did so far, or any step's before it has one; a training as long as the step's own: a training's settings decide
    how long it takes, so another step's says nothing. While several steps run at the same time, how long the rest takes
    cannot be told.

    Args:
        before: The steps as an earlier process left them, whose seconds count.
        clock: Seconds that only go forward.
    """

    def __init__(self, before: Sequence[Step] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps = {step.name: step for step in before}
        self._spent = {step.name: step.seconds for step in before}
        self._work: dict[str, Work | None] = {}
        self._began: dict[str, float] = {}
        self._phases: dict[str, tuple[str, int, int, float]] = {}
        self._seconds: dict[tuple[str, Kind], float] = {}
        self._units: Counter[tuple[str, Kind]] = Counter()
        self._trained: Counter[str] = Counter()
        self._length: dict[str, int] = {}

    def watch(self, event: Event) -> None:
        """A step changed its state."""
        now, name = self._clock(), event.step
        if name == DATA and event.state == "done":
            # What the case had in it when an earlier process worked on it may be gone.
            self._steps = {DATA: self._steps[DATA]}
        if name in self._began:
            self._spent[name] = self._spent.get(name, 0.0) + now - self._began.pop(name)
        if event.state == "running":
            self._began[name] = now
        self._phases[name] = ("", 0, 0, now)
        self._work[name] = event.work
        result = event.result
        step = Step(name=name, state=event.state, reason=event.reason, seconds=self._spent.get(name, 0.0))
        if result:
            step = replace(step, score=result.score, interval=result.interval, n=result.n)
        self._put(step)

    def progress(self, what: str, done: int, total: int) -> None:
        """So many of all pieces of what a running step is doing are done."""
        now, name = self._clock(), self._step_of(what)
        if name not in self._steps:
            return
        self._measure(name, what, done, total, now)
        doing = what.removeprefix(name).lstrip(":, ") or what
        self._put(replace(self._steps[name], doing=doing, done=done, total=total))

    def steps(self) -> tuple[Step, ...]:
        """All steps as they stand now, in their order."""
        now = self._clock()
        return tuple(self._shown(step, now) for step in self._steps.values())

    def seconds_left(self) -> float | None:
        """For all that is still to do; None where a part of it cannot be told."""
        if len(self._began) > 1:
            return None
        rest = [step.name for step in self._steps.values() if step.state in ("waiting", "running")]
        return _sum([self._left(name) for name in rest]) if rest else None

    def _put(self, step: Step) -> None:
        # A new dictionary, so that another thread may go through the old one at the same moment.
        self._steps = {**self._steps, step.name: step}

    def _step_of(self, what: str) -> str:
        """The running step whose name stands before what is done, else the one that began last."""
        running = [*self._began]
        named = [name for name in running if what.startswith((f"{name}:", f"{name},"))]
        return max(named, key=len, default=running[-1] if running else "")

    def _shown(self, step: Step, now: float) -> Step:
        if step.state == "waiting":
            return replace(step, seconds_left=self._left(step.name))
        began = self._began.get(step.name)
        if step.state != "running" or began is None:
            return step
        return replace(step, seconds=step.seconds + now - began, seconds_left=self._left(step.name))

    def _measure(self, name: str, what: str, done: int, total: int, now: float) -> None:
        kind = _kind(what)
        before, so_far, _, then = self._phases[name]
        again = what == before
        if again and done > so_far:
            # Under the empty name, of all steps together.
            for whose in (name, ""):
                self._units[whose, kind] += done - so_far
                self._seconds[whose, kind] = self._seconds.get((whose, kind), 0.0) + now - then
        if kind == "training":
            self._length[name] = total
            self._trained[name] += done >= total and not (again and so_far >= total)
        self._phases[name] = (what, done, total, then if again and done == so_far else now)

    def _left(self, name: str) -> float | None:
        work = self._work.get(name)
        if work is None:
            return None
        answers = work.answers - self._units[name, "answers"]
        trainings = work.trainings - self._trained[name]
        parts = [self._answering(name, answers)] if answers > 0 else []
        return _sum(parts + ([self._training(name, trainings)] if trainings > 0 else []))

    def _answering(self, name: str, answers: int) -> float | None:
        each = self._rate(name, "answers") or self._rate("", "answers")
        return None if each is None else answers * each

    def _training(self, name: str, trainings: int) -> float | None:
        each, (what, done, total, _) = self._rate(name, "training"), self._phases.get(name, ("", 0, 0, 0.0))
        if each is None:
            return None
        under_way = done if name in self._began and _kind(what) == "training" and done < total else 0
        return each * (self._length[name] * trainings - under_way)

    def _rate(self, name: str, kind: Kind) -> float | None:
        """Seconds for an answer or a step of training; None before there was one."""
        units = self._units[name, kind]
        return self._seconds[name, kind] / units if units else None


def _sum(parts: Sequence[float | None]) -> float | None:
    """All of them together; None where one is not known."""
    known = [part for part in parts if part is not None]
    return sum(known, 0.0) if len(known) == len(parts) else None


def _kind(what: str) -> Kind:
    return _KINDS.get(what.rsplit(": ", 1)[-1], "")
