"""What each endpoint does, whichever of the URL shapes it was reached by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from openai.types import Model as ListedModel
from openai.types import ModelDeleted
from pydantic import BaseModel

from finetune_advisor.emulator import completions, uploads
from finetune_advisor.emulator.answers import Answers, spoiled
from finetune_advisor.emulator.batches import Batches
from finetune_advisor.emulator.deployments import Deployments
from finetune_advisor.emulator.embeddings import embeddings
from finetune_advisor.emulator.jobs import Jobs
from finetune_advisor.emulator.state import LISTED, ApiError, Charge, State
from finetune_advisor.emulator.validate import check

CREATED = 1_700_000_000
"""The day that every listed model claims to be from; OpenAI's true ones are not needed for anything."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that was let through. `fault` is what goes wrong with it; `azure` marks Azure's URL shapes."""

    path: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: object = None
    upload: tuple[str, str, bytes] | None = None
    fault: str = ""
    azure: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent: JSON, bytes of a file, or events of a stream; and what a provider would have billed for it.

    `specified` is False for what OpenAI does and its specification does not know.
    """

    body: dict[str, Any] | bytes | None = None
    events: Iterator[BaseModel] | None = None
    charge: Charge | None = None
    status: int = 200
    specified: bool = True


AZURE_KEYS = ("trainingType",)
"""What Azure takes for a training beside what OpenAI takes."""

ACCOUNT = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.CognitiveServices/accounts/{account}"
)
"""The path of an Azure resource in the management API."""

Handler = Callable[[Call], Answer]


