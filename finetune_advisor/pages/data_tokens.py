"""What tokens cost in each language of the data, by a common vocabulary or by the case's own model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import streamlit as st

from finetune_advisor.case import Case, ModelSection
from finetune_advisor.datasets.languages import Languages, LanguageTokens, languages
from finetune_advisor.errors import AdvisorError, BadInput, Missing, require
from finetune_advisor.models.embedded import chat_model_folder
from finetune_advisor.pages.data_reading import Look, Version, named, version
from finetune_advisor.pages.draw import UNTYPED, download_csv
from finetune_advisor.pages.shell import refuse
from finetune_advisor.records import Example
from finetune_advisor.report.blocks import Cell
from finetune_advisor.report.formats import DASH, count
from finetune_advisor.report.markdown import escape

COMMON = ""
"""OpenAI's vocabulary, which comes with the program."""

FEW = 5
"""A language with fewer examples is not worth a sentence."""

MANY = 20_000
"""From so many examples on, people are asked first."""


def show_tokens(case: Case, found: Look) -> None:
    """The sentences, then the table."""
    st.subheader("What the tokens cost in each language", anchor=False)
    st.markdown(
        "Models read and write tokens, pieces of words, and are paid by the token. Some languages are cut into smaller "
        "pieces than others, so the same thing said in them costs more and takes longer."
    )
    model = _counter(case)
    asked = f"tokens-{case.folder.name}"
    if len(found.examples) > MANY and not st.session_state.get(asked):
        if not st.button("Count the tokens", type="primary", icon=":material/calculate:", key="count"):
            return
        st.session_state[asked] = True
    try:
        counted = _counted(str(case.folder), version(named(case)), model, found.examples)
    except AdvisorError as error:
        refuse(error)
        return
    if counted:
        _show(counted)


def _counter(case: Case) -> ModelSection | None:
    """The model whose vocabulary counts; None for the common one."""
    own = {each.name: each for each in case.models if each.provider in ("embedded", "huggingface")}
    if not own:
        return None
    name = st.selectbox(
        "Count as this model does",
        [COMMON, *own],
        format_func=lambda name: name or "Models of OpenAI since GPT-4o (o200k_base)",
        key="counter",
        help="Every model has its own vocabulary of tokens.",
    )
    return own.get(name)


@st.cache_resource(max_entries=16, show_spinner="Counting the tokens…", hash_funcs={ModelSection: repr})
def _counted(
    folder: str, version: Version, model: ModelSection | None, _examples: tuple[Example, ...]
) -> Languages | None:
    return languages(_examples, _count(model), model.name) if model else languages(_examples)


def _count(model: ModelSection) -> Callable[[str], int]:
    """The model's own tokenizer, without its weights."""
    tokenizer = require("tokenizers", extra="local").Tokenizer.from_file(str(_vocabulary(model)))

    def count(text: str) -> int:
        encoded = tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8"), add_special_tokens=False)
        return len(encoded.ids)

    return count


def _vocabulary(model: ModelSection) -> Path:
    if model.provider == "embedded":
        return chat_model_folder() / "tokenizer.json"
    id = str(model.options.get("id", ""))
    path = Path(id) / "tokenizer.json"
    if path.is_file():
        return path
    try:
        known = require("huggingface_hub", extra="local").try_to_load_from_cache(id, "tokenizer.json")
    except ValueError as error:
        raise BadInput(f"{id!r} is not the id of a model.", hint="Correct it in case.toml.") from error
    if not isinstance(known, str):
        raise Missing(
            f"The vocabulary of {id} is not on this machine yet.", hint="It is fetched when the experiments are run."
        )
    return Path(known)


def _show(counted: Languages) -> None:
    st.markdown("\n".join(f"- {escape(sentence)}" for sentence in sentences(counted)))
    rows = [_row(each, counted.reference) for each in counted.rows]
    config = UNTYPED.column_config
    UNTYPED.dataframe(
        rows,
        hide_index=True,
        placeholder=DASH,
        column_config={
            "Language": config.TextColumn(width=220),
            "Tokens per example": config.NumberColumn(format="%.0f"),
            f"Compared with {counted.reference}": config.NumberColumn(format="× %.2f"),  # noqa: RUF001
            "Tokens per word": config.NumberColumn(
                format="%.2f", help="Empty for languages that put no spaces between words."
            ),
            "Tokens per 100 characters": config.NumberColumn(format="%.0f"),
        },
        alt="Examples and tokens of each language",
    )
    download_csv(rows, "languages", "This table as CSV")
    st.caption(
        f"Languages told by {escape(counted.detected_by)}; tokens counted by {escape(counted.counted_by)}. Counted are "
        "request and answer, not the system message. Examples in two languages need not say the same: the tokens "
        "per word tell what a language costs, the tokens per example what your requests in it cost."
    )


def _row(each: LanguageTokens, reference: str) -> Mapping[str, Cell]:
    return {
        "Language": each.name,
        "Examples": each.examples,
        "Tokens per example": each.tokens_per_example,
        f"Compared with {reference}": each.relative,
        "Tokens per word": each.tokens_per_word,
        "Tokens per 100 characters": 100 * each.tokens_per_character,
    }


def sentences(counted: Languages) -> Iterator[str]:
    """What the table says, of the languages with more than a handful of examples."""
    base = next(each for each in counted.rows if each.name == counted.reference)
    mean = f"{count(base.tokens_per_example)} tokens"
    others = [each for each in counted.rows if each is not base and each.code and each.examples >= FEW]
    yield f"An example in {base.name} takes {mean} on average, of {count(base.examples)} examples."
    for each in sorted(others, key=lambda each: -each.relative):
        yield f"An example in {each.name} takes {_times(each.relative)} one in {base.name}{_words(each, base)}."


def _times(relative: float) -> str:
    if 0.95 <= relative <= 1.05:
        return "about as many tokens as"
    return f"{relative:.1f} times the tokens of"


def _words(each: LanguageTokens, base: LanguageTokens) -> str:
    if not each.tokens_per_word or not base.tokens_per_word:
        return ""
    return f"; a word takes {each.tokens_per_word:.1f} tokens instead of {base.tokens_per_word:.1f}"
