"""What tuning did to abilities that it was not meant to change: the shipped everyday prompts, base and tuned model.

48 prompts in four abilities, each with a check that needs no judge (`everyday.toml`). Twelve of a kind show large
losses only: fewer than five of twelve lost cannot be told from chance. The checks are coarse: they see whether a fact
is in the answer, whether it is refused, in form, or in the language asked, not whether it is good.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast, get_args

from finetune_advisor.experiment.arms import ArmRun, Session, ask
from finetune_advisor.models import Model
from finetune_advisor.records import Message, Part, Reply, Request, SideEffect
from finetune_advisor.statistics import compare
from finetune_advisor.store import Stored

PART = cast(Part, "everyday")
"""The part under which the answers lie in the store; no part of the data."""

MAX_TOKENS = 24

Ability = Literal["general", "refusal", "format", "language"]


@dataclass(frozen=True, kw_only=True)
class Language:
    """How a language is told: most letters are of the script, and some of the words occur where any are named."""

    script: str
    words: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One everyday prompt and its check; `everyday.toml` says what the fields mean."""

    ability: Ability
    ask: str
    words: Sequence[str] = ()
    pattern: str = ""
    keys: Sequence[str] = ()
    language: str = ""
    refuse: bool | None = None

    @property
    def id(self) -> str:
        """Its name in the store."""
        return f"{self.ability}-{hashlib.sha256(f'{MAX_TOKENS} {self.ask}'.encode()).hexdigest()[:12]}"

    def handled(self, answer: str) -> bool:
        """Whether the answer is what was asked for."""
        text = answer.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()
        if self.refuse is not None and declines(text) != self.refuse:
            return False
        checks = (
            not self.words or any(_stands(word, text) for word in self.words),
            not self.pattern or re.fullmatch(self.pattern, text) is not None,
            not self.keys or _has_keys(text, self.keys),
            not self.language or (text not in self.ask and _is_in(text, _shipped().languages[self.language])),
        )
        return bool(text) and all(checks)


@dataclass(frozen=True, kw_only=True)
class _Shipped:
    prompts: tuple[Prompt, ...]
    languages: Mapping[str, Language]
    refusals: Sequence[str]


@cache
def _shipped() -> _Shipped:
    read = tomllib.loads((files("finetune_advisor.experiment") / "everyday.toml").read_text(encoding="utf-8"))
    return _Shipped(
        prompts=tuple(Prompt(**row) for row in read["prompts"]),
        languages={code: Language(**row) for code, row in read["languages"].items()},
        refusals=tuple(read["refusals"]),
    )


def prompts() -> tuple[Prompt, ...]:
    """The shipped prompts."""
    return _shipped().prompts


def declines(text: str) -> bool:
    """Whether an (English) answer declines to do what was asked."""
    return any(_stands(phrase, text) for phrase in _shipped().refusals)


def _stands(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _has_keys(text: str, keys: Sequence[str]) -> bool:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(cast(dict[str, object], value)) == set(keys)


def _is_in(text: str, language: Language) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    of_script = sum(unicodedata.name(letter, "").startswith(language.script) for letter in letters)
    known = sum(_stands(word, text) for word in language.words)
    return bool(letters) and 2 * of_script >= len(letters) and (not language.words or known >= 2)


def measure(session: Session, runs: Sequence[ArmRun]) -> tuple[SideEffect, ...]:
    """Ask each tuned arm's model and its base the everyday prompts, and compare them prompt by prompt.

    What is stored is not asked again. Where nothing may be asked, arms without all answers are left out.

    Args:
        session: What the arms ran in.
        runs: The finished arms; untuned ones do not matter.
    """
    return tuple(effect for run in runs if run.result.tuned for effect in _of_arm(session, run))


def _of_arm(session: Session, run: ArmRun) -> list[SideEffect]:
    base, name = run.attempt.plan.model, run.result.name
    if base is None:
        return []
    before = _answers(session, _base_key(base), lambda: base, f"{base.name}: everyday prompts")
    after = _answers(session, run.attempt.key, lambda: run.attempt.fitted.model, f"{name}: everyday prompts")
    return [_effect(name, ability, before, after) for ability in get_args(Ability)] if before and after else []


def _base_key(model: Model) -> str:
    described = json.dumps(dict(model.describe()), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(f"everyday {described}".encode()).hexdigest()[:16]


def _answers(session: Session, key: str, model: Callable[[], Model], what: str) -> Mapping[str, Stored]:
    """The stored answers; missing ones are asked, and none are given where they may not be."""
    stored = session.store.answers(key, PART)
    missing = any(prompt.id not in stored for prompt in prompts())
    if missing and not session.ask:
        return {}
    if missing:
        ask(session, key, PART, model(), [_request(prompt) for prompt in prompts()], what)
    return session.store.answers(key, PART)


def _request(prompt: Prompt) -> Request:
    asked = Message(role="user", content=prompt.ask)
    return Request(example_id=prompt.id, messages=(asked,), max_tokens=MAX_TOKENS)


def _effect(arm: str, ability: Ability, before: Mapping[str, Stored], after: Mapping[str, Stored]) -> SideEffect:
    asked = [prompt for prompt in prompts() if prompt.ability == ability]
    base, tuned = ([_handled(prompt, answers) for prompt in asked] for answers in (before, after))
    compared = compare(arm, tuned, "base", base, binary=True)
    return SideEffect(
        arm=arm,
        ability=ability,
        n=len(asked),
        base=sum(base) / len(asked),
        tuned=sum(tuned) / len(asked),
        interval=compared.interval,
        lost=tuple(p.ask for p, was, now in zip(asked, base, tuned, strict=True) if was > now),
    )


def _handled(prompt: Prompt, answers: Mapping[str, Stored]) -> float:
    outcome = answers[prompt.id].outcome
    return float(isinstance(outcome, Reply) and prompt.handled(outcome.text))
