"""Run arms: choose settings on validation data, then let the chosen one see the test split once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from finetune_advisor import approaches, metrics
from finetune_advisor.approaches import Approach, Bench, Fitted, free
from finetune_advisor.case import ArmSection, Case
from finetune_advisor.errors import AdvisorError, Missing, StoreProblem
from finetune_advisor.experiment.prepare import Prepared
from finetune_advisor.experiment.session import Need, Session, Steps, ask
from finetune_advisor.experiment.watch import Event, Watch, Work, unwatched
from finetune_advisor.metrics.confusion import confusions
from finetune_advisor.models import Model, is_remote
from finetune_advisor.records import (
    ArmResult,
    Choice,
    Example,
    Failure,
    Part,
    Refusal,
    Reply,
    Score,
    Settings,
    TrainingRun,
    Usage,
)
from finetune_advisor.statistics import interval
from finetune_advisor.tuning.closed import TrainingClosed
from finetune_advisor.tuning.follow import TrainingFailed

REFUSED = "refused.json"

TRAINERS = {"openai": "at OpenAI", "azure": "at Azure", "trl": "by TRL", "autotrain": "by AutoTrain"}
"""How an arm is called that is not trained within the run."""

ENGINE = 5
"""Part of every fit's fingerprint; raised when the same settings would give other prompts or answers."""


class Unfinished(StoreProblem):
    """An answer is not stored, and nothing is to be asked."""


class Refused(AdvisorError):
    """A provider does not train it, or the training failed; the other arms go on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One arm: an approach on a model, and the settings to choose from."""

    name: str
    approach: str
    model: Model | None
    model_name: str
    grid: tuple[Settings, ...]


def plans(case: Case, models: Mapping[str, Model]) -> list[Plan]:
    """All arms of a case, those of one model together so that only one needs to be in memory."""
    found = [_plan(arm, None, "") for arm in case.arms if not approaches.named(arm.approach).needs_model]
    for name, model in models.items():
        for arm in case.arms:
            wanted = approaches.named(arm.approach).needs_model and name in (arm.models or models)
            if wanted:
                found.append(_plan(arm, model, name if len(models) > 1 else ""))
    return _numbered(found)


def _numbered(found: Sequence[Plan]) -> list[Plan]:
    """The same plans, those of a name that was there before with a number."""
    seen: Counter[str] = Counter()
    numbered: list[Plan] = []
    for plan in found:
        seen[plan.name] += 1
        again = seen[plan.name] > 1
        numbered.append(replace(plan, name=f"{plan.name} ({seen[plan.name]})") if again else plan)
    return numbered


def _plan(arm: ArmSection, model: Model | None, suffix: str) -> Plan:
    kind = approaches.named(arm.approach)
    title = _title(kind, arm, model)
    name = f"{title} · {suffix}" if suffix else title
    grid = tuple(expand({**kind.grid, **arm.settings}))
    return Plan(name=name, approach=arm.approach, model=model, model_name=model.name if model else "", grid=grid)


def _title(kind: type[Approach], arm: ArmSection, model: Model | None) -> str:
    """The approach's, with who trains in place of LoRA where somebody else does."""
    own = model.trainer[0] if model is not None and is_remote(model) else ""
    trainer = TRAINERS.get(str(arm.settings.get("trainer") or own)) if kind.tuned else None
    return kind.title.replace("LoRA", f"Fine-tuned {trainer}") if trainer else kind.title


def expand(settings: Mapping[str, Any]) -> list[Settings]:
    """All combinations of the list-valued settings, in the order in which they are written."""
    axes = [list(cast(Sequence[Any], v)) if isinstance(v, list | tuple) else [v] for v in settings.values()]
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*axes)]


def unfit(plan: Plan, prepared: Prepared) -> str:
    """Why an arm cannot be run on this case; empty where it can."""
    approach = approaches.named(plan.approach)
    if approach.kinds and prepared.task.kind not in approach.kinds:
        return f"It does not apply to {prepared.task.kind} tasks."
    if approach.needs_documents and not prepared.passages:
        return "The case has no documents."
    if approach.tuned and plan.model and not plan.model.tunable:
        return f"{plan.model.name} cannot be tuned from here."
    return ""


