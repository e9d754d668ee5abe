"""What models at all providers with OpenAI's APIs have in common.

What a model does not take (temperature 0, the name of a limit, a schema) is found out by its first refusal, which costs
nothing, and not sent again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ValidationError

from finetune_advisor.datasets.tokens import TokenCounter, chat_tokens, encoding
from finetune_advisor.errors import BadInput, Missing, require
from finetune_advisor.models import TUNED_MODEL, openai_batch
from finetune_advisor.models.accounts import Account
from finetune_advisor.models.connection import Arrived, Connection, Lost, Outcome, Refused, too_long
from finetune_advisor.models.openai_replies import Counts, outcome_of, read
from finetune_advisor.models.openai_requests import Api, Body, Refusals, Style, body_of, refused_option
from finetune_advisor.records import Batch, Failure, Message, Reply, Request, Settings

UNKNOWN_WINDOW = 128_000
"""The context window of a model that is not in genai-prices; the server refuses what is too long for it anyway."""

_PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
_ADAPTATIONS = 4
_ROUNDS = 4
_OLDER = re.compile(r"(ft:)?gpt-(3\.?5|4(?![.\do]))")


@dataclass(frozen=True, kw_only=True)
class Sending:
    """How requests are sent: so many at a time, with what patience, by the Batch API or not, and up to what length."""

    concurrency: int
    timeout_seconds: float
    batch: bool
    context_window: int


class Tuned(BaseModel):
    """What stands in `TUNED_MODEL`."""

    model: str
    provider: str
    deployment: str = ""


class ProviderModel:
    """What models at all providers have in common."""

    simulated: ClassVar[bool] = False
    tunable: ClassVar[bool] = True

    def __init__(self, name: str, base: str, account: Account, style: Style, sending: Sending) -> None:
        _check(style, sending)
        self.name = name or style.model
        self._base = base
        self._account = account
        self._style = style
        self._sending = sending
        self._connection = Connection(account, sending.timeout_seconds)
        self._refusals = Refusals()

    @property
    def concurrency(self) -> int:
        """How many batches may be asked at the same time."""
        return self._sending.concurrency

    @property
    def context_window(self) -> int:
        """The most tokens of prompt and answer together; as given, else as genai-prices has it."""
        return self._sending.context_window or _window(self._base)

    @property
    def source(self) -> str:
        """What a trainer at the provider takes."""
        return self._base

    @property
    def addresses(self) -> tuple[str, ...]:
        """The host that prompts are sent to; none while it is not known."""
        return (self._account.host,) if self._account.host else ()

    @property
    def secret(self) -> str:
        """The environment variable with the key, "" for none."""
        return self._account.secret

    def describe(self) -> Settings:
        """Id, provider, API, host, and the options that decide answers or prices; never a key."""
        return {
            "id": self._style.model,
            "provider": self._account.provider,
            "api": self._style.api,
            "host": self._account.host,
            "temperature": 0,
            "seed": self._style.seed,
            "reasoning_effort": self._style.reasoning_effort,
            "batch": self._sending.batch,
        }

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Prompt tokens by OpenAI's rule and vocabulary; an estimate for models of others."""
        plain = [{"role": m.role, "content": m.content} | dict(m.extra) for m in messages]
        return chat_tokens(plain, self._counter)

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """One request each; for the Batch API as many as one takes, in their order."""
        if not self._sending.batch:
            return [Batch(requests=(request,)) for request in requests]
        return [Batch(requests=tuple(group)) for group in openai_batch.groups(requests)]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        """Answer one batch, in its order. Where an answer may have been charged and did not arrive, it is "lost".

        Raises:
            Missing: Key, permission, model or credit are not there, or the provider does not answer.
            BadInput: It does not take an option of this model.
        """
        failures = [self._too_long(request) for request in batch.requests]
        asked = [request for request, failure in zip(batch.requests, failures, strict=True) if failure is None]
        outcomes = iter(self._together(asked) if self._sending.batch else [self._alone(each) for each in asked])
        return [
            failure or self._judged(next(outcomes), request)
            for request, failure in zip(batch.requests, failures, strict=True)
        ]

    def with_adapter(self, folder: Path) -> Any:
        """The tuned model that a training at the provider has left its name of.

        Raises:
            Missing: There is none, or it is not deployed.
        """
        tuned = _tuned(folder / TUNED_MODEL, self._account.provider)
        variant = copy.copy(self)
        variant._style = replace(self._style, model=self._tuned_id(tuned))
        variant._connection = Connection(self._account, self._sending.timeout_seconds)
        variant._refusals = Refusals()
        return variant

    def _tuned_id(self, tuned: Tuned) -> str:
        return tuned.model

    @property
    def _counter(self) -> TokenCounter:
        return encoding("cl100k_base" if _OLDER.match(self._base) else "o200k_base")

    @property
    def _path(self) -> str:
        return _PATHS[self._style.api].removeprefix("/v1" if self._account.api_version else "")

    def _prompt_tokens(self, request: Request) -> int:
        beside = [{"content": each} for each in (*request.tools, request.answer_schema) if each]
        return self.count_tokens(request.messages) + (chat_tokens(beside, self._counter) if beside else 0)

    def _too_long(self, request: Request) -> Failure | None:
        length, room = self._prompt_tokens(request), self.context_window - request.max_tokens
        if length <= room:
            return None
        message = f"The prompt has {length} tokens; {room} fit beside an answer of {request.max_tokens}."
        return Failure(kind="too_long", message=message)

    def _body(self, request: Request) -> Body:
        return body_of(request, self._style, self._refusals.names)

    def _alone(self, request: Request) -> Outcome:
        """The outcome of a request that is sent by itself, without what the server does not take."""
        tokens = self._prompt_tokens(request) + self._style.limit(request)
        outcome: Outcome = Lost(reason="it was not sent")
        for _ in range(_ADAPTATIONS):
            body = self._body(request)
            outcome = self._connection.send(partial(self._ask, body), tokens=tokens, check=self._sound)
            if not isinstance(outcome, Refused) or not self._refusals.learn(outcome, body):
                break
        return outcome

    def _ask(self, body: Body, client: Any) -> Any:
        api = client.chat.completions if self._style.api == "chat" else client.responses
        return api.with_raw_response.create(**body)

    def _sound(self, text: str) -> bool:
        return read(text, self._style.api) is not None

    def _together(self, requests: Sequence[Request], rounds: int = _ROUNDS) -> list[Outcome]:
        """The outcomes of a batch, and of another of those that it did not get to or that want another form."""
        if not requests:
            return []
        bodies = [self._body(request) for request in requests]
        outcomes = openai_batch.answers(self._connection, bodies, self._path)
        again = [
            place
            for place, outcome in enumerate(outcomes)
            if isinstance(outcome, Lost)
            or (isinstance(outcome, Refused) and self._refusals.learn(outcome, bodies[place]))
        ]
        if again and rounds > 1:
            later = self._together([requests[place] for place in again], rounds - 1)
            outcomes = [*outcomes]
            for place, outcome in zip(again, later, strict=True):
                outcomes[place] = outcome
        return outcomes

    def _judged(self, outcome: Outcome, request: Request) -> Reply | Failure:
        if isinstance(outcome, Lost):
            return Failure(kind="lost", message=f"The answer did not arrive: {outcome.reason}.")
        if isinstance(outcome, Refused):
            return self._refused(outcome)
        return self._reply(outcome, request)

    def _refused(self, outcome: Refused) -> Failure:
        option = refused_option(outcome, self._style)
        if option:
            hint = f"Take {option} out of the options of {self.name}."
            raise BadInput(f"{self._account.host} does not take {option}: {outcome.message}", hint=hint)
        kind = "too_long" if too_long(outcome) else "error"
        return Failure(kind=kind, message=f"The provider refused the request ({outcome.status}): {outcome.message}")

    def _reply(self, outcome: Arrived, request: Request) -> Reply | Failure:
        said = read(outcome.text, self._style.api)
        if said is None:
            return Failure(kind="lost", message="The answer did not arrive: the reply was not what this API gives.")
        counts = Counts(
            prompt=lambda: self._prompt_tokens(request), text=self._counter.count, limit=self._style.limit(request)
        )
        return outcome_of(said, request, counts, outcome.seconds)


