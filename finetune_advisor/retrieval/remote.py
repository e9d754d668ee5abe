"""Search by meaning with embeddings from a provider, compared by cosine.

Every vector is kept on disk under a hash of its text as soon as it arrives, so that no text is paid for twice.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import filelock
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from finetune_advisor.datasets.tokens import TokenCounter, encoding
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.accounts import Account, Provider
from finetune_advisor.models.cache import cache_folder, writing_to
from finetune_advisor.models.connection import Arrived, Connection, Refused
from finetune_advisor.retrieval.ranking import highest

MOST_TOKENS = 8191
"""What OpenAI's embedding models read; the rest of a longer text is not sent."""

REQUEST_TOKENS = 200_000
"""Of the texts of one request; OpenAI takes 300,000."""

FILE = "embeddings.sqlite"

_KEYS = {"openai": "OPENAI_API_KEY", "azure": "AZURE_OPENAI_API_KEY", "compatible": ""}
_PLACES = 500


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Nearest texts by the cosine of embeddings that a server computes.

    Args:
        id: The embedding model; at Azure the name of its deployment.
        provider: "openai", "azure", or "compatible".
        base_url: Address of a compatible server up to "/v1".
        key_env: The environment variable with the key; "" for the provider's usual one.
        dimensions: Length of the vectors, for models that can shorten them; 0 for their own.
        api_version: Of Azure's older API; "" for the v1 API.
        entra: Whether to log in at Azure by Entra ID instead of a key.
        batch_size: The most texts of a request; some servers take no more than 32.
        timeout_seconds: How long a reply may take to begin, or to go on.
    """

    id: str
    provider: Provider = "openai"
    base_url: str = ""
    key_env: str = ""
    dimensions: int = 0
    api_version: str = ""
    entra: bool = False
    batch_size: int = 32
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise BadInput("Embeddings need the id of a model.", hint="For example text-embedding-3-small.")
        if self.provider not in get_args(Provider):
            raise BadInput(f"There is no provider {self.provider!r}.", hint=f"Known: {', '.join(get_args(Provider))}.")
        if self.batch_size < 1 or self.timeout_seconds <= 0 or self.dimensions < 0:
            raise BadInput("batch_size and timeout_seconds have to be above 0, and dimensions not below.")
        _ = self.account  # Made now, so that a bad address is told at once.

    @cached_property
    def account(self) -> Account:
        """Whose server, and with which key."""
        return Account(
            provider=self.provider,
            key_env=self.key_env or _KEYS[self.provider],
            base_url=self.base_url,
            api_version=self.api_version,
            entra=self.entra,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """The host that texts are sent to; none while it is not known."""
        return (self.account.host,) if self.account.host else ()

    @property
    def paid_tokens(self) -> int:
        """The tokens that this retriever has had embedded so far, as the provider counted them."""
        return sum(self._paid)

    def tokens_to_pay(self, texts: Sequence[str]) -> int:
        """Tokens of those texts whose vectors are not on disk yet: what embedding them would be charged for."""
        sound = list(dict.fromkeys(_sound(text) for text in texts))
        known = _Vectors(self._name).get([text for text in sound if text])
        return sum(_counter().count(_fitting(text)) for text in sound if text and text not in known)

    def price_name(self) -> str:
        """What the price table calls its model; "" for a server of one's own."""
        return "" if self.provider == "compatible" else self.id

    def index(self, texts: Sequence[str]) -> RemoteIndex:
        """Index the texts; an empty sequence is allowed and finds nothing."""
        return RemoteIndex(retriever=self, vectors=self.embed(texts) if texts else None)

    def embed(self, texts: Sequence[str]) -> Any:
        """Vectors of length 1, one row for each text; zeros for a text without any words.

        Raises:
            Missing: Key, permission, model or credit are not there, or the server does not answer.
            BadInput: The server refuses the texts.
        """
        numpy = require("numpy", extra="all")
        sound = [_sound(text) for text in texts]
        vectors = self._vectors([text for text in dict.fromkeys(sound) if text])
        width = len(next(iter(vectors.values()))) if vectors else 1
        rows = [vectors.get(text, numpy.zeros(width, dtype="float32")) for text in sound]
        return numpy.array(rows, dtype="float32").reshape(len(rows), width)

    @cached_property
    def _paid(self) -> list[int]:
        return []

    @cached_property
    def _connection(self) -> Connection:
        return Connection(self.account, self.timeout_seconds)

    @property
    def _name(self) -> str:
        return f"{self.account.host} {self.id} {self.dimensions}"

    def _vectors(self, texts: Sequence[str]) -> dict[str, Any]:
        """From disk, else from the server; one program at a time, lest two pay for the same text."""
        kept = _Vectors(self._name)
        found = kept.get(texts)
        if all(text in found for text in texts):
            return found
        with kept.alone():
            found = kept.get(texts)
            for group in _groups([text for text in texts if text not in found], self.batch_size):
                rows = self._asked(group)
                kept.put(rows)
                found |= rows
        return found

    def _asked(self, texts: Sequence[str]) -> dict[str, Any]:
        numpy = require("numpy", extra="all")
        options: dict[str, Any] = {"dimensions": self.dimensions} if self.dimensions else {}
        inputs = [_fitting(text) for text in texts]
        outcome = self._connection.send(
            lambda client: client.embeddings.with_raw_response.create(
                model=self.id, input=inputs, encoding_format="float", **options
            ),
            tokens=sum(_counter().count(text) for text in inputs),
            safe=True,
            check=lambda text: _read(text, len(texts)) is not None,
        )
        if isinstance(outcome, Refused):
            raise BadInput(f"{self.account.host} refuses to embed the texts: {outcome.message}")
        reply = _read(outcome.text, len(texts)) if isinstance(outcome, Arrived) else None
        assert reply is not None
        self._paid.append(reply.tokens(inputs))
        vectors = [numpy.array(item.embedding, dtype="float32") for item in sorted(reply.data, key=lambda it: it.index)]
        return {text: row / max(1e-12, float(numpy.linalg.norm(row))) for text, row in zip(texts, vectors, strict=True)}


