"""Jobs with real processes: they end as a plain run does, whatever happens to them on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from finetune_advisor import case, experiment, jobs, models
from finetune_advisor.errors import BadInput, StoreProblem
from finetune_advisor.experiment.pace import Pace
from finetune_advisor.experiment.watch import DATA, REPORT, Event, Work
from finetune_advisor.jobs import Job
from finetune_advisor.records import Results
from finetune_advisor.report import document
from finetune_advisor.store import Store
from oracle import write_case

BROKEN = """
import os
from oracle import Oracle

class Broken(Oracle):
    def answer(self, batch):
        raise RuntimeError("refused with " + os.environ["TOY_API_KEY"])
"""
ONE_ARM = '[[arms]]\napproach = "zero_shot"\n'


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of the tests reach a worker as those of any other package do: by entry points."""
    monkeypatch.setitem(models.TABLE, "oracle", "oracle:Oracle")
    site = tmp_path / "site"
    (site / "toy-1.dist-info").mkdir(parents=True)
    (site / "toy-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy\nVersion: 1\n", encoding="utf-8"
    )
    entries = "[finetune_advisor.models]\noracle = oracle:Oracle\nbroken = broken:Broken\n"
    (site / "toy-1.dist-info" / "entry_points.txt").write_text(entries, encoding="utf-8")
    (site / "broken.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(Path(__file__).parent)]))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on jobs in this process, to their end: another one would first load all libraries again."""

    def launch(folder: Path, job: Job) -> None:
        jobs.serve(folder, job.id)

    monkeypatch.setattr("finetune_advisor.jobs._launch", launch)


def unguarded(seconds: float, **_: object) -> None:
    """Set no limit."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the oracle writes each question into that it was asked."""
    return tmp_path / "asked.log"


def toy(folder: Path, *, provider: str = "oracle", arms: str = "", extra: str = "", **options: object) -> Path:
    given = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    model = f'[[models]]\nname = "oracle"\nprovider = "{provider}"\noptions = {{ {given} }}\n'
    return write_case(folder, rows=90, model=model, arms=arms, extra=extra)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(folder: Path) -> Job:
    until(lambda: known(folder).state not in jobs.LIVE)
    return known(folder)


def known(folder: Path) -> Job:
    job = jobs.latest(folder)
    assert job is not None
    return job


def asked(log: Path) -> Counter[str]:
    return Counter(log.read_text(encoding="utf-8").split() if log.exists() else [])


def gone(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return True
    return False


def written(folder: Path) -> Results:
    return document.from_json((folder / "report" / "results.json").read_text(encoding="utf-8"))


def essence(results: Results) -> object:
    """Everything that must not depend on how often a run was interrupted."""
    arms = [(arm.name, arm.scores, arm.choices, arm.interval, arm.touches) for arm in results.arms]
    return arms, results.comparisons, results.side_effects, results.verdict.decision


def test_killed_paused_and_resumed_it_ends_as_a_plain_run_does(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = experiment.run(case.read(toy(tmp_path / "plain")))
    folder = toy(tmp_path / "c", log=str(log), pause=0.05)
    assert jobs.latest(folder) is None
    assert jobs.start(folder).state == "starting"
    with pytest.raises(StoreProblem, match="already"):
        jobs.start(folder)

    until(lambda: len(asked(log)) > 4 or known(folder).state not in jobs.LIVE)
    running = known(folder)
    assert running.state == "running" and running.pid, running.error
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: gone(running.pid))
    assert known(folder).state == "running"
    with monkeypatch.context() as later:
        later.setattr(jobs, "STALE", timedelta(0))
        assert known(folder).state == "stopped"
        assert "running" not in {step.state for step in known(folder).steps}
        jobs.resume(folder)

    before = len(asked(log))
    until(lambda: len(asked(log)) > before + 4 or known(folder).state not in jobs.LIVE)
    jobs.pause(folder)
    paused = ended(folder)
    assert (paused.state, paused.wanted, paused.error) == ("paused", None, "The run was paused before its end.")
    until(lambda: gone(paused.pid))
    half = asked(log)
    assert "waiting" in {step.state for step in paused.steps}
    assert "running" not in {step.state for step in paused.steps}

    jobs.resume(folder)
    done = ended(folder)
    assert (done.state, done.error) == ("done", "")
    assert done.id == paused.id and done.seconds > paused.seconds > running.seconds
    # Only the batch of 4 that was being answered when the process was killed is asked again.
    assert len(half) < len(asked(log)) and asked(log).total() - len(asked(log)) <= 4
    assert essence(written(folder)) == essence(plain)
    arms = {step.name: (step.score, step.interval, step.n) for step in done.steps if step.n}
    assert arms == {arm.name: (arm.score, arm.interval, arm.n) for arm in plain.arms}
    assert [done.steps[0].name, done.steps[-1].name] == [DATA, REPORT]
    assert {step.state for step in done.steps} == {"done"}
    assert (folder / "report" / "report.html").exists() and not list(folder.rglob("*.part"))


def test_the_time_limit_holds_in_the_middle_of_a_step(tmp_path: Path) -> None:
    warm, folder = toy(tmp_path / "warm", arms=ONE_ARM), toy(tmp_path / "c", arms=ONE_ARM, pause=1000)
    # The first run loads the libraries, which takes longer than the limit where the machine is busy.
    code = f"""
from pathlib import Path
from finetune_advisor import case, jobs
jobs.run(case.read(Path({str(warm)!r})))
jobs.run(case.read(Path({str(folder)!r})), minutes=0.1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == jobs.Ended.exit_code, done.stderr
    job = known(folder)
    assert job.state == "budget used up" and 3 <= job.seconds <= 6
    assert job.error == "The budget of 0.1 minutes is used up: 1 of 3 steps are finished."
    assert job.error in done.stderr and "Traceback" not in done.stderr


def test_the_money_ends_a_run_and_more_money_goes_on(
    tmp_path: Path, log: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The end by force, which the test above tries, would end the tests.
    monkeypatch.setattr(jobs, "LAST_SECONDS", -600.0)
    monkeypatch.setattr("faulthandler.dump_traceback_later", unguarded)
    priced = "[money]\nusd_per_machine_hour = 3600\n"
    folder = toy(tmp_path / "c", arms=ONE_ARM, extra=priced, log=str(log), pause=0.5)
    jobs.start(folder, usd=Decimal(6), minutes=60)
    spent = known(folder)
    assert spent.state == "budget used up" and spent.error.startswith("The budget of $6 is used up:")
    assert "higher budget" in spent.hint
    assert spent.usd_spent >= 3 and spent.usd_left == max(0, 6 - spent.usd_spent)
    with pytest.raises(BadInput, match="used up already"):
        jobs.resume(folder, usd=spent.usd_spent)
    jobs.resume(folder, usd=Decimal(1000))
    done = known(folder)
    assert (done.state, done.usd, done.minutes) == ("done", 1000, 60)
    assert done.seconds > spent.seconds
    assert max(asked(log).values()) == 1


def test_cancelled_it_keeps_what_was_answered(tmp_path: Path, log: Path) -> None:
    folder = toy(tmp_path / "c", arms=ONE_ARM, log=str(log), pause=0.5)

    def enough(what: str, done: int, total: int) -> None:
        if what == "Zero-shot: test" and done == 4:
            jobs.cancel(folder)

    with pytest.raises(jobs.Ended, match="cancelled"):
        jobs.run(case.read(folder), enough)
    assert known(folder).state == "cancelled"
    with pytest.raises(StoreProblem, match="no run"):
        jobs.resume(folder)
    before = asked(log)
    jobs.run(case.read(folder))
    assert known(folder).state == "done"
    assert before.total() < asked(log).total() and max(asked(log).values()) == 1


def test_a_job_that_could_go_on_can_be_given_up(tmp_path: Path, here: None) -> None:
    folder = toy(tmp_path / "c", provider="broken", arms=ONE_ARM)
    jobs.start(folder)
    assert known(folder).state == "failed"
    jobs.pause(folder)
    assert known(folder).state == "failed"
    jobs.cancel(folder)
    assert known(folder).state == "cancelled"


def test_a_second_process_is_refused(tmp_path: Path, here: None) -> None:
    folder = toy(tmp_path / "c", arms=ONE_ARM)
    with Store(folder) as store, store.exclusive():
        jobs.start(folder)
    job = known(folder)
    assert job.state == "failed" and job.error.startswith("Another run is using")
    assert job.hint
    jobs.resume(folder)
    assert known(folder).state == "done"


def test_two_processes_on_one_job_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = toy(tmp_path / "c", arms=ONE_ARM)
    states: list[str] = []

    def again(what: str, done: int, total: int) -> None:
        jobs.serve(folder, known(folder).id)
        states.append(known(folder).state)

    jobs.run(case.read(folder), again)
    assert set(states) == {"running"}
    assert known(folder).state == "done"


def test_changed_data_are_locked_again_once(tmp_path: Path, here: None) -> None:
    folder = toy(tmp_path / "c", arms=ONE_ARM)
    jobs.start(folder)
    data = folder / "examples.jsonl"
    data.write_text("\n".join(data.read_text(encoding="utf-8").splitlines()[:-9]) + "\n", encoding="utf-8")
    jobs.start(folder)
    assert known(folder).state == "failed" and "locked" in known(folder).error
    jobs.start(folder, relock=True)
    assert known(folder).state == "done" and not known(folder).relock
    with Store(folder) as store:
        assert len(store.locks()) == 2


def test_a_failing_model_is_said_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_API_KEY", "sk-very-secret")
    folder = toy(tmp_path / "c", provider="broken", arms=ONE_ARM)
    jobs.start(folder)
    job = ended(folder)
    assert job.state == "failed" and "unexpected error (RuntimeError)" in job.error
    assert [step.state for step in job.steps] == ["done", "failed", "waiting"]
    assert job.steps[1].reason == job.error
    until(lambda: gone(job.pid))
    said = (folder / jobs.LOG).read_text(encoding="utf-8")
    assert "RuntimeError: refused with ***" in said
    assert b"sk-very-secret" not in b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_process_that_cannot_even_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    folder = toy(tmp_path / "c")
    jobs.start(folder)
    job = ended(folder)
    assert (job.state, job.error) == ("failed", "The run could not be started.")


def test_bad_cases_and_limits_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        jobs.start(tmp_path)
    folder = toy(tmp_path / "c")
    for minutes in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="above 0"):
            jobs.start(folder, minutes=minutes)
    with pytest.raises(BadInput, match="above 0"):
        jobs.start(folder, usd=Decimal(0))
    assert jobs.latest(folder) is None
    assert jobs.pause(folder) is None


def test_a_run_in_the_terminal_is_a_job_too(tmp_path: Path) -> None:
    folder = toy(tmp_path / "c", arms=ONE_ARM)
    seen: list[str] = []
    results = jobs.run(case.read(folder), lambda what, done, total: seen.append(what))
    assert results.arms and "Zero-shot: test" in seen
    assert known(folder).state == "done" and known(folder).pid == os.getpid()

    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(case.read(folder), interrupt)
    assert known(folder).state == "paused"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def paced() -> tuple[Pace, Callable[..., None]]:
    """A pace, and a function that says what was done that many seconds later."""
    clock = Clock()
    pace = Pace(clock=clock)
    pace.watch(Event(step="A", state="waiting", work=Work(answers=10)))
    pace.watch(Event(step="B", state="waiting", work=Work(answers=20, trainings=2)))

    def later(seconds: float, what: str, done: int, total: int) -> None:
        clock.now += seconds
        pace.progress(what, done, total)

    return pace, later


def left(pace: Pace) -> dict[str, float | None]:
    return {step.name: step.seconds_left for step in pace.steps()}


def test_time_left_is_reckoned_from_what_was_measured_or_not_told() -> None:
    pace, later = paced()
    assert left(pace) == {"A": None, "B": None}
    pace.watch(Event(step="A", state="running", work=Work(answers=8)))
    later(5, "A: test", 2, 10)
    assert left(pace)["A"] is None
    later(6, "A: test", 4, 10)
    assert left(pace) == {"A": 6 * 3, "B": None}
    later(18, "A: test", 10, 10)
    pace.watch(Event(step="A", state="done"))
    assert pace.steps()[0].seconds == 5 + 6 + 18
    pace.watch(Event(step="B", state="running", work=Work(answers=20, trainings=2)))
    later(0, "B: training", 0, 5)
    assert pace.seconds_left() is None
    later(10, "B: training", 1, 5)
    assert pace.seconds_left() == 9 * 10 + 20 * 3
    later(40, "B: training", 5, 5)
    assert pace.seconds_left() == 5 * 10 + 20 * 3
    later(0, "B: validation", 0, 20)
    later(20, "B: validation", 10, 20)
    assert pace.seconds_left() == 5 * 10 + 10 * 2


def test_a_step_counts_the_seconds_of_earlier_processes() -> None:
    clock = Clock()
    first = Pace(clock=clock)
    first.watch(Event(step="A", state="running"))
    clock.now = 7
    second = Pace(first.steps(), clock=clock)
    second.watch(Event(step="A", state="running"))
    clock.now = 10
    assert [step.seconds for step in second.steps()] == [10]
