"""The fine-tuning API of one account at OpenAI or Azure: every call with its limits, its errors in plain words.

What is read may be asked for again without harm. What is made (a file, a job) is looked for before it is made once
more, for a call whose answer got lost may have been done all the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import openai
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from finetune_advisor.errors import AdvisorError, BadInput, Missing
from finetune_advisor.models import waiting
from finetune_advisor.models.accounts import Account
from finetune_advisor.models.connection import FREE, Unavailable, refused
from finetune_advisor.tuning.closed import closed
from finetune_advisor.tuning.hosted_options import TAG
from finetune_advisor.tuning.hosted_status import state_of

T = TypeVar("T")

MOST_TRIES = 8
MOST_DENIALS = 3
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
CALL_SECONDS = 60.0
UPLOAD_SECONDS = 1800.0
LOOK_SECONDS = 5.0
MOST_LOOKS = 360
"""Looks at a file that Azure is still reading; half an hour in all."""

CLOSED = "training_not_available"


class _Lost(Exception):
    """No answer, or none that says whether the call was done; `after` is when the server wants to be asked again."""

    def __init__(self, reason: str, *, after: float | None = None, denied: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.denied = denied


class _NotFound(BadInput):
    """The provider does not know it."""


class _Closed(Exception):
    """The provider starts no trainings for this organisation."""


class FineTuningApi:
    """Files and fine-tuning jobs of one account.

    Raises:
        Missing: From every call: key or rights are missing.
        Unavailable: From every call: the provider gives no usable answer, however often it is asked.
        BadInput: From every call: the provider refuses what is asked.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client = account.client(CALL_SECONDS)
        weakref.finalize(self, self._client.close)
        self._jobs = self._client.fine_tuning.jobs

    def file(self, name: str, data: bytes) -> str:
        """The id of the file of that name and length, uploaded where there is none, once a job can use it."""
        found = self._once(lambda: self._file_named(name, len(data)), lambda: self._upload(name, data))
        return self._usable(found)

    def find(self, key: str, files: Iterable[str] = ()) -> FineTuningJob | None:
        """The newest job of a training, failed and cancelled ones left out.

        Args:
            key: Stands in the job's metadata.
            files: Ids of its training files, for a provider that keeps no metadata.
        """
        ids = set(files)
        jobs = self._ask(lambda: list(self._jobs.list(limit=100)))
        return next((job for job in jobs if _is_of(job, key, ids) and not is_over(job)), None)

    def create(self, key: str, body: Mapping[str, Any]) -> FineTuningJob:
        """Create a job, unless one of that key is there already.

        Raises:
            TrainingClosed: The organisation may not tune any more.
        """
        files = [str(body["training_file"])]
        try:
            return self._once(lambda: self.find(key, files), lambda: self._jobs.create(**body))
        except _Closed:
            raise closed(self._account.provider, str(body["model"])) from None
        except _NotFound:
            raise BadInput(
                f"{self._account.host} has no model {body['model']} that can be tuned, or no fine-tuning.",
                hint="Check the model's name; the page Costs shows which models can be tuned where.",
            ) from None

    def job(self, id: str) -> FineTuningJob | None:
        """The job as it stands, None where the account has none of that id."""
        try:
            return self._ask(lambda: self._jobs.retrieve(id))
        except _NotFound:
            return None

    def events(self, id: str) -> list[FineTuningJobEvent]:
        """All events of a job, the oldest first."""
        return self._ask(lambda: list(self._jobs.list_events(id, limit=100)))[::-1]

    def checkpoints(self, id: str) -> list[FineTuningJobCheckpoint]:
        """All checkpoints of a job; none where the provider does not list them."""
        try:
            return self._ask(lambda: list(self._jobs.checkpoints.list(id, limit=100)))
        except _NotFound:
            return []

    def results(self, job: FineTuningJob) -> bytes:
        """The first results file of a job; empty where there is none."""
        if not job.result_files:
            return b""
        try:
            return self._ask(lambda: self._client.files.content(job.result_files[0]).content)
        except _NotFound:
            return b""

    def cancel(self, id: str) -> None:
        """End a job."""
        self._ask(lambda: self._jobs.cancel(id))

    def pause(self, id: str) -> None:
        """Let a job rest."""
        self._ask(lambda: self._jobs.pause(id))

    def resume(self, id: str) -> None:
        """Let a paused job go on."""
        self._ask(lambda: self._jobs.resume(id))

    def _file_named(self, name: str, size: int) -> FileObject | None:
        files = self._ask(lambda: list(self._client.files.list(purpose="fine-tune")))
        same = (file for file in files if file.filename == name and (file.bytes or size) == size)
        return next((file for file in same if _is_sound(file)), None)

    def _upload(self, name: str, data: bytes) -> FileObject:
        return self._client.files.create(file=(name, data), purpose="fine-tune", timeout=UPLOAD_SECONDS)

    def _usable(self, file: FileObject) -> str:
        """Azure reads a file for a while before a job may use it; OpenAI's can be used at once."""
        for _ in range(MOST_LOOKS):
            if str(file.status) not in ("pending", "running", "notRunning"):
                break
            waiting.wait(LOOK_SECONDS)
            file = self._ask(partial(self._client.files.retrieve, file.id))
        if not _is_sound(file):
            said = self._account.scrubbed(str(file.status_details or ""))[:300]
            raise BadInput(f"{self._account.host} does not take the file {file.filename}.", hint=said)
        return file.id

    def _once(self, find: Callable[[], T | None], make: Callable[[], T]) -> T:
        """What is there already, else what is made; looked for anew before every further try."""

        def either() -> T:
            found = find()
            return self._answered(make) if found is None else found

        return self._tried(either)

    def _ask(self, call: Callable[[], T]) -> T:
        return self._tried(lambda: self._answered(call))

    def _tried(self, call: Callable[[], T]) -> T:
        denials, wait, why = 0, FIRST_WAIT_SECONDS, ""
        for _ in range(MOST_TRIES):
            try:
                return call()
            except _Lost as error:
                denials, why = denials + error.denied, str(error)
                if denials == MOST_DENIALS:
                    raise self._denied(why) from None
                waiting.wait(min(wait if error.after is None else error.after, LONGEST_WAIT_SECONDS))
                wait *= 2
        raise Unavailable(
            f"{self._account.host} gives no usable answer: {why}.",
            hint="Run the same again later: what was started goes on, and is found again.",
        )

    def _answered(self, call: Callable[[], T]) -> T:
        try:
            answer = call()
        except openai.APIStatusError as error:
            raise self._said_no(error) from None
        except openai.APIConnectionError:
            raise _Lost("no reply, or not the whole of it") from None
        except ValueError:
            raise _Lost("a reply that is not JSON") from None
        if isinstance(answer, str):
            raise _Lost("a reply that is not JSON")
        return answer

    def _said_no(self, error: openai.APIStatusError) -> Exception:
        answer = refused(self._account, error.status_code, error.body, error.response.headers)
        if answer.code == CLOSED:
            return _Closed()
        if answer.status == 404:
            return _NotFound(f"{self._account.host} does not know this: {answer.message}")
        if answer.code in ("insufficient_quota", "exceeded_quota", "billing_not_active"):
            return Missing(f"{self._account.host}: {answer.message}", hint="The account needs credit.")
        if answer.status in (401, 403):
            return _Lost(answer.message, denied=True)
        if answer.status in FREE or answer.status >= 500:
            return _Lost(f"it answered {answer.status}", after=waiting.retry_after(answer.headers))
        return BadInput(f"{self._account.host} refuses: {answer.message}", hint="Mend what is named, and start again.")

    def _denied(self, why: str) -> AdvisorError:
        return Missing(
            f"{self._account.host} does not accept the login: {why}",
            hint=f"Check {self._account.secret or 'your login'}, and that it may use files and fine-tuning.",
        )


def is_over(job: FineTuningJob) -> bool:
    """Whether it has ended without a model."""
    return state_of(job) in ("failed", "cancelled")


def _is_of(job: FineTuningJob, key: str, files: set[str]) -> bool:
    return job.training_file in files or (job.metadata or {}).get(TAG) == key


def _is_sound(file: FileObject) -> bool:
    return str(file.status) not in ("error", "failed", "deleting", "deleted")
