"""Tools and tool calls in chat rows: their faults, and a call as an answer that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from finetune_advisor.datasets.jsonl import JSON, canonical, loads, shown

Fault = tuple[str, str]
"""A code and its message."""

Object = dict[str, JSON]

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_THOUGHT = re.compile(r"\A.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?(.*)```", re.DOTALL | re.IGNORECASE)


def schema_faults(tools: JSON) -> Iterator[Fault]:
    """What is wrong with a row's ``tools``; None stands for a row without any."""
    if tools is None:
        return
    if not isinstance(tools, list):
        yield "tool_invalid", "tools is not a list."
        return
    for number, tool in enumerate(tools, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not _name(function):
            yield (
                "tool_invalid",
                f'Tool {number} has no function name: {{"type": "function", "function": {{"name": ...}}}}.',
            )
        elif not isinstance(function.get("parameters") or {}, dict):
            yield "tool_invalid", f"The parameters of tool {number} are not a JSON schema."


def call_faults(message: Object, number: int) -> Iterator[Fault]:
    """What is wrong with the calls of one message."""
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        yield "tool_call_invalid", f"The tool_calls of message {number} are not a list."
    for call in _functions(message):
        reason = _call_fault(call)
        if reason:
            yield "tool_call_invalid", f"A tool call of message {number} {reason}."


def pairing_faults(messages: Sequence[Object]) -> Iterator[Fault]:
    """Tool messages that answer no call made before them."""
    called: set[JSON] = set()
    for number, message in enumerate(messages, start=1):
        calls = message.get("tool_calls")
        ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        called.update(name for name in ids if isinstance(name, str))
        asked = message.get("tool_call_id")
        if message.get("role") == "tool" and (not isinstance(asked, str) or asked not in called):
            yield (
                "tool_message_unmatched",
                f"Message {number} answers the tool call {shown(asked)}, which was never made.",
            )


def answer_of(message: Object) -> str:
    """The calls of an assistant message as canonical JSON, arguments parsed; "" where it makes none."""
    calls = [call for call in _functions(message) if isinstance(call, dict)]
    if not calls:
        return ""
    return canonical([{"name": call["name"], "arguments": loads(str(call["arguments"]))} for call in calls])


def comparable(text: str) -> str:
    """A model's reply as `answer_of` writes calls where it makes any, else the reply itself."""
    calls = calls_in(text)
    return canonical([*calls]) if calls else text


def calls_in(text: str) -> list[Object]:
    """The calls that a reply makes, each with name and arguments, where it is calls in a form that models use.

    Known are JSON objects and lists of them: bare, in a Markdown fence, or each between <tool_call> tags, beside
    which other text does not count, as it does not beside the calls of OpenAI's format. Nor do thoughts before them.
    """
    said = _THOUGHT.sub("", text)
    try:
        values = [loads(_unfenced(piece)) for piece in _TAGGED.findall(said) or [said]]
    except ValueError:
        return []
    found = [each for value in values for each in (value if isinstance(value, list) else [value])]
    calls = [call for call in map(called, found) if call is not None]
    return calls if len(calls) == len(found) else []


def called(value: JSON) -> Object | None:
    """Name and arguments of a call in whatever form; None where it is no call.

    Both may stand under "function"; arguments may be called parameters, and be an object or the text of one.
    """
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not _name(inner):
        return None
    arguments = inner.get("arguments", inner.get("parameters"))
    try:
        parsed = loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return None
    return {"name": _name(inner), "arguments": parsed} if isinstance(parsed, dict) else None


def _unfenced(text: str) -> str:
    bare = text.strip()
    fenced = _FENCE.fullmatch(bare)
    return fenced[1] if fenced else bare


def _functions(message: Object) -> list[JSON]:
    """The functions that a message calls, the old ``function_call`` included."""
    calls = message.get("tool_calls")
    found = (
        [call.get("function") if isinstance(call, dict) else call for call in calls] if isinstance(calls, list) else []
    )
    old = message.get("function_call")
    return found if old is None else [*found, old]


def _call_fault(call: JSON) -> str:
    if not isinstance(call, dict) or not _name(call):
        return "has no function name"
    arguments = call.get("arguments")
    if not isinstance(arguments, str):
        return "has no arguments, or not as text that holds JSON"
    try:
        parsed = loads(arguments)
    except ValueError:
        return "has arguments that are not valid JSON"
    return "" if isinstance(parsed, dict) else "has arguments that are not a JSON object"


def _name(function: Object) -> str:
    name = function.get("name")
    return name if isinstance(name, str) else ""
