# pyright: basic
"""The training data as token ids: a conversation becomes the same tokens here as when the model is asked later.

The model's own chat template is used as it is. A model without one gets the messages' texts with a blank line between
them; a template that refuses a system message gets it at the start of the first question. Tools are worded by the
template where it knows them, which shows in that they change what it renders; else a row's `listed`, where it has it,
says the prompt again with the tools in its text.

TRL's own columns `prompt` and `completion` come to the same for most models, with two differences: there the tokens
that a template writes after the end of an answer are learnt too, and where a template writes a prompt otherwise once it
is answered, TRL learns after the beginning that both have in common, here after the whole prompt as it is asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IGNORED = -100
"""The label of a token that is read, not learnt."""

Ids = dict[str, list[int]]
"""An example as token ids, in the columns that TRL's trainers take."""


def read_rows(file: Path, limit: int = 0) -> list[dict]:
    """The rows of a JSONL file; none where there is no file."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return rows[:limit] if limit else rows


def encoded(row: dict, chat: Chat) -> Ids:
    """A row of {"messages"} for SFT, or of {"prompt", "chosen", "rejected"} for DPO, as token ids."""
    if "messages" in row:
        *asked, answer = row["messages"]
        messages, tools = chat.asked(row, asked)
        prompt, learnt = chat.prompt(messages, tools), chat.answer(messages, answer, tools)
        return {"input_ids": prompt + learnt, "labels": [IGNORED] * len(prompt) + learnt}
    messages, tools = chat.asked(row, row["prompt"])
    answers = {name: chat.answer(messages, as_message(row[name]), tools) for name in ("chosen", "rejected")}
    return {"prompt_ids": chat.prompt(messages, tools), **{f"{name}_ids": ids for name, ids in answers.items()}}


def as_message(answer: str | list[dict]) -> dict:
    """An answer as a message, however the row writes it."""
    return {"role": "assistant", "content": answer} if isinstance(answer, str) else answer[-1]


def longest(example: Ids) -> int:
    """Tokens of an example; with the longer of two answers."""
    if "input_ids" in example:
        return len(example["input_ids"])
    return len(example["prompt_ids"]) + max(len(example["chosen_ids"]), len(example["rejected_ids"]))


def tokens_read(example: Ids) -> int:
    """Tokens that are computed for an example in one epoch, without padding."""
    if "input_ids" in example:
        return len(example["input_ids"])
    return 2 * len(example["prompt_ids"]) + len(example["chosen_ids"]) + len(example["rejected_ids"])


class Chat:
    """Conversations to token ids.

    Args:
        tokenizer: The model's.
        stops: Ids of the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, stops: list[int]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops

    def prompt(self, messages: list[dict], tools: list[dict] | None = None) -> list[int]:
        """Everything up to where the model has to answer."""
        if self.tokenizer.chat_template:
            return self.ids(self.rendered(messages, tools, opened=True))
        return self.ids("\n\n".join(message["content"] for message in messages) + "\n", starts=True)

    def answer(self, messages: list[dict], answer: dict, tools: list[dict] | None = None) -> list[int]:
        """What the model has to say after that prompt, up to the token that ends it."""
        tail = self.tail(messages, answer, tools)
        last_stop = max((place for place, token in enumerate(tail) if token in self.stops), default=None)
        return [*tail, *self.stops[:1]] if last_stop is None else tail[: last_stop + 1]

    def tail(self, messages: list[dict], answer: dict, tools: list[dict] | None) -> list[int]:
        """The answer's tokens; by themselves where the template writes the prompt otherwise once it is answered."""
        if not self.tokenizer.chat_template:
            return self.ids(answer["content"])
        prompt = self.prompt(messages, tools)
        whole = self.ids(self.rendered([*messages, answer], tools, opened=False))
        return whole[len(prompt) :] if whole[: len(prompt)] == prompt else self.ids(answer["content"])

    def asked(self, row: dict, messages: list[dict]) -> tuple[list[dict], list[dict] | None]:
        """The prompt's messages and tools as the template takes them."""
        tools = row.get("tools")
        if not tools:
            return messages, None
        parsed = [with_objects(message) for message in messages]
        if self.tokenizer.chat_template and self.knows(parsed, tools):
            return parsed, tools
        return row.get("listed", messages), None

    def knows(self, messages: list[dict], tools: list[dict]) -> bool:
        """Whether the template words tools."""
        from jinja2 import TemplateError

        try:
            return self.template(messages, tools, opened=True) != self.template(messages, None, opened=True)
        except (TemplateError, TypeError):
            return False

    def rendered(self, messages: list[dict], tools: list[dict] | None, *, opened: bool) -> str:
        """The template's text."""
        from jinja2 import TemplateError

        try:
            return self.template(messages, tools, opened=opened)
        except TemplateError:
            return self.template(without_system(messages), tools, opened=opened)

    def template(self, messages: list[dict], tools: list[dict] | None, *, opened: bool) -> str:
        """The template's text, or its refusal."""
        told = {"tools": tools} if tools else {}
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened, **told)

    def ids(self, text: str, *, starts: bool = False) -> list[int]:
        """Token ids; the tokens that start a text only where no template writes them."""
        return self.tokenizer(text, add_special_tokens=starts)["input_ids"]


def without_system(messages: list[dict]) -> list[dict]:
    """The system message put before the first question."""
    system, *rest = messages
    if system["role"] != "system":
        return messages
    place = next((at for at, message in enumerate(rest) if message["role"] == "user"), None)
    if place is None:
        return [{**system, "role": "user"}, *rest]
    merged = {**rest[place], "content": f"{system['content']}\n\n{rest[place]['content']}"}
    return [*rest[:place], merged, *rest[place + 1 :]]


def with_objects(message: dict) -> dict:
    """The message with the arguments of its calls as objects, which templates expect; OpenAI's format has text."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [with_object(call) for call in calls]} if isinstance(calls, list) else message


def with_object(call: dict) -> dict:
    """One call with its arguments as an object, where they are one."""
    function = call.get("function", {})
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        return call
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else call


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's first, then those of the model's generation settings."""
    named = getattr(model.generation_config, "eos_token_id", None)
    every = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return list(dict.fromkeys(token for token in every if token is not None))
