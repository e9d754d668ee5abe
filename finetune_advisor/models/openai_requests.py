"""Requests as bodies of the two OpenAI APIs, chat completions and responses, without what a server has refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finetune_advisor.models.connection import Refused, too_long
from finetune_advisor.records import Message, Request

Api = Literal["chat", "responses"]
Body = dict[str, Any]

LEAST_OUTPUT = 16
"""The least `max_output_tokens` that the responses API takes."""

_LIMITS = ("max_completion_tokens", "max_tokens")
_SENT = ("name", "tool_calls", "tool_call_id", "function_call", "refusal")
_SCHEMA = re.compile(r"response_format|text\.format|json_schema|structured|schema", re.IGNORECASE)
_UNKNOWN_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
_UNKNOWN = re.compile(r"unsupported|support|unrecogni[sz]ed|unknown|extra|not permitted|unexpected", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a model is asked.

    Args:
        model: Its id, or the name of its deployment.
        api: Which of the two APIs.
        seed: For servers that answer the same for the same seed; None for none.
        reasoning_effort: How long a reasoning model thinks; "" for its default.
        ours: Whether the server is OpenAI's own software, which has its own name for the limit of an answer and knows
            the role of developer; other servers know the older name, and the role of system.
    """

    model: str
    api: Api = "chat"
    seed: int | None = None
    reasoning_effort: str = ""
    ours: bool = True

    def limit(self, request: Request) -> int:
        """The most tokens of an answer, as it is sent."""
        return request.max_tokens if self.api == "chat" else max(LEAST_OUTPUT, request.max_tokens)


class Refusals:
    """What a server has refused before, so that it is not sent again; shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All that it has refused."""
        return self._names

    def learn(self, refused: Refused, body: Body) -> bool:
        """Whether a request was refused for something that it can go without; it is left out from then on."""
        name = _dispensable(refused, body)
        if not name:
            return False
        with self._lock:
            self._names |= {name}
        return True


def body_of(request: Request, style: Style, without: frozenset[str]) -> Body:
    """What is sent for a request, without what the server has refused."""
    made = _chat(request, style, without) if style.api == "chat" else _responses(request, style, without)
    if "temperature" not in without:
        made["temperature"] = 0
    # A lone surrogate, which JSON can smuggle in, cannot be sent.
    return json.loads(json.dumps(made, ensure_ascii=False, default=dict).encode("utf-8", "replace"))


def refused_option(refused: Refused, style: Style) -> str:
    """The option of the model that a server does not take, "" where it is none of them."""
    given = {"seed": style.seed is not None, "reasoning_effort": bool(style.reasoning_effort)}
    names = {"seed": ("seed",), "reasoning_effort": ("reasoning_effort", "reasoning.effort", "reasoning")}
    return next((name for name, there in given.items() if there and _names(refused, names[name])), "")


def _dispensable(refused: Refused, body: Body) -> str:
    if refused.status not in (400, 422) or too_long(refused):
        return ""
    if ("response_format" in body or "text" in body) and _SCHEMA.search(f"{refused.param} {refused.message}"):
        return "answer_schema"
    found = [name for name in ("temperature", *_LIMITS) if name in body and _names(refused, (name,))]
    return found[0] if found else ""


def _names(refused: Refused, names: Sequence[str]) -> bool:
    """Whether a refusal says that one of these is not known or not supported."""
    unknown = refused.code in _UNKNOWN_CODES or _UNKNOWN.search(refused.message) is not None
    meant = refused.param or refused.message
    return unknown and any(re.search(rf"\b{re.escape(name)}\b", meant) for name in names)


def _chat(request: Request, style: Style, without: frozenset[str]) -> Body:
    made: Body = {"model": style.model, "messages": [_chat_message(each, style) for each in request.messages]}
    made[_limit_name(style, without)] = request.max_tokens
    if style.seed is not None:
        made["seed"] = style.seed
    if style.reasoning_effort:
        made["reasoning_effort"] = style.reasoning_effort
    if request.tools:
        made["tools"] = list(request.tools)
    if request.answer_schema is not None and "answer_schema" not in without:
        made["response_format"] = {"type": "json_schema", "json_schema": _schema(request.answer_schema)}
    return made


def _limit_name(style: Style, without: frozenset[str]) -> str:
    usual, other = _LIMITS if style.ours else _LIMITS[::-1]
    return other if usual in without else usual


def _schema(schema: Mapping[str, Any]) -> Body:
    return {"name": "answer", "strict": True, "schema": dict(schema)}


def _chat_message(message: Message, style: Style) -> Body:
    kept = {key: value for key, value in message.extra.items() if key in _SENT}
    content: Any = message.extra.get("content", message.content)
    calls = bool(kept.get("tool_calls") or kept.get("function_call"))
    return {"role": _role(message, style), "content": None if calls and not content else content, **kept}


def _role(message: Message, style: Style) -> str:
    return "system" if message.role == "developer" and not style.ours else message.role


def _responses(request: Request, style: Style, without: frozenset[str]) -> Body:
    items = [item for message in request.messages for item in _items(message, style)]
    # The provider keeps no copy of prompt and answer.
    made: Body = {"model": style.model, "input": items, "max_output_tokens": style.limit(request), "store": False}
    if style.reasoning_effort:
        made["reasoning"] = {"effort": style.reasoning_effort}
    if request.tools:
        made["tools"] = [_flat_tool(tool) for tool in request.tools]
    if request.answer_schema is not None and "answer_schema" not in without:
        made["text"] = {"format": {"type": "json_schema", **_schema(request.answer_schema)}}
    return made


def _flat_tool(tool: Mapping[str, Any]) -> Body:
    """A tool as the responses API wants it; that one is strict unless told otherwise, the other is not."""
    function: Mapping[str, Any] = tool.get("function") or {}
    nothing: Body = {"type": "object", "properties": Body()}
    kept = {key: function[key] for key in ("name", "description", "parameters") if key in function}
    return {"type": "function", "parameters": nothing, **kept, "strict": bool(function.get("strict"))}


def _items(message: Message, style: Style) -> list[Body]:
    """A message as items: its text, and each call and each call's result as one of its own."""
    if message.role in ("tool", "function"):
        call = message.extra.get("tool_call_id") or message.extra.get("name") or ""
        return [{"type": "function_call_output", "call_id": call, "output": message.content}]
    said: str | list[Any] = message.extra.get("content", message.content)
    parts = said if isinstance(said, str) else [_part(part, message.role) for part in said]
    given: list[Any] = message.extra.get("tool_calls") or []
    old: Mapping[str, Any] | None = message.extra.get("function_call")
    calls = [_call_item(call) for call in (*given, *([{"id": old.get("name"), "function": old}] if old else []))]
    return [{"role": _role(message, style), "content": parts}, *calls] if said or not calls else calls


def _part(part: Mapping[str, Any], role: str) -> Body:
    """A part of a message under the name that the responses API has for it."""
    if part.get("type") == "image_url":
        image: Mapping[str, Any] = part.get("image_url") or {}
        return {"type": "input_image", "detail": "auto", "image_url": image.get("url")}
    if part.get("type") == "text":
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.get("text")}
    return dict(part)


def _call_item(call: Mapping[str, Any]) -> Body:
    function: Mapping[str, Any] = call.get("function") or {}
    return {
        "type": "function_call",
        "call_id": call.get("id") or "",
        "name": function.get("name"),
        "arguments": function.get("arguments") or "{}",
    }