class Endpoints:
    """The endpoints by name.

    Args:
        state: What is behind them.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._answers = Answers(state)
        self.jobs = Jobs(state)
        self.deployments = Deployments(state)
        self.batches = Batches(state, self._ask)

    def close(self) -> None:
        """Stop what runs in the background."""
        self.batches.close()
        self.jobs.close()

    def models(self, call: Call) -> Answer:
        """All models, ours last."""
        names = [*LISTED, *self._state.tuned]
        rows = [self._model(name) for name in names if name not in self._state.retired]
        return Answer(body={"object": "list", "data": rows})

    def model(self, call: Call) -> Answer:
        """One model."""
        self._state.answering(call.path["model"])
        return Answer(body=self._model(call.path["model"]))

    def delete_model(self, call: Call) -> Answer:
        """Delete a tuned model; its adapter stays on disk."""
        name = call.path["model"]
        self._state.answering(name)
        if name not in self._state.tuned:
            raise ApiError(403, f"The model {name} is not yours to delete.", code="forbidden")
        self._state.retire(name)
        return Answer(body=completions.dumped(ModelDeleted(id=name, object="model", deleted=True)))

    def chat(self, call: Call) -> Answer:
        """A chat completion."""
        body = check("chat", self._addressed(call))
        given = self._answers.chat(body)
        shown = spoiled(given) if call.fault == "wrong_usage" else given
        if body.get("stream"):
            options: dict[str, Any] = body.get("stream_options") or {}
            events = completions.chunks(shown, with_usage=bool(options.get("include_usage")))
            return Answer(events=events, charge=given.charge("chat"))
        return Answer(body=completions.dumped(completions.completion(shown)), charge=given.charge("chat"))

    def responses(self, call: Call) -> Answer:
        """A response."""
        body = check("responses", self._addressed(call))
        given = self._answers.respond(body)
        shown = spoiled(given) if call.fault == "wrong_usage" else given
        return Answer(body=completions.dumped(completions.response(shown, body)), charge=given.charge("responses"))

    def embeddings(self, call: Call) -> Answer:
        """Embeddings."""
        asked = check("embeddings", self._addressed(call))
        body, charge = embeddings(self._state, asked)
        if call.fault == "wrong_usage":
            body["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
        return Answer(body=body, charge=charge, specified=asked.get("encoding_format") != "base64")

    def create_file(self, call: Call) -> Answer:
        """Take a file."""
        if call.upload is None:
            raise ApiError(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
        return _said(uploads.upload(self._state, *call.upload))

    def files(self, call: Call) -> Answer:
        """A page of the files."""
        return Answer(body=uploads.listed(self._state, call.query))

    def file(self, call: Call) -> Answer:
        """What is known of a file."""
        return _said(uploads.shown(self._state.file(call.path["file_id"])))

    def file_content(self, call: Call) -> Answer:
        """What is in a file."""
        return Answer(body=self._state.file(call.path["file_id"]).path.read_bytes())

    def delete_file(self, call: Call) -> Answer:
        """Delete a file."""
        return _said(uploads.delete(self._state, call.path["file_id"]))

    def create_job(self, call: Call) -> Answer:
        """Start a training."""
        body = _object(call.body)
        azures = {key: body.pop(key) for key in AZURE_KEYS if call.azure and key in body}
        check("jobs", body)
        with self._state.lock:
            self._state.next_job_fails = call.fault == "job_fails"
            return _said(self.jobs.create({**body, **azures}, azure=call.azure))

    def list_jobs(self, call: Call) -> Answer:
        """A page of the trainings, of those with some metadata where that is asked for."""
        wanted = {key[9:-1]: value for key, value in call.query.items() if key.startswith("metadata[")}
        return Answer(body=self.jobs.list(call.query.get("after"), uploads.number(call.query, "limit", 20), wanted))

    def job(self, call: Call) -> Answer:
        """How a training stands."""
        return _said(self.jobs.retrieve(call.path["fine_tuning_job_id"]))

    def cancel_job(self, call: Call) -> Answer:
        """End a training."""
        return _said(self.jobs.cancel(call.path["fine_tuning_job_id"]))

    def pause_job(self, call: Call) -> Answer:
        """Halt a training."""
        return _said(self.jobs.pause(call.path["fine_tuning_job_id"]))

    def resume_job(self, call: Call) -> Answer:
        """Let a training go on."""
        return _said(self.jobs.resume(call.path["fine_tuning_job_id"]))

    def job_events(self, call: Call) -> Answer:
        """What happened in a training."""
        limit = uploads.number(call.query, "limit", 20)
        return Answer(body=self.jobs.events(call.path["fine_tuning_job_id"], call.query.get("after"), limit))

    def job_checkpoints(self, call: Call) -> Answer:
        """States of the model in between."""
        limit = uploads.number(call.query, "limit", 10)
        return Answer(body=self.jobs.checkpoints(call.path["fine_tuning_job_id"], call.query.get("after"), limit))

    def create_batch(self, call: Call) -> Answer:
        """Start a batch."""
        return _said(self.batches.create(check("batches", call.body)))

    def list_batches(self, call: Call) -> Answer:
        """A page of the batches."""
        return Answer(body=self.batches.listed(call.query))

    def batch(self, call: Call) -> Answer:
        """How a batch stands."""
        return _said(self.batches.retrieve(call.path["batch_id"]))

    def cancel_batch(self, call: Call) -> Answer:
        """End a batch."""
        return _said(self.batches.cancel(call.path["batch_id"]))

    def put_deployment(self, call: Call) -> Answer:
        """Deploy a model at Azure."""
        status, body = self.deployments.put(call.path["name"], _object(call.body), ACCOUNT.format(**call.path))
        return Answer(body=body, status=status)

    def deployment(self, call: Call) -> Answer:
        """A deployment."""
        return Answer(body=self.deployments.get(call.path["name"]))

    def list_deployments(self, call: Call) -> Answer:
        """All deployments."""
        return Answer(body=self.deployments.list())

    def delete_deployment(self, call: Call) -> Answer:
        """End a deployment."""
        return Answer(status=self.deployments.delete(call.path["name"]))

    def _model(self, name: str) -> dict[str, Any]:
        owner = "user" if name in self._state.tuned else "system"
        day = LISTED.get(name)
        shutdown = day.isoformat() if day else None
        return completions.dumped(
            ListedModel(id=name, object="model", created=CREATED, owned_by=owner, shutdown_date=shutdown)
        )

    def _addressed(self, call: Call) -> object:
        """The body with the model in it: at Azure a deployment is named, in the path or as if it were the model."""
        if not call.azure:
            return call.body
        body = _object(call.body)
        name = call.path.get("deployment") or body.get("model")
        if not isinstance(name, str):
            raise ApiError(400, "No deployment is named.", code="BadRequest", param="model")
        return {**body, "model": self.deployments.model_of(name)}

    def _ask(self, endpoint: str, body: object) -> tuple[dict[str, Any], Charge]:
        """Answer one request of a batch."""
        handler = {"/v1/chat/completions": self.chat, "/v1/responses": self.responses}.get(endpoint, self.embeddings)
        answer = handler(Call(body=body, azure=self._is_deployment(body)))
        if not isinstance(answer.body, dict) or answer.charge is None:
            raise ApiError(400, "A batch takes no streams.", param="stream", code="invalid_value")
        return answer.body, answer.charge

    def _is_deployment(self, body: object) -> bool:
        try:
            self.deployments.model_of(str(_object(body).get("model")))
        except ApiError:
            return False
        return True


def _object(body: object) -> dict[str, Any]:
    """A copy of a body that has to be a JSON object."""
    if not isinstance(body, dict):
        raise ApiError(400, "We could not parse the JSON body of your request: it has to be an object.")
    return dict(cast(dict[str, Any], body))


def _said(value: BaseModel) -> Answer:
    return Answer(body=completions.dumped(value))
