"""What takes longer than a page may: done in threads of the server, whose results the page looks for.

A model may take a minute to load and as long to answer, a provider as long as it likes. Neither this session nor
another waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from finetune_advisor.case import Case
from finetune_advisor.errors import AdvisorError
from finetune_advisor.pages.shell import refuse

T = TypeVar("T")

THREAD = "finetune-advisor-page"
LOOK_AGAIN_SECONDS = 1
AT_ONCE_SECONDS = 0.3
"""What is ready so soon is shown without a word about waiting."""


def start(work: Callable[[], T]) -> Future[T]:
    """Do work in a thread of its own; unlike those of an executor, it does not keep the server from ending."""
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=do, name=THREAD, daemon=True).start()
    return future


@st.cache_resource(max_entries=16, show_spinner=False)
def _started(what: str, version: str, _work: Callable[[], Any]) -> Future[Any]:
    return start(_work)


def ready(what: str, version: str, work: Callable[[], Any], saying: str) -> Any:
    """What work has found; None while it goes on, which is shown, and where it failed, which is said.

    Args:
        what: Names the work.
        version: Of all that decides what it finds; the same work is not done again for the same version.
        work: Does it, in a thread.
        saying: What is shown meanwhile.
    """
    future = _started(what, version, work)
    wait([future], AT_ONCE_SECONDS)
    if not future.done():
        st.fragment(_wait, run_every=LOOK_AGAIN_SECONDS)(future, saying)
        return None
    try:
        return future.result()
    except AdvisorError as error:
        _started.clear(what, version, work)
        refuse(error)
        return None


def _wait(future: Future[Any], saying: str) -> None:
    if future.done():
        st.rerun()
    st.caption(f":material/hourglass_top: {saying}")


def data_version(case: Case) -> str:
    """Of the data and the models, and of what the data is read as."""
    stated = case.model_dump_json(include={"task", "data", "models"}, exclude={"task": {"instruction"}})
    return f"{case.folder} {stated} {list(_stats(case.folder / name for name in case.files.values()))}"


def case_version(case: Case) -> str:
    """Of all that decides prompts and prices; with new results other settings may have been chosen."""
    stated = case.model_dump_json(include={"task", "arms", "money"})
    return f"{data_version(case)} {stated} {list(_stats([case.results_file]))}"


def _stats(paths: Iterator[Path] | Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        if path.is_dir():
            yield from _stats(sorted(path.iterdir()))
        elif path.is_file():
            stat = path.stat()
            yield str(path), stat.st_mtime_ns, stat.st_size
