"""What step 3 shows with the data and the models in memory: whole prompts, room for examples, one question to all.

All of that is done in the background, and the page looks each second whether it is through.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import streamlit as st

from finetune_advisor.case import Case, trust
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.shots import Fitting, Shots, fitting
from finetune_advisor.experiment.trial import NotTried, Prompt, Trial, Workbench, validation
from finetune_advisor.pages.background import LOOK_AGAIN_SECONDS, case_version, data_version, ready, start
from finetune_advisor.pages.draw import draw
from finetune_advisor.pages.shell import refuse
from finetune_advisor.records import Example, Failure, Message, Passage
from finetune_advisor.report.blocks import Callout, KeyFigure, KeyFigures, Table
from finetune_advisor.report.formats import DASH, count, seconds, usd
from finetune_advisor.report.markdown import escape

LOADING = "Reading the data and loading the model. The first time this takes up to a minute."
READING = "Reading the data"
VALIDATION, OWN = "A validation example", "A question of my own"
SIDE_BY_SIDE = 3
SHOWN = 110
"""So much of a question is shown in the list of examples."""

ASKED = "try-one"
"""Where the session keeps the question that is being asked."""

ROLES = {
    "system": "Instructions (system message)",
    "user": "Question (user message)",
    "assistant": "Answer (assistant message)",
}


def prompts(case: Case) -> None:
    """What each alternative would send for one example, folded away and made only when it is opened."""
    folded = st.expander("The full prompt of each alternative", key="prompts", on_change="rerun")
    with folded:
        if not folded.open:
            return
        bench = _bench_of(case)
        found: tuple[Example, Sequence[Prompt | NotTried]] | None = ready(
            "prompts", case_version(case), lambda: _prompts(case, bench.result()), LOADING
        )
        if found:
            _show_prompts(*found)


def room(case: Case) -> None:
    """How many examples fit into a prompt of a model and what each costs, counted only when it is opened."""
    if not case.models:
        return
    folded = st.expander("How many examples fit into a prompt, and what do they cost?", key="room", on_change="rerun")
    with folded:
        if folded.open:
            _room(case)


def try_one(case: Case, may_ask: bool) -> None:
    """Choose or type a question, ask every alternative, and see what each does with it.

    Args:
        case: The case.
        may_ask: Whether its models may be asked.
    """
    st.subheader("Try one question", anchor=False)
    st.markdown(
        "Ask every alternative the same question and read the answers side by side. It is not counted in the results, "
        "and nothing of it is stored. On a machine without a graphics card it takes a minute or more; each answer is "
        "shown as soon as it is there, and you can go on meanwhile. A provider charges a fraction of a cent for it."
    )
    question, expected = _question(case)
    if st.button(
        "Ask every alternative", type="primary", icon=":material/play_arrow:", key="ask", disabled=not may_ask
    ):
        _stop()
        st.session_state[ASKED] = Asked(case, question, expected, _bench_of(case))
    asked = st.session_state.get(ASKED)
    if isinstance(asked, Asked) and asked.folder == case.folder:
        running = not asked.future.done()
        st.fragment(_answers, run_every=LOOK_AGAIN_SECONDS if running else None)(asked, running)


class Asked:
    """A question on its way through the arms.

    Args:
        case: The case as it stands when the question is asked.
        question: What is asked.
        expected: The right answer; empty where none is known.
        bench: Where it is asked, as soon as that is ready.
    """

    def __init__(self, case: Case, question: str, expected: str, bench: Future[Workbench]) -> None:
        self.folder = case.folder
        self.question = question
        self.expected = expected
        self.found: list[Trial | NotTried] = []
        self.share = 0.0
        self.doing = LOADING
        self.stopped = threading.Event()
        self.future = start(partial(self._ask, case, bench))

    def _ask(self, case: Case, bench: Future[Workbench]) -> None:
        trust.check(case)
        tries = bench.result().of(case).tries(self.question, progress=self._tell)
        while not self.stopped.is_set() and (each := next(tries, None)):
            self.found.append(each)

    def _tell(self, what: str, done: int, total: int) -> None:
        self.share = done / max(1, total)
        self.doing = f"Asking {what} ({min(done + 1, total)} of {total})"


def _stop() -> None:
    asked = st.session_state.get(ASKED)
    if isinstance(asked, Asked):
        asked.stopped.set()


@st.cache_resource(max_entries=2, show_spinner=False)
def _started_bench(version: str, _case: Case) -> Future[Workbench]:
    return start(lambda: Workbench(_case))


def _bench_of(case: Case) -> Future[Workbench]:
    """The workbench of the case's data and models; one that could not be made is tried again."""
    version = data_version(case)
    found = _started_bench(version, case)
    if found.done() and found.exception():
        _started_bench.clear(version, case)
        found = _started_bench(version, case)
    return found


