"""Which files make up a dataset: one file, a folder of files, or a folder that `datasets` wrote."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from finetune_advisor.datasets import jsonl, text
from finetune_advisor.datasets.rows import SUFFIXES
from finetune_advisor.errors import BadInput

_SPLIT = re.compile(r"(?:^|[^a-z])(train|valid|validation|dev|test|eval)(?:$|[^a-z])")


def data_files(path: Path) -> list[Path]:
    """The files to read for a path, in a fixed order.

    Args:
        path: A file, a folder of data files, or a folder that ``save_to_disk`` wrote.

    Raises:
        BadInput: The folder holds no data, or several splits, of which one has to be chosen.
    """
    if not is_folder(path):
        return [path]
    if (path / "dataset_dict.json").is_file():
        return _of_dictionary(path)
    if (path / "state.json").is_file():
        return _saved(path)
    files = [file for file in visible_files(path) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise BadInput(f"The folder {path} holds no data file.", hint=f"Known kinds: {', '.join(SUFFIXES)}.")
    if len({_split(file.relative_to(path)) for file in files}) > 1:
        some = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise BadInput(
            f"The folder {path} holds several splits: {some}{', ...' if len(files) > 5 else ''}.",
            hint="Give one of these files, or a folder with the files of one split.",
        )
    return files


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; unlike `Path.is_dir`, says no to names that cannot be."""
    return os.path.isdir(path)


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted by relative name, hidden ones left out."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    return sorted(shown, key=lambda file: file.relative_to(folder).as_posix())


def _of_dictionary(path: Path) -> list[Path]:
    splits = sorted(state.parent for state in path.glob("*/state.json"))
    if len(splits) == 1:
        return _saved(splits[0])
    raise BadInput(
        f"The dataset folder {path} holds {len(splits)} splits.",
        hint="Give the folder of one: " + ", ".join(map(str, splits)) if splits else "Save the dataset again.",
    )


def _saved(path: Path) -> list[Path]:
    """The Arrow files that ``state.json`` lists; names only, so that it cannot point outside its folder."""
    try:
        state: Any = jsonl.loads(text.read(path / "state.json", []))
        return [path / Path(str(entry["filename"])).name for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path / 'state.json'} is damaged.", hint="Save the dataset again.") from error


def _split(name: Path) -> str:
    found = _SPLIT.search(name.as_posix().lower())
    return found[1] if found else ""
