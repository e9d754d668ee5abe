"""AutoTrain: the texts and the base model as its old libraries read them, and its log as it writes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

import stub_autotrain
import tiny_model
from finetune_advisor.errors import BadInput, require
from finetune_advisor.models.weights import loaded
from finetune_advisor.tuning.autotrain_files import adapted_config, adapted_tokenizer, texts
from finetune_advisor.tuning.autotrain_log import Log
from finetune_advisor.tuning.pairs import Encoded


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


def test_the_texts_are_the_very_tokens_that_asking_uses(tiny: Path) -> None:
    tokenizer = loaded("AutoTokenizer", str(tiny))
    one = Encoded(prompt=(2, 7, 8), answer=(9, 3))
    assert [*tokenizer(texts([one], tokenizer)[0])["input_ids"], 3] == [2, 7, 8, 9, 3]


def test_a_first_token_that_the_tokenizer_adds_itself_is_not_written_twice(tiny: Path) -> None:
    tokenizer = loaded("AutoTokenizer", str(tiny))
    adding = require("tokenizers.processors", extra="local").TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 2)]
    )
    tokenizer.backend_tokenizer.post_processor = adding
    one = Encoded(prompt=(2, 7, 8), answer=(9, 3))
    assert [*tokenizer(texts([one], tokenizer)[0])["input_ids"], 3] == [2, 7, 8, 9, 3]


@pytest.mark.parametrize(
    ("rope", "adapted"),
    [
        ({"rope_theta": 1e5, "rope_type": "default"}, {"rope_theta": 1e5}),
        (
            {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        ),
        (
            {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.4},
            {"rope_theta": 1e4, "partial_rotary_factor": 0.4},
        ),
    ],
)
def test_the_rotary_embedding_keeps_its_base(rope: Mapping[str, Any], adapted: Mapping[str, Any]) -> None:
    assert adapted_config({"vocab_size": 5, "rope_parameters": rope}) == {"vocab_size": 5, **adapted}
    assert adapted_config({"vocab_size": 5, **adapted}) == {"vocab_size": 5, **adapted}


def test_a_rotary_embedding_for_each_kind_of_layer_is_refused() -> None:
    with pytest.raises(BadInput, match="January 2025"):
        adapted_config({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}}})


def test_extra_tokens_get_their_old_name() -> None:
    assert adapted_tokenizer({"extra_special_tokens": ["<a>"]}) == {"additional_special_tokens": ["<a>"]}
    assert adapted_tokenizer({"tokenizer_class": "GPT2Tokenizer"}) == {"tokenizer_class": "GPT2Tokenizer"}


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        (
            stub_autotrain.failed("CUDA is required but not available for bitsandbytes."),
            "CUDA is required",
            'quantization = ""',
        ),
        (
            stub_autotrain.failed("model type `qwen3` but Transformers does not recognize this architecture."),
            "qwen3",
            "lora or trl",
        ),
        (stub_autotrain.failed("CUDA out of memory. Tried to allocate 2.00 GiB."), "out of memory", "batch_size"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'accelerate'", "FileNotFoundError", "install"),
        (stub_autotrain.failed("Something new"), "Something new", ""),
        ("Killed\n", "Killed", ""),
    ],
)
def test_known_causes_have_hints(text: str, error: str, hint: str) -> None:
    log = Log(stub_autotrain.LOG + text)
    assert error in log.error
    assert hint in log.hint and bool(hint) == bool(log.hint)
    assert Log("").error == "it said nothing"


def test_the_log_tells_steps_and_losses() -> None:
    log = Log(stub_autotrain.LOG.replace("Logging steps: 1", "Logging steps: 5").replace("\r", "\n"))
    assert log.steps == (2, 2)
    assert [point.step for point in log.losses] == [5, 10]
    assert all(event.at.tzinfo is UTC for event in log.events) and len(log.events) == 6
    assert Log("").steps == (0, 0)
