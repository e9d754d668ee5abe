"""How a conversation becomes tokens, the same for asking and for training.

The model's own chat template is used as it is, default system message included (SmolLM2's template inserts one
where the conversation has none): a prompt is then what the model was trained on, and training and asking agree.
A model without a template gets the messages' texts with a blank line between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Module, Tokenizer
from finetune_advisor.records import Message


class ChatFormat:
    """Conversations to token ids.

    Args:
        tokenizer: A Hugging Face tokenizer.
        stops: Ids of the tokens that end an answer; needed for training only.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.stops = tuple(stops)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of everything up to where the model has to answer."""
        return self._ids(self._prompt_text(messages), starts=not self.tokenizer.chat_template)

    def answer(self, messages: Sequence[Message], answer: str) -> list[int]:
        """Ids of the answer after that prompt, up to and including the token that ends it.

        Where template and tokenizer let the prompt's ids begin the whole conversation's ids, the rest is the
        answer. Elsewhere the answer's text is encoded by itself, which is what the model has to produce then too.
        """
        tail = self._tail(messages, answer)
        last_stop = max((place for place, token in enumerate(tail) if token in self.stops), default=None)
        return [*tail, *self.stops[:1]] if last_stop is None else tail[: last_stop + 1]

    def _tail(self, messages: Sequence[Message], answer: str) -> list[int]:
        if not self.tokenizer.chat_template:
            return self._ids(answer)
        prompt = self.prompt(messages)
        whole = self._ids(self._render([*messages, Message(role="assistant", content=answer)], opened=False))
        return whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._ids(answer)

    def _prompt_text(self, messages: Sequence[Message]) -> str:
        if self.tokenizer.chat_template:
            return self._render(messages, opened=True)
        return "\n\n".join(message.content for message in messages) + "\n"

    def _render(self, messages: Sequence[Message], *, opened: bool) -> str:
        turns = [{"role": m.role, "content": m.content, **m.extra} for m in messages]
        refused = require("jinja2", extra="all").TemplateError
        try:
            return self._template(turns, opened=opened)
        except refused:
            return self._template(without_system(turns), opened=opened)

    def _template(self, turns: list[dict[str, Any]], *, opened: bool) -> str:
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened)

    def _ids(self, text: str, *, starts: bool = False) -> list[int]:
        return self.tokenizer(text, add_special_tokens=starts)["input_ids"]


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
