"""The shape of a causal language model, read from any Hugging Face config: what memory and speed depend on.

Parameters are counted from the matrices that the config implies. Not covered, and said so: encoder-decoder models, and
layers of other kinds (state spaces, vision towers), which the config's text part does not describe.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

from finetune_advisor.errors import BadInput, Missing, require

Config = Mapping[str, Any]

PLAIN_MLP = {"gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "mpt", "starcoder2", "codegen", "gpt_bigcode"}
"""Two matrices in the feed-forward part; all others have a gate, so three."""

LAYER_NORM = PLAIN_MLP | {"stablelm", "cohere", "cohere2"}
"""Norms that work in 16 bits; all others have root-mean-square norms, which are computed in 32."""

GEMMA3 = {"gemma3_text", "gemma3"}
TIED = {"gpt2", "opt", "bloom", "falcon", "mpt", "starcoder2", "gpt_bigcode", "smollm3", "cohere", "cohere2"} | {
    *("gemma", "gemma2", "ernie4_5", "minicpm3"),
    *GEMMA3,
}
"""Output and input embedding are one where the config does not say."""

ALL_BIASED = {"gpt2", "gpt_neox", "bloom", "phi", "opt", "gpt_bigcode"}
QKV_BIASED = {"qwen2", "qwen2_moe"}
ONE_NORM = {"phi", "gptj", "cohere", "cohere2", "codegen"}
FOUR_NORMS = {"gemma2"} | GEMMA3
HEAD_NORMS = {"qwen3", "qwen3_moe"} | GEMMA3

UNSAID: Mapping[str, Config] = {
    kind: {"head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208} for kind in GEMMA3
}
"""What published configs of a kind leave to transformers' defaults, other than what follows from the other keys."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a decoder is made of; widths in numbers, not bytes.

    `intermediate` is one expert's width where there are experts, else the feed-forward part's. `dense_layers` have no
    experts but `dense_intermediate`. `latent` holds the widths of compressed attention (query rank, key-value rank,
    rotary and value head widths), None for the ordinary one.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    context: int
    tied: bool = False
    gated: bool = True
    layer_norm: bool = False
    norms: int = 2
    head_norms: bool = False
    positions: int = 0
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    experts: int = 0
    experts_per_token: int = 0
    shared_intermediate: int = 0
    expert_bias: bool = False
    dense_layers: int = 0
    dense_intermediate: int = 0
    latent: tuple[int, int, int, int] | None = None

    @property
    def attention(self) -> dict[str, tuple[int, int]]:
        """The matrices of one layer's attention, each with its input and output width."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if self.latent is None:
            return {
                "q": (self.hidden, wide),
                "k": (self.hidden, narrow),
                "v": (self.hidden, narrow),
                "o": (wide, self.hidden),
            }
        q_rank, kv_rank, rotary, value = self.latent
        query = {"q_a": (self.hidden, q_rank), "q": (q_rank, wide)} if q_rank else {"q": (self.hidden, wide)}
        return {
            **query,
            "k": (self.hidden, kv_rank + rotary),
            "v": (kv_rank, self.heads * (self.head_dim - rotary + value)),
            "o": (self.heads * value, self.hidden),
        }

    def mlp(self, width: int) -> dict[str, tuple[int, int]]:
        """The matrices of one feed-forward part of that width."""
        gate = {"gate": (self.hidden, width)} if self.gated else {}
        return {**gate, "up": (self.hidden, width), "down": (width, self.hidden)}

    @property
    def embedding(self) -> int:
        """Parameters of the input embedding, learned positions included."""
        return (self.vocabulary + self.positions) * self.hidden

    @property
    def head(self) -> int:
        """Parameters of the output layer, whether or not they are the embedding's."""
        return self.vocabulary * self.hidden

    def linear(self, *, active: bool = False) -> int:
        """Parameters of the matrices inside the layers; with `active`, those that one token passes through."""
        experts = self.experts_per_token if active else self.experts
        attention = _size(self.attention)
        sparse = attention + experts * _size(self.mlp(self.intermediate)) + _size(self.mlp(self.shared_intermediate))
        sparse += self.hidden * self.experts
        dense = attention + _size(self.mlp(self.dense_intermediate if self.experts else self.intermediate))
        dense_layers = self.dense_layers if self.experts else self.layers
        return dense_layers * dense + (self.layers - dense_layers) * sparse

    @property
    def parameters(self) -> int:
        """All parameters, tied ones counted once."""
        output = (0 if self.tied else self.head) + (self.vocabulary if self.head_bias else 0)
        return self.embedding + output + self.linear() + self.layers * self._small() + self._norm

    @property
    def matmul(self) -> int:
        """Parameters that one token is multiplied with: the active matrices and the output layer (formula C1)."""
        return self.linear(active=True) + self.head

    @property
    def _norm(self) -> int:
        return self.hidden * (2 if self.layer_norm else 1)

    def _small(self) -> int:
        biases = 0
        if self.qkv_bias:
            biases += (self.heads + 2 * self.kv_heads) * self.head_dim
        if self.out_bias:
            biases += self.hidden
        if self.mlp_bias:
            biases += self.intermediate + self.hidden
        if self.expert_bias:
            biases += self.experts * (2 * self.intermediate + self.hidden + 1) + self.heads
        heads = 2 * self.head_dim if self.head_norms else 0
        compressed = sum(self.latent[:2]) if self.latent else 0
        return biases + heads + compressed + self.norms * self._norm

    def kv_bytes_per_token(self, bytes_each: int = 2) -> int:
        """Bytes of the key-value cache per token: 2 x layers x key-value heads x head width x bytes (formula C5)."""
        width = sum(self.latent[1:3]) if self.latent else 2 * self.kv_heads * self.head_dim
        return self.layers * width * bytes_each


