"""The rooms import one way, and importing them is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "finetune_advisor"
ORDER = [
    {"errors"},
    {"plugins"},
    {"records"},
    {"questions", "datasets", "metrics", "statistics", "costs", "store"},
    {"models", "verdict"},
    {"retrieval", "tuning"},
    {"approaches"},
    {"case"},
    {"experiment", "report", "workspace", "emulator"},
    {"charts", "recipes"},
    {"jobs"},
    {"cli", "pages"},
    {"__main__"},
]
HEAVY = {"torch", "streamlit", "transformers", "pandas", "sklearn", "scipy", "plotly", "pydantic", "rich"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("finetune_advisor.")}
    return found


def rank(name: str) -> int | None:
    return next((i for i, rooms in enumerate(ORDER) if name in rooms), None)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    own = rank(here)
    assert own is not None, f"{here} has no place in the order"
    for name in imported_rooms(path):
        other = rank(name)
        assert other is None or name == here or other < own, f"{here} imports {name}"


def test_only_pages_imports_streamlit() -> None:
    for path in PACKAGE.rglob("*.py"):
        if room(path) != "pages":
            assert "import streamlit" not in path.read_text(encoding="utf-8"), path


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize("module", ["finetune_advisor", "finetune_advisor.cli"])
def test_importing_is_cheap(module: str) -> None:
    assert not loaded_after(f"import {module}") & HEAVY


def test_nothing_but_pages_needs_the_heavy_libraries_to_be_imported() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if room(path) not in {"pages", "__main__"} and path.name != "__init__.py"
    ]
    code = "\n".join(f"import {name}" for name in modules)
    assert not loaded_after(code) & {"torch", "streamlit", "transformers", "sklearn", "pandas"}
