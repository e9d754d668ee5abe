"""Trainings that a provider, or a trainer of its own, does: what each will take, its start, how it stands, its end.

They go on without this page. Everything that asks a provider is done in the background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from finetune_advisor import approaches, experiment
from finetune_advisor.case import Case, trust
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment import arms
from finetune_advisor.experiment.trainings import ArmTraining, trainings
from finetune_advisor.models import is_remote
from finetune_advisor.pages.background import case_version, ready
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.servers import agreed
from finetune_advisor.pages.shell import page, refuse
from finetune_advisor.pages.tunability import provider
from finetune_advisor.pages.watched import LOOK_SECONDS, Watched
from finetune_advisor.report.blocks import Bullets, Cell, Chart, Details, KeyFigure, KeyFigures, Table
from finetune_advisor.report.formats import DASH, count, seconds, usd
from finetune_advisor.report.markdown import escape
from finetune_advisor.store import FILE
from finetune_advisor.tuning import TuningEstimate, TuningStatus
from finetune_advisor.tuning.work import TuningCheckpoint

MOST_EVENTS = 50
COUNTING = "Reading the data and counting what the training will take. With documents this may take a minute."
SAID: Mapping[str, str] = {
    "not started": "Not started.",
    "waiting": "It waits for its turn, or its data is being checked.",
    "running": "It is training. You may close this page: it goes on without it.",
    "paused": "It is paused.",
    "succeeded": "It is done. The next run of the experiments measures what came out.",
    "failed": "It did not succeed.",
    "cancelled": "It was cancelled.",
}


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A training and what it is expected to take, or why that cannot be told; `provider` is "" on a machine of ours."""

    training: ArmTraining
    expected: TuningEstimate | AdvisorError
    provider: str


@st.cache_resource(max_entries=64, show_spinner=False)
def _watched(version: str, fit: str, _case: Case, _training: ArmTraining) -> Watched:
    return Watched(_case, _training)


def show_trainings(case: Case) -> None:
    """The section; nothing where this program trains everything itself, in a run."""
    names = outside(case)
    if not names:
        return
    st.header("Trainings", anchor=False)
    st.markdown(
        "These are trained by a provider or in a process of their own, and go on when you close this page. A run of "
        "the experiments starts those that are still missing; here you can start one, watch it, and end it."
    )
    if not agreed(case) or not _wanted(case, names):
        return
    planned = _counted(case)
    for each in planned:
        with st.container(border=True):
            _training(case, each, several=len(planned) > 1)


def show_estimates(case: Case) -> None:
    """What the trainings that a provider does will take; nothing where this program trains everything itself."""
    names = outside(case)
    if not names:
        return
    st.header("What a training takes there", anchor=False)
    if agreed(case) and _wanted(case, names):
        for each in _counted(case):
            with st.container(border=True):
                _head(each, several=False)
        st.page_link(page("how"), label="Start it under How", icon=":material/model_training:")


def _counted(case: Case) -> Sequence[_Planned]:
    return ready("trainings", case_version(case), partial(_planned, case), COUNTING) or ()


def outside(case: Case) -> list[str]:
    """The arms whose training outlives the process that starts it."""
    made = {each.name: each.make() for each in case.models}
    return [plan.name for plan in arms.plans(case, made) if _is_outside(plan)]


def _is_outside(plan: arms.Plan) -> bool:
    if plan.model is None or not approaches.named(plan.approach).tuned or not plan.model.tunable:
        return False
    own = plan.model.trainer[0] if is_remote(plan.model) else ""
    return any((settings.get("trainer") or own) not in ("", "lora") for settings in plan.grid)


def _wanted(case: Case, names: Sequence[str]) -> bool:
    """Whether to read the data: the first time it is asked for, since the test split is locked by it."""
    if (case.folder / FILE).exists():
        return True
    st.markdown(f"To be trained: {escape(', '.join(names))}.")
    return st.button(
        "Work out what it will take",
        key="work-out",
        icon=":material/calculate:",
        help="Reads the data and locks the test split, as a run does. Nothing is sent anywhere.",
    )


def _planned(case: Case) -> tuple[_Planned, ...]:
    # To find passages for the prompts, a search may ask a server.
    trust.check(case)
    with experiment.opened(case) as (prepared, store):
        return tuple(_plan(case, each) for each in trainings(case, prepared, store))


def _plan(case: Case, training: ArmTraining) -> _Planned:
    place = next(model.provider for model in case.models if model.name == training.model)
    name = provider(place) if place in ("openai", "azure") else ""
    return _Planned(training=training, expected=_expected(training), provider=name)


def _expected(training: ArmTraining) -> TuningEstimate | AdvisorError:
    try:
        return training.estimate()
    except AdvisorError as error:
        return error


def _training(case: Case, planned: _Planned, *, several: bool) -> None:
    training = planned.training
    _head(planned, several=several)
    watched = _watched(case_version(case), training.work.folder.name, case, training)
    watched.take()
    st.fragment(_watch, run_every=watched.pace)(planned, watched, watched.pace)


def _head(planned: _Planned, *, several: bool) -> None:
    training = planned.training
    st.subheader(escape(training.arm), anchor=False)
    settings = ", ".join(f"{name} {value}" for name, value in training.settings.items()) if several else ""
    about = [planned.provider, training.work.source if planned.provider else training.model, settings]
    st.caption(escape(" · ".join(filter(None, about))))
    if isinstance(planned.expected, AdvisorError):
        refuse(planned.expected)
    else:
        draw(_takes(planned, planned.expected))


