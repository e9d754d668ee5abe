"""A server on this machine that speaks OpenAI's API as a test tells it to, and a clock that nobody has to wait for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finetune_advisor import models
from finetune_advisor.datasets.tokens import chat_tokens, encoding
from finetune_advisor.models import waiting
from finetune_advisor.records import Batch, Failure, Message, Reply, Request

KEY = "sk-loopback-0123456789abcdefghij"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent back: JSON, or a text as it is; `cut` breaks off in the middle of it, `hang` never answers."""

    status: int = 200
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: bool = False
    hang: bool = False


Respond = Callable[[Sent], Answer]


def error(status: int, message: str = "no", code: str = "", param: str = "", **headers: str) -> Answer:
    """A refusal in OpenAI's form; `retry_after` and such are headers."""
    body = {"error": {"message": message, "type": "error", "code": code or None, "param": param or None}}
    return Answer(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def said(text: str | None = "yes", finish: str = "stop", usage: Any = None, **message: Any) -> Answer:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    given = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10} if usage is None else usage
    return Answer(body={"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": given})


def responded(*items: Mapping[str, Any], usage: Any = None, reason: str = "") -> Answer:
    """A reply of the responses API."""
    given = usage or {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 0}}
    status = "incomplete" if reason else "completed"
    details = {"reason": reason} if reason else None
    return Answer(body={"id": "r", "output": items, "usage": given, "status": status, "incomplete_details": details})


def text_item(text: str) -> dict[str, Any]:
    """A message in a reply of the responses API."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def plausible(sent: Sent) -> Answer:
    """An answer by the model and the prompt alone, with the usage that OpenAI would count."""
    body = sent.body
    text = "a" + hashlib.sha256(json.dumps([body["model"], body["messages"]]).encode()).hexdigest()[0]
    counter = encoding()
    prompt = chat_tokens(body["messages"], counter)
    return said(text, usage={"prompt_tokens": prompt, "completion_tokens": counter.count(text)})


def embedded(sent: Sent) -> Answer:
    """Embeddings by the trigrams of a text, so that like texts are near."""
    inputs: list[str] = sent.body["input"]
    data = [{"object": "embedding", "index": n, "embedding": _trigrams(text)} for n, text in enumerate(inputs)]
    tokens = sum(encoding("cl100k_base").count(text) for text in inputs)
    return Answer(body={"object": "list", "data": data[::-1], "model": "e", "usage": {"prompt_tokens": tokens}})


def _trigrams(text: str) -> list[float]:
    vector = [0.0] * 512
    for start in range(len(text)):
        vector[int(hashlib.sha256(text[start : start + 3].encode()).hexdigest(), 16) % 512] += 1.0
    return vector


class Stub:
    """The server. `respond` decides about each request; all that came are in `sent`."""

    def __init__(self, respond: Respond = plausible) -> None:
        self.respond = respond
        self.sent: list[Sent] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.origin}/v1"

    def replies(self, *answers: Answer | Respond) -> None:
        """Give these answers in turn, and the last one from then on."""
        left = list(answers)

        def respond(sent: Sent) -> Answer:
            now = left.pop(0) if len(left) > 1 else left[0]
            return now if isinstance(now, Answer) else now(sent)

        self.respond = respond

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, sent: Sent) -> Answer:
        self.sent.append(sent)
        return self.respond(sent)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.give(stub.answer(Sent(method=self.command, path=self.path, headers=headers, raw=raw)))

            do_GET = do_POST

            def give(self, answer: Answer) -> None:
                if answer.hang:
                    stub.released.wait(30)
                    self.close_connection = True
                    return
                text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                whole = text.encode()
                self.send_response(answer.status)
                for name, value in {"content-type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(whole)))
                self.end_headers()
                self.wfile.write(whole[: len(whole) // 2] if answer.cut else whole)
                self.close_connection = answer.cut or self.close_connection

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def serving(respond: Respond = plausible) -> Generator[Stub]:
    """A running server."""
    stub = Stub(respond)
    stub.start()
    try:
        yield stub
    finally:
        stub.stop()


class Clock:
    """Time that passes only while somebody waits; `waited` are all waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.waited: list[float] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(waiting, "clock", lambda: self.now)
        monkeypatch.setattr(waiting, "wait", self._wait)

    def _wait(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.waited.append(seconds)


@contextmanager
def at_provider(monkeypatch: pytest.MonkeyPatch) -> Generator[Stub]:
    """A running server that stands at every provider's address, with a key for each."""
    with serving() as stub:
        for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "LOCAL_API_KEY"):
            monkeypatch.setenv(name, KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", stub.origin)
        yield stub


def remote(provider: str = "openai", **options: Any) -> models.RemoteModel:
    made = models.create(provider, **{"id": "gpt-4.1-mini", **options})
    assert models.is_remote(made)
    return made


def asked(text: str = "Is it?", max_tokens: int = 8, **more: Any) -> Request:
    return Request(example_id=text, messages=(Message(role="user", content=text),), max_tokens=max_tokens, **more)


def one(model: models.Model, request: Request | None = None) -> Reply | Failure:
    (outcome,) = model.answer(Batch(requests=(request or asked(),)))
    return outcome


def reply(model: models.Model, request: Request | None = None) -> Reply:
    outcome = one(model, request)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failure(model: models.Model, request: Request | None = None) -> Failure:
    outcome = one(model, request)
    assert isinstance(outcome, Failure), outcome
    return outcome
