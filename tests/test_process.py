"""A process that outlives its starter: what its folder says of it, and that it ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from finetune_advisor.errors import require
from finetune_advisor.tuning import process

FOREVER = "import time\ntime.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that will be so soon."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


def ended(folder: Path) -> bool:
    return process.state(folder) == "ended"


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    psutil = require("psutil", extra="local")
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_runs_to_its_end_and_only_once(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert (process.state(folder), process.exit_code(folder), process.log(folder, 9)) == ("none", None, "")
    for _ in range(3):
        process.start(folder, python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert process.state(folder) in ("running", "ended")
    until(lambda: ended(folder))
    process.start(folder, python("print('again')"))
    assert process.exit_code(folder) == 3
    assert sorted(process.log(folder, 9).split()) == ["err", "out"]
    assert process.seconds(folder) >= 0 and not process.cancelled(folder)


def test_after_forgetting_it_can_be_started_again(tmp_path: Path) -> None:
    process.start(tmp_path, python("print('first')"))
    process.forget(tmp_path)
    assert process.state(tmp_path) != "none", "what runs is not forgotten"
    until(lambda: ended(tmp_path))
    process.forget(tmp_path)
    assert process.state(tmp_path) == "none"
    process.start(tmp_path, python("print('second')"))
    until(lambda: ended(tmp_path))
    assert process.log(tmp_path, 9).split() == ["first", "second"]


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    process.start(tmp_path, ["/no/such/program"])
    until(lambda: ended(tmp_path))
    assert process.exit_code(tmp_path) == process.NOT_FOUND
    assert "/no/such/program could not be started" in process.log(tmp_path, 1)


def test_the_environment_reaches_the_program_and_no_file(tmp_path: Path) -> None:
    process.start(tmp_path, python("import os; print(len(os.environ['A_TOKEN']))"), env={"A_TOKEN": "s3cret-value"})
    until(lambda: ended(tmp_path))
    assert process.log(tmp_path, 1) == "12"
    assert not any(b"s3cret-value" in file.read_bytes() for file in tmp_path.iterdir())


def test_cancelling_ends_what_the_program_started_too(tmp_path: Path) -> None:
    code = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True)\n"
    process.start(tmp_path, python(code + FOREVER))
    until(lambda: bool(process.log(tmp_path, 1)))
    grandchild = int(process.log(tmp_path, 1))
    process.cancel(tmp_path)
    assert (process.state(tmp_path), process.cancelled(tmp_path)) == ("ended", True)
    assert process.exit_code(tmp_path) == -signal.SIGTERM
    until(lambda: not lives(grandchild))


def test_a_program_that_ignores_the_friendly_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.2)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w').close()\n"
    monkeypatch.chdir(tmp_path)
    now = datetime.now(UTC).isoformat()
    record = {"argv": python(deaf + FOREVER), "started": now, "heartbeat": now}
    (tmp_path / process.FILE).write_text(json.dumps(record), encoding="utf-8")
    supervisor = threading.Thread(target=process.supervise, args=(tmp_path,))
    supervisor.start()
    until((tmp_path / "ready").exists)
    process.cancel(tmp_path)
    supervisor.join()
    assert process.exit_code(tmp_path) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a program with its supervisor")
def test_a_killed_supervisor_leaves_nothing_behind_and_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os\nprint(os.getpid(), os.getppid(), flush=True)\n"
    process.start(tmp_path, python(code + FOREVER))
    until(lambda: bool(process.log(tmp_path, 1)))
    program, supervisor = map(int, process.log(tmp_path, 1).split())
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not lives(program))
    assert process.state(tmp_path) == "running", "for a while nobody can know"
    monkeypatch.setattr(process, "STALE", timedelta(0))
    assert (process.state(tmp_path), process.exit_code(tmp_path)) == ("dead", None)
    process.cancel(tmp_path)
    monkeypatch.setattr(process, "STALE", timedelta(seconds=30))
    process.forget(tmp_path)
    assert process.state(tmp_path) == "running", "its heartbeat is young"


def test_one_that_died_is_started_again(tmp_path: Path) -> None:
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    record = {"argv": ["gone"], "started": long_ago, "heartbeat": long_ago}
    (tmp_path / process.FILE).write_text(json.dumps(record), encoding="utf-8")
    assert process.state(tmp_path) == "dead"
    process.start(tmp_path, python("print('back')"))
    until(lambda: ended(tmp_path))
    assert (process.exit_code(tmp_path), process.log(tmp_path, 1)) == (0, "back")


def test_of_two_supervisors_one_works(tmp_path: Path) -> None:
    now = datetime.now(UTC).isoformat()
    record = {"argv": python("print('twice')"), "started": now, "heartbeat": now}
    (tmp_path / process.FILE).write_text(json.dumps(record), encoding="utf-8")
    with FileLock(tmp_path / process.LOCK):
        process.supervise(tmp_path)
    assert (process.state(tmp_path), process.exit_code(tmp_path)) == ("running", None)


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / process.LOG).write_bytes(b"x" * 100_000 + b"\nstep 1\rstep 2\n\xff done\n")
    assert process.log(tmp_path, 2) == "step 2\n\ufffd done"


def test_a_broken_record_is_none(tmp_path: Path) -> None:
    (tmp_path / process.FILE).write_text("{", encoding="utf-8")
    assert (process.state(tmp_path), process.seconds(tmp_path)) == ("none", 0.0)
