"""A run spread over a Ray cluster: every training and every batch of answers goes to a worker that is free.

All choices are made here, by the code of a run on one machine, and this process alone writes to the store.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune_advisor.approaches.tuned import Training
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError, BadInput, Missing, require
from finetune_advisor.experiment.arms import Attempt
from finetune_advisor.experiment.pool import LOOK_SECONDS, Pool
from finetune_advisor.experiment.session import ALONE, Asking, Crew, Need, Steps
from finetune_advisor.experiment.worker import Fit, read_files, write_files
from finetune_advisor.models import Model, is_remote
from finetune_advisor.records import Batch, Progress, Settings
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.record import TrainingFolder, training_key

KNOCK_SECONDS = 10
"""How long the host of a cluster may take to answer."""


@contextmanager
def crew_on(where: str, case: Case) -> Generator[Crew]:
    """Who does the work of a run.

    Args:
        where: "" for this process alone; "ray" for the cluster that RAY_ADDRESS names or that this machine belongs to,
            else one that is started on this machine; or "ray://HOST:PORT".
        case: Its models answer and are trained there, those at providers excepted.

    Raises:
        BadInput: There is no such place, or it has not what a model needs.
        Missing: Ray is not installed, or the cluster cannot be reached.
    """
    if not where:
        yield ALONE
        return
    if where != "ray" and not where.startswith("ray://"):
        raise BadInput(f"A run cannot be spread over {where!r}.", hint="Give ray, or ray://HOST:PORT of a cluster.")
    with _connected("" if where == "ray" else where) as ray:
        cluster = Cluster(ray, case)
        try:
            yield cluster
        finally:
            cluster.dismiss()


@contextmanager
def _connected(address: str) -> Generator[Any]:
    """Ray, connected to a cluster; one that the caller is connected to already is used as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray")
    require("ray.util.scheduling_strategies", extra="ray")
    if ray.is_initialized():
        yield ray
        return
    named = address or os.environ.get("RAY_ADDRESS") or _noted()
    if named.startswith("ray://"):
        require("grpc", extra="ray")
    try:
        _knock(named.removeprefix("ray://"))
        ray.init(address or None, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(named, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _noted() -> str:
    """The cluster of this machine as Ray has noted it, which one that was killed leaves behind; "" without any."""
    folder = os.environ.get("RAY_TMPDIR") or ("/tmp" if sys.platform == "linux" else tempfile.gettempdir())
    note = Path(folder) / "ray" / "ray_current_cluster"
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""


def _knock(address: str) -> None:
    """Ray itself tries for minutes to reach a host that does not answer.

    Raises:
        OSError: It does not.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _unreachable(address: str, error: Exception) -> Missing:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return Missing(
        f"The Ray cluster {address or 'on this machine'} cannot be reached: {reason}",
        hint="`ray status` on its head node says whether it runs, and `ray stop` there clears away what is left of one "
        "that was killed. Both sides need the same versions of Ray and Python.",
    )


class Cluster:
    """A crew of Ray workers.

    Args:
        ray: The library, connected.
        case: Its models.

    Raises:
        BadInput: The cluster has not what a model needs.
    """

    def __init__(self, ray: Any, case: Case) -> None:
        self._ray = ray
        sections = {section.name: section for section in case.models if not is_remote(section.make())}
        self._names = frozenset(sections)
        self._pool = Pool(ray, sections)
        self._described: dict[str, Settings | AdvisorError] = {}
        self._fits: dict[str, Fit] = {}

    def dismiss(self) -> None:
        """End all workers."""
        self._pool.dismiss()

    def describe(self, model: Model) -> Settings:
        """What the model is on the workers; one at a provider is the same everywhere."""
        found = self._described.get(model.name) if model.name in self._names else model.describe()
        if isinstance(found, AdvisorError):
            raise found
        assert found is not None, "described before any work is carried out"
        return found

    def carry_out(self, work: Sequence[tuple[Model | None, Steps]], progress: Progress) -> None:
        """The work that asks a model of the workers all at the same time, then the rest in turn."""
        spread = [(model.name, steps) for model, steps in work if model is not None and model.name in self._names]
        if spread:
            asyncio.run(self._carry_out(spread, progress))
        ALONE.carry_out([each for each in work if each[0] is None or each[0].name not in self._names], progress)

    async def _carry_out(self, work: Sequence[tuple[str, Steps]], progress: Progress) -> None:
        self._pool.begin()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._telling: list[Callable[[], None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                aside = [group.create_task(each) for each in (self._look(), *self._pool.serving())]
                await self._describe({name for name, _ in work}, progress)
                await asyncio.gather(*(self._follow(steps) for _, steps in work))
                for task in aside:
                    task.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _look(self) -> None:
        """Tell again now and then how far everything is: that is when a run can be paused."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for tell in [*self._telling]:
                tell()

    @contextmanager
    def _told(self, tell: Callable[[], None]) -> Generator[None]:
        self._telling.append(tell)
        try:
            tell()
            yield
            tell()
        finally:
            self._telling.remove(tell)

    async def _describe(self, names: Iterable[str], progress: Progress) -> None:
        with self._told(lambda: progress("Ray workers", *self._pool.size)):
            await asyncio.gather(*(self._meet(name) for name in names if name not in self._described))

    async def _meet(self, name: str) -> None:
        try:
            _, self._described[name] = await self._pool.do(name, "about")
        except AdvisorError as error:
            self._described[name] = error

    async def _follow(self, steps: Steps) -> None:
        """Meet the needs of some work; what cannot be met is thrown into it."""
        with suppress(StopIteration):
            needs = next(steps)
            while True:
                try:
                    await asyncio.gather(*(self._meet_need(need) for need in needs))
                except AdvisorError as error:
                    needs = steps.throw(error)
                else:
                    needs = next(steps)

    async def _meet_need(self, need: Need) -> None:
        # Two arms may be the same but for their names.
        async with self._turns[need.key]:
            if need.met:
                return
            if need.attempt is not None:
                await self._train(need.attempt)
            asking, fit = Asking.of(need), self._fit(need.attempt)
            with self._told(asking.tell):
                await asyncio.gather(*(self._answer(asking, batch, fit) for batch in asking.todo))

    async def _answer(self, asking: Asking, batch: Batch, fit: Fit | None) -> None:
        asking.keep(batch, await self._pool.do(asking.model.name, "answer", batch, fit))
        asking.tell()

    async def _train(self, attempt: Attempt) -> None:
        """Have the training done that the attempt does within a run, where it is not done yet; others it does itself.

        Its files are put where a run on this machine would have left them, so that the attempt finds it finished.
        """
        approach, bench, model = attempt.approach, attempt.bench, attempt.plan.model
        tuner = approach.tuner(bench) if isinstance(approach, Training) else None
        if model is None or not isinstance(approach, Training) or not isinstance(tuner, Lora):
            return
        work = approach.work(bench, approach.asking(bench))
        key = training_key(work.source, asdict(tuner), work.train, work.validation)
        if TrainingFolder(attempt.folder, key).finished():
            return
        steps = [0, tuner.steps(len(work.train))]

        def note(done: int, total: int) -> None:
            steps[:] = done, total

        with self._told(lambda: bench.progress("training", *steps)):
            pairs = tuple(work.train), tuple(work.validation)
            files = await self._pool.do(model.name, "train", tuner, *pairs, attempt.key, tell=note)
            write_files(attempt.folder, files)
            note(steps[1], steps[1])

    def _fit(self, attempt: Attempt | None) -> Fit | None:
        if attempt is None or not attempt.approach.tuned:
            return None
        if attempt.key not in self._fits:
            files = self._ray.put(dict(read_files(attempt.folder)))
            self._fits[attempt.key] = Fit(key=attempt.key, files=(files,))
        return self._fits[attempt.key]