def _check(style: Style, sending: Sending) -> None:
    if not style.model.strip():
        raise BadInput("A model at a provider needs an id.", hint="At Azure it is the name of the deployment.")
    if style.api not in get_args(Api):
        raise BadInput(f"There is no api {style.api!r}.", hint="Known: chat, responses.")
    if style.seed is not None and style.api == "responses":
        raise BadInput("The responses API takes no seed.", hint='Leave seed out, or use api = "chat".')
    if sending.concurrency < 1 or sending.timeout_seconds <= 0 or sending.context_window < 0:
        raise BadInput("concurrency and timeout_seconds have to be above 0, and context_window not below.")


def _tuned(file: Path, provider: str) -> Tuned:
    if not file.is_file():
        raise Missing(f"There is no tuned model in {file.parent}.", hint="Train it first: run the case again.")
    try:
        tuned = Tuned.model_validate_json(file.read_bytes())
    except ValidationError:
        raise BadInput(f"{file} does not name a tuned model.", hint="Train it again: run the case again.") from None
    if tuned.provider != provider:
        raise BadInput(f"{file} names a model at {tuned.provider}, not at {provider}.")
    return tuned


@cache
def _window(base: str) -> int:
    snapshot = require("genai_prices.data_snapshot", extra="all").get_snapshot()
    name = base.split(":")[1] if base.startswith("ft:") else base
    try:
        return snapshot.find_provider_model(name, None, "openai", None)[1].context_window or UNKNOWN_WINDOW
    except LookupError:
        return UNKNOWN_WINDOW
