"""New cases: from a person's data, or the shipped sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from finetune_advisor.case.sections import FILE
from finetune_advisor.datasets import kinds
from finetune_advisor.datasets.replace import replace, writing
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Example, TaskKind


def guess_kind(examples: Sequence[Example]) -> TaskKind:
    """What kind of task the answers look like: few distinct short answers are labels, and so on."""
    answers = [example.answer.strip() for example in examples]
    forms = kinds.Forms()
    for answer in answers:
        forms.add(answer)
    return kinds.guess(
        forms,
        answers=len(answers),
        distinct=len(set(answers)),
        longest=max(map(len, answers)),
        words=sorted(len(answer.split()) for answer in answers)[len(answers) // 2],
    )


def sample(folder: Path) -> None:
    """Copy the shipped sample case into an empty or new folder; a case that is there already is left as it is.

    Raises:
        NoSpace: The disk is full.
        BadInput: The folder cannot be written.
    """
    if (folder / FILE).exists():
        return
    with as_file(files("finetune_advisor") / "sample") as source, writing(folder):
        # The file that makes a folder a case comes last: a copy that was stopped is not taken for a whole one.
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", FILE))
        replace(folder / FILE, (source / FILE).read_bytes())


def write_new(folder: Path, *, title: str, kind: TaskKind, examples: Path | None, documents: Path | None) -> None:
    """Write a new case folder, with the data copied into it.

    Raises:
        BadInput: There is a case in that folder already, or it cannot be written.
        NoSpace: The disk is full.
    """
    if (folder / FILE).exists():
        raise BadInput(f"{folder} holds a case already.", hint="Name another folder; nothing was changed.")
    given = (("examples", examples), ("documents", documents))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = {name: _copied(source, folder, name) for name, source in given}
    template = (files("finetune_advisor") / "case_template.toml").read_text(encoding="utf-8")
    text = template.replace("TITLE", json.dumps(title, ensure_ascii=False)).replace("KIND", json.dumps(kind.value))
    text = text.replace("EXAMPLES", json.dumps(names["examples"] or "examples.jsonl"))
    text = text.replace("DOCUMENTS", f"documents = {json.dumps(names['documents'] or 'documents')}")
    if documents is None:
        text = text.replace("\ndocuments =", "\n# documents =")
    replace(folder / FILE, text.encode("utf-8"))


def _copied(source: Path | None, folder: Path, name: str) -> str | None:
    if source is None:
        return None
    target = folder / (name + source.suffix if source.is_file() else name)
    if source.resolve() == target.resolve():
        return target.name
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
    return target.name
