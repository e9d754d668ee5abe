"""One question through every arm side by side: prompt, passages, answer, tokens, seconds and cost.

Nothing is written to the store, nothing is trained, and the test split stays untouched. Seconds are those of a request
that is asked alone; in an experiment the requests of a batch share them.
"""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from finetune_advisor import approaches, metrics
from finetune_advisor.approaches import Approach, Bench, Fitted
from finetune_advisor.approaches.tuned import Training, tunable
from finetune_advisor.case import Case
from finetune_advisor.costs import model as money
from finetune_advisor.datasets.duplicates import normalise
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.experiment.arms import Attempt, Plan, Session, Unfinished, choose, plans, unfit
from finetune_advisor.experiment.money import assumptions_of
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.records import (
    ArmResult,
    Example,
    Failure,
    Interval,
    Message,
    Passage,
    Progress,
    Reply,
    Request,
    Score,
    Settings,
    Usage,
    no_progress,
)
from finetune_advisor.store import FILE, Store
from finetune_advisor.tuning.record import FINISHED

UNTRAINED = "Not trained yet: run the experiments first."
NO_INSTRUCTION = "A tuned model was trained without the instruction, so it is asked without it."
FIRST_SETTING = "Its settings are not chosen yet: the first of them is used."


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one arm did with the question.

    `usd` is what this request costs by the prices of the case, None where these are not usable. `score` is None where
    no right answer is known.
    """

    arm: str
    approach: str
    model: str
    tuned: bool
    simulated: bool
    settings: Settings
    prompt: tuple[Message, ...]
    passages: tuple[Passage, ...]
    outcome: Reply | Failure
    usd: Decimal | None
    score: Score | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What one arm would send for the question."""

    arm: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class NotTried:
    """An arm that could not be asked, and why."""

    arm: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """An arm with the setting to use and, for a tuned one, the folder of its training."""

    plan: Plan
    approach: Approach
    folder: Path
    note: str

    @property
    def key(self) -> str:
        settings = json.dumps(asdict(cast(Any, self.approach)), sort_keys=True, default=str)
        return f"{self.plan.name} {settings} {self.folder}"


