"""Small models of many makes with random weights."""

from __future__ import annotations

from typing import Any

from finetune_advisor.errors import require
from finetune_advisor.models.quiet import quiet

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


MAKES = {
    "LlamaConfig": {},
    "Qwen2Config": {},
    "Qwen3Config": {"head_dim": 8},
    "MistralConfig": {"sliding_window": None},
    "Olmo2Config": {},
    "GraniteConfig": {"attention_multiplier": 0.3, "embedding_multiplier": 3.0, "logits_scaling": 2.0},
    "CohereConfig": {"logit_scale": 0.5},
    "PhiConfig": {},
    "GPTNeoXConfig": {"num_key_value_heads": 4},
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "FalconH1Config": {},
    "Gemma2Config": {"head_dim": 8, "sliding_window": 8},
    "Gemma3TextConfig": {"head_dim": 8, "sliding_window": 8},
    "MambaConfig": {"state_size": 4},
    "BloomConfig": {"n_layer": 2, "n_head": 4},
    "MixtralConfig": {"num_local_experts": 4, "sliding_window": None},
    "GptOssConfig": {"num_local_experts": 4, "head_dim": 8, "sliding_window": 8},
}
"""Dense and mixture-of-experts, with and without shared key heads, positions by rotation, table or bias, windows."""


def built(make: str) -> Any:
    """A model of that make with random weights, in float32."""
    torch = require("torch", extra="local")
    transformers = require("transformers", extra="local")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, make)(**{**SMALL, **MAKES[make]})
        return transformers.AutoModelForCausalLM.from_config(config).eval()
