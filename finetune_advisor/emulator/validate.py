"""Requests checked by the openai package's own types, which are generated from OpenAI's specification, and by rules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from finetune_advisor.emulator.state import ApiError

Place = tuple[str | int, ...]
Body = dict[str, Any]

_TYPES = {
    "chat": "openai.types.chat.completion_create_params:CompletionCreateParamsNonStreaming",
    "chat_stream": "openai.types.chat.completion_create_params:CompletionCreateParamsStreaming",
    "responses": "openai.types.responses.response_create_params:ResponseCreateParamsNonStreaming",
    "embeddings": "openai.types.embedding_create_params:EmbeddingCreateParams",
    "jobs": "openai.types.fine_tuning.job_create_params:JobCreateParams",
    "batches": "openai.types.batch_create_params:BatchCreateParams",
}
MAX_SUFFIX = 64
MAX_INPUTS = 2048


class _Misfit(Exception):
    def __init__(self, where: Place, error: ValidationError) -> None:
        super().__init__(str(error))
        self.where = where
        self.error = error


def check(kind: str, body: object) -> Body:
    """The body as it came, if it is what the endpoint takes.

    Args:
        kind: "chat", "responses", "embeddings", "jobs" or "batches".
        body: The parsed JSON.

    Raises:
        ApiError: 400, with the place that is wrong.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "We could not parse the JSON body of your request: it has to be an object.")
    body = cast(Body, body)
    try:
        _walk(_adapter("chat_stream" if kind == "chat" and body.get("stream") else kind)(body), ())
    except ValidationError as error:
        raise _refusal(body, (), error) from None
    except _Misfit as misfit:
        raise _refusal(body, misfit.where, misfit.error) from None
    _RULES[kind](body)
    return body


@cache
def _adapter(kind: str) -> Callable[[Body], object]:
    module, _, name = _TYPES[kind].partition(":")
    adapter: TypeAdapter[object] = TypeAdapter(getattr(importlib.import_module(module), name))
    return lambda body: adapter.validate_python(body, strict=True, extra="forbid")


def _walk(value: object, where: Place) -> None:
    """Look at everything: pydantic checks what is typed as `Iterable` only when it is read."""
    if isinstance(value, Mapping):
        for key, item in cast(Mapping[str, object], value).items():
            _walk(item, (*where, key))
    elif isinstance(value, list | Iterator):
        try:
            for number, item in enumerate(cast(Iterator[object], value)):
                _walk(item, (*where, number))
        except ValidationError as error:
            raise _Misfit(where, error) from None


