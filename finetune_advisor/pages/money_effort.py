"""Money and effort: the assumptions as fields, and beside them the charts and the decision that follow from them.

An assumption goes into `case.toml` when it is changed, unless the case could not be reckoned with any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.costs import prices
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.ask import YES_NO, ask, save, show_refusal
from finetune_advisor.pages.assumptions import (
    FIELDS,
    Field,
    Group,
    Reckoned,
    bounds,
    figure,
    given,
    origin,
    range_origin,
    reckoned,
)
from finetune_advisor.pages.draw import BOXES, ICONS, UNTYPED, draw
from finetune_advisor.pages.shell import nothing_run, refuse
from finetune_advisor.records import Results
from finetune_advisor.report.answer import KINDS, simulated
from finetune_advisor.report.assumptions import assumptions
from finetune_advisor.report.blocks import Block, Chart, Text
from finetune_advisor.report.break_even import break_even
from finetune_advisor.report.cost_parts import cost_parts
from finetune_advisor.report.markdown import escape, paragraph
from finetune_advisor.report.money import prices as figures
from finetune_advisor.report.ownership import ownership
from finetune_advisor.report.summary import chance

QUESTIONS = "Questions"
"""The group of what the questionnaire asks."""

QUESTION_TOKENS = "money.question_tokens"

GROUPS = (QUESTIONS, *get_args(Group))

CHARTS: Mapping[str, Callable[[Results], tuple[Block, ...]]] = {
    "Parts": cost_parts,
    "Volume": break_even,
    "Horizon": ownership,
    "What decides": assumptions,
}

IN_SIGHT = """<style>
[data-testid="stLayoutWrapper"]:has(> .st-key-decision) { position: sticky; top: 3.75rem; z-index: 9; }
.st-key-decision [data-testid="stAlertContainer"] { backdrop-filter: blur(1rem); }
@media (min-width: 1000px) {
  [data-testid="stLayoutWrapper"]:has(> .st-key-charts) { position: sticky; top: 8.5rem; }
}
</style>"""
"""The decision, and on wide screens the chart, stay in sight while a long list of fields is scrolled."""


def money_and_effort(case: Case, results: Results | None) -> None:
    """The fields on the left, what follows from them on the right."""
    st.html(IN_SIGHT)
    today = datetime.now(UTC).date()
    known = _reckoned(case, today)
    if results:
        draw(simulated(results))
        _decision(case, results)
    group = st.pills("What to change", GROUPS, default=QUESTIONS, required=True, key="group", bind="query-params")
    left, right = st.columns([1, 1], gap="medium")
    with left:
        _group(case, results, known, group, today)
    with right, st.container(key="charts"):
        _charts(case, results)
    if results and st.toggle("Show every price and figure that went in", key="figures", bind="query-params"):
        draw(figures(results))


def _reckoned(case: Case, today: date) -> Reckoned | None:
    """What the case is reckoned with; where it cannot be, says why unless the results did."""
    try:
        return reckoned(case, _prices(case), today)
    except AdvisorError as error:
        if not _measured(case):
            refuse(error)
        return None


def _measured(case: Case) -> bool:
    return case.results_file.is_file()


def _prices(case: Case) -> prices.PriceTable:
    path = case.folder / case.money.prices if case.money.prices else None
    if path is None or not path.is_file():
        return _table(path, (0, 0))
    stat = path.stat()
    return _table(path, (stat.st_mtime_ns, stat.st_size))


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(path: Path | None, version: tuple[int, int]) -> prices.PriceTable:
    return prices.load(path)


def _decision(case: Case, results: Results) -> None:
    """The decision now, and the one before the last change of the case."""
    now, stated = _said(results), case.model_dump_json()
    last = st.session_state.get("decided")
    if last is None or last["folder"] != case.folder:
        last = {"folder": case.folder, "stated": stated, "now": now, "before": now}
    elif last["stated"] != stated:
        last = {"folder": case.folder, "stated": stated, "now": now, "before": last["now"]}
    st.session_state["decided"] = last
    text = f"**{now}**" if last["before"] == now else f"Before your last change: {last['before']} → now: **{now}**"
    if results.verdict.odds:
        text += f" simulated futures in which tuning is right; a GO takes {100 * results.verdict.odds.confidence:.3g}"
    kind = KINDS[results.verdict.decision]
    with st.container(key="decision"):
        BOXES[kind](text, icon=ICONS[kind])


def _said(results: Results) -> str:
    odds = results.verdict.odds
    return results.verdict.decision.value + (f", {chance(odds)}" if odds else "")


def _charts(case: Case, results: Results | None) -> None:
    if results is None:
        if not _measured(case):
            nothing_run(case)
            st.caption("The charts need measured tokens, times and scores. What you fill in here counts then.")
        return
    chart = st.segmented_control(
        "Chart", list(CHARTS), default="Parts", required=True, key="chart", bind="query-params"
    )
    blocks = [block for block in CHARTS[chart](results) if isinstance(block, Chart | Text)]
    draw(blocks)
    if not blocks:
        st.info("There is nothing to draw here yet: step 6 says what is missing.", icon=":material/info:")


def _group(case: Case, results: Results | None, known: Reckoned | None, group: str, today: date) -> None:
    if group == QUESTIONS:
        ask(case, "Costs", results)
        return
    fields = [field for field in FIELDS if field.group == group]
    for field in fields:
        with st.container(border=True):
            _field(case, field, known)
            show_refusal(_key(field))
            _origins(case, field, known, today)
    if group == "Retraining":
        _retiring(known)


def _origins(case: Case, field: Field, known: Reckoned | None, today: date) -> None:
    st.caption(escape(origin(case, field, known, today)))
    if field.ranged and (said := range_origin(case, field, known)):
        st.caption(escape(said))


def _retiring(known: Reckoned | None) -> None:
    with st.container(border=True):
        st.markdown("Models that retire")
        ends = known.retires.items() if known else ()
        for name, end in ends:
            st.markdown(paragraph(f"{name}: {end.name}, {figure(end)} from now."))
            st.caption(escape(f"From {end.source}, checked {end.checked}."))
        if not ends:
            st.caption("No end is announced of a model that this case pays for by the token.")
        st.caption(
            "A model that ends within the horizon is trained, evaluated and released once more. Until when which model "
            "can be tuned stands under “Which models”."
        )


def _key(field: Field) -> str:
    return f"assumption-{field.place}"


def _field(case: Case, field: Field, known: Reckoned | None) -> None:
    match field.kind:
        case "factors":
            st.markdown(field.label, help=field.why)
            _pair(case, field, known, st.columns(2))
        case "embedding":
            _embedding(case, field, known is not None)
        case _:
            _value(case, field, known)
            if field.ranged:
                _pair(case, field, known, st.columns(2))


def _value(case: Case, field: Field, known: Reckoned | None) -> None:
    key = _key(field)
    # What is on disk wins over what the session remembers, as in `ask`.
    st.session_state[key] = _shown(given(case, field.place), field)
    common = {"key": key, "help": field.why, "on_change": _set, "args": (case, field, known is not None)}
    if field.kind == "yes_no":
        st.segmented_control(field.label, list(YES_NO), format_func=YES_NO.__getitem__, **_any(common))
    elif field.kind == "text":
        st.text_input(field.label, placeholder="Not given", **_any(common))
    else:
        UNTYPED.number_input(field.label, placeholder=_placeholder(field, known), **_numeric(field), **common)


def _any(common: Mapping[str, Any]) -> Any:
    return common


def _shown(value: Any, field: Field) -> Any:
    if value is None:
        return "" if field.kind == "text" else None
    return float(value) if field.kind in ("number", "share") else value


def _placeholder(field: Field, known: Reckoned | None) -> str:
    price = known.figures.get(field.place) if known else None
    return f"{price.value:f}" if price else "Not given"


def _numeric(field: Field) -> Mapping[str, Any]:
    whole = int if field.kind == "whole" else float
    return {
        "value": None,
        "min_value": whole(field.least),
        "max_value": 1.0 if field.kind == "share" else None,
        "step": 1 if field.kind == "whole" else 0.01,
        "format": "%d" if field.kind == "whole" else "%g",
    }


def _pair(case: Case, field: Field, known: Reckoned | None, columns: Any) -> None:
    stated, reckoned_with = given(case, f"uncertainty.{field.name}"), bounds(case, field, known)
    for end, (column, label) in enumerate(zip(columns, ("At least", "At most"), strict=True)):
        key = f"{_key(field)}-{end}"
        st.session_state[key] = float(stated[end]) if stated else None
        likely = reckoned_with[end]
        with column:
            UNTYPED.number_input(
                f"{label} (times)" if field.kind == "factors" else label,
                value=None,
                min_value=0.0,
                step=0.1,
                format="%g",
                placeholder="none" if likely is None else f"{likely:,.6g}",
                key=key,
                on_change=_set_end,
                args=(case, field, end, known is not None, reckoned_with),
            )


def _set(case: Case, field: Field, sound: bool) -> None:
    _change(case, {field.place: _stated(_key(field))}, field, sound)


def _stated(key: str) -> object:
    """What stands in a field, as `case.toml` is to state it: money exactly, an empty field as None."""
    value = st.session_state[key]
    return Decimal(str(value)) if isinstance(value, float) else value or None if isinstance(value, str) else value


def _embedding(case: Case, field: Field, sound: bool) -> None:
    """Two fields that are saved together, since `case.toml` refuses one without the other."""
    tokens = f"{_key(field)}-tokens"
    st.session_state[_key(field)] = given(case, field.place) or ""
    st.session_state[tokens] = given(case, QUESTION_TOKENS)
    with st.form(f"{_key(field)}-form", border=False):
        st.text_input(field.label, key=_key(field), help=field.why, placeholder="Not given")
        UNTYPED.number_input(
            "Tokens of a question", value=None, min_value=0.0, format="%g", key=tokens, placeholder="Not given"
        )
        st.form_submit_button("Save both", on_click=_set_both, args=(case, field, tokens, sound))


def _set_both(case: Case, field: Field, tokens: str, sound: bool) -> None:
    _change(case, {field.place: _stated(_key(field)), QUESTION_TOKENS: _stated(tokens)}, field, sound)


def _set_end(case: Case, field: Field, end: int, sound: bool, reckoned_with: tuple[float | None, float | None]) -> None:
    """A range whose other end is as it was, as it was assumed, or what is most likely."""
    value = st.session_state[f"{_key(field)}-{end}"]
    other = reckoned_with[1 - end]
    if other is None:
        other = 1.0 if field.kind == "factors" else given(case, field.place)
    pair = None if value is None or other is None else [value, other] if end == 0 else [other, value]
    _change(case, {f"uncertainty.{field.name}": pair}, field, sound)


def _change(case: Case, changes: dict[str, object], field: Field, sound: bool) -> None:
    """Save the changes, unless a case that could be reckoned with could not be any more."""

    def still(new: Case) -> None:
        reckoned(new, _prices(new), datetime.now(UTC).date())

    save(case, changes, _key(field), still if sound else None)