class Workbench:
    """A case with its models and indexes in memory, so that only the first question waits for them.

    It may be shared by several threads, which take turns, arm by arm; hold `turn` while you use a model from outside.
    Make a new one when data, models or task of the case change, and use `of` for what else changes.

    Args:
        case: The case.
        progress: Told how its data is read.

    Raises:
        AdvisorError: The data cannot be read, or is not what the test split was locked on.
    """

    def __init__(self, case: Case, progress: Progress = no_progress) -> None:
        self._case = case
        self.turn = threading.Lock()
        self._fitted: dict[str, Fitted] = {}
        self._prepared = _prepared(case, progress)
        self._test = {normalise(example.question) for example in self._prepared.parts["test"]}
        self._usual = _usual(self._prepared.parts["train"])

    @property
    def prepared(self) -> Prepared:
        """The data, the task and the models of the case."""
        return self._prepared

    @property
    def examples(self) -> tuple[Example, ...]:
        """The validation examples: their questions may be tried, and are scored."""
        return self._prepared.parts["validation"]

    def of(self, case: Case) -> Workbench:
        """The same data, models and indexes for the case as it stands now: other arms, instruction or prices."""
        bench = copy.copy(self)
        bench._case = case
        task = replace(self._prepared.task, instruction=case.task.instruction)
        bench._prepared = replace(self._prepared, task=task)
        return bench

    def prompts(self, question: str) -> tuple[Prompt | NotTried, ...]:
        """What every arm would send for a question; no model is asked.

        Args:
            question: Any text but a question of the test split.

        Raises:
            BadInput: There is no question, or it is one of the locked test split.
        """
        example = self._example(question)
        with self.turn:
            return tuple(each if isinstance(each, NotTried) else self._prompt(each, example) for each in self._ready())

    def tries(self, question: str, *, progress: Progress = no_progress) -> Iterator[Trial | NotTried]:
        """Ask every arm one question, each as soon as it is waited for.

        Args:
            question: Any text; that of a validation example is scored against its answer.
            progress: Told which arm is being asked.

        Raises:
            BadInput: There is no question, or it is one of the locked test split.
        """
        example = self._example(question)
        assumptions = _usable(self._case)
        with self.turn:
            ready = self._ready()
        for place, each in enumerate(ready):
            if isinstance(each, NotTried):
                yield each
                continue
            progress(each.plan.name, place, len(ready))
            with self.turn:
                tried = self._tried(each, example, assumptions)
            yield tried
        progress("all arms", len(ready), len(ready))

    def _example(self, question: str) -> Example:
        plain = normalise(question)
        if not plain:
            raise BadInput("There is no question to ask.", hint="Write one, or pick a validation example.")
        if plain in self._test:
            raise BadInput(
                "This question is in the locked test split; trying prompts on it would spoil the test.",
                hint="Take a validation example, or another question.",
            )
        known = next((example for example in self.examples if normalise(example.question) == plain), None)
        return known or self._asked(question)

    def _asked(self, question: str) -> Example:
        """A free question in the form of the data: with the system message and tools of most training examples."""
        asked = Message(role="user", content=question.strip())
        return replace(self._usual, messages=(*self._usual.messages, asked))

    def _ready(self) -> list[_Ready | NotTried]:
        made = plans(self._case, self._prepared.models)
        if not (self._case.folder / FILE).exists():
            return [self._chosen(plan, None) for plan in made]
        with Store(self._case.folder) as store:
            session = Session(prepared=self._prepared, store=store, progress=no_progress, ask=False)
            return [self._chosen(plan, session) for plan in made]

    def _chosen(self, plan: Plan, session: Session | None) -> _Ready | NotTried:
        """The arm with the setting that was chosen on validation data, else with its first one."""
        try:
            reason = unfit(plan, self._prepared)
            return NotTried(arm=plan.name, reason=reason) if reason else _chosen(plan, session)
        except AdvisorError as error:
            return NotTried(arm=plan.name, reason=f"{error.message} {error.hint}".strip())

    def _tried(self, ready: _Ready, example: Example, assumptions: money.MoneyAssumptions | None) -> Trial | NotTried:
        try:
            fitted, request = self._request(ready, example)
            outcome = fitted.model.answer(fitted.model.batches([request])[0])[0]
        except AdvisorError as error:
            return NotTried(arm=ready.plan.name, reason=f"{error.message} {error.hint}".strip())
        return self._trial(ready, request, outcome, self._score(outcome, example), assumptions)

    def _prompt(self, ready: _Ready, example: Example) -> Prompt | NotTried:
        name = ready.plan.name
        try:
            _, request = self._request(ready, example)
        except AdvisorError as error:
            return NotTried(arm=name, reason=f"{error.message} {error.hint}".strip())
        found = self._passages(request)
        return Prompt(arm=name, messages=request.messages, passages=found, note=self._note(ready))

    def _request(self, ready: _Ready, example: Example) -> tuple[Fitted, Request]:
        fitted = self._fit(ready)
        asked = example if ready.approach.tuned else instructed(example, self._prepared.task.instruction)
        return fitted, fitted.ask([asked])[0]

    def _note(self, ready: _Ready) -> str:
        unused = ready.approach.tuned and self._prepared.task.instruction
        return " ".join(filter(None, [ready.note, NO_INSTRUCTION if unused else ""]))

    def _passages(self, request: Request) -> tuple[Passage, ...]:
        by_id = {passage.id: passage for passage in self._prepared.passages}
        return tuple(by_id[name] for name in request.passages)

    def _trial(
        self,
        ready: _Ready,
        request: Request,
        outcome: Reply | Failure,
        score: Score | None,
        assumptions: money.MoneyAssumptions | None,
    ) -> Trial:
        plan, options = ready.plan, asdict(cast(Any, ready.approach))
        arm = asked_once(plan.name, plan.approach, plan.model_name, options, outcome.usage)
        return Trial(
            arm=plan.name,
            approach=plan.approach,
            model=plan.model_name,
            tuned=ready.approach.tuned,
            simulated=plan.model.simulated if plan.model else False,
            settings=options,
            prompt=request.messages,
            passages=self._passages(request),
            outcome=outcome,
            usd=money.cost(arm, assumptions).usd_per_1000 / 1000 if assumptions else None,
            score=score,
            note=self._note(ready),
        )

    def _score(self, outcome: Reply | Failure, example: Example) -> Score | None:
        if example not in self.examples:
            return None
        if isinstance(outcome, Failure):
            return Score(value=0.0, format_ok=False)
        task = self._prepared.task
        return metrics.create(task.metric, **task.metric_options).score(outcome.text, example)

    def _fit(self, ready: _Ready) -> Fitted:
        if ready.key not in self._fitted:
            self._fitted[ready.key] = _fitted(ready.approach, self._bench(ready))
        return self._fitted[ready.key]

    def _bench(self, ready: _Ready) -> Bench:
        # The instruction comes with each question, so that another one needs no new index.
        bench = self._prepared.bench(ready.plan.model, ready.folder)
        return replace(bench, task=replace(bench.task, instruction=""))


