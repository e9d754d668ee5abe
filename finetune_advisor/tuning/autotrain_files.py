"""What AutoTrain reads and what it leaves: a folder with its settings, the texts, and the base model.

AutoTrain Advanced 0.8.36 brings transformers 4.48, which cannot read all that transformers 5 writes, and where it
can, it may read it wrongly: without `rope_theta` it takes 10000, whatever the model was made with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_advisor.errors import BadInput, Missing, require
from finetune_advisor.models.hardware import Tokenizer
from finetune_advisor.tuning.pairs import Encoded
from finetune_advisor.tuning.sft import ADAPTER_FILES

PROJECT = "project"
"""AutoTrain's `project_name`, the folder that it writes to; letters, digits and hyphens only."""

_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_UNWANTED = ("*/*", "consolidated*")


@dataclass(frozen=True)
class AutoTrainFolder:
    """The folder that AutoTrain runs in; all paths in its settings start from here."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as `autotrain --config` takes them; the last file to be written."""
        return self.path / "config.yml"

    @property
    def project(self) -> Path:
        """Where AutoTrain writes to."""
        return self.path / PROJECT

    @property
    def cache(self) -> Path:
        """Where the datasets library may leave its copies of the texts."""
        return self.path / "cache"

    @property
    def has_adapter(self) -> bool:
        """Whether the training succeeded: AutoTrain exits with 0 when it fails too. The settings come last."""
        return all((self.project / name).is_file() for name in ADAPTER_FILES)

    def fill(self, source: Path, texts: Sequence[str], config: Mapping[str, Any]) -> None:
        """Write everything anew.

        Raises:
            BadInput: The base model's settings are none that AutoTrain can read.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        (self.path / "data").mkdir(parents=True)
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        (self.path / "data" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
        _copy_base(source, self.path / "base")
        settings: str = require("yaml", extra="local").safe_dump(dict(config), sort_keys=False)
        self.config.write_text(f"# Beside data and base: autotrain --config config.yml\n{settings}", encoding="utf-8")

    def take_adapter(self, base: str, folder: Path) -> int:
        """Put the adapter into a folder, for the base model by its own name.

        Only the LoRA matrices are kept. Where AutoTrain has cut the vocabulary to the tokenizer's size, the file holds
        the base's embeddings too, untrained and in a size that does not fit the base.

        Returns:
            How many parameters it has.
        """
        safetensors = require("safetensors.torch", extra="local")
        settings, weights = ADAPTER_FILES
        tensors = {
            name: tensor for name, tensor in safetensors.load_file(self.project / weights).items() if "lora_" in name
        }
        safetensors.save_file(tensors, folder / weights, metadata={"format": "pt"})
        _write_json(folder / settings, {**_read_json(self.project / settings), "base_model_name_or_path": base})
        return sum(tensor.numel() for tensor in tensors.values())


def config(options: Mapping[str, Any]) -> dict[str, Any]:
    """AutoTrain's settings; every key that it asks for is here, and nothing is sent to a hub.

    Args:
        options: Its `params` that are to be set.
    """
    return {
        "task": "llm-sft",
        "base_model": "base",
        "project_name": PROJECT,
        "log": "none",
        "backend": "local",
        "data": {
            "path": "data",
            "train_split": "train",
            "valid_split": None,
            # The texts are rendered already: transformers 4.48 does not see a template in a file of its own.
            "chat_template": None,
            "column_mapping": {"text_column": "text"},
        },
        "params": {
            **options,
            "peft": True,
            "target_modules": "all-linear",
            "merge_adapter": False,
            "unsloth": False,
            "max_grad_norm": 1.0,
        },
        "hub": {"username": None, "token": None, "push_to_hub": False},
    }


def texts(learnt: Sequence[Encoded], tokenizer: Tokenizer) -> list[str]:
    """The conversations as texts, without what AutoTrain's tokenizer and packing add: first and last token."""
    added: list[int] = tokenizer("")["input_ids"][:1]
    return [
        tokenizer.decode(
            _bare(one, added, tokenizer.eos_token_id), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        for one in learnt
    ]


def _bare(one: Encoded, added: Sequence[int], end: int | None) -> list[int]:
    ids = [*one.prompt, *one.answer]
    first = 1 if added and ids[0] == added[0] else 0
    return ids[first:-1] if ids[-1] == end else ids[first:]


def local_folder(source: str) -> Path:
    """The base model's folder, fetched from the hub where it is named by its id.

    Raises:
        Missing: It cannot be fetched.
    """
    if Path(source).is_dir():
        return Path(source)
    hub = require("huggingface_hub", extra="local")
    try:
        return Path(hub.snapshot_download(source, allow_patterns=[*_WANTED], ignore_patterns=[*_UNWANTED]))
    except (OSError, ValueError) as error:
        hint = "Give the folder of a model on this machine, or run `hf auth login` if access to it is restricted."
        raise Missing(f"The model {source!r} could not be fetched.", hint=hint) from error


def _copy_base(source: Path, target: Path) -> None:
    """A model as transformers 4.48 reads it: settings adapted, all else linked, for weights are large."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in (_CONFIG, _TOKENIZER):
            _link(file, target / file.name)
    _write_json(target / _CONFIG, adapted_config(_read_json(source / _CONFIG)))
    if (source / _TOKENIZER).is_file():
        _write_json(target / _TOKENIZER, adapted_tokenizer(_read_json(source / _TOKENIZER)))


def _link(file: Path, target: Path) -> None:
    try:
        target.symlink_to(file.resolve())
    except OSError:
        shutil.copyfile(file, target)


def adapted_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings with the rotary embedding as transformers 4 names it.

    Raises:
        BadInput: Its rotary embedding is of a kind that transformers 4.48 does not know.
    """
    rope = config.get("rope_parameters")
    if rope is None:
        return dict(config)
    if "rope_theta" not in rope:
        raise BadInput(
            "AutoTrain's transformers 4.48 is of January 2025 and does not know this model's rotary embedding.",
            hint="Train it with the tuner lora or trl.",
        )
    moved = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    scaling = {name: value for name, value in rope.items() if name not in moved}
    is_plain = scaling.get("rope_type", "default") == "default"
    rest = {name: value for name, value in config.items() if name != "rope_parameters"}
    return {**rest, **moved, **({} if is_plain else {"rope_scaling": scaling})}


def adapted_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's settings with the class and the extra tokens as transformers 4 names them."""
    adapted = dict(config)
    if adapted.get("tokenizer_class") == "TokenizersBackend":
        adapted["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(adapted.get("extra_special_tokens"), list):
        adapted["additional_special_tokens"] = adapted.pop("extra_special_tokens")
    return adapted


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"The file {file} cannot be read as JSON.") from error


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
