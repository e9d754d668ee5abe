"""How many examples there are, whether more would help, what one costs, and what more of them are worth."""

from __future__ import annotations

from decimal import Decimal

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.ask import save, show_refusal
from finetune_advisor.pages.counted import counted
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.shell import nothing_run, page, refuse
from finetune_advisor.records import Results, Worth
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.blocks import KeyFigure, KeyFigures
from finetune_advisor.report.formats import count, dollars, usd
from finetune_advisor.report.learning import learning
from finetune_advisor.verdict.odds import LABELS

CURVE: dict[str, object] = {"learning_curve": {"shares": [0.25, 0.5, 1.0], "seeds": 3}}
"""What to state in `case.toml` for a learning curve."""


def labels(case: Case, results: Results | None) -> None:
    """The figures, then the learning curve where one was measured."""
    st.subheader("How many examples, and what are more of them worth?", anchor=False)
    if results:
        draw(simulated(results))
    try:
        draw((KeyFigures(figures=(_have(case, results), _cost(case), _worth(results))),))
    except AdvisorError as error:
        refuse(error)
    st.caption(
        "What one more example costs, and how many you could get, is asked under “Money and effort”, “Questions”."
    )
    if results is None:
        nothing_run(case)
    elif found := learning(results):
        draw(found)
    else:
        _no_curve(case)


def _have(case: Case, results: Results | None) -> KeyFigure:
    found = results.split if results else counted(case)
    return KeyFigure(
        name="Examples to learn from",
        value=count(found.train),
        note=f"Beside them {count(found.validation)} to choose by and {count(found.test)} locked away for the test.",
    )


def _cost(case: Case) -> KeyFigure:
    each, more = case.money.usd_per_label, case.answers.get("more_examples")
    available = f" You answered that you could get {more:,} more." if isinstance(more, int) else ""
    if each is None:
        return KeyFigure(name="One more label costs", value="not known", note=f"Nobody has said.{available}")
    return KeyFigure(
        name="One more label costs",
        value=usd(each),
        note=f"Given by you; {LABELS} of them cost {usd(each * Decimal(LABELS))}.{available}",
    )


def _worth(results: Results | None) -> KeyFigure:
    name, found = f"{LABELS} more test labels are worth", _labels_worth(results)
    if found is None:
        return KeyFigure(name=name, value="not known", note="It takes a measured case whose answers have a worth.")
    price = "What they cost is not known." if found.usd_price is None else f"They cost {dollars(found.usd_price)}."
    note = f"On average, by making the choice surer. {price}"
    return KeyFigure(name=name, value=dollars(found.usd_worth), note=note)


def _labels_worth(results: Results | None) -> Worth | None:
    worths = results.verdict.odds.worths if results and results.verdict.odds else ()
    return next((each for each in worths if each.name.startswith(f"{LABELS} more labelled")), None)


def _no_curve(case: Case) -> None:
    st.info(
        "Whether more examples would help was not measured yet: that takes training the best tuned arm again on parts "
        f"of the data.{' The next run does it.' if case.learning_curve else ''}",
        icon=":material/info:",
    )
    if case.learning_curve is None:
        st.button(
            "Measure it with the next run", on_click=save, args=(case, CURVE, "curve"), icon=":material/add_chart:"
        )
        show_refusal("curve")
    st.page_link(page("experiments"), label="To the experiments", icon=":material/science:")