def _takes(planned: _Planned, expected: TuningEstimate) -> Iterator[KeyFigures | Bullets]:
    passes = f"Over {expected.epochs} passes over the examples. A token is a piece of a word."
    figures = [KeyFigure(name="Tokens to train on", value=count(expected.tokens), note=passes)]
    figures.append(_money(planned, expected))
    if expected.seconds is not None:
        figures.append(KeyFigure(name="Expected time", value=seconds(expected.seconds), note="Reckoned, not measured."))
    yield KeyFigures(figures=tuple(figures))
    yield Bullets(items=expected.assumed)


def _money(planned: _Planned, expected: TuningEstimate) -> KeyFigure:
    name = "Expected to cost"
    if expected.usd is not None:
        return KeyFigure(name=name, value=usd(expected.usd), note=f"What {planned.provider} bills, by its dated price.")
    if planned.provider:
        return KeyFigure(name=name, value="not known", note=f"{planned.provider} bills it; no price is known here.")
    return KeyFigure(name=name, value="machine time", note="Nobody bills it by the token.")


def _watch(planned: _Planned, watched: Watched, pace: float | None) -> None:
    """The training as it is now; when it comes to life or to rest, the whole page is drawn again."""
    watched.take()
    if watched.pace != pace:
        st.rerun()
    if pace == LOOK_SECONDS:
        watched.look()
    if watched.doing:
        st.caption(f":material/hourglass_top: {watched.doing}…")
    if watched.error is not None:
        refuse(watched.error)
        st.button("Look again", key=_key(planned, "look"), icon=":material/refresh:", on_click=watched.again)
    if watched.status is not None:
        if watched.error is None:
            _state(watched.status)
        _buttons(planned, watched, watched.status)
        _progress(planned.training, watched.status)


def _state(status: TuningStatus) -> None:
    box = {"succeeded": st.success, "failed": st.error}.get(status.state, st.info)
    why = f" {escape(status.message)} {escape(status.hint)}".rstrip()
    box(f"{SAID[status.state]}{why}", icon=":material/model_training:")


def _buttons(planned: _Planned, watched: Watched, status: TuningStatus) -> None:
    if status.state in ("not started", "failed", "cancelled"):
        _start_buttons(planned, watched)
    elif status.state == "succeeded":
        st.page_link(page("experiments"), label="Measure it in a run", icon=":material/science:")
    else:
        st.button(
            "Cancel",
            key=_key(planned, "cancel"),
            icon=":material/stop:",
            disabled=bool(watched.doing),
            on_click=watched.end,
            help="What was trained by then may be charged.",
        )


def _start_buttons(planned: _Planned, watched: Watched) -> None:
    if isinstance(planned.expected, AdvisorError):
        return
    sure = st.checkbox(_consent(planned, planned.expected), key=_key(planned, "sure"))
    st.button(
        "Start the training",
        type="primary",
        key=_key(planned, "start"),
        icon=":material/play_arrow:",
        disabled=not sure or bool(watched.doing),
        on_click=watched.begin,
        args=(planned.expected.usd,),
    )


def _consent(planned: _Planned, expected: TuningEstimate) -> str:
    """What is agreed to, the money with it."""
    work = planned.training.work
    examples = count(len(work.train) + len(work.validation))
    if not planned.provider:
        return f"Train on {examples} examples with the time of this machine"
    money = "an amount that is not known" if expected.usd is None else f"about {escape(usd(expected.usd))}"
    return f"Send {examples} examples to {planned.provider} and spend {money} there"


def _key(planned: _Planned, what: str) -> str:
    return f"{what}-{planned.training.work.folder.name}"


def _progress(training: ArmTraining, status: TuningStatus) -> None:
    if status.total and not status.ended:
        st.progress(min(1.0, status.done / status.total), text=f"{count(status.done)} of {count(status.total)} steps")
    facts = [("Job", status.job), ("Tuned model", status.tuned_model)]
    facts += [("Tokens trained on", "" if status.tokens is None else count(status.tokens))]
    rows = tuple((name, value) for name, value in facts if value)
    if rows:
        draw([Table(columns=("What", "Value"), rows=rows, align="ll")])
    draw(_losses(training, status.checkpoints))
    if status.events:
        newest = status.events[-MOST_EVENTS:][::-1]
        told = tuple((f"{each.at:%Y-%m-%d %H:%M:%S}", each.message) for each in newest)
        draw([Details(title="What happened", blocks=(Table(columns=("When (UTC)", "What"), rows=told, align="ll"),))])


def _losses(training: ArmTraining, found: Sequence[TuningCheckpoint]) -> Iterator[Chart | Table]:
    if not found:
        return
    losses = {
        "train": [(each.step, each.train_loss) for each in found],
        "validation": [(each.step, each.validation_loss) for each in found],
    }
    points = [
        _point(training, step, split, loss)
        for split, steps in losses.items()
        for step, loss in steps
        if loss is not None
    ]
    if len({point["step"] for point in points}) > 1:
        alt = f"Loss of {training.arm} at {len(found)} checkpoints; the table below has the same figures."
        yield Chart(kind="loss", title=f"Loss of {training.arm}", rows=tuple(points), alt=alt)
    yield Table(
        columns=("Checkpoint after step", "Training loss", "Validation loss"),
        rows=tuple(_checkpoint(each) for each in found),
        align="rrr",
        caption="Checkpoints: states of the model in between. The loss says how far off the answers are.",
    )


def _point(training: ArmTraining, step: int, split: str, loss: float) -> Mapping[str, Cell]:
    return {"arm": training.arm, "approach": "tuned", "split": split, "step": step, "loss": loss}


def _checkpoint(each: TuningCheckpoint) -> tuple[str, ...]:
    losses = (DASH if loss is None else f"{loss:.4g}" for loss in (each.train_loss, each.validation_loss))
    return (count(each.step), *losses)
