"""Scorers of free text: SQuAD's exact match and token F1, ROUGE-L and chrF, in any script."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from rapidfuzz.distance import LCSseq

from finetune_advisor.errors import require
from finetune_advisor.records import Example, Score

# Han, Hiragana, Katakana, Thai, Lao, Burmese and Khmer put no spaces between words.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def references(example: Example) -> tuple[str, ...]:
    """Every acceptable answer, without repeats."""
    return tuple(dict.fromkeys((example.answer, *example.references)))


def tokens(text: str) -> list[str]:
    """Words; single characters in scripts that put no spaces between words (as MLQA does, Lewis et al. 2020)."""
    return _TOKEN.findall(text)


def squad_normalised(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces (Rajpurkar et al. 2016).

    Text that consists of nothing else, such as the answer "A", is kept as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(c for c in folded if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return " ".join(_ARTICLE.sub(" ", bare).split()) or " ".join(folded.split())


def short_answer(text: str, example: Example) -> bool:
    """Whether the text has the form of a short answer.

    It has not where it is empty, or more than 20 words longer than five times the longest reference. A base model
    that goes on and on around the right word did not give a short answer; the allowance is wide enough for a full
    sentence, so that only rambling is counted as the wrong form and not as a wrong answer.
    """
    longest = max(len(tokens(reference)) for reference in references(example))
    return bool(text.strip()) and len(tokens(text)) <= 5 * longest + 20


@dataclass(frozen=True, kw_only=True)
class ExactMatch:
    """1 where the normalised answer equals a normalised reference (SQuAD's exact match)."""

    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    title: ClassVar[str] = "Exact match"

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it is no `short_answer`."""
        if not short_answer(text, example):
            return Score(value=0.0, format_ok=False)
        return Score(value=_exact(text, example))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Nothing further."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TokenF1:
    """F1 of the bag of tokens against the best reference (SQuAD's F1)."""

    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = False
    title: ClassVar[str] = "Token F1"

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; a format failure where it is no `short_answer`."""
        if not short_answer(text, example):
            return Score(value=0.0, format_ok=False)
        return Score(value=max(_token_f1(text, reference) for reference in references(example)))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """`exact_match`: the share of answers that equal a reference."""
        if not texts:
            return {}
        return {"exact_match": sum(map(_exact, texts, examples)) / len(texts)}


@dataclass(frozen=True, kw_only=True)
class RougeL:
    """ROUGE-L F1 over words, without stemming, against the best reference (Lin 2004)."""

    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = False
    title: ClassVar[str] = "ROUGE-L"

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; only an empty one has the wrong form."""
        if not text.strip():
            return Score(value=0.0, format_ok=False)
        return Score(value=max(_rouge_l(text, reference) for reference in references(example)))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Nothing further."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ChrF:
    """Sentence chrF, character n-grams up to 6 and beta 2, from 0 to 1 (Popović 2015; sacrebleu's defaults)."""

    higher_is_better: ClassVar[bool] = True
    binary: ClassVar[bool] = False
    title: ClassVar[str] = "chrF"

    @cached_property
    def _chrf(self) -> Any:
        return require("sacrebleu.metrics.chrf", extra="all").CHRF()

    def score(self, text: str, example: Example) -> Score:
        """How good one answer is; only an empty one has the wrong form."""
        if not text.strip():
            return Score(value=0.0, format_ok=False)
        value = float(self._chrf.sentence_score(text, references(example)).score) / 100
        return Score(value=min(1.0, value))

    def extras(self, texts: Sequence[str], examples: Sequence[Example]) -> Mapping[str, float]:
        """Nothing further."""
        return {}


def _exact(text: str, example: Example) -> float:
    answer = squad_normalised(text)
    return float(any(answer == squad_normalised(reference) for reference in references(example)))


def _f1(common: int, answered: int, wanted: int) -> float:
    return 2 * common / (answered + wanted) if common else 0.0


def _token_f1(text: str, reference: str) -> float:
    answered, wanted = tokens(squad_normalised(text)), tokens(squad_normalised(reference))
    return _f1((Counter(answered) & Counter(wanted)).total(), len(answered), len(wanted))


def _words(text: str) -> list[str]:
    """Runs of letters, marks and digits; where there are none, as in an emoji, what stands between spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return tokens("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)) or tokens(folded)


def _rouge_l(text: str, reference: str) -> float:
    answered, wanted = _words(text), _words(reference)
    return _f1(LCSseq.similarity(answered, wanted), len(answered), len(wanted))
