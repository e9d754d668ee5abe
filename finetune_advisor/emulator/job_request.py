"""What a client asks for when it creates a fine-tuning job, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from openai.types.fine_tuning import FineTuningJobWandbIntegrationObject
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_advisor.emulator.state import TUNABLE, ApiError, State

Auto = Literal["auto"]
_Label = Annotated[str, Field(max_length=64)]
_Text = Annotated[str, Field(max_length=512)]

AZURE_SUFFIX = 18
"""The longest suffix at Azure, where it may not hold dots either."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hyperparameters(_Strict):
    """Numbers, or "auto" for what the data suggests."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50, strict=True)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256, strict=True)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, strict=True)] = "auto"


class _Supervised(_Strict):
    hyperparameters: Hyperparameters = Hyperparameters()


class _Method(BaseModel):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: _Supervised = _Supervised()


class JobRequest(_Strict):
    """The body of a request to create a job; `trainingType` is Azure's."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: _Label | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] | None = None
    method: _Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: Annotated[list[FineTuningJobWandbIntegrationObject], Field(max_length=5)] | None = None
    metadata: Annotated[dict[_Label, _Text], Field(max_length=16)] | None = None
    training_type: str | None = Field(default=None, alias="trainingType")

    @property
    def wanted(self) -> Hyperparameters:
        """The hyperparameters in whichever of the two places they stand."""
        if self.method is not None:
            return self.method.supervised.hyperparameters
        return self.hyperparameters or Hyperparameters()


def parsed(body: Mapping[str, Any], state: State, *, azure: bool) -> JobRequest:
    """The request, with everything checked that can be checked at once.

    Args:
        body: What was sent.
        state: Knows files and models.
        azure: Whether Azure's narrower rules for suffixes hold.

    Raises:
        ApiError: 400, as OpenAI refuses it.
    """
    try:
        request = JobRequest.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from error
    _check_method(request)
    _check_suffix(request.suffix or "", azure=azure)
    model_to_tune(request.model, state)
    for param in ("training_file", "validation_file"):
        _check_file(getattr(request, param), param, state)
    return request


def model_to_tune(name: str, state: State) -> str:
    """The full name of the model that is to be tuned: a dated base, or a tuned model that is to be tuned further.

    Raises:
        ApiError: It cannot be tuned, or any more.
    """
    dated = next((known for known in TUNABLE if name in (known, known[: -len("-2025-04-14")])), name)
    known = dated in TUNABLE or (dated in state.tuned and base_of(dated) in TUNABLE)
    if not known or {dated, base_of(dated)} & state.retired:
        message = f"Model {name} is not available for fine-tuning or does not exist."
        raise ApiError(400, message, code="model_not_available", param="model")
    return dated


def base_of(model: str) -> str:
    """The base in the name of a tuned model, in OpenAI's form or in Azure's; any other name as it is."""
    return model.split(":")[1] if model.startswith("ft:") else model.partition(".ft-")[0]


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if not isinstance(part, int)) or None
    return ApiError(400, f"Invalid value for '{param}': {first['msg']}.", code="invalid_value", param=param)


def _check_method(request: JobRequest) -> None:
    kind = request.method.type if request.method else "supervised"
    if kind != "supervised":
        message = f"This emulator trains by the method 'supervised' only, not by '{kind}'."
        raise ApiError(400, message, code="unsupported_value", param="method.type")


def _check_suffix(suffix: str, *, azure: bool) -> None:
    if azure and (len(suffix) > AZURE_SUFFIX or "." in suffix):
        message = f"A suffix has at most {AZURE_SUFFIX} characters and no dots."
        raise ApiError(400, message, code="invalid_value", param="suffix")


def _check_file(id: str | None, param: str, state: State) -> None:
    if id is None:
        return
    try:
        file = state.file(id)
    except ApiError as error:
        raise ApiError(400, f"invalid {param}: {id}", code="invalid_value", param=param) from error
    if file.purpose != "fine-tune":
        message = f"The purpose of the file {id} is '{file.purpose}'; it has to be 'fine-tune'."
        raise ApiError(400, message, code="invalid_value", param=param)
