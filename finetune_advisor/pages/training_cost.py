"""What training on a graphics card, and answering with it, takes in memory, time and money, before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.costs import gpus, prices
from finetune_advisor.costs.estimate import Estimate, EstimateOptions, Range, estimate, mean_and_longest
from finetune_advisor.costs.gpus import Gpu
from finetune_advisor.costs.model import HOURS_PER_MONTH
from finetune_advisor.costs.shape import Shape, load, names
from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.stops import EMBEDDED
from finetune_advisor.pages.counted import counted
from finetune_advisor.pages.draw import UNTYPED, draw
from finetune_advisor.pages.shell import refuse
from finetune_advisor.report.blocks import Block, Bullets, Callout, Details, Heading, KeyFigure, KeyFigures, Table
from finetune_advisor.report.formats import count, dollars, seconds, usd

METHODS = {
    "lora": "LoRA: a small adapter",
    "qlora": "QLoRA: an adapter on a 4-bit model",
    "full": "Every parameter",
}
SHORT = 2048
"""So many tokens of an example are read where nobody says."""


def training_cost(case: Case) -> None:
    """The form, and what it comes to; every change counts at once."""
    st.subheader("Training and hosting on a graphics card", anchor=False)
    st.markdown(
        "A graphics card (GPU) does the training. Its memory decides whether a model fits, its speed and its price by "
        "the hour what the training costs. Nothing is run here: the figures come from formulas that were held against "
        "published measurements."
    )
    with st.container(border=True):
        stated = _form(case)
    try:
        stated["model"] = _shape(stated["model"])
        made = estimate(EstimateOptions(**stated))
    except AdvisorError as error:
        refuse(error)
        return
    draw(outcome(made, gpus.find(stated["gpu"])))


def _form(case: Case) -> dict[str, Any]:
    """The options of an estimate, the model by its name."""
    left, right = st.columns(2)
    with left:
        stated: dict[str, Any] = {"model": _model(case), "method": _method()}
        seq = _whole("Tokens of the longest example", "seq", SHORT, "Longer examples are cut there.")
        epochs = _whole("Passes over the examples", "epochs", 3, "How often the training reads every example.")
    with right:
        stated["gpu"] = _card(case)
        stated["gpus"] = _whole("Number of cards", "cards", 1, "Each is paid for by the hour.")
        stated["micro_batch"] = _whole("Examples at a time on one card", "batch", 1, "More of them take more memory.")
    return {**stated, "seq": seq, **_examples(case, seq, epochs)}


def _model(case: Case) -> str:
    own = [name for name in (_weights(model.provider, model.options) for model in case.models) if name]
    return st.selectbox(
        "Model",
        list(dict.fromkeys((*own, *names()))),
        format_func=lambda name: f"{name} (of this case)" if name in own else name,
        key="gpu-model",
        persist_state="session",
        help="The models of this case whose weights are open, and others whose size is known here.",
    )


def _weights(place: str, options: Mapping[str, Any]) -> str:
    return EMBEDDED if place == "embedded" else str(options.get("id", "")) if place == "huggingface" else ""


def _method() -> str:
    return st.selectbox(
        "What is trained",
        list(METHODS),
        format_func=METHODS.__getitem__,
        key="gpu-method",
        persist_state="session",
        help="An adapter is a small addition to the model. It takes far less memory than training every parameter.",
    )


def _card(case: Case) -> str:
    cards = gpus.table()
    rented = next((name for name, card in cards.items() if card.rented_as == case.money.machine), "L4")
    return st.selectbox(
        "Graphics card",
        list(cards),
        index=list(cards).index(rented),
        format_func=lambda name: f"{name} ({cards[name].memory_gib:g} GiB)",
        key="gpu-card",
        persist_state="session",
        help="GiB is how much memory it has. The machine of this case is chosen where it is one of these.",
    )


def _whole(label: str, key: str, value: int, why: str) -> int:
    found: int | None = UNTYPED.number_input(
        label,
        value=value,
        min_value=1,
        step=1,
        key=f"gpu-{key}",
        help=f"{why} Reckoned with {value:,} where it is empty.",
        persist_state="session",
    )
    return found or value


def _examples(case: Case, seq: int, epochs: int) -> Mapping[str, Any]:
    """The tokens of the case's own examples; nothing where they cannot be counted."""
    try:
        found = counted(case)
        mean, longest = mean_and_longest(found.tokens, seq)
    except AdvisorError as error:
        refuse(error)
        st.caption("Without examples there is no time and no money.")
        return {}
    total = epochs * sum(min(length, seq) for length in found.tokens)
    cut = sum(length > seq for length in found.tokens)
    st.caption(
        f"Counted in this case's training part: {count(found.train)} examples, {mean:,.0f} tokens on average, "
        f"{count(max(found.tokens))} at most{f', {count(cut)} of them cut' if cut else ''}; {count(total)} tokens to "
        "train on over all passes. A common vocabulary counted them; the model's own may differ."
    )
    return {"tokens": total, "mean_tokens": mean, "seq": longest}


