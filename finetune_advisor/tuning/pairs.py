"""Training pairs to token ids, and the order in which they are learnt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_advisor.errors import BadInput
from finetune_advisor.models.chat import ChatFormat
from finetune_advisor.records import TrainingPair

NO_LOSS = -100
"""The label of a token that is read, not learnt."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A pair as token ids. The prompt's are the very ids that asking uses; `answer` ends with the stop token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt) + len(self.answer)


Row = dict[str, list[list[int]]]
"""One batch: the ids of each pair, and which of them are learnt."""


def encoded(pairs: Sequence[TrainingPair], chat: ChatFormat, max_length: int) -> list[Encoded]:
    """The pairs that fit, as token ids. A pair that is too long is left out: cut off, it would teach to go on and on.

    Raises:
        BadInput: No pair fits.
    """
    every = [_encoded(pair, chat) for pair in pairs]
    fitting = [one for one in every if one.length <= max_length]
    if every and not fitting:
        shortest = min(one.length for one in every)
        raise BadInput(
            f"All {len(every)} training examples are longer than {max_length} tokens (the shortest has {shortest}).",
            hint="Raise max_length, or put fewer passages or examples into the prompts.",
        )
    return fitting


def _encoded(pair: TrainingPair, chat: ChatFormat) -> Encoded:
    return Encoded(
        prompt=tuple(chat.prompt(pair.messages, pair.tools)),
        answer=tuple(chat.answer(pair.messages, pair.answer, pair.tools)),
    )


def arranged(pairs: Sequence[Encoded], batch_size: int, seed: int) -> list[list[Encoded]]:
    """Batches of pairs of like length, shuffled within a length and the batches among themselves.

    Like lengths together keep padding, which costs as much as real tokens, small.
    """
    chance = random.Random(seed)
    shuffled = chance.sample(pairs, len(pairs))
    ordered = sorted(shuffled, key=lambda one: one.length * chance.uniform(0.9, 1.1))
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return chance.sample(batches, len(batches))


def schedule(pairs: Sequence[Encoded], batch_size: int, steps: int, seed: int) -> list[list[Encoded]]:
    """The batches of all steps, epoch after epoch, each epoch arranged anew.

    It is settled before the training starts, so that a training that goes on after a stop sees the same batches.
    """
    batches: list[list[Encoded]] = []
    epoch = 0
    while len(batches) < steps:
        batches += arranged(pairs, batch_size, seed + epoch)
        epoch += 1
    return batches[:steps]


def row(batch: Sequence[Encoded]) -> Row:
    """A batch as one row of a Hugging Face dataset."""
    return {
        "input_ids": [[*one.prompt, *one.answer] for one in batch],
        "labels": [[NO_LOSS] * len(one.prompt) + list(one.answer) for one in batch],
    }


def rows(batches: Sequence[Sequence[Encoded]]) -> dict[str, list[Any]]:
    """Batches as the columns of a Hugging Face dataset."""
    made = [row(batch) for batch in batches]
    return {name: [one[name] for one in made] for name in ("input_ids", "labels")}
