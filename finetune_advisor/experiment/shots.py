"""How many examples fit into a model's prompt, and what each of them adds to the price of a request.

Counted are training examples as few-shot takes them, with the model's own tokenizer and template. The test split is
not looked at: the longest question is that of the training and validation parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from statistics import fmean

from finetune_advisor.approaches import prompts
from finetune_advisor.approaches.prompting import preferred
from finetune_advisor.case import Case
from finetune_advisor.costs import model as money
from finetune_advisor.costs.request import answer_usd
from finetune_advisor.experiment.money import assumptions_of
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.trial import asked_once
from finetune_advisor.models import Model
from finetune_advisor.models.chat import with_tools
from finetune_advisor.records import Example, Message, Usage

COUNTED = 200
"""At most so many examples are counted for a mean: more would change it little."""

LONGEST = 8
"""So many of the examples with the most bytes are counted to find the one with the most tokens."""

BY_THE_HOUR = (
    "This model is paid by the hour: what an example adds is the time to read it, which is known once few-shot has run."
)
UNCACHED = "The examples' system messages differ, so prompts share no beginning that a provider could cache."


@dataclass(frozen=True, kw_only=True)
class Shots:
    """A usual prompt with so many examples in it, and what they add to one without any, per 1,000 requests.

    `added_usd` is without prompt caching. `added_usd_cached` is with it, where the same examples stand in every prompt;
    the nearest examples differ from prompt to prompt and pay the full price. None where that is not known; see
    `Fitting.note`.
    """

    shots: int
    prompt_tokens: float
    added_tokens: float
    added_usd: Decimal | None
    added_usd_cached: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How many examples fit into a prompt, in tokens of the model.

    `longest_prompt` is the prompt with the longest question and no example, `answer_tokens` the room that is kept for
    the answer. `most` examples of usual length fit beside both, `surely` so many even if all are as long as the
    longest; neither is more than there are to learn from. `table` has a row for some numbers of them up to `most`.
    """

    model: str
    context_window: int
    answer_tokens: int
    longest_prompt: int
    tokens_per_shot: float
    longest_shot: int
    most: int
    surely: int
    table: tuple[Shots, ...]
    note: str


def fitting(case: Case, prepared: Prepared, model: Model) -> Fitting:
    """How many examples fit into a prompt of that model, and what they add to its price.

    Args:
        case: With prices and volume.
        prepared: Its data.
        model: One of the case's models, from `prepared.models`.

    Raises:
        Missing: The model's tokenizer is not on this machine.
        BadInput: A price of the case is not known.
    """
    task, train = prepared.task, prepared.parts["train"]
    counted = _Counted(prepared, model)
    sizes = [counted.shot(example) for example in islice(preferred(prepared.bench(model, Path()), 1), COUNTED)]
    longest = counted.longest([*train, *prepared.parts["validation"]])
    room = model.context_window - longest - task.max_answer_tokens
    mean, largest = fmean(sizes), max(sizes)
    most = _fit(room, mean, len(train))
    assumptions = assumptions_of(case)
    steps = [_Step(shots=shots, base=counted.usual, shared=counted.shared, each=mean) for shots in _numbers(most)]
    return Fitting(
        model=model.name,
        context_window=model.context_window,
        answer_tokens=task.max_answer_tokens,
        longest_prompt=longest,
        tokens_per_shot=mean,
        longest_shot=largest,
        most=most,
        surely=min(most, _fit(room, largest, len(train))),
        table=tuple(_row(step, assumptions, model) for step in steps),
        note=_note(assumptions, model, counted.shared),
    )


def text_counter(model: Model) -> Callable[[str], int]:
    """Tokens of a text by the model's tokenizer, without what its template puts around a message."""
    around = model.count_tokens([Message(role="user", content="")])
    return lambda text: max(0, model.count_tokens([Message(role="user", content=text)]) - around)


class _Counted:
    """Prompts of a case, counted by a model; `usual` and `shared` are tokens of a prompt without examples."""

    def __init__(self, prepared: Prepared, model: Model) -> None:
        self._prepared = prepared
        self._model = model
        self._rules = prompts.rules(prepared.task, prepared.parts["train"])
        examples = prepared.parts["train"][:COUNTED]
        lengths = [self._prompt(example) for example in examples]
        self._first = lengths[0]
        self.usual = fmean(lengths)
        self.shared = self._beginning(examples)

    def shot(self, example: Example) -> int:
        """What one demonstration adds to a prompt."""
        return self._prompt(self._prepared.parts["train"][0], prompts.demonstration(example)) - self._first

    def longest(self, examples: Sequence[Example]) -> int:
        """The longest prompt of these examples."""
        by_bytes = sorted(examples, key=lambda e: -sum(len(m.content.encode("utf-8", "replace")) for m in e.messages))
        return max(self._prompt(example) for example in by_bytes[:LONGEST])

    def _prompt(self, example: Example, before: Sequence[Message] = ()) -> int:
        return self._model.count_tokens(self._messages(example, before))

    def _messages(self, example: Example, before: Sequence[Message] = ()) -> tuple[Message, ...]:
        messages = prompts.full(example, self._prepared.task, extra=self._rules, before=before)
        return with_tools(messages, example.tools)

    def _beginning(self, examples: Sequence[Example]) -> int:
        """Tokens that all prompts begin with; 0 where their system messages differ.

        An example's turns twice, less the same turns once, are the turns alone; the rest of the prompt is shared.
        """
        whole = [self._messages(example) for example in examples]
        systems = {messages[0].content if messages[0].is_system else "" for messages in whole}
        if len(systems) > 1:
            return 0
        turns = whole[0][1:] if systems != {""} else whole[0]
        return max(0, 2 * self._first - self._model.count_tokens((*whole[0], *turns)))


@dataclass(frozen=True, kw_only=True)
class _Step:
    shots: int
    base: float
    shared: int
    each: float

    @property
    def added(self) -> float:
        return self.shots * self.each


def _fit(room: int, size: float, available: int) -> int:
    return max(0, min(available, int(room // max(1.0, size))))


def _numbers(most: int) -> list[int]:
    """0, 1, 2, 4, 8 and so on up to the most."""
    doubled = [2**power for power in range(most.bit_length())]
    return sorted({0, most, *doubled})


def _row(step: _Step, assumptions: money.MoneyAssumptions, model: Model) -> Shots:
    cached = step.shared > 0
    return Shots(
        shots=step.shots,
        prompt_tokens=step.base + step.added,
        added_tokens=step.added,
        added_usd=_added(step, assumptions, model, caching=False),
        added_usd_cached=_added(step, assumptions, model, caching=True) if cached else None,
    )


def _added(step: _Step, assumptions: money.MoneyAssumptions, model: Model, *, caching: bool) -> Decimal | None:
    pricing = assumptions.pricing.get(model.name)
    if not isinstance(pricing, money.TokenPricing) or (caching and pricing.rates.cached is None):
        return None

    def usd(added: float) -> Decimal:
        usage = Usage(prompt_tokens=round(step.base + added), cached_tokens=round(step.shared + added))
        arm = asked_once("few-shot", "few_shot", model.name, {}, usage)
        return sum(answer_usd(arm, pricing, assumptions.requests_per_month, caching=caching).values(), Decimal(0))

    return (usd(step.added) - usd(0)) * 1000


def _note(assumptions: money.MoneyAssumptions, model: Model, shared: int) -> str:
    if not isinstance(assumptions.pricing.get(model.name), money.TokenPricing):
        return BY_THE_HOUR
    return "" if shared else UNCACHED
