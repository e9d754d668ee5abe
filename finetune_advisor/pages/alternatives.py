"""Step 3: what to try before tuning: a better prompt, examples in it, a search in documents; and which to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import streamlit as st

from finetune_advisor import approaches
from finetune_advisor.case import ArmSection, Case
from finetune_advisor.errors import BadInput
from finetune_advisor.pages.ask import ask, change, save, show_refusal
from finetune_advisor.pages.models import models
from finetune_advisor.pages.servers import agreed
from finetune_advisor.pages.shell import onward, opened, page, results, step
from finetune_advisor.pages.try_one import prompts, room, try_one
from finetune_advisor.records import Results
from finetune_advisor.report.formats import approach_title, percent_with
from finetune_advisor.report.markdown import escape

INSTRUCTION = "instruction"

# What each approach is. LoRA is explained where it is first named, in `_approaches`.
WHAT: Mapping[str, str] = {
    "zero_shot": "Instructions and the question, no examples: the cheapest prompt. All others have to beat it.",
    "few_shot": "The same few of your examples stand in every prompt and show what a good answer looks like.",
    "nearest_shot": "For each question, the examples most like it are looked up and put into the prompt.",
    "rag": "Retrieval-augmented generation: passages of your documents that fit the question go into the prompt.",
    "classical": "A simple classifier learns from your examples in seconds and costs next to nothing to run.",
    "tuned": "The model is trained on your examples; this is the tuning in question. Its prompts need no examples.",
    "tuned_rag": "The same training, on prompts with passages of your documents in them.",
}
# The settings that can be changed here: their labels, and which numbers are offered.
OPTIONS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "shots": ("Examples in the prompt", (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)),
    "depth": ("Passages in the prompt", (1, 2, 3, 4, 5, 8, 10)),
}


def _prompt(case: Case, found: Results | None) -> None:
    st.subheader("The prompt", anchor=False)
    st.session_state[INSTRUCTION] = case.task.instruction
    st.text_area(
        "Instruction to the model",
        key=INSTRUCTION,
        placeholder="None: only what the system messages of your examples say, and the rules for the answer",
        help="It follows the system message of your examples. The rules for the answer, such as the list of labels, "
        "are read off your examples and added by themselves. Tuned models are trained and asked without it.",
        on_change=_instruct,
        args=(case,),
    )
    show_refusal(INSTRUCTION)
    st.caption(
        "After a change the approaches that are not tuned have to be run again. What was answered to the old prompt "
        "stays stored: put the old prompt back, and it counts again. Each new prompt looks at the test examples once "
        "more, and the report says so: better try it on single questions below first."
    )
    if found and found.task.instruction != case.task.instruction:
        st.warning(
            "The results were measured with another instruction. Run the experiments again.", icon=":material/history:"
        )
    prompts(case)


def _instruct(case: Case) -> None:
    save(case, {"task.instruction": str(st.session_state[INSTRUCTION]).strip() or None}, INSTRUCTION)


def _approaches(case: Case, found: Results | None) -> None:
    st.subheader("What to compare", anchor=False)
    st.markdown(
        "Switch on what the experiments should try; what is cheap to try is worth trying. LoRA is the usual way to "
        "fine-tune: it trains a small add-on to the model and leaves the model itself as it is."
    )
    others = dict.fromkeys(arm.approach for arm in case.arms if arm.approach not in WHAT)
    names = (*WHAT, *others)
    for first in range(0, len(names), 2):
        for column, approach in zip(st.columns(2), names[first : first + 2], strict=False):
            with column.container(border=True, height="stretch"):
                _approach(case, approach, found)
    room(case)


def _approach(case: Case, approach: str, found: Results | None) -> None:
    places, key = _places(case, approach), f"arm-{approach}"
    needless = _unfit(case, approach)
    last = bool(places) and len(places) == len(case.arms)
    st.session_state[key] = bool(places)
    st.toggle(
        escape(approach_title(approach)),
        key=key,
        disabled=last or bool(needless and not places),
        on_change=_toggle,
        args=(case, approach),
    )
    show_refusal(key)
    st.caption(_about(approach, needless, last=last))
    _measured(approach, found)
    for nth, place in enumerate(places):
        _settings(case, case.arms[place - 1], nth)


def _about(approach: str, needless: str, *, last: bool) -> str:
    only = "It is the only one, so it cannot be switched off." if last else ""
    return " ".join(escape(part) for part in (WHAT.get(approach, ""), needless, only) if part)


def _measured(approach: str, found: Results | None) -> None:
    arms = [arm for arm in found.arms if arm.approach == approach] if found else []
    for arm in arms:
        name = f" {arm.name}:" if len(arms) > 1 else ""
        word = "Simulated" if arm.simulated else "Measured"
        score = percent_with(arm.score, arm.interval, arm.n)
        st.caption(f":material/monitoring: {word}:{escape(name)} {escape(score)} on {arm.n} test examples")


def _places(case: Case, approach: str) -> list[int]:
    """Where the arms of an approach stand in the case, from 1."""
    return [place for place, arm in enumerate(case.arms, start=1) if arm.approach == approach]


def _unfit(case: Case, approach: str) -> str:
    """Why an approach cannot be run on this case; empty where it can."""
    kind = approaches.named(approach)
    if kind.kinds and case.task.kind not in kind.kinds:
        return f"It is for {' and '.join(kind.kinds)} only; here a right answer is {case.task.kind.answer}."
    if kind.needs_documents and case.data.documents is None:
        return "It needs documents; add some in step 2."
    if kind.needs_model and not case.models:
        return "It needs a model, and the case names none."
    return ""


def _toggle(case: Case, approach: str) -> None:
    changed = _added if st.session_state[f"arm-{approach}"] else _removed
    change(case, f"arm-{approach}", lambda fresh: changed(fresh, approach))


def _added(case: Case, approach: str) -> Mapping[str, object]:
    if _places(case, approach):
        return {}
    arms = cast("list[object]", st.session_state.pop(_kept(case, approach), [{"approach": approach}]))
    return {f"arms.{place}": arm for place, arm in enumerate(arms, start=len(case.arms) + 1)}


def _removed(case: Case, approach: str) -> Mapping[str, object]:
    """The last one first, so that the places of the others stay. Their settings come back if switched on again."""
    places = _places(case, approach)
    kept = [case.arms[place - 1].model_dump(exclude_defaults=True) for place in places]
    st.session_state[_kept(case, approach)] = kept
    return {f"arms.{place}": None for place in reversed(places)}


def _kept(case: Case, approach: str) -> str:
    return f"removed-{case.folder.name}-{approach}"


def _settings(case: Case, arm: ArmSection, nth: int) -> None:
    grid = approaches.named(arm.approach).grid
    known = [option for option in OPTIONS if option in grid]
    for column, option in zip(st.columns(len(known)) if known else (), known, strict=True):
        with column:
            _numbers_field(case, arm, nth, option, _numbers(arm.settings.get(option, grid[option])))


def _numbers_field(case: Case, arm: ArmSection, nth: int, option: str, now: list[str]) -> None:
    key = f"arm-{arm.approach}-{nth}-{option}"
    label, offered = OPTIONS[option]
    st.session_state[key] = now
    st.multiselect(
        label,
        list(dict.fromkeys([*map(str, offered), *now])),
        key=key,
        accept_new_options=True,
        placeholder="Choose or type numbers",
        help="With several numbers, each is tried on the validation examples and the best one counts.",
        on_change=_set,
        args=(case, arm.approach, nth, option),
    )
    show_refusal(key)


def _numbers(value: Any) -> list[str]:
    return [str(each) for each in cast("list[Any]", value)] if isinstance(value, list | tuple) else [str(value)]


def _set(case: Case, approach: str, nth: int, option: str) -> None:
    key = f"arm-{approach}-{nth}-{option}"
    given = [str(each) for each in st.session_state[key]]
    change(case, key, lambda fresh: _numbered(fresh, approach, nth, option, given))


def _numbered(case: Case, approach: str, nth: int, option: str, given: list[str]) -> Mapping[str, object]:
    numbers = sorted(set(_checked(approach, option, given)))
    value = None if not numbers else numbers[0] if len(numbers) == 1 else numbers
    places = _places(case, approach)
    return {f"arms.{places[nth]}.settings.{option}": value} if nth < len(places) else {}


def _checked(approach: str, option: str, given: list[str]) -> Iterator[int]:
    for each in given:
        if not each.strip().isdecimal():
            raise BadInput(f"{each!r} is not a whole number.", hint="Type one such as 4.")
        approaches.create(approach, **{option: int(each)})
        yield int(each)


case = opened()
step("Alternatives")
measured = results(case)
ask(case, "Alternatives", measured)
may_ask = agreed(case)
models(case, may_ask)
_prompt(case, measured)
_approaches(case, measured)
try_one(case, may_ask)
st.page_link(page("experiments"), label="Run the experiments", icon=":material/science:")
onward("Alternatives")
