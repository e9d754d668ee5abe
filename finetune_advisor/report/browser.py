"""A Chromium, Chrome or Edge of this machine, run once on one page: no window, no network, a profile of its own.

Plain switches of the browser's own, so that nothing has to be installed beside it. Chrome 131 or newer (November 2024)
prints page numbers and unfolds what is folded away; older ones leave both out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from finetune_advisor.errors import Missing

VARIABLE = "FINETUNE_ADVISOR_BROWSER"
SECONDS = 120

COMMANDS = (
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chromium",
    "chromium-browser",
    "microsoft-edge",
    "microsoft-edge-stable",
    "msedge",
)
APPLICATIONS = ("Google Chrome", "Chromium", "Microsoft Edge")
"""Their names on macOS."""

PROGRAMS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
"""Their places within the program folders of Windows."""

SWITCHES = (
    "--headless",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    # No name can be resolved, and all traffic, even to this machine, goes to a proxy that does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=http://proxy.invalid",
    "--proxy-bypass-list=<-loopback>",
)


def find() -> Path:
    """The browser to use: the one that the environment variable names, else the first in the usual places.

    Raises:
        Missing: There is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise Missing(f"{VARIABLE} names {named!r}, which is no program here.", hint=f"Mend {VARIABLE}. {HINT}")
        return Path(found)
    found = next((path for path in map(shutil.which, _usual_places()) if path), None)
    if found is None:
        raise Missing("This needs Chrome, Chromium or Edge, and none was found.", hint=HINT)
    return Path(found)


HINT = (
    f"Install one, or name one in {VARIABLE}. Without any: open report.html in the browser that you have and print it."
)


def _usual_places() -> Iterable[str]:
    yield from COMMANDS
    for name in APPLICATIONS:
        yield f"/Applications/{name}.app/Contents/MacOS/{name}"
    for folder in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        yield from (str(Path(os.environ[folder], name)) for name in PROGRAMS if folder in os.environ)


def run(page: str, *switches: str, made: str) -> bytes:
    """Open a page, and return what the browser made of it.

    Args:
        page: HTML that brings everything along.
        switches: What to do with it; ``{folder}`` stands for the folder that the browser may write to.
        made: The file in that folder to return; ``output`` is what the browser wrote to its standard output.

    Raises:
        Missing: There is no browser, or it did not do it.
    """
    browser = find()
    with TemporaryDirectory(prefix="finetune-advisor-", dir=_room(browser), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "page.html").write_text(page, encoding="utf-8")
        _start(browser, folder, [switch.format(folder=folder) for switch in switches])
        found = folder / made
        if not found.exists() or not found.stat().st_size:
            raise Missing(f"{browser.name} made nothing of the page. {_last_words(folder)}".strip(), hint=HINT)
        return found.read_bytes()


def _room(browser: Path) -> Path | None:
    """A browser from a snap sees no /tmp of ours, but the folder that snap keeps for it."""
    shared = Path.home() / "snap" / "chromium" / "common"
    return shared if browser.is_relative_to("/snap") and shared.is_dir() else None


def _start(browser: Path, folder: Path, switches: list[str]) -> None:
    command = [str(browser), *SWITCHES, *_sandbox(), f"--user-data-dir={folder / 'profile'}", *switches]
    command.append((folder / "page.html").as_uri())
    # Into files: the browser's children may outlive it, and would keep a pipe open.
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Missing(f"{browser.name} was not done after {SECONDS} seconds.", hint=HINT) from error
        except OSError as error:
            raise Missing(f"{browser} cannot be started: {error.strerror}.", hint=HINT) from error


def _sandbox() -> list[str]:
    """Root, as in a container, gets no sandbox: the browser refuses to start with one."""
    return ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def _last_words(folder: Path) -> str:
    lines = (folder / "errors").read_text(encoding="utf-8", errors="replace").split("\n")
    return next((f"It said: {line.strip()[-200:]}" for line in reversed(lines) if line.strip()), "")
