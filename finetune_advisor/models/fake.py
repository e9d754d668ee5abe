"""A model that only pretends, for tests and for trying the tool out: seeded, instant, labelled as simulated."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from finetune_advisor.errors import Missing
from finetune_advisor.models.chat import with_tools
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings, TrainingPair, Usage

SOURCE = "fake"
MEMORY = "fake_adapter.json"


class FakeModel:
    """Answers right with a given probability where it is told the right answers, else repeats something it has seen.

    Told nothing, it repeats the answer of the last example in the prompt, or with a (fake) adapter the answer of
    the training pair whose prompt shares the most words, or the last words of the prompt. Everything depends on the
    seed and the request alone.

    Args:
        name: What people see.
        skill: Probability of a right answer.
        tuned_skill: The same with an adapter.
        seed: Another seed, other mistakes.
        answers: Right answers by example id.
        fail_every: About one request in so many fails; 0 for none.
        context_window: The most tokens (here: words) of prompt and answer together.
        batch_size: The most requests in a batch.
    """

    simulated: ClassVar[bool] = True
    tunable: ClassVar[bool] = True
    source: ClassVar[str] = SOURCE

    def __init__(
        self,
        name: str = "fake",
        skill: float = 0.7,
        tuned_skill: float = 0.9,
        seed: int = 0,
        answers: Mapping[str, str] | None = None,
        fail_every: int = 0,
        context_window: int = 8192,
        batch_size: int = 16,
    ) -> None:
        self.name = name
        self.context_window = context_window
        self._skill = skill
        self._tuned_skill = tuned_skill
        self._seed = seed
        self._answers = dict(answers or {})
        self._fail_every = fail_every
        self._batch_size = batch_size
        self._adapter = ""
        self._memory: list[tuple[str, str]] = []

    def describe(self) -> Settings:
        """All that decides its answers, but for the answers it was told."""
        return {
            "id": SOURCE,
            "skill": self._skill,
            "tuned_skill": self._tuned_skill,
            "seed": self._seed,
            "adapter": bool(self._adapter),
        }

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Words, and three for each message."""
        return sum(len(message.content.split()) + 3 for message in messages)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """Requests in their order, some at a time."""
        starts = range(0, len(requests), self._batch_size)
        return [Batch(requests=tuple(requests[start : start + self._batch_size])) for start in starts]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        """Answer one batch."""
        return [self._answer(request) for request in batch.requests]

    def with_adapter(self, folder: Path) -> FakeModel:
        """The model as if tuned: it has the tuned skill, and remembers the training pairs."""
        file = folder / MEMORY
        if not file.is_file():
            raise Missing(f"There is no adapter in {folder}.", hint="Train it first: run the case again.")
        variant = copy.copy(self)
        variant._adapter = hashlib.sha256(file.read_bytes()).hexdigest()
        variant._memory = [(prompt, answer) for prompt, answer in json.loads(file.read_text(encoding="utf-8"))]
        return variant

    def _answer(self, request: Request) -> Reply | Failure:
        length = self.count_tokens(with_tools(request.messages, request.tools))
        if length > self.context_window - request.max_tokens:
            return Failure(kind="too_long", message="The prompt is too long.", usage=Usage(prompt_tokens=length))
        if self._fail_every and int(self._chance("failure", request) * self._fail_every) == 0:
            return Failure(kind="error", message="The fake model was told to fail here.")
        words = self._text(request).split(" ")
        kept = words[: request.max_tokens]
        usage = Usage(
            prompt_tokens=length,
            completion_tokens=len(kept),
            seconds=1e-5 * length + 1e-3 * len(kept),
            prefill_seconds=1e-5 * length,
        )
        return Reply(text=" ".join(kept), usage=usage, finish="stop" if kept == words else "length")

    def _text(self, request: Request) -> str:
        right = self._answers.get(request.example_id)
        if right is None:
            return self._repeated(request.messages)
        skill = self._tuned_skill if self._adapter else self._skill
        if self._chance("skill", request) < skill:
            return right
        others = sorted({answer for answer in self._answers.values() if answer != right})
        return others[int(self._chance("mistake", request) * len(others))] if others else f"not {right}"

    def _repeated(self, messages: Sequence[Message]) -> str:
        question = messages[-1].content if messages else ""
        if self._memory:
            return max(self._memory, key=lambda pair: overlap(pair[0], question))[1]
        shots = [message.content for message in messages if message.role == "assistant"]
        return shots[-1] if shots else " ".join(question.split()[-5:])

    def _chance(self, what: str, request: Request) -> float:
        """A number from 0 up to 1 that looks random and is the same every time."""
        prompt = [message.content for message in request.messages]
        key = json.dumps([self._seed, self._adapter, what, request.example_id, prompt])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def overlap(one: str, other: str) -> float:
    """Jaccard similarity of two texts' words."""
    first, second = set(one.lower().split()), set(other.lower().split())
    return len(first & second) / max(1, len(first | second))


def write_adapter(folder: Path, pairs: Sequence[TrainingPair]) -> None:
    """What tuning the fake model leaves behind."""
    memory = [(pair.messages[-1].content if pair.messages else "", pair.answer) for pair in pairs]
    (folder / MEMORY).write_text(json.dumps(memory, ensure_ascii=False), encoding="utf-8")
