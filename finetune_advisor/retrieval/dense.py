"""Search by meaning: sentence embeddings of MiniLM in plain transformers, compared by cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from finetune_advisor.errors import Missing, require
from finetune_advisor.models import embedded
from finetune_advisor.records import Progress, no_progress
from finetune_advisor.retrieval.ranking import highest

MAX_TOKENS = 256
"""What MiniLM was trained for; the rest of a longer text is not read."""

_BATCH = 32
_CLOSENESSES = 2**25
"""Computed at a time, lest many queries over many texts fill the memory."""

_vectors: dict[tuple[str, bytes], Any] = {}


@lru_cache(maxsize=2)
def _encoder(source: str) -> tuple[Any, Any]:
    """Tokenizer and model of a folder or hub id; empty for the embedded MiniLM."""
    torch, transformers = require("torch", extra="local"), require("transformers", extra="local")
    transformers.utils.logging.disable_progress_bar()
    where = source or str(embedded.sentence_encoder_folder())
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        model = transformers.AutoModel.from_pretrained(where, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise Missing(
            f"The sentence encoder {where!r} cannot be loaded.",
            hint="Give a folder or a Hugging Face id of a sentence-transformers model, or none for the embedded one.",
        ) from error
    return tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def embed(texts: Sequence[str], *, encoder: str = "", progress: Progress = no_progress) -> Any:
    """Sentence embeddings: masked mean of the last layer, at length 1 (Reimers and Gurevych 2019, "Sentence-BERT").

    Args:
        texts: What to embed. Each text is computed once in a process.
        encoder: Folder or hub id; empty for the embedded MiniLM.
        progress: Called with the texts done and in total.

    Returns:
        A float32 array with one row for each text (384 columns for MiniLM).

    Raises:
        Missing: torch, transformers or the encoder is not there.
    """
    numpy = require("numpy", extra="all")
    # A lone surrogate, which JSON can smuggle in, would stop the tokenizer.
    sound = [text.encode("utf-8", "replace") for text in texts]
    keys = [(encoder, sha256(text).digest()) for text in sound]
    fresh = {key: text.decode() for key, text in zip(keys, sound, strict=True) if key not in _vectors}
    _compute(fresh, progress)
    width = len(_vectors[keys[0]]) if keys else 0
    return numpy.array([_vectors[key] for key in keys], dtype="float32").reshape(len(keys), width)


def _compute(fresh: Mapping[tuple[str, bytes], str], progress: Progress) -> None:
    """Put the vectors of new texts into the cache, texts of like length together to save padding."""
    todo = sorted(fresh.items(), key=lambda item: len(item[1]))
    for start in range(0, len(todo), _BATCH):
        batch = todo[start : start + _BATCH]
        rows = _forward(batch[0][0][0], [text for _, text in batch])
        _vectors.update(zip([key for key, _ in batch], rows, strict=True))
        progress("Embedding texts", start + len(batch), len(todo))


def _forward(encoder: str, texts: list[str]) -> Any:
    torch = require("torch", extra="local")
    tokenizer, model = _encoder(encoder)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    inputs = inputs.to(model.device)
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(means, dim=1).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Nearest texts by the cosine of their sentence embeddings.

    Args:
        encoder: Folder or hub id of the encoder; empty for the embedded MiniLM, which reads English best.
    """

    encoder: str = ""

    def index(self, texts: Sequence[str]) -> DenseIndex:
        """Index the texts; an empty sequence is allowed and finds nothing."""
        return DenseIndex(encoder=self.encoder, vectors=embed(texts, encoder=self.encoder) if texts else None)


@dataclass(frozen=True, kw_only=True)
class DenseIndex:
    """Embedded texts. `vectors` is None where there are none."""

    encoder: str
    vectors: Any

    def search(self, queries: Sequence[str], depth: int) -> list[list[int]]:
        """For each query, the positions of the nearest texts, nearest first; always `depth` where there are as many."""
        if self.vectors is None:
            return [[] for _ in queries]
        numpy = require("numpy", extra="all")
        asked = embed(queries, encoder=self.encoder)
        step = max(1, _CLOSENESSES // len(self.vectors))
        # Written over for each piece: new memory costs as much as finding the nearest in it.
        room = numpy.empty((min(step, len(asked)), len(self.vectors)), dtype="float32")
        parts = (asked[start : start + step] for start in range(0, len(asked), step))
        products = (numpy.matmul(part, self.vectors.T, out=room[: len(part)]) for part in parts)
        # Padding moves an embedding in its seventh digit; rounding keeps equal texts equal, so position decides.
        return [highest(row, depth, digits=5) for product in products for row in product]
