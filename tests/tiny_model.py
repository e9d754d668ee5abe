"""A two-layer random Llama with a tokenizer of whole words, made in a second and loaded like any other model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from finetune_advisor.errors import require
from finetune_advisor.models.hardware import Tokenizer
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Message, TrainingPair
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.work import TuningWork

COLOURS = ("red", "green", "blue", "black", "white", "grey")
FRUIT = ("apple", "pear", "plum", "fig", "lime", "date")
WORDS = ("what", "is", "the", "of", "colour", "answer", "briefly", "please", "system", "user", "assistant", *FRUIT)
SPECIAL = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(folder: Path, *, template: str | None = TEMPLATE, layers: int = 2, seed: int = 0) -> Path:
    """Save the model in float32 and its tokenizer."""
    torch = require("torch", extra="local")
    transformers = require("transformers", extra="local")
    vocabulary = (*SPECIAL, *WORDS, *COLOURS)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer(vocabulary, template).save_pretrained(folder)
    return folder


def tokenizer(vocabulary: tuple[str, ...], template: str | None) -> Tokenizer:
    """One token for each word."""
    tokenizers = require("tokenizers", extra="local")
    transformers = require("transformers", extra="local")
    ids = {word: place for place, word in enumerate(vocabulary)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=SPECIAL[2], eos_token=SPECIAL[3], unk_token=SPECIAL[1], pad_token=SPECIAL[0]
    )
    made.chat_template = template
    return made


def asked(fruit: str, system: str = "answer briefly") -> tuple[Message, ...]:
    """A conversation that asks for the colour of a fruit."""
    question = f"what is the colour of the {fruit}"
    return (Message(role="system", content=system), Message(role="user", content=question))


def pairs() -> list[TrainingPair]:
    """Six pairs to learn by heart."""
    return [TrainingPair(messages=asked(fruit), answer=colour) for fruit, colour in zip(FRUIT, COLOURS, strict=True)]


def work(
    base: Path | str, train: Sequence[TrainingPair], validation: Sequence[TrainingPair], folder: Path
) -> TuningWork:
    """What is to be trained on what, and where."""
    return TuningWork(source=str(base), train=train, validation=validation, folder=folder)


def killed(options: Lora, base: Path, folder: Path, *, step: int) -> None:
    """A training of the pairs, validated on the first three, that is killed after that step."""

    def kill(what: str, done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        options.tune(work(base, pairs(), pairs()[:3], folder), kill)