@dataclass(kw_only=True)
class Attempt:
    """One arm with one setting; nothing is computed before it is asked for."""

    plan: Plan
    settings: Settings
    session: Session

    @cached_property
    def approach(self) -> Approach:
        """The approach, made from the settings."""
        return approaches.create(self.plan.approach, **self.settings)

    @cached_property
    def options(self) -> Settings:
        """All options, defaults included."""
        return asdict(cast(Any, self.approach))

    @cached_property
    def fingerprint(self) -> str:
        """Everything that decides the prompts and the answers, as JSON."""
        prepared, approach = self.session.prepared, self.approach
        facts = {
            "engine": ENGINE,
            "approach": self.plan.approach,
            "options": self.options,
            "model": dict(self.session.crew.describe(self.plan.model)) if self.plan.model else {},
            "task": asdict(replace(prepared.task, instruction="") if self._unasked else prepared.task),
            "train": digest(e.id for e in prepared.parts["train"]),
            "validation": digest(e.id for e in prepared.parts["validation"]) if approach.tuned else "",
            "passages": digest(p.id + p.text for p in prepared.passages) if approach.needs_documents else "",
            "seed": prepared.seed,
        }
        return json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str)

    @property
    def _unasked(self) -> bool:
        """Whether the arm never sees the instruction: a tuned model knows the form, a classifier reads no prompt."""
        return self.approach.tuned or not self.approach.needs_model

    @cached_property
    def key(self) -> str:
        """The fit's name in the store."""
        return hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where its training lies."""
        return self.session.store.path.parent / "fits" / self.key

    @property
    def bench(self) -> Bench:
        """What the approach may use."""
        return self.session.prepared.bench(
            self.plan.model,
            self.folder,
            progress=lambda what, done, total: self.session.progress(f"{self.plan.name}: {what}", done, total),
            approve=self.session.till.budget.once if self.session.till else free,
        )

    @cached_property
    def fitted(self) -> Fitted:
        """The approach, fitted: examples chosen, indexes built, weights trained."""
        try:
            made = self.approach.fit(self.bench)
        except (TrainingClosed, TrainingFailed) as error:
            raise _written(error, self.folder) from error
        self.session.store.save_fit(self.key, self.plan.name, self.fingerprint, made.training)
        return made

    @property
    def training(self) -> TrainingRun | None:
        """The training behind it, from the store."""
        return self.session.store.training(self.key)

    def outcomes(self, part: Part) -> list[Reply | Failure]:
        """What came back on a part, in the part's order; what is missing is asked first."""
        need = self.need(part)
        if not need.met:
            if not self.session.ask:
                _raise_written(self.folder)
                raise Unfinished("Not run to its end yet.", hint="finetune-advisor run goes on with it.")
            ask(need)
        found = self.session.store.outcomes(self.key, part)
        return [found[name] for name in need.ids]

    def need(self, part: Part) -> Need:
        """What it takes to have the answers on a part."""
        examples = self.session.prepared.parts[part]
        return Need(
            session=self.session,
            key=self.key,
            part=part,
            what=f"{self.plan.name}: {part}",
            ids=[example.id for example in examples],
            model=lambda: self.fitted.model,
            requests=lambda: self.fitted.ask(examples),
            attempt=self,
        )

    def scores(self, part: Part) -> list[Score]:
        """The score of each answer on a part; no answer scores 0."""
        return self.judged(self.outcomes(part), part)

    def judged(self, outcomes: Sequence[Reply | Failure], part: Part) -> list[Score]:
        """The same for answers that have been read already."""
        metric = metrics.create(self.session.prepared.task.metric, **self.session.prepared.task.metric_options)
        pairs = zip(outcomes, self.session.prepared.parts[part], strict=True)
        return [_score(metric, outcome, example) for outcome, example in pairs]


def _written(error: AdvisorError, folder: Path) -> Refused:
    """The refusal, noted in the arm's folder: a report that is written later says it too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REFUSED).write_text(json.dumps([error.message, error.hint], ensure_ascii=False), encoding="utf-8")
    return Refused(error.message, hint=error.hint)


def _raise_written(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        message, hint = json.loads((folder / REFUSED).read_text(encoding="utf-8"))
        raise Refused(str(message), hint=str(hint))


def _score(metric: metrics.Metric, outcome: Reply | Failure, example: Example) -> Score:
    if isinstance(outcome, Failure):
        return Score(value=0.0, format_ok=False)
    return metric.score(outcome.text, example)


def digest(texts: Any) -> str:
    """A hash of texts in their order."""
    total = hashlib.sha256()
    for text in texts:
        total.update(f"{len(text)}:{text}".encode())
    return total.hexdigest()[:16]


def choose(attempts: Sequence[Attempt]) -> tuple[Attempt, tuple[Choice, ...]]:
    """The best setting by mean score on validation data; of equals the first. One setting needs no choice."""
    if len(attempts) == 1:
        return attempts[0], ()
    means = [mean([score.value for score in attempt.scores("validation")]) for attempt in attempts]
    best = means.index(max(means))
    tried = [
        Choice(settings=a.settings, score=m, chosen=i == best)
        for i, (a, m) in enumerate(zip(attempts, means, strict=True))
    ]
    return attempts[best], tuple(tried)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; 0 for none."""
    return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """A finished arm: the chosen attempt, whose answers are in the store, and its result."""

    attempt: Attempt
    result: ArmResult


def run_arm(plan: Plan, session: Session, watch: Watch = unwatched) -> Generator[Sequence[Need], None, ArmRun]:
    """Choose on validation, answer the test split once, and sum up; says before each what it needs."""
    attempts = [Attempt(plan=plan, settings=settings, session=session) for settings in plan.grid]
    if session.ask:
        watch(Event(step=plan.name, state="running", work=_work_left(attempts)))
    if len(attempts) > 1:
        yield [attempt.need("validation") for attempt in attempts]
    attempt, choices = choose(attempts)
    if session.ask:
        session.store.touch(plan.name, session.prepared.split_hash, attempt.key)
    yield [attempt.need("test")]
    return ArmRun(attempt=attempt, result=_result(attempt, choices))