def _refusal(body: Body, where: Place, error: ValidationError) -> ApiError:
    faults = error.errors(include_url=False, include_input=False)
    fault = _nearest(faults)
    param = _written(body, (*where, *fault["loc"]), missing=fault["type"] == "missing")
    if fault["type"] == "missing":
        return _bad(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    if fault["type"] == "extra_forbidden":
        return _bad(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    code = "invalid_type" if fault["type"].endswith("_type") else "invalid_value"
    message = f"Invalid value for '{param}': {fault['msg']}."
    if fault["type"] == "literal_error":
        message = f"Invalid value for '{param}'. Supported values are: {', '.join(_supported(faults, fault))}."
    return _bad(message, param, code)


def _supported(faults: list[ErrorDetails], fault: ErrorDetails) -> Iterator[str]:
    """The values of all alternatives that want one of a few in the same place."""
    for other in faults:
        if other["type"] == "literal_error" and other["loc"][-1] == fault["loc"][-1]:
            yield str(other.get("ctx", {}).get("expected"))


def _nearest(faults: list[ErrorDetails]) -> ErrorDetails:
    """The fault to name: of the alternatives that a value could be, the one that it misses by the least."""
    branches: dict[Place, list[ErrorDetails]] = {}
    for fault in faults:
        branches.setdefault(fault["loc"][:2] if len(fault["loc"]) > 2 else (), []).append(fault)
    least = min(branches.values(), key=lambda branch: (any(f["type"] == "literal_error" for f in branch), len(branch)))
    return least[0]


def _written(body: object, loc: Place, *, missing: bool) -> str:
    """The place as OpenAI writes it, `messages[0].content`, without the names of types that pydantic puts into it."""
    text, value = "", body
    for step in loc:
        if isinstance(step, int) and isinstance(value, list):
            text, value = f"{text}[{step}]", cast(list[object], value)[step]
        elif isinstance(value, dict) and step in value:
            text, value = f"{text}.{step}", cast(Body, value)[str(step)]
    return (f"{text}.{loc[-1]}" if missing else text).removeprefix(".")


def _bad(message: str, param: str | None, code: str) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def _within(body: Body, key: str, least: float, most: float | None = None) -> None:
    value = body.get(key)
    if value is not None and (value < least or (most is not None and value > most)):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise _bad(f"Invalid '{key}': it has to be {bounds}, and is {value}.", key, "invalid_value")


def _cannot(body: Body, *keys: str) -> None:
    """Refuse what no model behind the emulator does, rather than act as if it had been done."""
    for key in keys:
        if body.get(key):
            raise _bad(f"Unsupported parameter: the emulator does not do '{key}'.", key, "unsupported_parameter")


def _filled(body: Body, key: str) -> None:
    if not body[key]:
        raise _bad(f"Invalid '{key}': it is empty.", key, "empty_array" if body[key] == [] else "invalid_value")


def _metadata(body: Body) -> None:
    given: Mapping[str, str] = body.get("metadata") or {}
    if len(given) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in given.items()):
        message = "Invalid 'metadata': up to 16 pairs, keys of up to 64 and values of up to 512 characters."
        raise _bad(message, "metadata", "invalid_value")


def _chat(body: Body) -> None:
    _filled(body, "messages")
    _within(body, "n", 1, 128)
    _within(body, "temperature", 0, 2)
    _within(body, "top_p", 0, 1)
    _within(body, "max_tokens", 1)
    _within(body, "max_completion_tokens", 1)
    if body.get("max_tokens") and body.get("max_completion_tokens"):
        message = "Set 'max_completion_tokens' only; 'max_tokens' is its old name."
        raise _bad(message, "max_tokens", "invalid_value")
    _cannot(body, "logprobs", "audio", "web_search_options", "functions")
    _metadata(body)


def _responses(body: Body) -> None:
    for key in ("model", "input"):
        if key not in body:
            raise _bad(f"Missing required parameter: '{key}'.", key, "missing_required_parameter")
    _filled(body, "input")
    _within(body, "max_output_tokens", 16)
    _within(body, "temperature", 0, 2)
    _within(body, "top_p", 0, 1)
    _cannot(body, "stream", "background", "previous_response_id", "conversation", "prompt", "top_logprobs")
    _metadata(body)


def _embeddings(body: Body) -> None:
    _filled(body, "input")
    _within(body, "dimensions", 1)
    texts = cast(list[object], body["input"] if isinstance(body["input"], list) else [body["input"]])
    if len(texts) > MAX_INPUTS or not all(isinstance(text, str) and text for text in texts):
        message = f"Invalid 'input': up to {MAX_INPUTS} texts, none of them empty; the emulator takes no token ids."
        raise _bad(message, "input", "invalid_value")


def _jobs(body: Body) -> None:
    suffix = body.get("suffix")
    if suffix is not None and not 1 <= len(suffix) <= MAX_SUFFIX:
        raise _bad(f"Invalid 'suffix': it has to have 1 to {MAX_SUFFIX} characters.", "suffix", "invalid_value")
    _within(body, "seed", 0, 2**31 - 1)
    _metadata(body)


_RULES: Mapping[str, Callable[[Body], None]] = {
    "chat": _chat,
    "responses": _responses,
    "embeddings": _embeddings,
    "jobs": _jobs,
    "batches": _metadata,
}

CHECKED = frozenset(_RULES)
"""What can be checked."""
