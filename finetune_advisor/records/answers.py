"""Asking a model and training it: requests, replies, usage, training runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetune_advisor.records.data import Message, Settings


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt for one example, with the passages that were put into it.

    `tools` are what the model may call, in the OpenAI format; `answer_schema` is the JSON schema of the answer for
    models that can keep to one, None where any text may be answered.
    """

    example_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    passages: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    answer_schema: Settings | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Requests that are answered together."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens and seconds of one reply.

    `prompt_tokens` counts the whole prompt, `cached_tokens` the part of it that was computed for another request.
    `seconds` is the reply's share of its batch, `prefill_seconds` the part of that which went into reading.
    `recounted` says that a provider's numbers were impossible, and that these were counted here instead.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    prefill_seconds: float = 0.0
    recounted: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answered. `finish` is "length" where the answer was cut off."""

    text: str
    usage: Usage
    finish: Literal["stop", "length"] = "stop"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """No answer: the call failed, or the prompt did not fit. Counts as wrong, never as missing.

    "lost" is never stored: the connection broke after the request was sent, so that it may have been charged, and
    whoever asked decides whether to ask again.
    """

    kind: Literal["too_long", "error", "lost"]
    message: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good an answer is, from 0 to 1, and whether it had the wanted form at all."""

    value: float
    format_ok: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainingPair:
    """A prompt and the answer to learn; the loss is on the answer only. `tools` are what the model may call."""

    messages: tuple[Message, ...]
    answer: str
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LossPoint:
    """A logged loss."""

    step: int
    loss: float
    split: Literal["train", "validation"]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training: where its adapter lies and what it took.

    `tokens` counts all tokens over all epochs, without padding; for a training at a provider those that it bills.
    `adapter` is the folder of the adapter, or of the file that names the tuned model at a provider. `job` is the
    provider's name of the training, `tuned_model` that of what came out of it, `estimated_tokens` what was expected
    to be billed.
    """

    adapter: str
    base: str
    options: Settings
    examples: int
    steps: int
    best_step: int
    tokens: int
    trainable_parameters: int
    seconds: float
    losses: tuple[LossPoint, ...] = ()
    job: str = ""
    tuned_model: str = ""
    estimated_tokens: int | None = None
