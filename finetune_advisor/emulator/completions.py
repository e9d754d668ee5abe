"""Answers in OpenAI's words: a chat completion, whole or as a stream, and a response."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel

from finetune_advisor.emulator.answers import Given
from finetune_advisor.emulator.prompts import Object
from finetune_advisor.emulator.state import new_id


def completion(given: Given) -> ChatCompletion:
    """A chat completion."""
    message: dict[str, Any] = {"role": "assistant", "refusal": None}
    if given.calls:
        message |= {"content": None, "tool_calls": _calls(given)}
    finish = "tool_calls" if given.calls else given.finish
    choices = [
        {"index": index, "finish_reason": finish, "logprobs": None, "message": {"content": text, **message}}
        for index, text in enumerate(given.texts)
    ]
    return ChatCompletion.model_validate({**_head("chat.completion", given), "choices": choices, "usage": usage(given)})


def chunks(given: Given, *, with_usage: bool) -> Iterator[ChatCompletionChunk]:
    """The same as a stream, word by word; the text is known before the first word is sent."""
    head = _head("chat.completion.chunk", given)
    for delta in _deltas(given):
        yield _chunk(head, [{"index": 0, "delta": delta, "finish_reason": None}])
    finish = "tool_calls" if given.calls else given.finish
    yield _chunk(head, [{"index": 0, "delta": {}, "finish_reason": finish}])
    if with_usage:
        yield ChatCompletionChunk.model_validate({**head, "choices": [], "usage": usage(given)})


def response(given: Given, body: Object) -> Response:
    """A response to that request."""
    cut = given.finish == "length"
    return Response.model_validate(
        {
            "id": new_id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "model": given.model,
            "status": "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": body.get("instructions"),
            "metadata": body.get("metadata") or {},
            "max_output_tokens": body.get("max_output_tokens"),
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "temperature": body.get("temperature", 1.0),
            "top_p": body.get("top_p", 1.0),
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "text": body.get("text") or {"format": {"type": "text"}},
            "output": _output(given, "incomplete" if cut else "completed"),
            "usage": {
                "input_tokens": given.prompt_tokens,
                "input_tokens_details": {"cached_tokens": given.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": given.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": given.prompt_tokens + given.completion_tokens,
            },
        }
    )


def usage(given: Given) -> CompletionUsage:
    """What a chat completion says it used."""
    return CompletionUsage.model_validate(
        {
            "prompt_tokens": given.prompt_tokens,
            "completion_tokens": given.completion_tokens,
            "total_tokens": given.prompt_tokens + given.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": given.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
    )


def dumped(value: BaseModel) -> dict[str, Any]:
    """As JSON, without what was never said: OpenAI's optional keys are left out rather than null."""
    return value.model_dump(mode="json", exclude_unset=True)


def _head(kind: str, given: Given) -> dict[str, Any]:
    return {"id": new_id("chatcmpl-"), "object": kind, "created": int(time.time()), "model": given.model}


def _chunk(head: dict[str, Any], choices: list[dict[str, Any]]) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate({**head, "choices": choices})


def _deltas(given: Given) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    if given.calls:
        yield {"tool_calls": [{"index": index, **call} for index, call in enumerate(_calls(given))]}
        return
    for word in re.findall(r"\s*\S+|\s+$", given.texts[0]):
        yield {"content": word}


def _calls(given: Given) -> list[dict[str, Any]]:
    return [
        {"id": new_id("call_"), "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in given.calls
    ]


def _output(given: Given, status: str) -> list[dict[str, Any]]:
    if given.calls:
        return [_function_call(name, arguments) for name, arguments in given.calls]
    text: dict[str, Any] = {"type": "output_text", "text": given.texts[0], "annotations": [], "logprobs": []}
    return [{"id": new_id("msg_"), "type": "message", "role": "assistant", "status": status, "content": [text]}]


def _function_call(name: str, arguments: str) -> dict[str, Any]:
    ids = {"id": new_id("fc_"), "call_id": new_id("call_")}
    return {"type": "function_call", "name": name, "arguments": arguments, "status": "completed", **ids}