@dataclass(frozen=True, kw_only=True)
class RemoteIndex:
    """Embedded texts. `vectors` is None where there are none."""

    retriever: Remote
    vectors: Any

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """For each query, the positions of the nearest texts, nearest first; always `depth` where there are as many."""
        if self.vectors is None:
            return [[] for _ in queries]
        if not queries:
            return []
        # Servers compute an embedding a little differently each time; rounding keeps equal texts equal.
        asked = self.retriever.embed(queries)
        return [highest(self.vectors @ vector, depth, digits=5) for vector in asked]


class _Embedding(BaseModel):
    index: int
    embedding: list[FiniteFloat] = Field(min_length=1)


class _Usage(BaseModel):
    prompt_tokens: int = 0


class _Reply(BaseModel):
    data: list[_Embedding]
    usage: _Usage | None = None

    def tokens(self, inputs: Sequence[str]) -> int:
        """As charged; counted here where the number is impossible."""
        given = self.usage.prompt_tokens if self.usage else 0
        possible = 0 < given <= sum(len(text.encode()) + 8 for text in inputs)
        return given if possible else sum(_counter().count(text) for text in inputs)


def _read(text: str, number: int) -> _Reply | None:
    """A reply with one vector for each text, all of one length; None where it is anything else."""
    try:
        reply = _Reply.model_validate_json(text)
    except ValidationError:
        return None
    places = sorted(item.index for item in reply.data)
    whole = places == list(range(number)) and len({len(item.embedding) for item in reply.data}) == 1
    return reply if whole else None


class _Vectors:
    """The vectors on disk of one model at one server, by a hash of the text: texts themselves are not kept."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._path = cache_folder() / FILE

    def get(self, texts: Sequence[str]) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        numpy = require("numpy", extra="all")
        keys = {self._key(text): text for text in texts}
        with self._open() as base:
            rows = [row for some in _parts(list(keys)) for row in base.execute(_select(len(some)), some)]
        return {keys[key]: numpy.frombuffer(blob, dtype="<f4") for key, blob in rows}

    def put(self, rows: dict[str, Any]) -> None:
        values = [(self._key(text), vector.astype("<f4").tobytes()) for text, vector in rows.items()]
        with self._open() as base, base:
            base.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", values)

    @contextmanager
    def alone(self) -> Generator[None]:
        with writing_to(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._path.with_suffix(".lock")):
            yield

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as base:
                base.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
                yield base
        except sqlite3.Error as error:
            hint = "Free some space, or delete the file: texts are then embedded, and paid for, again."
            raise BadInput(f"The stored embeddings in {self._path} cannot be used: {error}.", hint=hint) from error

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._model}\n{text}".encode()).digest()


def _select(number: int) -> str:
    return f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * number)})"


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Few enough keys at a time for one statement."""
    return (keys[start : start + _PLACES] for start in range(0, len(keys), _PLACES))


def _groups(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    """Texts in their order, as many together as a request may hold."""
    group: list[str] = []
    tokens = 0
    for text in texts:
        length = min(MOST_TOKENS, _counter().count(text))
        if group and (len(group) == most or tokens + length > REQUEST_TOKENS):
            yield group
            group, tokens = [], 0
        group.append(text)
        tokens += length
    if group:
        yield group


def _counter() -> TokenCounter:
    return encoding("cl100k_base")


def _sound(text: str) -> str:
    """A text that can be sent: lone surrogates replaced, and nothing where there are no words."""
    return text.encode("utf-8", "replace").decode("utf-8").strip()


def _fitting(text: str) -> str:
    """As much of a text as a model reads."""
    while (tokens := _counter().count(text)) > MOST_TOKENS:
        text = text[: int(len(text) * min(0.99, MOST_TOKENS / tokens))]
    return text
