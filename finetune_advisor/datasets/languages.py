"""What tokens cost in each language of the data: models read some languages in several times as many tokens.

The language of an example is told from its last user message by py3langid (BSD-3-Clause, naive Bayes; its model comes
in the wheel). Where that is unsure, as it is of very short texts, or not installed, the script of the letters counts.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from finetune_advisor.datasets import tokens
from finetune_advisor.errors import Missing, require
from finetune_advisor.records import Example

SURE = 0.7
"""The probability that py3langid has to give. Of the 352 texts of the shipped sample 3 fall short; none is wrong."""

LETTERS = 4
"""A text with fewer letters is told by its script, whatever py3langid says."""

READ = 2_000
"""Characters of a text that are looked at to tell its language."""

ENGLISH = "en"

SPACELESS = frozenset({"zh", "ja", "th", "lo", "km", "my", "dz", "Cjk", "Hiragana", "Katakana", "Thai", "Lao", "Khmer"})
"""Languages that put no spaces between words, and scripts of such, by the first word of their letters' names."""

_SCRIPT_NAMES = {"Cjk": "Chinese characters", "": "No letters"}


@dataclass(frozen=True, kw_only=True)
class LanguageTokens:
    """The examples in one language. `code` is its two-letter code, empty where only the script is known.

    Counted are the user's and the assistant's turns and the answer, not the system message. `relative` is
    `tokens_per_example` over that of the language that is compared with. `tokens_per_word` is None for scripts
    without spaces.
    """

    code: str
    name: str
    examples: int
    tokens_per_example: float
    tokens_per_character: float
    tokens_per_word: float | None
    relative: float


@dataclass(frozen=True, kw_only=True)
class Languages:
    """All languages of the data, the most frequent first; `reference` names the one that others are compared with.

    The examples of two languages need not say the same: `relative` compares what a request costs, and the tokens per
    word what the language costs. `detected_by` and `counted_by` say what told the languages and counted the tokens.
    """

    rows: tuple[LanguageTokens, ...]
    reference: str
    detected_by: str
    counted_by: str


def languages(
    examples: Sequence[Example], count: Callable[[str], int] | None = None, counted_by: str = ""
) -> Languages | None:
    """What tokens cost in each language; None without examples.

    Args:
        examples: All that are to be counted.
        count: Tokens of a text by the model's tokenizer; OpenAI's o200k_base where None.
        counted_by: What to call that tokenizer.
    """
    if not examples:
        return None
    counter = tokens.encoding()
    count, counted_by = (count, counted_by) if count else (counter.count, f"{counter.name}, OpenAI's vocabulary")
    detected = identifier()
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for example in examples:
        groups[_language(example.question or example.answer, detected)].append(_text(example))
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    reference = next((key for key, _ in ordered if key[0] == ENGLISH), ordered[0][0])
    base = _mean(groups[reference], count)
    return Languages(
        rows=tuple(_row(key, texts, count, base) for key, texts in ordered),
        reference=reference[1],
        detected_by="py3langid, and the script where it is unsure" if detected else "the script of the letters",
        counted_by=counted_by,
    )


def _row(key: tuple[str, str], texts: Sequence[str], count: Callable[[str], int], base: float) -> LanguageTokens:
    mean, whole = _mean(texts, count), " ".join(texts)
    total = mean * len(texts)
    spaced = (key[0] or script(whole)) not in SPACELESS
    return LanguageTokens(
        code=key[0],
        name=key[1],
        examples=len(texts),
        tokens_per_example=mean,
        tokens_per_character=total / max(1, sum(map(len, texts))),
        tokens_per_word=total / max(1, len(whole.split())) if spaced else None,
        relative=mean / base if base else 1.0,
    )


def _mean(texts: Sequence[str], count: Callable[[str], int]) -> float:
    return sum(map(count, texts)) / len(texts)


def _text(example: Example) -> str:
    turns = [message.content for message in example.messages if message.role in ("user", "assistant")]
    return "\n".join([*turns, example.answer])


def _language(text: str, teller: Any) -> tuple[str, str]:
    """Code and name of a text's language; no code and the name of its script where the language is not sure."""
    part = text[:READ]
    if teller and sum(map(str.isalpha, part)) >= LETTERS:
        code, probability = teller.classify(part)
        if probability >= SURE:
            return code, names()[code]
    written = script(part)
    return "", _SCRIPT_NAMES.get(written, f"{written} script") + (", language not sure" if written else "")


def script(text: str) -> str:
    """The script of most letters, as the first word of their Unicode names ("Latin", "Cjk"); "" without letters."""
    seen = Counter(_script(character) for character in text[:READ] if character.isalpha())
    return seen.most_common(1)[0][0] if seen else ""


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "unknown").split(maxsplit=1)[0].split("-")[0].capitalize()


@cache
def names() -> Mapping[str, str]:
    """The English names of the languages that are told apart, by their two-letter codes."""
    text = (files("finetune_advisor.datasets") / "languages.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["names"]


@cache
def identifier() -> Any:
    """py3langid with the languages that have a name here; None where it is not installed."""
    try:
        langid = require("py3langid.langid", extra="all")
    except Missing:
        return None
    made = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    made.set_languages([*names()])
    return made
