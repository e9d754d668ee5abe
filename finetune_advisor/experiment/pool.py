"""Ray workers that take jobs as they become free; what a lost worker was doing is done again by another.

A node without GPU is one worker with all its CPUs, a node with GPUs is one worker for each of them, so that a worker
computes what one machine of that kind would, in the time that it would take there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from finetune_advisor import __version__
from finetune_advisor.case import ModelSection
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.experiment.worker import LOOKING, Worker
from finetune_advisor.records import Settings

LOST_AGAIN = 3
"""So often a job is done again whose worker was lost, and a worker is started again that did not come up."""

LOOK_SECONDS = 0.5
"""Time between two looks at how far a training is."""

Tell = Callable[[int, int], None]


@dataclass(kw_only=True, eq=False)
class _Job:
    """What a worker does at one go. It is `lost` with its worker, and then done again."""

    model: str
    method: str
    arguments: tuple[Any, ...]
    done: asyncio.Future[Any]
    tell: Tell | None
    lost: int = 0

    def settle(self, outcome: Any) -> None:
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


@dataclass(kw_only=True, eq=False)
class _Slot:
    """Room for one worker on a node, and the worker that is there with its model."""

    node: str
    host: str
    cpus: int
    gpus: int
    worker: Any = None
    model: str = ""
    lost: int = 0


class Pool:
    """The workers of a cluster.

    Args:
        ray: The library, connected.
        sections: The models that they hold, by name.

    Raises:
        BadInput: The cluster has not what a model needs.
    """

    def __init__(self, ray: Any, sections: Mapping[str, ModelSection]) -> None:
        self._ray = ray
        self._sections = sections
        nodes = [node for node in ray.nodes() if node["Alive"]]
        has_gpu = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
        self._gpus = {name: gpus_for(section, has_gpu=has_gpu) for name, section in sections.items()}
        self._slots = [slot for node in nodes for slot in _slots(node, set(self._gpus.values()))]
        if set(self._gpus.values()) - {slot.gpus for slot in self._slots}:
            raise BadInput("The Ray cluster has no CPU for a worker.", hint="Start its nodes with one CPU or more.")
        self._described: dict[str, Settings] = {}
        self.begin()

    @property
    def size(self) -> tuple[int, int]:
        """How many workers there are, and how many there may be."""
        return sum(slot.worker is not None for slot in self._slots), len(self._slots)

    def begin(self) -> None:
        """Make ready for a new event loop; workers stay."""
        self._jobs: defaultdict[str, deque[_Job]] = defaultdict(deque)
        self._changed = asyncio.Condition()
        for slot in self._slots:
            slot.lost = 0

    def serving(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run so that jobs are done; it does not end while one worker is left."""
        return [self._serve(slot) for slot in self._slots]

    def dismiss(self) -> None:
        """End all workers."""
        for slot in self._slots:
            self._dismiss(slot)

    async def do(self, model: str, method: str, *arguments: Any, tell: Tell | None = None) -> Any:
        """Have a method of `Worker` called by a worker that holds the model.

        Args:
            model: Its name.
            method: The method; trainings go before everything else, because they take longest.
            arguments: What it takes.
            tell: Told now and then how far a training is.

        Raises:
            AdvisorError: What the worker raised, or no worker lived long enough.
        """
        done = asyncio.get_running_loop().create_future()
        job = _Job(model=model, method=method, arguments=arguments, done=done, tell=tell)
        await self._put(job, first=method == "train")
        return await done

    async def _put(self, job: _Job, *, first: bool) -> None:
        async with self._changed:
            queue = self._jobs[job.model]
            queue.appendleft(job) if first else queue.append(job)
            self._changed.notify_all()

    async def _serve(self, slot: _Slot) -> None:
        reason = ""
        while slot.lost <= LOST_AGAIN:
            model = await self._wanted(slot)
            try:
                await self._man(slot, model)
            except AdvisorError as error:
                self._dismiss(slot)
                self._refuse(model, error)
            except self._ray.exceptions.RayError as error:
                self._dismiss(slot)
                slot.lost, reason = slot.lost + 1, _reason(error)
            else:
                await self._work(slot)
        self._give_up(slot, reason)

    async def _wanted(self, slot: _Slot) -> str:
        """Wait until there is a job for the slot; the model that it is for."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._suiting(slot))
            return self._suiting(slot)

    def _suiting(self, slot: _Slot) -> str:
        """The model that the worker holds, else the one that the fewest hold; "" where no job suits the slot."""
        names = [name for name, jobs in self._jobs.items() if jobs and self._gpus[name] == slot.gpus]
        if slot.model in names:
            return slot.model
        return min(names, key=lambda name: sum(each.model == name for each in self._slots), default="")

    async def _man(self, slot: _Slot, model: str) -> None:
        """See that the slot has a worker with that model.

        Raises:
            AdvisorError: The model is not there, or it or this program is another one than here.
        """
        if slot.model == model:
            return
        self._dismiss(slot)
        slot.model, slot.worker = model, self._hired(slot, self._sections[model])
        version, described = await self._call(slot, "about")
        if version != __version__:
            message = f"{slot.host} has finetune-advisor {version}, and this machine has {__version__}."
            raise BadInput(message, hint="Install the same version on all nodes of the Ray cluster.")
        if self._described.setdefault(model, described) != described:
            raise _unlike(slot.host, model, self._described[model], described)
        slot.lost = 0

    def _hired(self, slot: _Slot, section: ModelSection) -> Any:
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(slot.node, soft=False)
        kind = self._ray.remote(concurrency_groups={LOOKING: 1})(Worker)
        options = {"num_cpus": slot.cpus, "num_gpus": slot.gpus, "scheduling_strategy": affinity}
        given = {"name": section.name, **section.options}
        return kind.options(**options).remote(section.provider, given, max(1, slot.cpus))

    def _dismiss(self, slot: _Slot) -> None:
        if slot.worker is not None:
            self._ray.kill(slot.worker)
        slot.worker, slot.model = None, ""

    async def _work(self, slot: _Slot) -> None:
        """Do a job, where another worker has not taken it meanwhile."""
        if not self._jobs[slot.model]:
            return
        job = self._jobs[slot.model].popleft()
        looking = asyncio.ensure_future(self._look(slot, job.tell)) if job.tell else None
        try:
            job.settle(await self._call(slot, job.method, *job.arguments))
        except self._ray.exceptions.RayError as error:
            self._dismiss(slot)
            await self._lost(job, error)
        except Exception as error:  # of the worker's own code, for whoever waits for the job
            job.settle(error)
        finally:
            if looking is not None:
                looking.cancel()

    async def _call(self, slot: _Slot, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(slot.worker, method).remote(*arguments)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error

    async def _look(self, slot: _Slot, tell: Tell) -> None:
        progress = slot.worker.progress.options(concurrency_group=LOOKING)
        with contextlib.suppress(self._ray.exceptions.RayError):
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                tell(*await progress.remote())

    async def _lost(self, job: _Job, error: Exception) -> None:
        """Have a job done again whose worker was lost."""
        job.lost += 1
        if job.lost <= LOST_AGAIN:
            await self._put(job, first=True)
            return
        what = "training" if job.method == "train" else "answering a batch"
        message = f"{job.lost} Ray workers were lost in turn while {what} with {job.model}: {_reason(error)}"
        hint = "Often the memory is too small: take a smaller batch_size or larger nodes. Run again to go on."
        job.settle(AdvisorError(message, hint=hint))

    def _give_up(self, slot: _Slot, reason: str) -> None:
        """Where no worker of a kind can be started any more, nothing is left to wait for."""
        if all(each.lost > LOST_AGAIN for each in self._slots if each.gpus == slot.gpus):
            error = AdvisorError(
                f"No Ray worker could be started on {slot.host}: {reason}",
                hint="Every node needs finetune-advisor with its extras ray and local. Run again to go on.",
            )
            for name, gpus in self._gpus.items():
                if gpus == slot.gpus:
                    self._refuse(name, error)

    def _refuse(self, model: str, error: AdvisorError) -> None:
        while self._jobs[model]:
            self._jobs[model].popleft().settle(error)


def gpus_for(section: ModelSection, *, has_gpu: bool) -> int:
    """How many GPUs a worker needs that holds the model.

    Raises:
        BadInput: It is to run on a GPU, and the cluster has none; or on a certain one of its machine.
    """
    device = str(section.options.get("device", "auto"))
    if section.make().simulated or device == "cpu":
        return 0
    if device == "auto":
        return int(has_gpu)
    if device != "cuda":
        hint = 'device = "cuda" takes the one that Ray gives to a worker.'
        raise BadInput(f"{section.name} names the device {device!r}, which is one of a single machine.", hint=hint)
    if not has_gpu:
        raise BadInput(
            f"{section.name} is to run on CUDA, and the Ray cluster has no GPU.",
            hint='Add a node with a GPU, or set device = "auto".',
        )
    return 1


def _slots(node: Mapping[str, Any], kinds: set[int]) -> list[_Slot]:
    """What workers a node has room for; `kinds` are the numbers of GPUs that models need."""
    resources: Mapping[str, float] = node["Resources"]
    node_id, host = str(node["NodeID"]), str(node["NodeManagerHostname"])
    cpus = int(resources.get("CPU", 0))
    cards = int(resources.get("GPU", 0)) if 1 in kinds else 0
    found = [_Slot(node=node_id, host=host, cpus=min(1, cpus), gpus=1) for _ in range(cards)]
    if 0 in kinds and cpus > cards:
        found.append(_Slot(node=node_id, host=host, cpus=cpus - cards, gpus=0))
    return found


def _unlike(host: str, model: str, known: Settings, found: Settings) -> BadInput:
    name = next(name for name in {**known, **found} if known.get(name) != found.get(name))
    return BadInput(
        f"{model} is another one on {host} than on the nodes before: {name} is {found.get(name)!r}, not "
        f"{known.get(name)!r}.",
        hint="All nodes need the same files and the same kind of device; name device and dtype in the case.",
    )


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
