"""Which files hold the examples and the documents: upload them or pick them, and say what is in them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import streamlit as st

from finetune_advisor import case as cases
from finetune_advisor import metrics, plugins
from finetune_advisor.case import METRICS, Case, guess_kind
from finetune_advisor.datasets import load, pairs
from finetune_advisor.datasets.extract import SUFFIXES as DOCUMENTS
from finetune_advisor.datasets.folders import visible_files
from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.datasets.pairs import Columns
from finetune_advisor.datasets.rows import SUFFIXES, read_rows
from finetune_advisor.errors import AdvisorError, BadInput
from finetune_advisor.pages.ask import save, show_refusal
from finetune_advisor.pages.data_reading import RELOCK, Look, Version, columns, files, plain, version
from finetune_advisor.pages.draw import UNTYPED
from finetune_advisor.records import TaskKind
from finetune_advisor.report.formats import count, metric_title
from finetune_advisor.report.markdown import escape
from finetune_advisor.workspace import add_file
from finetune_advisor.workspace.uploads import FOLDER, MAX_BYTES

HEAD = 100
"""So many rows tell which columns a file has."""

ONE_FILE = "One file; this program holds a part of it back"
SEPARATE = "Separate files for training and testing"

PAIRS = """{"prompt": "The parcel was left in the rain.", "completion": "delivery"}
{"prompt": "I was charged twice in May.", "completion": "billing"}"""
TABLE = """prompt,completion
The parcel was left in the rain.,delivery
I was charged twice in May.,billing"""


def choose_files(case: Case, found: Look | None) -> None:
    """Upload or pick the files; then the columns and the kind of the answers."""
    st.subheader("Labelled examples", anchor=False)
    st.markdown(
        "A labelled example is a request with the answer that you would want. A few hundred make a useful comparison; "
        "take them as they come in, the hard ones too."
    )
    _said()
    if found and found.lock and found.fits:
        st.caption(f":material/lock: {RELOCK}")
    _upload(case, "examples")
    _good_file()
    _pick(case)
    _columns(case)
    if found:
        _kind(case, found)
    st.subheader("Documents", anchor=False)
    st.markdown("Texts in which answers can be looked up, such as a handbook. You can go on without any.")
    _upload(case, "documents")
    _pick_documents(case)


def _said() -> None:
    """What the last upload came to, once."""
    if said := st.session_state.pop("uploaded", ""):
        st.success(escape(said), icon=":material/check_circle:")


def _good_file() -> None:
    with st.expander("What a good file looks like", icon=":material/help:"):
        st.markdown("One example a line, each with its request and its answer. As a .jsonl file:")
        st.code(PAIRS, language=None)
        st.markdown("Or as a table (.csv, .parquet) whose first line names the columns:")
        st.code(TABLE, language=None)
        st.caption(
            "Columns may have other names: you are asked which is which. Chats in the format of OpenAI, lines with "
            "“messages”, are read too; their last assistant message is the wanted answer."
        )


def _upload(case: Case, what: str) -> None:
    many = what == "documents"
    kinds = [*DOCUMENTS, ".zip"] if many else [kind for kind in SUFFIXES if kind != ".arrow"]
    # A new key empties the field once its files are taken.
    key = f"upload-{what}-{st.session_state.get(f'taken-{what}', 0)}"
    UNTYPED.file_uploader(
        "Upload documents, or a .zip file of them" if many else "Upload a file of examples",
        type=kinds,
        accept_multiple_files=many,
        max_upload_size=MAX_BYTES >> 20,
        key=key,
        on_change=_take_documents if many else _take_examples,
        args=(case, key),
        help="The file is copied into the folder of this case on the computer that runs this app.",
    )
    show_refusal(f"upload-{what}")


def _take(case: Case, what: str, take: Callable[[], str]) -> None:
    st.session_state[f"taken-{what}"] = st.session_state.get(f"taken-{what}", 0) + 1
    try:
        st.session_state["uploaded"] = take()
    except AdvisorError as error:
        st.session_state[f"upload-{what}-refused"] = AdvisorError(
            plain(case, error.message), hint=plain(case, error.hint)
        )


def _take_examples(case: Case, key: str) -> None:
    file = st.session_state[key]
    if file is not None:
        _take(case, "examples", lambda: _add_examples(case, file.name, file.getvalue()))


def _add_examples(case: Case, name: str, content: bytes) -> str:
    """Put a file into use; one that cannot be read does not stay in the folder."""
    before = set(case.folder.iterdir())
    path = add_file(case.folder, name, content)
    try:
        if not _head(path):
            raise BadInput(f"{path.name} has no rows.", hint="Give a file that holds at least one example.")
        had_examples = bool(files(case))
        cases.edit(case.folder, _only(path.name) | ({} if had_examples else _guessed(path)))
    except AdvisorError:
        if path not in before:
            path.unlink()
        raise
    return f"{path.name} is in use now."


def _only(name: str) -> dict[str, object]:
    """The changes that put one file into the place of all others."""
    others = ("train", "validation", "test", "prompt_column", "answer_column")
    return {"data.examples": name, **{f"data.{other}": None for other in others}}


def _guessed(path: Path) -> dict[str, object]:
    """The kind of task that the first examples of a case look like; nothing where its columns are not known yet."""
    try:
        found = load.load(path).examples
    except BadInput:
        return {}
    return {"task.kind": guess_kind(found).value, "task.metric": None} if found else {}


def _take_documents(case: Case, key: str) -> None:
    given = st.session_state[key]
    if given:
        _take(case, "documents", lambda: _add_documents(case, given))


def _add_documents(case: Case, given: list[Any]) -> str:
    for file in given:
        add_file(case.folder, file.name, file.getvalue())
    before = case.data.documents
    cases.edit(case.folder, {"data.documents": FOLDER})
    instead = "" if before in (None, FOLDER) else f" They take the place of {before}, which is kept."
    return f"{count(len(_texts(case.folder / FOLDER)))} documents are in use now.{instead}"


def _texts(folder: Path) -> list[Path]:
    return [path for path in visible_files(folder) if path.suffix.lower() in DOCUMENTS]


def _pick(case: Case) -> None:
    known = sorted({path.name for path in case.folder.iterdir() if path.suffix.lower() in SUFFIXES})
    now = (case.data.examples, case.data.train, case.data.validation, case.data.test)
    known += [name for name in dict.fromkeys(now) if name and name not in known and (case.folder / name).exists()]
    if not known:
        return
    way = SEPARATE
    if len(known) > 1:
        way = st.radio(
            "The examples are in",
            (ONE_FILE, SEPARATE),
            index=int(case.data.examples is None),
            key="way",
            horizontal=True,
        )
    if way == ONE_FILE or (len(known) == 1 and case.data.examples is not None):
        _one_file(case, known)
    else:
        _separate_files(case, known)


def _one_file(case: Case, known: list[str]) -> None:
    chosen = case.data.examples in known
    st.session_state["examples"] = case.data.examples if chosen else None
    st.selectbox(
        "File in use",
        known,
        index=0 if chosen else None,
        key="examples",
        placeholder="Choose a file of the case folder",
        on_change=_use,
        args=(case,),
    )
    show_refusal("examples")


def _use(case: Case) -> None:
    if name := st.session_state["examples"]:
        save(case, _only(name), "examples")


def _separate_files(case: Case, known: list[str]) -> None:
    data = case.data
    labels = {"train": "To learn from", "validation": "To choose settings by", "test": "To test with"}
    given = {"train": data.train, "validation": data.validation, "test": data.test}
    with st.form("separate", border=False):
        for column, (part, label) in zip(st.columns(3), labels.items(), strict=True):
            column.selectbox(
                label,
                known,
                index=known.index(name) if (name := given[part]) in known else None,
                key=f"file-{part}",
                placeholder="Held back from the first" if part == "validation" else "Choose a file",
            )
        st.form_submit_button("Use these files", on_click=_use_separate, args=(case,))
    show_refusal("separate")


def _use_separate(case: Case) -> None:
    chosen = {part: st.session_state[f"file-{part}"] for part in ("train", "validation", "test")}
    changes = {f"data.{part}": name for part, name in chosen.items()}
    save(case, {**changes, "data.examples": None}, "separate")


@st.cache_resource(max_entries=16, show_spinner=False)
def _values(version: Version, path: Path) -> tuple[JSON, ...]:
    return tuple(row.value for row in islice(read_rows(path, []), HEAD))


def _head(path: Path) -> tuple[JSON, ...]:
    return _values(version([path]), path)


def _names(path: Path) -> list[str]:
    """The columns of a file; none where its rows are chats."""
    try:
        values = _head(path)
    except BadInput:
        return []
    names = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    return [] if "messages" in names else names


def _columns(case: Case) -> None:
    """Which column is which, in the first file that has columns; they count for all files."""
    path = next((path for path in files(case) if _names(path)), None)
    if path is None:
        return
    names, shape = _names(path), _shape(case, path)
    if shape is None:
        st.warning("Say which column holds what is asked, and which the wanted answer.", icon=":material/view_column:")
    left, right = st.columns(2)
    with left:
        _column(case, "prompt", "Column with the request", names, shape and shape.prompt)
    with right:
        _column(case, "answer", "Column with the wanted answer", names, shape and shape.completion)
    show_refusal("columns")


def _shape(case: Case, path: Path) -> Columns | None:
    try:
        return pairs.recognise(_head(path), columns(case), path)
    except BadInput:
        return None


def _column(case: Case, which: str, label: str, names: list[str], now: str | None) -> None:
    key = f"column-{which}"
    if now is not None:
        st.session_state[key] = now
    st.selectbox(label, names, index=None, key=key, placeholder="Choose a column", on_change=_set_columns, args=(case,))


def _set_columns(case: Case) -> None:
    """Save both columns together: `case.toml` with one of them would name a column that is not there."""
    prompt, answer = st.session_state["column-prompt"], st.session_state["column-answer"]
    if prompt and answer:
        save(case, {"data.prompt_column": prompt, "data.answer_column": answer}, "columns")


def _kind(case: Case, found: Look) -> None:
    left, right = st.columns(2)
    with left:
        st.session_state["kind"] = case.task.kind
        st.selectbox(
            "What is a right answer?",
            list(TaskKind),
            format_func=kind_title,
            key="kind",
            on_change=_set_kind,
            args=(case,),
            help="It decides how answers are scored and, for labels, that every label is in every part of the data.",
        )
        show_refusal("kind")
    with right:
        _metric(case)
    if found.kind != case.task.kind:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"The answers look like: {found.kind.answer}.", width="content")
            st.button("Use that", key="use-guess", on_click=_save_kind, args=(case, found.kind), type="tertiary")


def kind_title(kind: TaskKind) -> str:
    """What a right answer is, as a choice."""
    words = kind.answer
    return words[0].upper() + words[1:]


def _set_kind(case: Case) -> None:
    _save_kind(case, st.session_state["kind"])


def _save_kind(case: Case, kind: TaskKind) -> None:
    save(case, {"task.kind": kind.value, "task.metric": None, "task.metric_options": None}, "kind")


def _metric(case: Case) -> None:
    usual = METRICS[case.task.kind]
    st.session_state["metric"] = case.task.metric
    st.selectbox(
        "How is an answer scored?",
        ["", *sorted(plugins.known(metrics.GROUP, metrics.TABLE), key=metric_title)],
        format_func=lambda name: metric_title(name) if name else f"The usual way: {metric_title(usual)}",
        key="metric",
        on_change=_set_metric,
        args=(case,),
        help="Keep the usual way unless you know why not. Results are scored anew with the next run.",
    )
    show_refusal("metric")


def _set_metric(case: Case) -> None:
    save(case, {"task.metric": st.session_state["metric"] or None, "task.metric_options": None}, "metric")


def _pick_documents(case: Case) -> None:
    known = [FOLDER] if (case.folder / FOLDER).is_dir() else []
    known += [name for name in (case.data.documents,) if name and name not in known]
    if not known:
        return
    st.session_state["documents"] = case.data.documents or ""
    st.selectbox(
        "Documents in use",
        ["", *known],
        format_func=lambda name: described(case, name) if name else "None",
        key="documents",
        on_change=_use_documents,
        args=(case,),
    )
    show_refusal("documents")


def described(case: Case, name: str) -> str:
    """A folder of documents with how many it holds, or a file of them."""
    path = case.folder / name
    return f"{name} ({count(len(_texts(path)))} files)" if path.is_dir() else name


def _use_documents(case: Case) -> None:
    save(case, {"data.documents": st.session_state["documents"] or None}, "documents")