def _shape(model: str) -> Shape:
    found = _loaded(model)
    if isinstance(found, AdvisorError):
        raise found
    return found


@st.cache_resource(max_entries=32, ttl=600, show_spinner="Looking up the model…")
def _loaded(model: str) -> Shape | AdvisorError:
    """The shape, or why there is none: both are kept, as asking the hub again would take as long again."""
    try:
        return load(model)
    except AdvisorError as error:
        return error


def outcome(made: Estimate, card: Gpu) -> Iterator[Block]:
    """An estimate as blocks: whether it fits, what training and answering take, and what that rests on."""
    yield _fits(made, card)
    yield from (Callout(kind="caution", title="Caution", text=text) for text in made.warnings)
    yield Heading(level=3, text="Training")
    yield KeyFigures(figures=(_memory(made, card), _time(made), _money(made)))
    yield Heading(level=3, text="Answering with it")
    yield KeyFigures(figures=(*_answering(made), _by_month(card)))
    yield Details(title="What the memory is for", blocks=(_parts(made),))
    yield Details(title="What this rests on", blocks=(Bullets(items=made.assumptions),))


def _fits(made: Estimate, card: Gpu) -> Callout:
    need = f"about {made.card_gib.likely:,.1f} GiB on each card, which has {card.memory_gib:g} GiB"
    trained = f"{count(made.trainable)} of {count(made.parameters)} parameters are trained."
    if made.fits:
        return Callout(kind="go", title="It fits", text=f"It takes {need}. {trained}")
    return Callout(
        kind="no-go",
        title="It does not fit",
        text=f"It would take {need}. Choose a larger card, more cards, a smaller adapter method, fewer examples at a "
        f"time, or shorter examples. {trained}",
    )


def _memory(made: Estimate, card: Gpu) -> KeyFigure:
    return KeyFigure(
        name="Memory on each card",
        value=f"{made.card_gib.likely:,.1f} GiB",
        note=f"{_ends(made.card_gib, '{:,.1f}'.format)} GiB; the card has {card.memory_gib:g} GiB.",
    )


def _time(made: Estimate) -> KeyFigure:
    name, rate = "Time of one training", f"{count(made.tokens_per_second.likely)} tokens a second"
    if made.seconds is None:
        return KeyFigure(name=name, value="not known", note=f"The examples were not counted; {rate}.")
    return KeyFigure(name=name, value=seconds(made.seconds.likely), note=f"{_ends(made.seconds, seconds)}; {rate}.")


def _money(made: Estimate) -> KeyFigure:
    name = "Money for one training"
    if made.usd is None:
        return KeyFigure(name=name, value="not known", note="It takes the time and a price of this card.")
    return KeyFigure(name=name, value=dollars(made.usd.likely), note=f"{_ends(made.usd, dollars)}, rented by the hour.")


def _answering(made: Estimate) -> Iterator[KeyFigure]:
    yield KeyFigure(
        name="Memory to answer",
        value=f"{made.answering_gib.likely:,.1f} GiB",
        note=f"{_ends(made.answering_gib, '{:,.1f}'.format)} GiB, for one request at a time.",
    )
    rate = made.answering_tokens_per_second
    if rate:
        note = f"{_ends(rate, count)} tokens a second, one request at a time; serving software does more."
        yield KeyFigure(name="Speed of an answer", value=f"{count(rate.likely)} tokens/s", note=note)


def _by_month(card: Gpu) -> KeyFigure:
    offers, name = prices.load().hourly_range(card.rented_as) if card.rented_as else None, "One card around the clock"
    if offers is None:
        return KeyFigure(name=name, value="not known", note="No price of this card was read.")
    low, high = (usd(each.value * HOURS_PER_MONTH) for each in offers)
    value = low if low == high else f"{low} to {high}"
    oldest = min(each.checked for each in offers)
    note = f"A month, from the cheapest to the dearest offer; checked {oldest} or later. The offers stand below."
    return KeyFigure(name=name, value=value, note=note)


def _ends(figure: Range, show: Callable[[float], str]) -> str:
    return f"{show(figure.low)} to {show(figure.high)}"


def _parts(made: Estimate) -> Table:
    rows = tuple((name, f"{gib:,.2f}") for name, gib in made.parts_gib.items())
    return Table(columns=("For", "GiB on each card"), rows=rows, align="lr")