def _size(matrices: Mapping[str, tuple[int, int]]) -> int:
    return sum(rows * columns for rows, columns in matrices.values())


def load(model: str | Config) -> Shape:
    """The shape of a model.

    Args:
        model: A config as a dictionary, a config.json or the folder that holds one, the name of a shipped shape, or a
            model id on the Hugging Face hub, for which transformers and a network or a cached copy are needed.

    Raises:
        BadInput: The config is unreadable, or of a kind that is not covered.
        Missing: Neither a file nor a shipped shape, and the hub has no answer; the hint lists the shipped names.
    """
    return from_config(read(model), name=_name(model) if isinstance(model, str) else "")


def read(model: str | Config) -> Config:
    """The config that `load` makes a shape of; arguments and errors are the same."""
    if not isinstance(model, str):
        return model
    path = _path(model)
    if path.is_file():
        return _parsed(path)
    shipped = _shipped().get(model.lower())
    return _from_hub(model) if shipped is None else shipped


def _path(model: str) -> Path:
    path = Path(model).expanduser()
    return path / "config.json" if path.is_dir() else path


def _name(model: str) -> str:
    path = _path(model)
    return path.resolve().parent.name if path.is_file() else model


def names() -> tuple[str, ...]:
    """The shapes that are shipped, so that these models can be estimated offline."""
    return tuple(_table())


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("finetune_advisor.costs") / "shapes.toml").read_text(encoding="utf-8"))


@functools.cache
def _shipped() -> dict[str, dict[str, Any]]:
    return {known.lower(): config for name, config in _table().items() for known in (name, *config["aliases"])}


def _parsed(path: Path) -> Config:
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadInput(f"The model config {path} cannot be read: {error}.", hint="Give its config.json.") from error
    if not isinstance(read, Mapping):
        raise BadInput(f"The model config {path} is not a JSON object.", hint="Give the model's config.json.")
    return cast(Config, read)


def _from_hub(model: str) -> Config:
    hint = f"Give a config.json, or one of the shipped shapes: {', '.join(names())}."
    try:
        hub = require("huggingface_hub", extra="local")
        cached = hub.try_to_load_from_cache(model, "config.json")
        if isinstance(cached, str):
            return _parsed(Path(cached))
        if hub.constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        # Asked directly: the hub's own download tries for half a minute where there is no network.
        request = Request(hub.hf_hub_url(model, "config.json"), headers=hub.utils.build_hf_headers())
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except (Missing, OSError, ValueError) as error:
        raise Missing(f"The config of {model!r} is not on this machine, nor did the hub give it.", hint=hint) from error