def _prompts(case: Case, bench: Workbench) -> tuple[Example, Sequence[Prompt | NotTried]]:
    """An example and what each arm would send for it; to find passages and examples, a search may ask a server."""
    trust.check(case)
    example = (*bench.examples, *bench.prepared.parts["train"])[0]
    return example, bench.of(case).prompts(example.question)


def _show_prompts(example: Example, found: Sequence[Prompt | NotTried]) -> None:
    st.caption("For this example. Questions with an answer below them are shots; the last question is what is asked.")
    st.text(example.question, width="stretch")
    if not found:
        st.info("The case has no alternative that asks a model.", icon=":material/info:")
        return
    by_arm = {each.arm: each for each in found}
    longest = max(range(len(found)), key=lambda place: _turns(found[place]))
    name = st.selectbox("Alternative", list(by_arm), index=longest, key="prompt-of")
    each = by_arm[name]
    if isinstance(each, NotTried):
        st.info(escape(each.reason), icon=":material/info:")
        return
    if each.note:
        st.caption(escape(each.note))
    _messages(each.messages, each.passages)


def _turns(each: Prompt | NotTried) -> int:
    return len(each.messages) if isinstance(each, Prompt) else 0


def _messages(messages: Sequence[Message], passages: Sequence[Passage]) -> None:
    for message in messages:
        st.caption(ROLES.get(message.role) or escape(message.role))
        st.code(message.content, language=None, wrap_lines=True)
    if passages:
        st.caption("Passages in it")
        st.text("\n".join(f"[{n}] {each.title or each.id}" for n, each in enumerate(passages, 1)), width="stretch")


def _room(case: Case) -> None:
    names = [model.name for model in case.models]
    name = st.selectbox("Model", names, key="room-of") if len(names) > 1 else names[0]
    bench = _bench_of(case)
    found: Fitting | None = ready(
        f"room {name}", case_version(case), lambda: _fitting(case, bench.result(), name), LOADING
    )
    if found:
        _show_room(found)


def _fitting(case: Case, bench: Workbench, name: str) -> Fitting:
    now = bench.of(case).prepared
    with bench.turn:
        return fitting(case, now, now.models[name])


def _show_room(found: Fitting) -> None:
    draw((_room_figures(found), _room_table(found)))
    st.caption(
        "A token is a piece of a word; models read, count and bill in tokens. Counted with the model's own tokenizer "
        "on your training examples; the longest question and the room for the answer are kept free."
    )
    if found.note:
        st.caption(escape(found.note))


def _room_figures(found: Fitting) -> KeyFigures:
    return KeyFigures(
        figures=(
            KeyFigure(
                name="Examples that fit",
                value=count(found.most),
                note=f"{count(found.surely)} if all are as long as the longest.",
            ),
            KeyFigure(
                name="Tokens of one example",
                value=count(found.tokens_per_shot),
                note=f"On average; the longest has {count(found.longest_shot)}.",
            ),
            KeyFigure(
                name="Context window in tokens",
                value=count(found.context_window),
                note=f"What {found.model} can read at once.",
            ),
        )
    )


def _room_table(found: Fitting) -> Table:
    priced = any(row.added_usd is not None for row in found.table)
    cached = any(row.added_usd_cached not in (None, row.added_usd) for row in found.table)
    columns = ("Examples", "Tokens of a usual prompt", "Tokens they add")
    columns += ("Price they add per 1,000 requests",) if priced else ()
    columns += ("With prompt caching",) if cached else ()
    return Table(
        columns=columns,
        rows=tuple(_row(row, priced=priced, cached=cached) for row in found.table),
        align="r" * len(columns),
        caption=f"What examples add to a prompt of {found.model}",
    )


