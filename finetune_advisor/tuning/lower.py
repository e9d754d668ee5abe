"""The layers below the lowest adapter, which read every example once.

Nothing in them changes while the model learns, so what they make of an example is the same in every step. They read
all examples beforehand, as a tree without padding (see `models.prefixes`); training goes on from there with the upper
layers alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.attention import Reading, State, Unsupported, attending
from finetune_advisor.models.generation import READ_TOGETHER, can_share, close, forward, short_prompts
from finetune_advisor.models.hardware import Module, Tensor
from finetune_advisor.models.prefixes import grouped, packs, tree

MOST_BYTES = 2**30
"""Of what the lower layers make of all examples, which stays in memory."""

TOGETHER = 64
"""Examples that are read as one tree; their keys and values are in memory meanwhile."""

Tokens = tuple[int, ...]


class Cut:
    """A causal language model that can be left with some of its layers.

    Args:
        model: The model, without an adapter.
    """

    def __init__(self, model: Module) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        self._config = model.config.get_text_config()
        self._types = getattr(self._config, "layer_types", None)
        self.layers: list[Module] = list(self._decoder.layers)

    def use(self, first: int, end: int) -> None:
        """Leave the model its layers from `first` to before `end`, numbered from 0."""
        left = self.layers[first:end]
        self._decoder.layers = require("torch", extra="local").nn.ModuleList(left)
        self._config.num_hidden_layers = len(left)
        if self._types:
            self._config.layer_types = self._types[first:end]
        for number, layer in enumerate(left):
            for part in layer.modules():
                if hasattr(part, "layer_idx"):
                    part.layer_idx = number

    def read(self, examples: Sequence[Tokens]) -> dict[Tokens, Tensor]:
        """What the last layer in use makes of each example; shape (tokens, hidden size)."""
        torch = require("torch", extra="local")
        outputs: list[Tensor] = []

        def note(_: Module, given: object, made: Any) -> None:
            outputs.append((made[0] if isinstance(made, tuple) else made)[0])

        hook = self._decoder.layers[-1].register_forward_hook(note)
        try:
            with torch.no_grad(), attending(self._model):
                found: dict[Tokens, Tensor] = {}
                for group in grouped(examples, [0] * len(examples), TOGETHER, TOGETHER * max(map(len, examples))):
                    found |= self._tree([examples[place] for place in group], outputs)
                return found
        finally:
            hook.remove()

    def _tree(self, examples: Sequence[Tokens], outputs: list[Tensor]) -> dict[Tokens, Tensor]:
        torch = require("torch", extra="local")
        segments, states = tree(examples), dict[int, State]()
        made: list[Tensor] = []
        for pack in packs(segments, READ_TOGETHER["cpu"]):
            forward(self._model, segments, pack, Reading(segments, pack, states), self._model.device)
            made += outputs.pop().split([len(segments[place].tokens) for place in pack])
        return {
            examples[leaf.prompts[0]]: torch.cat([made[each] for each in (*leaf.before, place)])
            for place, leaf in enumerate(segments)
            if leaf.leaf
        }

    def works_at(self, place: int) -> bool:
        """Whether the layers from `place` on make of the lower ones' output what the whole model makes; tried."""
        torch = require("torch", extra="local")
        examples = [tuple(each) for each in short_prompts(self._model)]
        try:
            with torch.no_grad():
                whole = [self._model(input_ids=torch.tensor([each]), use_cache=False).logits for each in examples]
                self.use(0, place)
                states = self.read(examples)
                self.use(place, len(self.layers))
                found = [self._model(inputs_embeds=states[each][None], use_cache=False).logits for each in examples]
        except (Unsupported, TypeError, ValueError, AttributeError, IndexError):
            return False
        return all(map(close, found, whole))


def read_below(model: Module, place: int, examples: Sequence[Tokens]) -> Mapping[Tokens, Tensor]:
    """What the layers before `place` make of each example; the model is left with the layers from there on.

    Args:
        model: A causal language model on the CPU, without an adapter.
        place: The number of the lowest layer that is trained.
        examples: Token ids of each example.

    Returns:
        By an example's token ids, a tensor of shape (tokens, hidden size). Nothing where a model is made otherwise
        or the tensors would take too much memory; then the model is as it was.
    """
    size = sum(map(len, examples)) * model.config.get_text_config().hidden_size * model.dtype.itemsize
    if not place or size > MOST_BYTES or not hasattr(model.get_decoder(), "layers"):
        return {}
    if drops_out(model) or not can_share(model):
        return {}
    cut = Cut(model)
    if not cut.works_at(place):
        cut.use(0, len(cut.layers))
        return {}
    cut.use(0, place)
    states = cut.read(examples)
    cut.use(place, len(cut.layers))
    return states


def drops_out(model: Module) -> bool:
    """Whether chance decides anything while the model is trained."""
    dropout = require("torch", extra="local").nn.Dropout
    inside = any(isinstance(module, dropout) and module.p > 0 for module in model.modules())
    return inside or getattr(model.config, "attention_dropout", 0.0) > 0


def raise_adapter(folder: Path, layers: int, targets: Sequence[str]) -> None:
    """Give the adapter of a model without its lower layers the names of the whole model's.

    Args:
        folder: Where the adapter is.
        layers: How many layers the model was left without.
        targets: What is adapted, by the names of the whole model.
    """
    safetensors = require("safetensors.torch", extra="local")
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    named = {_raised(name, layers): tensor for name, tensor in safetensors.load_file(weights).items()}
    safetensors.save_file(named, weights, metadata={"format": "pt"})
    settings = json.loads(config.read_text(encoding="utf-8")) | {"target_modules": sorted(targets)}
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _raised(name: str, layers: int) -> str:
    return re.sub(r"(?<=\.layers\.)\d+", lambda number: str(int(number[0]) + layers), name, count=1)
