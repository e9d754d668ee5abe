"""The messages of a request, as a local model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune_advisor.emulator.state import ApiError
from finetune_advisor.records import Message

Object = Mapping[str, Any]

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_KEPT = ("name", "tool_calls", "tool_call_id")


def chat_messages(messages: Sequence[Object]) -> tuple[Message, ...]:
    """The messages of a chat completion.

    Raises:
        ApiError: A message holds something other than text.
    """
    return tuple(_message(message) for message in messages)


def response_messages(instructions: str | None, given: str | Sequence[Object]) -> tuple[Message, ...]:
    """Instructions and input of a response.

    Raises:
        ApiError: The input holds something other than texts, tool calls and what they returned.
    """
    first = [Message(role="system", content=instructions)] if instructions else []
    items: Sequence[Object] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return (*first, *(_item(item) for item in items))


def _message(message: Object) -> Message:
    # "developer" is what OpenAI calls "system" since its reasoning models; templates of local models know the latter.
    role = "system" if message["role"] == "developer" else message["role"]
    extra = {key: message[key] for key in _KEPT if message.get(key)}
    return Message(role=role, content=_text(message.get("content")), extra=extra)


def _item(item: Object) -> Message:
    kind = item.get("type") or "message"
    if kind == "message":
        return _message(item)
    if kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        return Message(role="assistant", content="", extra={"tool_calls": [call]})
    if kind == "function_call_output":
        return Message(role="tool", content=_text(item["output"]), extra={"tool_call_id": item["call_id"]})
    raise _only_text(kind)


def _text(content: str | Sequence[Object] | None) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_part(part) for part in content or ())


def _part(part: Object) -> str:
    if part["type"] not in _TEXTS:
        raise _only_text(part["type"])
    return part[_TEXTS[part["type"]]]


def _only_text(kind: str) -> ApiError:
    return ApiError(400, f"The emulator's model reads text only, not {kind}.", code="unsupported_value")