def _row(row: Shots, *, priced: bool, cached: bool) -> tuple[str, ...]:
    prices = (row.added_usd,) if priced else ()
    prices += (row.added_usd_cached,) if cached else ()
    numbers = (count(row.shots), count(row.prompt_tokens), count(row.added_tokens))
    return (*numbers, *(DASH if each is None else usd(each) for each in prices))


def _question(case: Case) -> tuple[str, str]:
    """What to ask, and the right answer where it is known."""
    source = st.segmented_control("What to ask", [VALIDATION, OWN], default=VALIDATION, key="try-source", required=True)
    if source == OWN:
        return st.text_area("Your question", key="try-own", placeholder="Type it as a user would."), ""
    examples: tuple[Example, ...] | None = ready("examples", data_version(case), partial(validation, case), READING)
    if examples is None:
        return "", ""
    chosen = _chosen({example.id: example for example in examples})
    if chosen is None:
        st.caption("The data has no validation examples.")
        return "", ""
    return chosen.question, chosen.answer


def _chosen(examples: dict[str, Example]) -> Example | None:
    name = st.selectbox(
        "Validation example",
        list(examples),
        format_func=lambda each: _short(examples[each].question),
        key="try-example",
        help="Examples that are set aside for trying things out. The test examples stay locked.",
    )
    return examples.get(name or "")


def _short(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def _answers(asked: Asked, running: bool) -> None:
    if running and asked.future.done():
        st.rerun()
    if running:
        st.progress(asked.share, text=escape(asked.doing))
        st.button("Stop", on_click=asked.stopped.set, icon=":material/stop:", key="stop")
    elif isinstance(error := asked.future.exception(), AdvisorError):
        refuse(error)
    elif error:
        raise error
    if asked.found:
        _side_by_side(asked)


def _side_by_side(asked: Asked) -> None:
    st.caption("Asked")
    st.text(asked.question, width="stretch")
    if asked.expected:
        st.caption("The right answer")
        st.text(asked.expected, width="stretch")
    found = list(asked.found)
    if any(isinstance(each, Trial) and each.simulated for each in found):
        text = "No real model gave the answers that are marked as simulated. They say nothing about any model."
        draw([Callout(kind="simulated", title="SIMULATED ANSWERS", text=text)])
    for first in range(0, len(found), SIDE_BY_SIDE):
        for column, each in zip(st.columns(SIDE_BY_SIDE), found[first : first + SIDE_BY_SIDE], strict=False):
            with column.container(border=True):
                _card(each)


def _card(each: Trial | NotTried) -> None:
    if isinstance(each, NotTried):
        st.markdown(f"**{escape(each.arm)}**")
        st.caption(escape(f"Not asked. {each.reason}"))
        return
    st.markdown(f"**{escape(each.arm)}**{' (simulated)' if each.simulated else ''} {_badge(each)}")
    st.text(_said(each), width="stretch")
    st.caption(escape(_figures(each)))
    if each.note:
        st.caption(escape(each.note))
    with st.expander("The full prompt"):
        _messages(each.prompt, each.passages)


def _said(trial: Trial) -> str:
    if isinstance(trial.outcome, Failure):
        return trial.outcome.message
    return trial.outcome.text or "(an empty answer)"


def _badge(trial: Trial) -> str:
    """What became of the answer; nothing where there is an answer and no right one to compare it with."""
    score = trial.score
    if isinstance(trial.outcome, Failure):
        return ":gray-badge[no answer]"
    if score is None:
        return ""
    if not score.format_ok:
        return ":orange-badge[wrong form]"
    if score.value in (0, 1):
        return ":green-badge[right]" if score.value else ":red-badge[wrong]"
    return f":blue-badge[score {score.value:.2g} of 1]"


def _figures(trial: Trial) -> str:
    used = trial.outcome.usage
    price = "price not known" if trial.usd is None else f"{usd(trial.usd * 1000)} per 1,000 requests"
    tokens = f"{count(used.prompt_tokens)} tokens in, {count(used.completion_tokens)} out"
    return f"{seconds(used.seconds)} · {tokens} · {price}"
