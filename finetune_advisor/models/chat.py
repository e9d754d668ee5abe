"""How a conversation becomes tokens, the same for asking and for training.

The model's own chat template is used as it is, default system message included (SmolLM2's template inserts one
where the conversation has none): a prompt is then what the model was trained on, and training and asking agree.
A model without a template gets the messages' texts with a blank line between them.

Tools are worded by the template where it knows them, which shows in that they change what it renders; else they are
listed in the system message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from finetune_advisor.datasets import tool_calls
from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Module, Tokenizer
from finetune_advisor.records import Message

Tools = Sequence[Mapping[str, Any]]
"""What a model may call, in the OpenAI format."""


class ChatFormat:
    """Conversations to token ids.

    Args:
        tokenizer: A Hugging Face tokenizer.
        stops: Ids of the tokens that end an answer; needed for training only.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.stops = tuple(stops)

    def prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids of everything up to where the model has to answer."""
        return self._ids(self._prompt_text(messages, tools), starts=not self.tokenizer.chat_template)

    def answer(self, messages: Sequence[Message], answer: str, tools: Tools = ()) -> list[int]:
        """Ids of the answer after that prompt, up to and including the token that ends it.

        Where template and tokenizer let the prompt's ids begin the whole conversation's ids, the rest is the
        answer. Elsewhere the answer's text is encoded by itself, which is what the model has to produce then too.
        """
        tail = self._tail(messages, answer, tools)
        last_stop = max((place for place, token in enumerate(tail) if token in self.stops), default=None)
        return [*tail, *self.stops[:1]] if last_stop is None else tail[: last_stop + 1]

    def _tail(self, messages: Sequence[Message], answer: str, tools: Tools) -> list[int]:
        if not self.tokenizer.chat_template:
            return self._ids(answer)
        prompt = self.prompt(messages, tools)
        answered = [*messages, Message(role="assistant", content=answer)]
        whole = self._ids(self._render(answered, tools, opened=False))
        return whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._ids(answer)

    def _prompt_text(self, messages: Sequence[Message], tools: Tools) -> str:
        if self.tokenizer.chat_template:
            return self._render(messages, tools, opened=True)
        return "\n\n".join(message.content for message in with_tools(messages, tools)) + "\n"

    def _render(self, messages: Sequence[Message], tools: Tools, *, opened: bool) -> str:
        worded = self._worded(messages, tools, opened=opened) if tools else None
        if worded is not None:
            return worded
        turns = [_turn(message) for message in with_tools(messages, tools)]
        try:
            return self._template(turns, opened=opened)
        except _refused():
            return self._template(without_system(turns), opened=opened)

    def _worded(self, messages: Sequence[Message], tools: Tools, *, opened: bool) -> str | None:
        """The conversation with the tools as the template words them; None where it knows no tools."""
        turns = [_parsed(_turn(message)) for message in messages]
        try:
            told = self._template(turns, opened=opened, tools=[dict(tool) for tool in tools])
            return None if told == self._template(turns, opened=opened) else told
        except (_refused(), TypeError):
            return None

    def _template(self, turns: list[dict[str, Any]], *, opened: bool, **more: Any) -> str:
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened, **more)

    def _ids(self, text: str, *, starts: bool = False) -> list[int]:
        return self.tokenizer(text, add_special_tokens=starts)["input_ids"]


def with_tools(messages: Sequence[Message], tools: Tools) -> tuple[Message, ...]:
    """The messages for a model that knows no tools: they are listed in the system message, calls and results are text.

    Without tools, the messages as they are.
    """
    if not tools:
        return tuple(messages)
    has_system = bool(messages) and messages[0].is_system
    own = messages[0] if has_system else Message(role="system", content="")
    system = replace(own, content="\n\n".join(filter(None, [own.content, _listed(tools)])))
    return (system, *map(_in_words, messages[has_system:]))


def _listed(tools: Tools) -> str:
    functions = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False, default=dict) for tool in tools)
    form = '[{"name": "...", "arguments": {...}}]'
    return f"You may call these tools:\n{functions}\nTo call some, reply with a JSON list and nothing else: {form}"


def _in_words(message: Message) -> Message:
    """The message with its calls in the form that is asked for, or the result of one as what the user says."""
    if message.role in ("tool", "function"):
        return Message(role="user", content=f"Result of the call:\n{message.content}")
    try:
        calls = tool_calls.answer_of(dict(message.extra))
    except (ValueError, KeyError):
        calls = ""
    rest = {key: value for key, value in message.extra.items() if key not in ("tool_calls", "function_call")}
    return replace(message, content="\n".join(filter(None, [message.content, calls])), extra=rest) if calls else message


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **message.extra}


def _parsed(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn with the arguments of its calls as objects, which templates expect; OpenAI's format has them as text."""
    calls = turn.get("tool_calls")
    if not isinstance(calls, list):
        return turn
    parsed = [(call, tool_calls.called(call)) for call in cast(list[Any], calls)]
    return {**turn, "tool_calls": [{**call, "function": found} if found else call for call, found in parsed]}


def _refused() -> type[Exception]:
    """What a template raises that cannot render a conversation."""
    return require("jinja2", extra="all").TemplateError


def without_system(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system message put before the first user message, for templates that refuse a system message."""
    if not turns or turns[0]["role"] != "system":
        return list(turns)
    system, *rest = turns
    place = next((i for i, turn in enumerate(rest) if turn["role"] == "user"), None)
    if place is None:
        return [{**system, "role": "user"}, *rest]
    merged = {**rest[place], "content": f"{system['content']}\n\n{rest[place]['content']}"}
    return [*rest[:place], merged, *rest[place + 1 :]]


def stop_tokens(model: Module, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end an answer: the tokenizer's first, then those that the model's generation settings name."""
    settings = getattr(model, "generation_config", None)
    named: int | list[int] | None = getattr(settings, "eos_token_id", None)
    ids: list[int | None] = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return tuple(dict.fromkeys(token for token in ids if token is not None))
