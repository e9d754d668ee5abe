"""Check rows in the OpenAI chat format, each line by itself (`check_line`) and against the lines before (`Seen`).

The first eight codes and their order are those of the OpenAI cookbook's Chat_finetuning_data_prep; the rest
follow what today's fine-tuning API takes: tools, tool calls, content parts, weights, developer and tool messages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from finetune_advisor.datasets import tool_calls
from finetune_advisor.datasets.jsonl import JSON, canonical, parse, shown
from finetune_advisor.datasets.tool_calls import Fault
from finetune_advisor.records import Finding

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
KEYS = ("role", "content", "name", "weight", "function_call", "tool_calls", "tool_call_id", "refusal", "audio")
_TEXT_PARTS = ("text", "refusal")
_MEDIA_PARTS = ("image_url", "input_audio", "file")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Object = dict[str, JSON]


def check_line(raw: str, line: int, file: str) -> tuple[Object | None, list[Finding]]:
    """Parse and check one line of a chat JSONL file; never raises, whatever the text.

    Args:
        raw: The line.
        line: Its number, from 1.
        file: The file's name for the findings.

    Returns:
        The row, or None where a finding is an error, and the findings.
    """
    value, findings = parse(raw, line, file)
    if findings:
        return None, findings
    return check_row(value, line, file)


def check_row(value: JSON, line: int, file: str) -> tuple[Object | None, list[Finding]]:
    """Check one row that is already parsed; see `check_line`."""
    errors = list(_errors(value))
    if errors or not isinstance(value, dict):
        return None, _findings(errors, "error", line, file)
    return value, _findings(_warnings(value), "warning", line, file)


def objects(value: JSON) -> list[Object]:
    """The objects of a list, the whole of it where a row has passed the checks."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(content: JSON) -> str:
    """The text of a message's content: itself, or its text parts, one a line."""
    if isinstance(content, str):
        return content
    texts = [part.get(str(part.get("type"))) for part in objects(content) if part.get("type") in _TEXT_PARTS]
    return "\n".join(text for text in texts if isinstance(text, str))


def meta_of(row: Object) -> Object:
    """What a row says beside its messages and tools: its ``meta``, and every key that the format does not know."""
    rest = {key: value for key, value in row.items() if key not in ("messages", "tools", "meta")}
    meta = row.get("meta")
    if meta is None:
        return rest
    return {**rest, **meta} if isinstance(meta, dict) else {**rest, "meta": meta}


def answer_index(messages: Sequence[Object]) -> int:
    """Where the answer stands: the last assistant message with something before it and a weight other than 0.

    Where there is none such, the last one with something before it, or else the first message.

    Raises:
        ValueError: No message is the assistant's.
    """
    return max(
        (index for index, message in enumerate(messages) if message.get("role") == "assistant"),
        key=lambda index: (index > 0, messages[index].get("weight") != 0, index),
    )


@dataclass(kw_only=True)
class Seen:
    """The rows of one file so far, to find repeated and contradictory ones; holds hashes, not texts."""

    _rows: dict[str, int] = field(default_factory=dict[str, int])
    _prompts: dict[str, int] = field(default_factory=dict[str, int])

    def check(self, prompt: str, answer: str, line: int, file: str) -> list[Finding]:
        """Compare a row with those before it, and remember it.

        Args:
            prompt: All that comes before the answer, as canonical text.
            answer: The answer.
            line: The row's line number.
            file: The file's name for the findings.
        """
        asked, whole = _digest(prompt), _digest(prompt, answer)
        first, before = self._rows.setdefault(whole, line), self._prompts.setdefault(asked, line)
        if first != line:
            return [duplicate(first, line, file)]
        return [conflict(before, line, file)] if before != line else []


def duplicate(first: int, line: int, file: str) -> Finding:
    """Says that a row is the same as the one on an earlier line."""
    message = f"The row is the same as line {first} and is left out; it would count twice."
    return _findings([(f"duplicate_of_line_{first}", message)], "error", line, file)[0]


def conflict(before: int, line: int, file: str) -> Finding:
    """Says that the prompt of a row has another answer on an earlier line."""
    message = f"The same prompt has another answer on line {before}; one of the two is likely wrong."
    return _findings([("conflicting_label_with_previous", message)], "warning", line, file)[0]


def _digest(*texts: str) -> str:
    return hashlib.sha256(canonical([*texts]).encode("utf-8")).hexdigest()


def _findings(
    faults: Sequence[Fault] | Iterator[Fault], severity: Literal["error", "warning"], line: int, file: str
) -> list[Finding]:
    return [Finding(file=file, line=line, code=code, severity=severity, message=message) for code, message in faults]


