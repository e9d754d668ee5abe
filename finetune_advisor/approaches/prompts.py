"""How prompts are worded. What every prompt shares comes first and what differs comes last, so a prefix can be cached.

Untuned arms get the rules that a careful engineer would write: the label list, the keys of the JSON object, the
form of the answer. Tuned arms get the example's own messages only, because a shorter prompt is what tuning buys.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, cast

from finetune_advisor.datasets import tool_calls
from finetune_advisor.records import Example, Message, Passage, Request, Settings, Task, TaskKind

MAX_VALUES = 20
"""A JSON field with more different values than this is not a closed set."""

MAX_KEYS = 40
"""An object with more different keys than this has no fixed keys."""

MAX_DEPTH = 8
"""Objects inside objects further down are not described."""


def rules(task: Task, train: Sequence[Example]) -> str:
    """What the answer has to look like, read off the training examples; "" where there is nothing to say."""
    answers = [example.answer for example in train]
    match task.kind:
        case TaskKind.CLASSIFICATION:
            labels = task.labels or sorted(set(answers))
            return f"Answer with exactly one of these labels and nothing else: {', '.join(labels)}"
        case TaskKind.JSON:
            return _calls_rule(train) or _json_rule(answers)
        case TaskKind.NUMERIC:
            return _numeric_rule(answers)
        case TaskKind.SUMMARY:
            return _summary_rule(answers)
        case TaskKind.QA:
            return "Answer with the shortest exact answer and nothing else."
        case TaskKind.SQL:
            return "Reply with one SQL query and nothing else."
        case TaskKind.TEXT:
            return ""


def _numeric_rule(answers: Sequence[str]) -> str:
    if sum("####" in answer for answer in answers) * 2 > len(answers):
        return 'End with the final number after "#### ".'
    if all(len(answer.split()) == 1 for answer in answers):
        return "Answer with the number and nothing else."
    return "End with the final number."


def _summary_rule(answers: Sequence[str]) -> str:
    length = round(median(len(answer.split()) for answer in answers)) if answers else 0
    # Scripts without spaces give lengths of one or two words, which would mislead.
    about = f" of about {length} words" if length >= 5 else ""
    return f"Reply with a summary{about} and nothing else."


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """Which keys and which single values were seen at each place of some JSON answers, in order of appearance."""

    keys: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    values: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])

    def see(self, value: Any, place: str = "", depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            return
        if isinstance(value, dict):
            for key, inner in cast(dict[str, Any], value).items():
                self.keys.setdefault(place, {})[key] = None
                self.see(inner, f"{place}.{key}" if place else key, depth + 1)
        elif isinstance(value, list):
            for inner in cast(list[Any], value):
                self.see(inner, f"{place}[]", depth + 1)
        else:
            self.values.setdefault(place, Counter())[_dumped(value)] += 1


def _calls_rule(train: Sequence[Example]) -> str:
    """What to say where every answer is tool calls; a form of its own would contradict the one of the tools."""
    if not train or not all(tool_calls.calls_in(example.answer) for example in train):
        return ""
    if all(example.tools for example in train):
        return "Answer with calls of the tools and nothing else."
    return 'Reply with a JSON list of calls and nothing else: [{"name": "...", "arguments": {...}}]'


def _json_rule(answers: Sequence[str]) -> str:
    shape = _Shape()
    for answer in answers:
        shape.see(_parsed(answer))
    top = ", ".join(map(_dumped, shape.keys.get("", {})))
    if not top or any(len(keys) > MAX_KEYS for keys in shape.keys.values()):
        return "Reply with one JSON object and nothing else."
    lines = [f"Reply with one JSON object with the keys {top} and nothing else."]
    lines += [f"{place} has the keys {', '.join(map(_dumped, keys))}." for place, keys in shape.keys.items() if place]
    lines += [f"{place} is one of: {', '.join(seen)}" for place, seen in shape.values.items() if closed(seen)]
    return "\n".join(lines)


def _parsed(answer: str) -> Any:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return cast(Any, value) if isinstance(value, dict) else {}


def values(answer: str) -> list[str]:
    """The single values of a JSON answer, or the answer itself where it is none."""
    shape = _Shape()
    shape.see(_parsed(answer))
    return [str(json.loads(value)) for seen in shape.values.values() for value in seen] or [answer]


def closed(seen: Counter[str]) -> bool:
    """Whether the values seen, each with how often, look like all that there are."""
    return len(seen) <= MAX_VALUES and min(seen.values()) >= 2


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def full(
    example: Example, task: Task, *, extra: str, before: Sequence[Message] = (), passages: Sequence[Passage] = ()
) -> tuple[Message, ...]:
    """The prompt of an untuned arm: system message with all rules, demonstrations, then the example's own turns.

    Args:
        example: The one that is asked.
        task: Its instruction is appended to the example's own system message.
        extra: What else the system message says, such as the rules.
        before: Demonstrations, as earlier turns.
        passages: What was found for the example.
    """
    own, turns = _parted(example)
    text = "\n".join(dict.fromkeys(part for part in (own.content, task.instruction, extra) if part))
    system = (replace(own, content=text),) if text else ()
    return (*system, *before, *_with_context(turns, passages))


def short(example: Example, passages: Sequence[Passage] = ()) -> tuple[Message, ...]:
    """The prompt of a tuned arm: the example's own messages."""
    return _with_context(example.messages, passages)


def demonstration(example: Example, passages: Sequence[Passage] = ()) -> tuple[Message, ...]:
    """A training example as earlier turns, its answer given."""
    _, turns = _parted(example)
    return (*_with_context(turns, passages), Message(role="assistant", content=example.answer))


def request(
    example: Example,
    task: Task,
    messages: tuple[Message, ...],
    passages: Sequence[Passage] = (),
    *,
    schema: Settings | None = None,
) -> Request:
    """A prompt for one example, with its tools and the ids of the passages in it.

    Args:
        example: The one that is asked.
        task: Says how long the answer may be.
        messages: The prompt.
        passages: What is in it of the documents.
        schema: The JSON schema of the answer; see `schema.answer_schema`.
    """
    return Request(
        example_id=example.id,
        messages=messages,
        max_tokens=task.max_answer_tokens,
        passages=tuple(passage.id for passage in passages),
        tools=example.tools,
        answer_schema=schema,
    )


def _parted(example: Example) -> tuple[Message, tuple[Message, ...]]:
    """The example's system message, empty where it has none, and its other turns."""
    if example.messages and example.messages[0].is_system:
        return example.messages[0], example.messages[1:]
    return Message(role="system", content=""), example.messages


def _with_context(turns: tuple[Message, ...], passages: Sequence[Passage]) -> tuple[Message, ...]:
    last = max((at for at, message in enumerate(turns) if message.role == "user"), default=None)
    if last is None or not passages:
        return turns
    listed = "\n".join(f"[{n}] {_headed(passage)}" for n, passage in enumerate(passages, start=1))
    asked = replace(turns[last], content=f"Context:\n{listed}\n\nQuestion: {turns[last].content}")
    return (*turns[:last], asked, *turns[last + 1 :])


def _headed(passage: Passage) -> str:
    return f"{passage.title}: {passage.text}" if passage.title else passage.text
