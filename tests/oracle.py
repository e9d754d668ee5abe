"""A model for tests that knows the rule behind the toy data, and logs what it is asked."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings, Usage

WORDS = {"refund": "money back", "repair": "broken hinge", "delivery": "parcel van"}


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Answers with the label whose words stand in the question, right in a share `skill` of the questions."""

    name: str = "oracle"
    skill: float = 0.6
    tuned_skill: float = 0.95
    log: str = ""
    pause: float = 0.0
    tunable: bool = True
    simulated: bool = False
    context_window: int = 2048
    source: str = "fake"

    def describe(self) -> Settings:
        return {"id": "oracle", "skill": self.skill}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m.content.split()) for m in messages)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        return [Batch(requests=tuple(requests[i : i + 4])) for i in range(0, len(requests), 4)]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        time.sleep(self.pause)
        if self.log:
            with Path(self.log).open("a", encoding="utf-8") as file:
                file.writelines(self.key(r) + "\n" for r in batch.requests)
        return [self.reply(r) for r in batch.requests]

    def key(self, request: Request) -> str:
        asked = json.dumps([m.content for m in request.messages])
        return hashlib.sha256(f"{self.skill} {asked}".encode()).hexdigest()

    def reply(self, request: Request) -> Reply:
        question = request.messages[-1].content
        right = next((label for label, words in WORDS.items() if words in question), "?")
        luck = int(hashlib.sha256(question.encode()).hexdigest()[:8], 16) / 16**8
        tokens = self.count_tokens(request.messages)
        usage = Usage(prompt_tokens=tokens, completion_tokens=1, seconds=0.01, prefill_seconds=0.005)
        return Reply(text=right if luck < self.skill else "no idea", usage=usage)

    def with_adapter(self, folder: Path) -> Oracle:
        assert folder.is_dir()
        return replace(self, skill=self.tuned_skill)


def toy_rows(count: int) -> list[dict[str, object]]:
    """Distinct questions, each with the words of its label."""
    names = ("ada", "bo", "cyd", "dee", "eve", "fay", "gil", "hal", "ida", "jo", "kim", "lou", "may", "ned", "oz")
    rows: list[dict[str, object]] = []
    for i in range(count):
        label, words = list(WORDS.items())[i % len(WORDS)]
        text = f"{names[i % 15]} and {names[(i // 15 + i) % 15]} wrote on day {i} about the {words}, note {i * 7919}"
        asked = {"role": "user", "content": text}
        rows.append({"messages": [asked, {"role": "assistant", "content": label}]})
    return rows


def write_case(folder: Path, *, rows: int = 120, arms: str = "", model: str = "", extra: str = "") -> Path:
    """A runnable classification case on toy data."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in toy_rows(rows)]
    (folder / "examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = ["zero_shot", "few_shot", "tuned"]
    arms = arms or "".join(f'[[arms]]\napproach = "{name}"\n' for name in names)
    model = model or '[[models]]\nname = "oracle"\nprovider = "oracle"\n'
    text = (
        'schema = 1\ntitle = "Toy"\n[task]\nkind = "classification"\n[data]\nexamples = "examples.jsonl"\n'
        f"{model}{arms}{extra}"
    )
    (folder / "case.toml").write_text(text, encoding="utf-8")
    return folder
