"""A program that outlives whoever started it, and is judged by files in a folder alone.

    python -m finetune_advisor.tuning.process FOLDER     (what `start` runs; nobody has to type it)

That process, the supervisor, starts the program, keeps `process.json` up to date with a heartbeat, ends the program
where somebody asks for it, and writes the exit code. Any process that sees the folder can watch and cancel it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

State = Literal["none", "running", "ended", "dead"]

FILE = "process.json"
LOG = "log.txt"
CANCEL = "process.cancel"
LOCK = "process.lock"

STALE = timedelta(seconds=30)
"""A program whose heartbeat is older is dead: its supervisor was killed, or the machine was switched off."""
HEARTBEAT_SECONDS = 1.0
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""From the friendly signal to the one that cannot be ignored."""
NOT_FOUND = 127
"""The exit code where the program itself could not be started, as shells have it."""
LOG_BYTES = 65536
"""So much of the log's end is read."""


class _Record(BaseModel):
    argv: list[str]
    started: datetime
    heartbeat: datetime
    pid: int | None = None
    exit_code: int | None = None


def start(folder: Path, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Start a program in the background, unless it runs already or has ended; one that died is started again.

    Args:
        folder: Where its files go; its output goes to `log.txt` there.
        argv: The program and its arguments. Everybody on the machine can read them, so no keys here.
        env: Variables of the environment beside those of this process; never written down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{LOCK}.start"):
        if state(folder) in ("running", "ended"):
            return
        (folder / CANCEL).unlink(missing_ok=True)
        now = datetime.now(UTC)
        _write(folder, _Record(argv=[*argv], started=now, heartbeat=now))
        _launch(folder, {**os.environ, **(env or {})})


def state(folder: Path) -> State:
    """Whether there is a program, and whether it runs, has ended, or died without an exit code."""
    record = _read(folder)
    if record is None:
        return "none"
    if record.exit_code is not None:
        return "ended"
    return "running" if datetime.now(UTC) - record.heartbeat < STALE else "dead"


def exit_code(folder: Path) -> int | None:
    """What the program ended with, a signal as a negative number; None where it has not ended."""
    record = _read(folder)
    return record.exit_code if record else None


def seconds(folder: Path) -> float:
    """How long it has been running, or ran."""
    record = _read(folder)
    return (record.heartbeat - record.started).total_seconds() if record else 0.0


def log(folder: Path, last: int) -> str:
    """The last lines of what it said."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-last:])


def cancel(folder: Path) -> None:
    """End a running program with all that it started, and wait until it has ended."""
    if state(folder) == "none":
        return
    (folder / CANCEL).touch()
    while state(folder) == "running":
        time.sleep(LOOK_SECONDS)


def cancelled(folder: Path) -> bool:
    """Whether somebody asked for its end."""
    return (folder / CANCEL).exists()


def forget(folder: Path) -> None:
    """Make room for another start, where the program does not run; the log is kept and added to."""
    if state(folder) != "running":
        for name in (FILE, CANCEL):
            (folder / name).unlink(missing_ok=True)


def supervise(folder: Path) -> None:
    """Run the folder's program to its end; nothing where another process does so already."""
    try:
        with FileLock(folder / LOCK, blocking=False):
            _run(folder)
    except Timeout:
        # The machine slept, so that a living supervisor's heartbeat looked old for a moment.
        return


def _launch(folder: Path, env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "finetune_advisor.tuning.process", str(folder.resolve())]
    with (folder / LOG).open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    # Somebody has to wait for it, or it would stay a zombie after its end.
    threading.Thread(target=process.wait, daemon=True).start()


def _run(folder: Path) -> None:
    record = _read(folder)
    if record is None or record.exit_code is not None:
        return
    try:
        child = subprocess.Popen(record.argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_too)
    except OSError as error:
        print(f"{record.argv[0]} could not be started: {error.strerror}", file=sys.stderr)
        code, pid = NOT_FOUND, None
    else:
        code, pid = _watched(folder, child, record), child.pid
    now = datetime.now(UTC)
    _write(folder, record.model_copy(update={"pid": pid, "exit_code": code, "heartbeat": now}))


def _watched(folder: Path, child: subprocess.Popen[bytes], record: _Record) -> int:
    beat, deadline = 0.0, None
    while (code := child.poll()) is None:
        now = time.monotonic()
        if now - beat >= HEARTBEAT_SECONDS:
            beat = now
            # On a full disk the program itself has to say so; its supervisor waits on.
            with contextlib.suppress(OSError):
                _write(folder, record.model_copy(update={"pid": child.pid, "heartbeat": datetime.now(UTC)}))
        if deadline is None and cancelled(folder):
            deadline = now + PATIENCE_SECONDS
            _signal(child.pid, signal.SIGTERM)
        if deadline is not None and now > deadline:
            _signal(child.pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    # What the program started itself may have stayed behind.
    _signal(child.pid, signal.SIGKILL)
    return code


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _die_too() -> None:
    """Have the program end when its supervisor is killed, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _read(folder: Path) -> _Record | None:
    try:
        return _Record.model_validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write(folder: Path, record: _Record) -> None:
    partial = folder / f"{FILE}.partial"
    partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    os.replace(partial, folder / FILE)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
