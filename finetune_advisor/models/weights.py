"""One set of base weights in memory, shared by every adapter that is put on it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune_advisor.errors import AdvisorError, BadInput, Missing, require
from finetune_advisor.models.chat import ChatFormat, stop_tokens
from finetune_advisor.models.generation import GreedyGenerator
from finetune_advisor.models.hardware import Dtype, Module, Tokenizer, device_for, dtype_for, use_physical_cores
from finetune_advisor.models.quiet import quiet


class Weights:
    """A model's tokenizer, settings and weights, each loaded when it is first needed, and once.

    Args:
        source: Hugging Face id or local folder.
        dtype: Number format, or "auto".
        device: Device, or "auto".
    """

    def __init__(self, source: str, dtype: str, device: str) -> None:
        self.source = source
        self._dtype = dtype
        self._device = device
        self._adapters: dict[Path, str] = {}
        self._adapted: Any = None

    @cached_property
    def device(self) -> str:
        """Where it runs."""
        return device_for(self._device)

    @cached_property
    def dtype(self) -> Dtype:
        """The number format it runs in, a torch dtype."""
        return dtype_for(self._dtype, self.device)

    @cached_property
    def config(self) -> Any:
        """The model's settings."""
        return loaded("AutoConfig", self.source)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return loaded("AutoTokenizer", self.source)

    @cached_property
    def chat(self) -> ChatFormat:
        """How conversations become tokens."""
        return ChatFormat(self.tokenizer)

    @cached_property
    def model(self) -> Module:
        """The base model, ready to answer."""
        use_physical_cores()
        return placed(loaded("AutoModelForCausalLM", self.source, dtype=self.dtype), self.device, self.source).eval()

    @cached_property
    def generator(self) -> GreedyGenerator:
        """Generation with these weights."""
        return GreedyGenerator(self.model, stop_tokens(self.model, self.tokenizer))

    @contextmanager
    def with_adapter(self, folder: Path | None) -> Generator[Module]:
        """The model with that adapter on it, or bare with None.

        Raises:
            Missing: There is no adapter in the folder.
        """
        if folder is not None:
            self._activate(folder)
            yield self._adapted
        elif self._adapted is None:
            yield self.model
        else:
            with self._adapted.disable_adapter():
                yield self.model

    def _activate(self, folder: Path) -> None:
        if folder not in self._adapters:
            self._load_adapter(folder)
        with quiet():
            self._adapted.set_adapter(self._adapters[folder])

    def _load_adapter(self, folder: Path) -> None:
        if not (folder / "adapter_config.json").is_file():
            raise Missing(f"There is no adapter in {folder}.", hint="Train it first: run the case again.")
        name = f"adapter{len(self._adapters)}"
        # The adapter runs in the base's number format: peft's own choice, float32, costs a third of the speed.
        with quiet(), _sentences(str(folder)):
            if self._adapted is None:
                peft = require("peft", extra="local")
                self._adapted = peft.PeftModel.from_pretrained(
                    self.model, str(folder), adapter_name=name, autocast_adapter_dtype=False
                )
            else:
                self._adapted.load_adapter(str(folder), adapter_name=name, autocast_adapter_dtype=False)
        # To the device only: a number format would be given to the base's float32 position frequencies too.
        self._adapted.to(self.device).eval()
        self._adapters[folder] = name


def loaded(kind: str, source: str, **options: Any) -> Any:
    """Something of transformers' out of a local folder or from the hub; code that comes with a model is never run.

    Args:
        kind: Name of the transformers class.
        source: Hugging Face id or local folder.
        options: Passed on.

    Raises:
        Missing: It is neither on this machine nor to be had from the hub.
        BadInput: It is there but is no such thing.
    """
    transformers = require("transformers", extra="local")
    with quiet(), _sentences(source):
        return getattr(transformers, kind).from_pretrained(source, trust_remote_code=False, **options)


def placed(model: Module, device: str, source: str) -> Module:
    """The model on its device.

    Raises:
        BadInput: It does not fit into the device's memory.
    """
    torch = require("torch", extra="local")
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        hint = 'Take a smaller model, or set device = "cpu".'
        raise BadInput(f"The model {source} does not fit into the memory of {device}.", hint=hint) from error


@contextmanager
def _sentences(source: str) -> Generator[None]:
    """Turn what transformers and the hub raise into one sentence."""
    try:
        yield
    except AdvisorError:
        raise
    except MemoryError as error:
        raise BadInput(f"The model {source} does not fit into memory.", hint="Take a smaller model.") from error
    except (OSError, ValueError, KeyError) as error:
        raise _explained(source, error) from error


def _explained(source: str, error: Exception) -> AdvisorError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if Path(source).is_dir():
        return BadInput(f"The folder {source} holds no model that can be loaded ({reason}).")
    hint = (
        "Check the id at https://huggingface.co/models, run `hf auth login` if access to it is restricted, "
        "or give the folder of a model on this machine."
    )
    return Missing(f"There is no model {source!r} on this machine, and it could not be fetched.", hint=hint)
