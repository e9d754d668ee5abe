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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal, cast, get_args

from finetune_advisor.experiment.arms import ArmRun
from finetune_advisor.experiment.session import Need, Session, ahead, ask
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
    tuned = [(run.attempt.plan.model, run) for run in runs if run.result.tuned]
    needs = [(base, run.result.name, _needs(session, run, base)) for base, run in tuned if base is not None]
    session.crew.carry_out([(base, ahead(pair)) for base, _, pair in needs], session.progress)
    return tuple(effect for _, name, pair in needs for effect in _of_arm(name, *pair))


def _of_arm(name: str, base: Need, tuned: Need) -> list[SideEffect]:
    before, after = _answers(base), _answers(tuned)
    return [_effect(name, ability, before, after) for ability in get_args(Ability)] if before and after else []


def _needs(session: Session, run: ArmRun, base: Model) -> tuple[Need, Need]:
    """The answers of the base and of the tuned model."""
    attempt, requests = run.attempt, [_request(prompt) for prompt in prompts()]
    before = Need(
        session=session,
        key=_base_key(session, base),
        part=PART,
        what=f"{base.name}: everyday prompts",
        ids=[request.example_id for request in requests],
        model=lambda: base,
        requests=lambda: requests,
    )
    what, model = f"{run.result.name}: everyday prompts", lambda: attempt.fitted.model
    return before, replace(before, key=attempt.key, what=what, model=model, attempt=attempt)


def _base_key(session: Session, model: Model) -> str:
    described = json.dumps(dict(session.crew.describe(model)), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(f"everyday {described}".encode()).hexdigest()[:16]


def _answers(need: Need) -> Mapping[str, Stored]:
    """The stored answers; missing ones are asked, and none are given where they may not be."""
    if not need.met and not need.session.ask:
        return {}
    if not need.met:
        ask(need)
    return need.session.store.answers(need.key, PART)


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
