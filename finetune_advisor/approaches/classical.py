"""Classification without a language model: scikit-learn on words or on sentence embeddings. It often wins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from finetune_advisor.approaches import Bench, Fitted, prompts
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models import Model
from finetune_advisor.records import (
    Batch,
    Example,
    Failure,
    Message,
    Progress,
    Reply,
    Request,
    Settings,
    TaskKind,
    Usage,
)
from finetune_advisor.retrieval.bm25 import words
from finetune_advisor.retrieval.dense import embed

_BATCH = 256

Predict = Callable[[Sequence[str]], Sequence[Any]]
"""Labels for texts."""


def grams(text: str) -> list[str]:
    """Words and pairs of neighbouring words; a text without words counts as one word."""
    single = words(text) or [text]
    return [*single, *(f"{first} {second}" for first, second in pairwise(single))]


@dataclass(frozen=True, kw_only=True)
class Classical:
    """A linear classifier, trained in seconds.

    On banking77's test part: TF-IDF 0.765 and embeddings 0.883 with 20 training rows a class, 0.897 and 0.930
    with all of them.

    Args:
        features: "tfidf" for words and word pairs with a linear support vector machine, "embedding" for MiniLM
            sentence embeddings with logistic regression.
        encoder: Folder or hub id of another sentence encoder; empty for the embedded MiniLM, which reads English best.
    """

    features: Literal["tfidf", "embedding"] = "tfidf"
    encoder: str = ""

    title: ClassVar[str] = "No language model (scikit-learn)"
    tuned: ClassVar[bool] = False
    needs_documents: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({TaskKind.CLASSIFICATION})
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"features": ("tfidf", "embedding")}

    def __post_init__(self) -> None:
        if self.features not in self.grid["features"]:
            raise BadInput(f"There are no features named {self.features!r}.", hint="Known: tfidf, embedding.")

    def fit(self, bench: Bench) -> Fitted:
        """Train the classifier on the questions of the training part.

        Raises:
            BadInput: The training part has fewer than two different answers.
        """
        answers = [example.answer for example in bench.train]
        if len(set(answers)) < 2:
            raise BadInput(
                "A classifier needs at least two different labels in the training part.",
                hint="Add examples of another class.",
            )
        predict = self._train([example.question for example in bench.train], answers, bench.seed, bench.progress)

        def ask(examples: Sequence[Example]) -> list[Request]:
            return [prompts.request(example, bench.task, example.messages) for example in examples]

        return Fitted(model=Classifier(features=self.features, predict=predict), ask=ask)

    def _train(self, texts: Sequence[str], labels: Sequence[str], seed: int, progress: Progress) -> Predict:
        if self.features == "tfidf":
            return _linear_svm(texts, labels, seed)
        embedded = partial(embed, encoder=self.encoder)
        return _logistic_regression(embedded, embedded(texts, progress=progress), labels)


def _linear_svm(texts: Sequence[str], labels: Sequence[str], seed: int) -> Predict:
    vectorizer = require("sklearn.feature_extraction.text", extra="all").TfidfVectorizer(analyzer=grams)
    machine = require("sklearn.svm", extra="all").LinearSVC(random_state=seed)
    machine.fit(vectorizer.fit_transform(texts), labels)
    return lambda asked: machine.predict(vectorizer.transform(asked))


def _logistic_regression(embedded: Callable[[Sequence[str]], Any], vectors: Any, labels: Sequence[str]) -> Predict:
    # Of C = 1, 3, 10, 30 and 100, 10 is the best in five-fold cross-validation on banking77's training part with
    # 20 rows a class: 0.875, against 0.838 for 1.
    regression = require("sklearn.linear_model", extra="all").LogisticRegression(C=10, max_iter=1000)
    regression.fit(vectors, labels)
    return lambda asked: regression.predict(embedded(asked))


class Classifier:
    """A trained classifier in the form of a model: it reads the last user message and answers a label."""

    def __init__(self, *, features: str, predict: Predict) -> None:
        self.features = features
        self.predict = predict
        self.name = "scikit-learn"
        self.simulated = False
        self.tunable = False
        self.context_window = sys.maxsize
        self.source = ""

    def describe(self) -> Settings:
        """The library's version and the features."""
        return {"library": f"scikit-learn {require('sklearn', extra='all').__version__}", "features": self.features}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """No tokens: nothing is paid for by length."""
        return 0

    def batches(self, requests: Sequence[Request]) -> list[Batch]:
        """Batches in the given order."""
        starts = range(0, len(requests), _BATCH)
        return [Batch(requests=tuple(requests[start : start + _BATCH])) for start in starts]

    def answer(self, batch: Batch) -> list[Reply | Failure]:
        """The most likely label for each request, with its share of the batch's seconds."""
        began = time.perf_counter()
        labels = self.predict([_asked(request) for request in batch.requests])
        usage = Usage(seconds=(time.perf_counter() - began) / max(1, len(batch.requests)))
        return [Reply(text=str(label), usage=usage) for label in labels]

    def with_adapter(self, folder: Path) -> Model:
        """Not possible.

        Raises:
            BadInput: Always.
        """
        raise BadInput("A classical classifier takes no adapter.")


def _asked(request: Request) -> str:
    return Example(id="", messages=request.messages, answer="").question
