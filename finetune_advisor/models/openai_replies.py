"""Replies of the two OpenAI APIs, read as what they are: bytes from somebody else's server.

Their numbers decide what is charged, so impossible ones are not believed: they are counted here instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from finetune_advisor.datasets import tool_calls
from finetune_advisor.datasets.chat import text_of
from finetune_advisor.datasets.jsonl import canonical
from finetune_advisor.models.openai_requests import Api
from finetune_advisor.records import Failure, Reply, Request, Usage

MARKUP = 64
"""The most tokens that a provider puts around a message, a tool or a schema; its text has at most one a byte."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a model answered: a text, or calls of tools, or a refusal; `usage` as the provider gave it."""

    text: str
    calls: tuple[Mapping[str, Any], ...]
    refusal: str
    cut: bool
    filtered: bool
    usage: Any


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a reply can be held against: own counts of the prompt and of a text, and the limit of the answer."""

    prompt: Callable[[], int]
    text: Callable[[str], int]
    limit: int


def read(text: str, api: Api) -> Said | None:
    """The answer in a reply's body; None where that is not what the API gives."""
    try:
        if api == "chat":
            return _Completion.model_validate_json(text).said()
        return _Response.model_validate_json(text).said()
    except ValidationError:
        return None


def outcome_of(said: Said, request: Request, counts: Counts, seconds: float) -> Reply | Failure:
    """The reply, or why there is no answer in it. What it took counts either way."""
    text = _text(said)
    if request.tools and not said.calls:
        text = tool_calls.comparable(text)
    usage = _usage(said, request, counts, seconds)
    why = _no_answer(said, text)
    if why:
        return Failure(kind="error", message=why, usage=usage)
    return Reply(text=text, usage=usage, finish="length" if said.cut else "stop")


def most_prompt_tokens(request: Request) -> int:
    """More tokens than this no prompt can have: one for every byte, and what is put around the messages."""
    texts = [m.content + (json.dumps(dict(m.extra), default=dict) if m.extra else "") for m in request.messages]
    beside = [json.dumps(dict(each), default=dict) for each in (*request.tools, request.answer_schema) if each]
    return sum(len(text.encode("utf-8", "replace")) + MARKUP for text in (*texts, *beside))


def _text(said: Said) -> str:
    """The calls as data sets have them, so that they can be compared; those that cannot be read as they came."""
    if not said.calls:
        return said.text.strip()
    try:
        return tool_calls.answer_of({"tool_calls": [{"function": dict(call)} for call in said.calls]})
    except ValueError:
        return canonical([dict(call) for call in said.calls])


def _no_answer(said: Said, text: str) -> str:
    if said.filtered:
        return "The provider's content filter held the answer back."
    if said.refusal:
        return "The model refused to answer."
    if text:
        return ""
    if said.cut:
        return "The answer's tokens were used up by thinking: raise max_answer_tokens, or lower reasoning_effort."
    return "The answer was empty."


def _usage(said: Said, request: Request, counts: Counts, seconds: float) -> Usage:
    try:
        given = _Tokens.model_validate(said.usage)
    except ValidationError:
        given = None
    if given is not None and given.possible(said, request, counts.limit):
        return Usage(
            prompt_tokens=given.prompt, cached_tokens=given.cached, completion_tokens=given.completion, seconds=seconds
        )
    completion = min(counts.limit, counts.text(_text(said) or said.refusal))
    return Usage(prompt_tokens=counts.prompt(), completion_tokens=completion, seconds=seconds, recounted=True)


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Tokens(BaseModel):
    prompt: int = Field(validation_alias=AliasChoices("prompt_tokens", "input_tokens"))
    completion: int = Field(validation_alias=AliasChoices("completion_tokens", "output_tokens"))
    details: _Details | None = Field(
        default=None, validation_alias=AliasChoices("prompt_tokens_details", "input_tokens_details")
    )

    @property
    def cached(self) -> int:
        return (self.details.cached_tokens if self.details else None) or 0

    def possible(self, said: Said, request: Request, limit: int) -> bool:
        least = 1 if said.text or said.calls else 0
        return 0 < self.prompt <= most_prompt_tokens(request) and (
            0 <= self.cached <= self.prompt and least <= self.completion <= limit
        )


class _Function(BaseModel):
    name: str
    arguments: str = ""


class _Call(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None

    def said(self) -> Said:
        choice = self.choices[0]
        return Said(
            text=text_of(choice.message.content),
            calls=tuple(call.function.model_dump() for call in choice.message.tool_calls or ()),
            refusal=choice.message.refusal or "",
            cut=choice.finish_reason == "length",
            filtered=choice.finish_reason == "content_filter",
            usage=self.usage,
        )


class _Part(BaseModel):
    type: str
    text: str = ""
    refusal: str = ""


class _Item(BaseModel):
    type: str
    content: list[_Part] | None = None
    name: str = ""
    arguments: str = ""


class _Incomplete(BaseModel):
    reason: str | None = None


class _Response(BaseModel):
    output: list[_Item]
    status: Literal["completed", "incomplete"] = "completed"
    incomplete_details: _Incomplete | None = None
    usage: Any = None

    def said(self) -> Said:
        parts = [part for item in self.output if item.type == "message" for part in item.content or ()]
        calls = [item for item in self.output if item.type == "function_call"]
        reason = self.incomplete_details.reason if self.incomplete_details else None
        return Said(
            text="".join(part.text for part in parts if part.type == "output_text"),
            calls=tuple({"name": call.name, "arguments": call.arguments} for call in calls),
            refusal="".join(part.refusal for part in parts if part.type == "refusal"),
            cut=reason == "max_output_tokens",
            filtered=reason == "content_filter",
            usage=self.usage,
        )