def _errors(value: JSON) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield "data_type", 'The line is not a JSON object; it has to be {"messages": [...]}.'
        return
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "missing_messages_list", 'The line has no "messages" list, or an empty one.'
        return
    for number, message in enumerate(messages, start=1):
        yield from _message_errors(message, number)
    yield from tool_calls.schema_faults(value.get("tools"))
    yield from tool_calls.pairing_faults(objects(messages))
    yield from _answer_errors([message.get("role") if isinstance(message, dict) else None for message in messages])


def _message_errors(message: JSON, number: int) -> Iterator[Fault]:
    if not isinstance(message, dict):
        yield "message_not_object", f"Message {number} is not a JSON object with role and content."
        return
    missing = [key for key in ("role", "content") if key not in message and not (key == "content" and _calls(message))]
    if missing:
        yield "message_missing_key", f"Message {number} has no {' and no '.join(missing)}."
    unknown = sorted(key for key in message if key not in KEYS)
    if unknown:
        yield (
            "message_unrecognized_key",
            f"Message {number} has a key that the API does not know: {', '.join(map(shown, unknown))}.",
        )
    if message.get("role") not in ROLES:
        yield (
            "unrecognized_role",
            f"Message {number} has the role {shown(message.get('role'))}; known: {', '.join(ROLES)}.",
        )
    if not _has_content(message):
        yield "missing_content", f"Message {number} has no content: it has to be a text or a list of content parts."
    yield from _weight_errors(message, number)
    yield from tool_calls.call_faults(message, number)


def _calls(message: Object) -> bool:
    return message.get("role") == "assistant" and bool(message.get("tool_calls") or message.get("function_call"))


def _has_content(message: Object) -> bool:
    content = message.get("content")
    if _calls(message) and content in (None, ""):
        return True
    if isinstance(content, str):
        return bool(content.strip()) or message.get("role") in ("tool", "function")
    if not isinstance(content, list) or not content or not all(_is_part(part) for part in content):
        return False
    return bool(text_of(content).strip()) or _has_media(message)


def _is_part(part: JSON) -> bool:
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    return kind in _MEDIA_PARTS or (kind in _TEXT_PARTS and isinstance(part.get(str(kind)), str))


def _has_media(message: Object) -> bool:
    return any(part.get("type") in _MEDIA_PARTS for part in objects(message.get("content")))


def _weight_errors(message: Object, number: int) -> Iterator[Fault]:
    weight = message.get("weight")
    if weight is not None and (type(weight) is not int or weight not in (0, 1)):
        yield "weight_invalid", f"Message {number} has the weight {shown(weight)}; only 0 and 1 are allowed."


def _answer_errors(roles: Sequence[JSON]) -> Iterator[Fault]:
    if "assistant" not in roles:
        yield "example_missing_assistant_message", "No message is the assistant's, so there is no answer to learn."
    elif roles == ["assistant"]:
        yield "missing_prompt", "Nothing stands before the assistant's message, so there is no prompt."


def _warnings(row: Object) -> Iterator[Fault]:
    messages = objects(row.get("messages"))
    answer = messages[answer_index(messages)]
    yield from _order_warnings(messages)
    if all(message.get("weight") == 0 for message in messages if message.get("role") == "assistant"):
        yield "no_trained_tokens", "Every assistant message has weight 0, so the row trains nothing."
    for number, message in enumerate(messages, start=1):
        yield from _content_warnings(message, number)
    if _calls(answer) and text_of(answer.get("content")).strip():
        yield "text_beside_tool_calls", "The answer is text and tool calls; only the calls are compared and learned."
    if not _are_texts(meta_of(row).get("refs", [])):
        yield "references_invalid", "meta.refs is not a list of texts, so the answer is the only reference."


def _are_texts(value: JSON) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _order_warnings(messages: Sequence[Object]) -> Iterator[Fault]:
    roles = [str(message.get("role")) for message in messages]
    if roles[-1] != "assistant":
        used = "what follows the answer is not used" if answer_index(messages) else "without a prompt, it is not used"
        yield "last_message_not_assistant", f"The row does not end with the assistant's message; {used}."
    for number, (before, role) in enumerate(pairwise(roles), start=2):
        if before == role == "user":
            yield "two_user_turns", f"Messages {number - 1} and {number} are both the user's: is an answer missing?"
        if role in ("system", "developer") and before not in ("system", "developer"):
            yield "system_not_first", f"Message {number} is a {role} message; it should stand first."


def _content_warnings(message: Object, number: int) -> Iterator[Fault]:
    found = CONTROL.search(text_of(message.get("content")))
    if found:
        yield "control_character", f"Message {number} holds the control character U+{ord(found[0]):04X}."
    if _has_media(message):
        yield "content_not_text", f"Message {number} holds an image, a sound or a file; only its text is used."
