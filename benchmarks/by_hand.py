"""What a user would write instead: transformers' text-generation pipeline, bm25s, and TRL's SFTTrainer as documented.

Run: python -m benchmarks.by_hand JOB.json, as whole_case.py does for each piece of work; the file is a `Job`.
Nothing of finetune_advisor is imported here, so that none of its settings of threads and memory reaches a peer. The
seconds hold everything but the import of libraries. What is not named below is left at the libraries' defaults: the
pipeline loads the checkpoint's own number format; SFTTrainer loads float32, computes in bfloat16, recomputes
activations, pads to the longest of a batch and, for prompts and completions, takes the loss on completions.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Chat = Sequence[Mapping[str, str]]
"""A conversation as `{"role", "content"}`."""

Ask = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
"""Greedy answers to prompts, all as token ids; the number is the most tokens of an answer."""

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """What the documentation leaves to the user. `layers` are those that get an adapter, all of them where empty."""

    rank: int
    alpha: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    layers: Sequence[int] = ()
    max_length: int = 1024


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work: `kind` is "answer", "train" or "search", the other fields are what that one needs."""

    kind: str
    model: str = ""
    chats: Sequence[Chat] = ()
    limit: int = 0
    batch_size: int = 1
    dtype: str = "auto"
    train: Sequence[Mapping[str, Chat]] = ()
    validation: Sequence[Mapping[str, Chat]] = ()
    folder: str = ""
    lora: Mapping[str, Any] = field(default_factory=dict[str, Any])
    texts: Sequence[str] = ()
    queries: Sequence[str] = ()
    depth: int = 0


LIBRARIES = {
    "answer": ("transformers.pipelines",),
    "train": ("datasets", "peft", "trl.trainer.sft_trainer"),
    "search": ("bm25s",),
}


def answers(model: str, chats: Sequence[Chat], limit: int, batch_size: int, dtype: str = "auto") -> list[str]:
    """Greedy answers by the text-generation pipeline.

    Args:
        model: A folder or hub id; that of an adapter too.
        chats: The prompts.
        limit: The most tokens of an answer.
        batch_size: Prompts at a time.
        dtype: Number format; "auto", the pipeline's default, is the checkpoint's own.
    """
    pipeline = importlib.import_module("transformers").pipeline
    pipe = pipeline("text-generation", model=model, batch_size=batch_size, dtype=dtype)
    given = pipe([list(chat) for chat in chats], max_new_tokens=limit, do_sample=False, return_full_text=False)
    return [str(one[0]["generated_text"]).strip() for one in given]


def train(
    model: str,
    train_rows: Sequence[Mapping[str, Chat]],
    validation_rows: Sequence[Mapping[str, Chat]],
    folder: str,
    lora: Lora,
    callbacks: Sequence[Any] = (),
) -> list[dict[str, float]]:
    """A LoRA training by SFTTrainer; the adapter of the epoch that validates best is left in the folder.

    Args:
        model: Folder or hub id.
        train_rows: With `prompt` and `completion`, each a conversation.
        validation_rows: The same; none for no validation and nothing saved before the end.
        folder: Where checkpoints and the adapter go.
        lora: What to set.
        callbacks: For the trainer.

    Returns:
        The trainer's log.
    """
    trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
    kept: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            output_dir=folder,
            num_train_epochs=lora.epochs,
            per_device_train_batch_size=lora.batch_size,
            learning_rate=lora.learning_rate,
            max_length=lora.max_length,
            seed=lora.seed,
            # Without a GPU SFTConfig refuses its own default, bf16, and says to set this.
            use_cpu=not importlib.import_module("torch").cuda.is_available(),
            report_to="none",
            **(kept if validation_rows else {"save_strategy": "no"}),
        ),
        train_dataset=datasets.Dataset.from_list([*train_rows]),
        eval_dataset=datasets.Dataset.from_list([*validation_rows]) if validation_rows else None,
        peft_config=importlib.import_module("peft").LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(MODULES),
            layers_to_transform=list(lora.layers) or None,
            task_type="CAUSAL_LM",
        ),
        callbacks=[*callbacks],
    )
    trainer.train()
    trainer.save_model(folder)
    return list(trainer.state.log_history)


def generate(model: str, device: str) -> Ask:
    """Plain `generate` of transformers on a batch of prompts of one length; no token ends an answer.

    Args:
        model: Folder or hub id.
        device: Where it runs.
    """
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model).to(device)
    loaded.generation_config.eos_token_id = None

    def ask(prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        ids = torch.tensor(prompts, device=device)
        given = loaded.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False)
        return given[:, ids.shape[1] :].tolist()

    return ask


def vllm(model: str, device: str) -> Ask:
    """The offline engine of vLLM; no token ends an answer. Its device is its own choice."""
    library = importlib.import_module("vllm")
    engine = library.LLM(model=model, max_model_len=4096)

    def ask(prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        settings = library.SamplingParams(temperature=0, max_tokens=limit, ignore_eos=True)
        given = engine.generate([{"prompt_token_ids": list(ids)} for ids in prompts], settings, use_tqdm=False)
        return [list(one.outputs[0].token_ids) for one in given]

    return ask


def search(texts: Sequence[str], queries: Sequence[str], depth: int) -> list[list[int]]:
    """For each query, the positions of the best texts by BM25."""
    bm25s = importlib.import_module("bm25s")
    index = bm25s.BM25()
    index.index(bm25s.tokenize([*texts], show_progress=False), show_progress=False)
    tokens = bm25s.tokenize([*queries], show_progress=False)
    return index.retrieve(tokens, k=min(depth, len(texts)), show_progress=False).documents.tolist()


def done(job: Job) -> object:
    """What comes out of a piece of work."""
    work: dict[str, Callable[[], object]] = {
        "answer": lambda: answers(job.model, job.chats, job.limit, job.batch_size, job.dtype),
        "train": lambda: train(job.model, job.train, job.validation, job.folder, Lora(**job.lora)),
        "search": lambda: search(job.texts, job.queries, job.depth),
    }
    return work[job.kind]()


def main(arguments: Sequence[str]) -> None:
    """Do the job of a file, and write its seconds and what came out of it beside it, as NAME.done.json."""
    file = Path(arguments[0])
    given = json.loads(file.read_text(encoding="utf-8"))
    job = Job(**given)
    for name in LIBRARIES[job.kind]:
        importlib.import_module(name)
    started = time.perf_counter()
    found = done(job)
    text = json.dumps({"seconds": time.perf_counter() - started, "found": found}, ensure_ascii=False)
    file.with_suffix(".done.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