def work(plan: Plan, prepared: Prepared) -> Work:
    """What an arm takes at most: less where some of it is stored."""
    settings = len(plan.grid)
    chosen_on = settings * len(prepared.parts["validation"]) if settings > 1 else 0
    trainings = settings if approaches.named(plan.approach).tuned else 0
    return Work(answers=chosen_on + len(prepared.parts["test"]), trainings=trainings)


def _work_left(attempts: Sequence[Attempt]) -> Work:
    """What an arm takes beyond what is stored."""
    plan, session = attempts[0].plan, attempts[0].session
    most, count = work(plan, session.prepared), session.store.count
    chosen_on = sum(count(each.key, "validation") for each in attempts) if len(attempts) > 1 else 0
    tested = max(count(each.key, "test") for each in attempts)
    trained = sum(each.training is not None for each in attempts)
    return Work(answers=most.answers - chosen_on - tested, trainings=most.trainings - trained)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of the arms: the finished ones, why others were skipped, and which of these a provider refused."""

    runs: tuple[ArmRun, ...]
    skipped: Mapping[str, str]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, kw_only=True)
class _Became:
    """What became of one arm: its run, or why there is none."""

    run: ArmRun | None = None
    reason: str = ""
    error: AdvisorError | None = None


def run_arms(case: Case, session: Session, watch: Watch = unwatched) -> Done:
    """All arms of a case.

    Raises:
        AdvisorError: Nothing could be run at all; the first reason is given.
    """
    found = plans(case, session.prepared.models)
    ends: dict[str, _Became] = {}
    work = [(plan.model, _to_its_end(plan, session, watch, ends)) for plan in found]
    session.crew.carry_out(work, session.progress)
    became = {plan.name: ends[plan.name] for plan in found}
    done = tuple(each.run for each in became.values() if each.run)
    errors = {name: each.error for name, each in became.items() if each.error}
    if errors and not done:
        raise next(iter(errors.values()))
    refused = {name: error for name, error in errors.items() if isinstance(error, Refused)}
    return Done(
        runs=done,
        skipped={name: each.reason for name, each in became.items() if each.reason},
        refusals=tuple(Refusal(arm=name, reason=e.message, hint=e.hint) for name, e in refused.items()),
    )


def _to_its_end(plan: Plan, session: Session, watch: Watch, ends: dict[str, _Became]) -> Steps:
    """Run an arm, and note what became of it."""
    reason = unfit(plan, session.prepared)
    event = Event(step=plan.name, state="skipped", reason=reason)
    became = _Became(reason=reason)
    if not reason:
        try:
            run = yield from run_arm(plan, session, watch)
            became, event = _Became(run=run), Event(step=plan.name, state="done", result=run.result)
        except (Missing, Unfinished, Refused) as error:
            became = _Became(reason=f"{error.message} {error.hint}", error=error)
            event = Event(step=plan.name, state="failed", reason=became.reason)
    ends[plan.name] = became
    watch(event)


def _result(attempt: Attempt, choices: tuple[Choice, ...]) -> ArmResult:
    prepared, plan = attempt.session.prepared, attempt.plan
    metric = metrics.create(prepared.task.metric, **prepared.task.metric_options)
    outcomes = attempt.outcomes("test")
    scores = attempt.judged(outcomes, "test")
    values = [score.value for score in scores]
    texts = [each.text if isinstance(each, Reply) else "" for each in outcomes]
    usage = _means([each.usage for each in outcomes])
    failures = sum(isinstance(each, Failure) for each in outcomes)
    in_form = [score.value for score in scores if score.format_ok]
    return ArmResult(
        name=plan.name,
        approach=plan.approach,
        model=plan.model_name or "none",
        settings=attempt.options,
        tuned=attempt.approach.tuned,
        simulated=plan.model.simulated if plan.model else False,
        metric=prepared.task.metric,
        n=len(values),
        score=mean(values),
        interval=interval(values, binary=metric.binary, clusters=prepared.test_groups),
        example_ids=tuple(example.id for example in prepared.parts["test"]),
        scores=tuple(values),
        forms=tuple(score.format_ok for score in scores),
        failures=failures,
        format_failures=len(scores) - len(in_form) - failures,
        wrong=sum(value < 0.5 for value in in_form),
        extras=metric.extras(texts, prepared.parts["test"]),
        confusions=confusions(metric, texts, prepared.parts["test"]),
        choices=choices,
        training=attempt.training,
        touches=attempt.session.store.touches(plan.name, prepared.split_hash),
        model_details=dict(attempt.session.crew.describe(plan.model)) if plan.model else {},
        **usage,
    )


def _means(usages: Sequence[Usage]) -> dict[str, Any]:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "prefill_seconds")
    return {name: mean([float(getattr(usage, name)) for usage in usages]) for name in names}
