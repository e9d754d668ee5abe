"""Step 7: what is needed to go on, trainings at providers, and the recipe as a folder to download."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from finetune_advisor import recipes
from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.ask import ask
from finetune_advisor.pages.deployed import show_deployments
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.shell import nothing_run, onward, opened, page, refuse, results, step
from finetune_advisor.pages.trainings import show_trainings
from finetune_advisor.recipes import Need, Recipe
from finetune_advisor.records import Decision, Results
from finetune_advisor.report.answer import simulated
from finetune_advisor.report.blocks import Table
from finetune_advisor.report.formats import slug
from finetune_advisor.report.markdown import escape, paragraph


def _verdict(found: Results | None) -> None:
    if found is None:
        nothing_run(case)
        return
    draw(simulated(found))
    decision = found.verdict.decision
    if decision is not Decision.GO:
        st.warning(f"The verdict is {decision.value}. This is how it would be done.", icon=":material/balance:")


def _needs(every: Sequence[Need]) -> None:
    for column, need in zip(st.columns(len(every), border=True), every, strict=True):
        state = ":green-badge[:material/check: ready]" if need.ticked else ":orange-badge[:material/pending: open]"
        column.markdown(f"**{need.name}**")
        column.markdown(state)
        column.caption(escape(need.why))


def _recipe(case: Case, found: Results | None) -> None:
    st.header("The recipe", anchor=False)
    try:
        possible = recipes.possible(case, found)
        if not possible:
            st.info("No alternative of this case tunes a model, so there is nothing to train.", icon=":material/info:")
            st.page_link(page("alternatives"), label="To the alternatives", icon=":material/alt_route:")
            return
        _show(_chosen(possible))
    except AdvisorError as error:
        refuse(error)


def _chosen(possible: Sequence[Recipe]) -> Recipe:
    by_arm = {recipe.arm: recipe for recipe in possible}
    if len(by_arm) == 1:
        return possible[0]
    arm = st.segmented_control(
        "Which one is to be trained?",
        list(by_arm),
        default=possible[0].arm,
        format_func=escape,
        required=True,
        key="arm",
        bind="query-params",
        help="The alternatives of this case that tune a model.",
    )
    return by_arm[arm]


def _show(recipe: Recipe) -> None:
    st.markdown(
        "A folder with the examples, the settings, a program or a configuration, and a guide. It trains the model "
        "without this program, at the place of your choice."
    )
    name, title, sentence = _route(recipe)
    st.markdown(f"**{escape(title)}**: {paragraph(sentence)}")
    measured = recipes.facts(recipe)
    if measured:
        _table(f"What was measured on {recipe.arm}", measured)
    _download(recipe, name)
    _steps(recipe, name)
    with st.expander("Settings of the training"):
        _table("Those that were measured" if measured else "Those that the case states", recipes.settings(recipe))
    if name == "trl":
        with st.expander("The training program, train.py"):
            st.code(recipes.train_script(recipe), language="python")


def _route(recipe: Recipe) -> tuple[str, str, str]:
    """Name, title and sentence of who is to train."""
    routes = {name: (name, title, sentence) for name, title, sentence in recipes.providers()}
    usual = recipe.section.provider if recipe.section.provider in routes else "trl"
    name = st.segmented_control(
        "Where and with what is it to be trained?",
        list(routes),
        default=usual,
        format_func=lambda each: escape(routes[each][1]),
        required=True,
        key="route",
        bind="query-params",
    )
    return routes[name]


def _download(recipe: Recipe, route: str) -> None:
    if not st.button("Make the folder", key="make", type="primary", icon=":material/inventory_2:"):
        return
    try:
        with st.spinner("Collecting the examples and the passages they were trained with…"):
            data = recipes.to_zip(recipe.case, recipe.results, recipe.arm, route)
    except AdvisorError as error:
        refuse(error)
        return
    st.download_button(
        f"Download the folder ({max(1, len(data) // 1000):,} kB)",
        data=data,
        file_name=f"{slug(recipe.arm)}-{slug(route)}.zip",
        mime="application/zip",
        key="download",
        on_click="ignore",
        icon=":material/download:",
    )


def _steps(recipe: Recipe, route: str) -> None:
    st.subheader("Steps", anchor=False)
    st.markdown("1. Make the folder with the button above, download and unpack it, and open a terminal in it.")
    stages = recipes.stages(recipe, route)
    for number, stage in enumerate(stages, start=2):
        st.markdown(f"{number}. {stage.words}")
        if stage.commands:
            st.code("\n".join(stage.commands), language="sh", wrap_lines=True)
    st.markdown(
        f"{len(stages) + 2}. Read README.md for what to check before it goes live, and serve.md for how to answer with "
        "what was trained."
    )


def _table(caption: str, rows: Sequence[tuple[str, str]]) -> None:
    draw((Table(columns=("What", "Value"), rows=tuple(rows), align="ll", caption=caption),))


case = opened()
step("How")
found = results(case)
_verdict(found)
st.header("What is needed", anchor=False)
_needs(recipes.needs(case, found))
ask(case, "How", found)
show_trainings(case)
show_deployments(case)
_recipe(case, found)
onward("How")
