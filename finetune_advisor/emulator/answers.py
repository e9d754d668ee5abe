"""Chat completions and responses, given by the local model."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from finetune_advisor.emulator.prompts import Object, chat_messages, response_messages
from finetune_advisor.emulator.state import ApiError, Charge, State
from finetune_advisor.models import Model
from finetune_advisor.records import Batch, Failure, Message, Reply, Request

DEFAULT_TOKENS = 256
"""Of an answer whose request sets no limit."""

CACHE_FROM, CACHE_STEP = 1024, 128
"""OpenAI caches prompts from so many tokens on, in steps of so many."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """An answer of the local model. `calls` are the tool calls that its text spells, if it does."""

    model: str
    texts: tuple[str, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    calls: tuple[tuple[str, str], ...] = ()

    def charge(self, what: Literal["chat", "responses"]) -> Charge:
        """What it costs."""
        return Charge(
            what=what,
            model=self.model,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
        )


def spoiled(given: Given) -> Given:
    """The same answer with numbers that cannot be: more of the prompt cached than there is, and no answer."""
    wrong = 1000 * (given.prompt_tokens + 1)
    return replace(given, cached_tokens=wrong, completion_tokens=0)


class Answers:
    """Asks the local model, one prompt at a time, and counts as OpenAI would.

    Args:
        state: What is behind the emulator.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._asking = threading.Lock()
        self._seen: dict[str, list[str]] = defaultdict(list)

    def chat(self, body: Object) -> Given:
        """What answers a chat completion."""
        return self._answer(
            body["model"],
            chat_messages(body["messages"]),
            limit=body.get("max_completion_tokens") or body.get("max_tokens"),
            stops=_listed(body.get("stop")),
            tools=body.get("tools") or (),
            schema=_schema(_part(body, "response_format")),
            copies=body.get("n") or 1,
        )

    def respond(self, body: Object) -> Given:
        """What answers a response."""
        return self._answer(
            body["model"],
            response_messages(body.get("instructions"), body["input"]),
            limit=body.get("max_output_tokens"),
            tools=[{"type": "function", "function": tool} for tool in body.get("tools") or ()],
            schema=_schema(_part(_part(body, "text"), "format")),
        )

    def _answer(
        self,
        name: str,
        messages: tuple[Message, ...],
        *,
        limit: int | None,
        stops: Sequence[str] = (),
        tools: Sequence[Mapping[str, Any]] = (),
        schema: Object | None = None,
        copies: int = 1,
    ) -> Given:
        model = self._state.answering(name)
        with self._asking:
            tokens = model.count_tokens(messages)
            room = _room(model, tokens, limit)
            cached = self._cached(name, model, messages, tokens)
            request = Request(
                example_id="", messages=messages, max_tokens=room, tools=tuple(tools), answer_schema=schema
            )
            reply = _reply(model, request)
        text = _cut(reply.text, stops)
        return Given(
            model=name,
            texts=(text,) * copies,
            finish="stop" if text != reply.text else reply.finish,
            prompt_tokens=reply.usage.prompt_tokens,
            cached_tokens=min(cached, reply.usage.prompt_tokens),
            completion_tokens=reply.usage.completion_tokens * copies,
            calls=_calls(text, tools),
        )

    def _cached(self, name: str, model: Model, messages: Sequence[Message], tokens: int) -> int:
        """Tokens of the prompt that OpenAI would have had in its cache: the longest beginning of an earlier prompt."""
        if tokens < CACHE_FROM:
            return 0
        key = "".join(f"{message.role}\0{message.content}\1" for message in messages)
        seen = self._seen[name]
        place = bisect_left(seen, key)
        shared = max((_shared(key, other) for other in seen[max(0, place - 1) : place + 1]), default=0)
        if seen[place : place + 1] != [key]:
            insort(seen, key)
        counted = min(tokens, model.count_tokens(_beginning(messages, shared)))
        return counted // CACHE_STEP * CACHE_STEP if counted >= CACHE_FROM else 0


def _reply(model: Model, request: Request) -> Reply:
    (reply,) = model.answer(Batch(requests=(request,)))
    if not isinstance(reply, Failure):
        return reply
    if reply.kind == "too_long":
        raise _too_long(reply.message)
    raise ApiError(500, reply.message, type="server_error")


def _room(model: Model, tokens: int, limit: int | None) -> int:
    left = model.context_window - tokens
    if left < 1:
        raise _too_long(f"This model reads at most {model.context_window} tokens; the messages have {tokens}.")
    return min(limit or DEFAULT_TOKENS, left)


def _too_long(message: str) -> ApiError:
    return ApiError(400, message, code="context_length_exceeded", param="messages")


def _shared(one: str, other: str) -> int:
    """Length of the common beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _beginning(messages: Sequence[Message], characters: int) -> list[Message]:
    kept: list[Message] = []
    for message in messages:
        characters -= len(message.role) + 1
        if characters <= 0:
            break
        kept.append(Message(role=message.role, content=message.content[:characters]))
        characters -= len(message.content) + 1
    return kept


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((place for stop in stops if stop and (place := text.find(stop)) >= 0), default=len(text))]


def _part(body: Object, key: str) -> Object:
    return body.get(key) or {}


def _schema(wanted: Object) -> Object | None:
    """The JSON schema that is asked for, which stands in its own key in chat and beside the type in responses."""
    if wanted.get("type") != "json_schema":
        return None
    return wanted.get("json_schema", wanted).get("schema")


def _calls(text: str, tools: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Name and arguments of each call, where the answer is a JSON list of calls of these tools and nothing else."""
    names = {str(tool.get("function", {}).get("name")) for tool in tools}
    try:
        found: Any = json.loads(text)
    except ValueError:
        return ()
    calls = cast(list[Any], found if isinstance(found, list) else [found])
    if not all(isinstance(call, dict) and {"name", "arguments"} <= set(cast(Object, call)) for call in calls):
        return ()
    if not {str(call["name"]) for call in calls} <= names:
        return ()
    return tuple((str(call["name"]), json.dumps(call["arguments"])) for call in calls)
