"""The questions of a step as fields. An answer goes into `case.toml` when it is given; no button saves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from finetune_advisor import case as cases
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.experiment.money import spreads
from finetune_advisor.pages.assumptions import given
from finetune_advisor.pages.draw import UNTYPED
from finetune_advisor.pages.shell import refuse
from finetune_advisor.questions import QUESTIONS, Question, Section
from finetune_advisor.records import Answered, Results
from finetune_advisor.report.markdown import escape

YES_NO = {True: "Yes", False: "No"}


def ask(case: Case, section: Section, results: Results | None) -> None:
    """Every question of a step, with what was measured and where that disagrees with the answer."""
    known = {each.question: each for each in results.answered} if results else {}
    for question in QUESTIONS:
        if question.section == section:
            _question(case, question, known.get(question.text))


def key(question: Question) -> str:
    """The name of a question's field."""
    return f"answer-{question.id}"


def place(question: Question) -> str:
    """Where in `case.toml` the answer stands."""
    return "goal.kind" if question.id == "goal" else f"{question.table}.{question.id}"


def said(case: Case, question: Question) -> Any:
    """What `case.toml` says; None where it is silent and the default counts."""
    if question.table == "answers":
        return case.answers.get(question.id)
    return given(case, place(question))


def save(case: Case, changes: dict[str, object], refused: str, sound: Callable[[Case], object] | None = None) -> None:
    """Write changes into `case.toml`; what it refuses is shown by the field of that name.

    A range that would no longer hold its figure is refused too, for nothing could be judged with it, and what `sound`
    raises on the case as it would be.
    """

    def judgeable(new: Case) -> None:
        if sound is not None:
            sound(new)
        if _ranges_hold(case):
            spreads(new)

    try:
        cases.edit(case.folder, changes, sound=judgeable)
    except AdvisorError as error:
        st.session_state[f"{refused}-refused"] = error


def change(
    case: Case,
    refused: str,
    changes: Callable[[Case], Mapping[str, object]],
    sound: Callable[[Case], object] | None = None,
) -> None:
    """As `save`, of the case as it is on disk by now: another tab may have moved its arms and models."""
    try:
        fresh = cases.read(case.folder)
        save(fresh, dict(changes(fresh)), refused, sound)
    except AdvisorError as error:
        st.session_state[f"{refused}-refused"] = error


def _ranges_hold(case: Case) -> bool:
    try:
        spreads(case)
    except AdvisorError:
        return False
    return True


def show_refusal(name: str) -> None:
    """Show why the last change of a field was not taken, once."""
    error = st.session_state.pop(f"{name}-refused", None)
    if isinstance(error, AdvisorError):
        refuse(error)


def _question(case: Case, question: Question, known: Answered | None) -> None:
    with st.container(border=True):
        _field(case, question)
        show_refusal(key(question))
        if known and known.evidence:
            st.caption(f":material/monitoring: Evidence: {escape(known.evidence)}")
        if known and known.disagrees:
            st.warning(escape(known.disagrees), icon=":material/compare_arrows:")


def _field(case: Case, question: Question) -> None:
    # What is on disk wins over what the session remembers: the command line or a second tab may have changed it.
    st.session_state[key(question)] = said(case, question)
    match question.kind:
        case "text":
            st.text_area(question.text, **_common(case, question), placeholder="Not answered yet")
        case "choice":
            _choice(case, question)
        case "yes_no":
            st.segmented_control(question.text, list(YES_NO), format_func=YES_NO.__getitem__, **_common(case, question))
        case "number":
            _number(case, question)


def _common(case: Case, question: Question) -> dict[str, Any]:
    return {"key": key(question), "help": question.why, "on_change": _answer, "args": (case, question)}


def _answer(case: Case, question: Question) -> None:
    value = st.session_state[key(question)]
    save(case, {place(question): None if value == "" else value}, key(question))


def _choice(case: Case, question: Question) -> None:
    default = question.labels.get(str(question.default), "")
    now = said(case, question)
    st.selectbox(
        question.text,
        (*question.choices, *([now] if now is not None and now not in question.choices else [])),
        index=None,
        format_func=lambda choice: question.labels.get(choice, choice),
        placeholder=f"Not answered; reckoned with: {default}" if default else "Not answered yet",
        **_common(case, question),
    )


def _number(case: Case, question: Question) -> None:
    unit = f" ({question.unit})" if question.unit else ""
    if not question.ranged:
        UNTYPED.number_input(
            f"{question.text}{unit}", **_numeric(question, said(case, question)), **_common(case, question)
        )
        return
    likely, low, high = st.columns([2, 1, 1], vertical_alignment="bottom")
    with likely:
        UNTYPED.number_input(
            f"{question.text}{unit}", **_numeric(question, said(case, question)), **_common(case, question)
        )
    for column, end, label in ((low, 0, "At least"), (high, 1, "At most")):
        with column:
            _bound(case, question, end, label)


def _numeric(question: Question, now: float | None) -> dict[str, Any]:
    """How a number is asked for; what stands in the file is shown whatever it is."""
    kind = int if question.whole else float
    least = kind(min(question.minimum, question.minimum if now is None else now))
    most = None if question.maximum == math.inf else kind(max(question.maximum, now or 0))
    reckoned = "" if question.default is None else f"; reckoned with {question.default:,}"
    return {
        "value": None,
        "min_value": least,
        "max_value": most,
        "step": 1 if question.whole else 0.01,
        "format": "%d" if question.whole else "%g",
        "placeholder": f"Not answered{reckoned}",
    }


def _bound(case: Case, question: Question, end: int, label: str) -> None:
    name = f"{key(question)}-{label}"
    bounds: tuple[float, float] | None = getattr(case.uncertainty, question.id)
    st.session_state[name] = None if bounds is None else (int if question.whole else float)(bounds[end])
    UNTYPED.number_input(
        label,
        **{**_numeric(question, bounds[end] if bounds else None), "placeholder": "not given"},
        key=name,
        on_change=_bounded,
        args=(case, question, end, name),
        help="How low or how high it may turn out; the answer then counts with the whole range.",
    )


def _bounded(case: Case, question: Question, end: int, name: str) -> None:
    """Save a range whose other end is as it was, or else what is most likely."""
    given, likely = st.session_state[name], said(case, question) or question.default
    bounds: tuple[float, float] | None = getattr(case.uncertainty, question.id)
    other = bounds[1 - end] if bounds else likely
    if other is None:
        st.session_state[f"{key(question)}-refused"] = BadInput(
            "A range goes around the most likely figure, which is not given yet.", hint="Give that figure first."
        )
        return
    pair = None if given is None else [given, other] if end == 0 else [other, given]
    save(case, {f"uncertainty.{question.id}": pair}, key(question))