def validation(case: Case, progress: Progress = no_progress) -> tuple[Example, ...]:
    """The examples of a case whose questions may be tried; no model is loaded to find them.

    Args:
        case: The case.
        progress: Told how its data is read.

    Raises:
        AdvisorError: The data cannot be read, or is not what the test split was locked on.
    """
    return _prepared(case.model_copy(update={"models": ()}), progress).parts["validation"]


def instructed(example: Example, instruction: str) -> Example:
    """The example with the instruction after its own system message, where an untuned arm's prompt has it."""
    own = _system(example.messages)
    turns = example.messages[1:] if own else example.messages
    parts = dict.fromkeys(part for part in (own.content if own else "", instruction) if part)
    if not parts:
        return example
    system = replace(own or Message(role="system", content=""), content="\n".join(parts))
    return replace(example, messages=(system, *turns))


def asked_once(name: str, approach: str, model: str, settings: Settings, usage: Usage) -> ArmResult:
    """A single request as an arm without scores, which is what the cost model prices."""
    return ArmResult(
        name=name,
        approach=approach,
        model=model or "none",
        settings=settings,
        tuned=False,
        simulated=False,
        metric="",
        n=1,
        score=0.0,
        interval=Interval(low=0.0, high=1.0),
        example_ids=(),
        scores=(),
        failures=0,
        format_failures=0,
        wrong=0,
        extras={},
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=usage.seconds,
        prefill_seconds=usage.prefill_seconds,
    )


def _prepared(case: Case, progress: Progress) -> Prepared:
    if not (case.folder / FILE).exists():
        return prepare(case, [], progress)
    with Store(case.folder) as store:
        return prepare(case, store.locks(), progress)


def _usable(case: Case) -> money.MoneyAssumptions | None:
    try:
        return assumptions_of(case)
    except BadInput:
        return None


def _chosen(plan: Plan, session: Session | None) -> _Ready | NotTried:
    if session is None:
        approach = approaches.create(plan.approach, **plan.grid[0])
        if approach.tuned:
            return NotTried(arm=plan.name, reason=UNTRAINED)
        return _Ready(plan=plan, approach=approach, folder=Path(), note=_first(plan.grid))
    attempts = [Attempt(plan=plan, settings=settings, session=session) for settings in plan.grid]
    try:
        attempt, note = choose(attempts)[0], ""
    except Unfinished:
        attempt, note = attempts[0], _first(plan.grid)
    if not attempt.approach.tuned:
        return _Ready(plan=plan, approach=attempt.approach, folder=Path(), note=note)
    folder, run = session.store.path.parent / "fits" / attempt.key, attempt.training
    if run is None or not (folder / FINISHED).is_file() or not isinstance(attempt.approach, Training):
        return NotTried(arm=plan.name, reason=UNTRAINED)
    return _Ready(plan=plan, approach=attempt.approach, folder=folder, note=note)


def _first(grid: Sequence[Settings]) -> str:
    return FIRST_SETTING if len(grid) > 1 else ""


def _fitted(approach: Approach, bench: Bench) -> Fitted:
    """The approach on the bench; one that trains takes what lies in the folder: nothing is trained here."""
    if not isinstance(approach, Training):
        return approach.fit(bench)
    return Fitted(model=tunable(bench).with_adapter(bench.folder), ask=approach.asking(bench))


def _usual(train: Sequence[Example]) -> Example:
    """An example without a question: the system message and the tools that most of the training examples have."""
    heads = [(_system(example.messages), json.dumps([*example.tools], sort_keys=True)) for example in train]
    texts = Counter((system.content if system else "", tools) for system, tools in heads)
    system, tools = texts.most_common(1)[0][0] if texts else ("", "[]")
    messages = (Message(role="system", content=system),) if system else ()
    return Example(id="", messages=messages, answer="", tools=tuple(json.loads(tools)))


def _system(messages: Sequence[Message]) -> Message | None:
    return messages[0] if messages and messages[0].is_system else None