def from_config(config: Config, name: str = "") -> Shape:
    """The shape that a config describes; its text part where it has several.

    Raises:
        BadInput: A key that the shape needs is missing or senseless, or the model is not a causal decoder.
    """
    config = text_part(config)
    kind = str(config.get("model_type", ""))
    config = {**UNSAID.get(kind, {}), **config}
    if config.get("is_encoder_decoder"):
        raise BadInput(f"{kind or 'This'} is an encoder-decoder model.", hint="Estimates cover causal decoders only.")
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    heads = _first(config, "num_attention_heads", "n_head", "n_heads")
    layers = _first(config, "num_hidden_layers", "n_layer", "n_layers")
    return Shape(
        name=name or str(config.get("_name_or_path") or kind),
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(config, heads),
        head_dim=_head_dim(config, hidden, heads),
        vocabulary=_first(config, "vocab_size"),
        context=_optional(config, "max_position_embeddings", "n_positions", "seq_length", "max_seq_len"),
        tied=bool(config.get("tie_word_embeddings", kind in TIED)),
        gated=kind not in PLAIN_MLP,
        layer_norm=kind in LAYER_NORM,
        norms=_norms(config, kind),
        head_norms=kind in HEAD_NORMS,
        positions=_optional(config, "n_positions", "max_position_embeddings")
        if kind in {"gpt2", "opt", "gpt_bigcode"}
        else 0,
        qkv_bias=kind in ALL_BIASED | QKV_BIASED or bool(config.get("bias") or config.get("attention_bias")),
        out_bias=kind in ALL_BIASED or bool(config.get("bias") or config.get("attention_bias")),
        mlp_bias=kind in ALL_BIASED or bool(config.get("bias") or config.get("mlp_bias")),
        head_bias=kind == "phi",
        expert_bias=kind == "gpt_oss",
        latent=_latent(config),
        **_feed_forward(config, hidden, layers),
    )


def text_part(config: Config) -> Config:
    """The part of a config that describes the language model; all of it where there is no other part."""
    for key in ("text_config", "language_config", "llm_config"):
        nested = config.get(key)
        if isinstance(nested, Mapping):
            tied = {k: config[k] for k in ("tie_word_embeddings",) if k in config}
            return {**tied, **cast(Config, nested)}
    return config


def _feed_forward(config: Config, hidden: int, layers: int) -> dict[str, int]:
    plain = _optional(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden
    experts = _optional(config, "num_local_experts", "num_experts", "n_routed_experts")
    if not experts:
        return {"intermediate": plain}
    width = _optional(config, "moe_intermediate_size") or plain
    shared = _optional(config, "shared_expert_intermediate_size") or width * _optional(config, "n_shared_experts")
    return {
        "intermediate": width,
        "experts": experts,
        "experts_per_token": _optional(config, "num_experts_per_tok", "moe_topk") or 1,
        "shared_intermediate": shared,
        "dense_layers": min(layers, _optional(config, "first_k_dense_replace")),
        "dense_intermediate": plain,
    }


def _kv_heads(config: Config, heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    return _optional(config, "num_key_value_heads", "num_kv_heads") or heads


def _head_dim(config: Config, hidden: int, heads: int) -> int:
    if config.get("kv_lora_rank"):
        return _first(config, "qk_nope_head_dim") + _first(config, "qk_rope_head_dim")
    return _optional(config, "head_dim") or hidden // heads


def _latent(config: Config) -> tuple[int, int, int, int] | None:
    if not config.get("kv_lora_rank"):
        return None
    rotary, value = _first(config, "qk_rope_head_dim"), _first(config, "v_head_dim")
    return (_optional(config, "q_lora_rank"), _first(config, "kv_lora_rank"), rotary, value)


def _norms(config: Config, kind: str) -> int:
    shared = config.get("parallel_attn") and not config.get("new_decoder_architecture")
    return 1 if kind in ONE_NORM or shared else 4 if kind in FOUR_NORMS else 2


def _first(config: Config, *keys: str) -> int:
    value = _optional(config, *keys)
    if not value:
        raise BadInput(f"The model config has no {keys[0]}.", hint="Give the config.json of a causal language model.")
    return value


def _optional(config: Config, *keys: str) -> int:
    value = next((config[key] for key in keys if config.get(key) is not None), 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadInput(f"{keys[0]} is {value!r} in the model config.", hint="It is a whole number of 0 or more.")
    return value
