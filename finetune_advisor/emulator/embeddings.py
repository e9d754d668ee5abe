"""Embeddings: MiniLM's where a real model answers, counted words where the model only pretends."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_advisor.emulator.state import LISTED, ApiError, Charge, State
from finetune_advisor.errors import require
from finetune_advisor.records import Message
from finetune_advisor.retrieval import dense

WIDTH = 384
"""Of MiniLM's vectors, and of the counted words beside them; OpenAI's are wider."""


def embeddings(state: State, body: Mapping[str, Any]) -> tuple[dict[str, Any], Charge]:
    """One vector for each text, and what they cost.

    Raises:
        ApiError: The model is unknown or embeds nothing, or has fewer dimensions.
    """
    model = _known(state, body["model"])
    texts = [body["input"]] if isinstance(body["input"], str) else list(body["input"])
    vectors = _narrowed(_vectors(state, texts), body.get("dimensions"))
    tokens = sum(state.base.count_tokens([Message(role="user", content=text)]) for text in texts)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(row, body.get("encoding_format"))}
        for index, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    made: dict[str, Any] = {"object": "list", "data": data, "model": model, "usage": usage}
    return made, Charge(what="embeddings", model=model, prompt_tokens=tokens)


def _known(state: State, model: str) -> str:
    state.answering(model)
    if model in LISTED and model.startswith("text-embedding-"):
        return model
    raise ApiError(403, f"The model {model} makes no embeddings.", code="model_not_found", param="model")


def _vectors(state: State, texts: Sequence[str]) -> Any:
    if not state.base.simulated:
        return dense.embed(texts)
    text = require("sklearn.feature_extraction.text", extra="all")
    words = text.HashingVectorizer(n_features=WIDTH, token_pattern=r"\S+")
    return words.transform(texts).toarray().astype("float32")


def _narrowed(vectors: Any, dimensions: int | None) -> Any:
    """The first dimensions, at length 1 again."""
    if dimensions is None:
        return vectors
    if dimensions > WIDTH:
        message = f"Invalid 'dimensions': the emulator's embeddings have {WIDTH}."
        raise ApiError(400, message, param="dimensions", code="invalid_value")
    numpy = require("numpy", extra="all")
    kept = vectors[:, :dimensions]
    return kept / numpy.maximum(numpy.linalg.norm(kept, axis=1, keepdims=True), 1e-12)


def _encoded(row: Any, encoding: str | None) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    return [float(number) for number in row]
