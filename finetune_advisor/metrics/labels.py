"""Scorer of classification: the answer is a label, the whole label and nothing but the label."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from finetune_advisor.metrics.text import references
from finetune_advisor.records import Example, Score

# These may belong to a label (C#, A+, -1, R&D) and stay.
_PART_OF_LABEL = "#-%&@/"


def normalised(text: str) -> str:
    """A label as it is compared: no wrapping, no case, underscores and spaces equal, one Unicode form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_unwrapped(folded).replace("_", " ").split()) or folded.strip()


def _unwrapped(text: str) -> str:
    """Without what models wrap a label in: quotes, Markdown, brackets, sentence ends, invisible marks."""
    return text.strip("".join(filter(_wraps, set(text))))


def _wraps(character: str) -> bool:
    category = unicodedata.category(character)
    mark = category[0] in "PZ" or category in ("Cc", "Cf") or character in "`\u00b4~<>"
    return mark and character not in _PART_OF_LABEL


@dataclass(frozen=True, kw_only=True)
class Label:
    """1 where the answer is the reference label.

    A text that merely contains a label has the wrong form: whoever calls the model wants to use the answer as is.

    Args:
        labels: The labels there are; where none are given, any single line has the right form.
    """

    labels: tuple[str, ...] = ()
    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    title: ClassVar[str] = "Accuracy"

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(normalised(label) for label in self.labels)

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it is none of the labels."""
        wanted = {normalised(reference) for reference in references(example)}
        answered = self._label(text)
        correct = answered in wanted
        return Score(value=float(correct), format_ok=correct or self._in_form(answered))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """`macro_f1` over the labels of the references, and `accuracy_given_format`.

        An answer in the wrong form is a miss of its label and a false alarm of none.
        """
        if not texts:
            return {}
        scores = [self.score(text, example) for text, example in zip(texts, examples, strict=True)]
        answered = [self._label(text) if score.format_ok else None for text, score in zip(texts, scores, strict=True)]
        wanted = [_truth(answer, example) for answer, example in zip(answered, examples, strict=True)]
        in_form = sum(score.format_ok for score in scores)
        accuracy = sum(score.value for score in scores) / in_form if in_form else 0.0
        return {"macro_f1": _macro_f1(answered, wanted), "accuracy_given_format": accuracy}

    def _label(self, text: str) -> str:
        """The normalised answer; empty where it has several lines."""
        return "" if "\n" in _unwrapped(text) else normalised(text)

    def _in_form(self, answered: str) -> bool:
        return answered in self._known if self.labels else bool(answered)


def _truth(answered: str | None, example: Example) -> str:
    """The reference label; among several the one that was answered."""
    wanted = [normalised(reference) for reference in references(example)]
    return answered if answered in wanted else wanted[0]


def _macro_f1(answered: Sequence[str | None], wanted: Sequence[str]) -> float:
    truth, guessed = Counter(wanted), Counter(answered)
    right = Counter(want for answer, want in zip(answered, wanted, strict=True) if answer == want)
    return sum(2 * right[label] / (truth[label] + guessed[label]) for label in truth) / len(truth)
