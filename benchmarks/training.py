"""How many examples a second a LoRA training learns, beside TRL's SFTTrainer with the same data, steps, batch and rank.

Run: python -m benchmarks.training [embedded|1b ...] [--steps 31] [--batch 8] [--top-layers 0] [--rounds 1]

embedded: the sample case's training examples, the embedded model, steps as given. 1b: a Llama of 1B parameters with
random weights in bfloat16, three steps of four of the same examples. Each contender runs in a process of its own, in
turn, whose peak memory is printed; each round has another seed. "TRL as documented" is SFTTrainer with a model's path,
prompt and completion, a LoraConfig, the numbers that both sides share, and `use_cpu`, without which it refuses a
machine that has no GPU; all else is TRL's default: float32 weights, autocast to bfloat16, gradient checkpointing, no
packing. "TRL tuned by hand" has bfloat16 weights, no checkpointing, and batches of like length. The loss of validation
examples is taken of every adapter by the same code. On a machine that does other work too, run it with
OMP_NUM_THREADS=1 and read the processor seconds: threads that wait for each other are slowed down far more than by the
share of the cores that is taken away.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measured import Outcome, peak, publish
from finetune_advisor import case, metrics
from finetune_advisor.approaches.tuned import Tuned, pairs
from finetune_advisor.case.new import sample
from finetune_advisor.errors import require
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.models.chat import ChatFormat, stop_tokens
from finetune_advisor.models.embedded import chat_model_folder
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.models.weights import loaded
from finetune_advisor.records import Batch, Example, Message, Reply, Request, TrainingPair, no_progress
from finetune_advisor.tuning.answer_loss import answer_loss, padded
from finetune_advisor.tuning.lora import Lora
from finetune_advisor.tuning.pairs import encoded, row
from finetune_advisor.tuning.work import TuningWork

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "finetune-advisor")
OURS, DOCUMENTED, BY_HAND = "finetune-advisor", "TRL as documented", "TRL tuned by hand"
CONTENDERS = (OURS, DOCUMENTED, BY_HAND)
MARK = "MEASURED "
OUR_SPINNING = "GOMP_SPINCOUNT"
"""Set by this package before torch is loaded."""
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LARGE = (3, 4)
"""Steps and examples in a step for the model of 1B parameters."""
LLAMA_1B = {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every contender trains: the numbers that they share."""

    model: str
    data: str
    output: str
    steps: int
    batch: int
    top_layers: int = 0
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one training took: seconds and processor seconds of each step but the first, all seconds, its losses."""

    steps: tuple[float, ...]
    cpu: tuple[float, ...]
    seconds: float
    tokens: int
    losses: tuple[float, ...]
    settings: Mapping[str, str]


def main(argv: Sequence[str] | None = None) -> None:
    """Train with every contender in turn, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["embedded", "1b"])
    parser.add_argument("--steps", type=int, default=31)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--top-layers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "JOB"), help="what each process is started with")
    given = parser.parse_args(argv)
    if given.one:
        name, job = given.one
        print(MARK + json.dumps(asdict(trained(name, Job(**json.loads(job))))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for model in given.models:
            job = _job(model, Path(folder), given.steps, given.batch, given.top_layers)
            publish(compared(job, model, given.rounds), f"training-{model}-top{job.top_layers}", PACKAGES)


def _job(model: str, folder: Path, steps: int, batch: int, top_layers: int) -> Job:
    learnt, held = sample_pairs(folder / "case")
    steps, batch = (steps, batch) if model == "embedded" else LARGE
    data = folder / f"{model}.json"
    # No more than is learnt: contenders that draw in another order would get longer or shorter examples.
    parts = (learnt[: steps * batch], held)
    data.write_text(json.dumps([[asdict(pair) for pair in part] for part in parts]), encoding="utf-8")
    embedded = Job(
        model=str(chat_model_folder()),
        data=str(data),
        output=str(folder / model),
        steps=steps,
        batch=batch,
        top_layers=top_layers,
    )
    if model == "embedded":
        return embedded
    return replace(embedded, model=str(large(folder / "llama-1b")))


def sample_pairs(folder: Path) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Training and validation pairs of the shipped sample case, as its LoRA arm has them."""
    sample(folder)
    prepared = prepare(case.read(folder), [], no_progress)
    train, validation = prepared.parts["train"], prepared.parts["validation"]
    ask = Tuned().asking(prepared.bench(None, folder))
    return pairs(train, ask), pairs(validation, ask)


def large(folder: Path) -> Path:
    """A Llama of 1B parameters in bfloat16, its weights random, with the embedded model's tokenizer."""
    torch, transformers = require("torch", extra="local"), require("transformers", extra="local")
    tokenizer = loaded("AutoTokenizer", str(chat_model_folder()))
    config = transformers.LlamaConfig(**LLAMA_1B, eos_token_id=tokenizer.eos_token_id, dtype="bfloat16")
    torch.manual_seed(0)
    with quiet():
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def compared(job: Job, model: str, rounds: int) -> Outcome:
    """Every contender in turn, in a process of its own, each round with another seed, and its adapters' worth."""
    found: dict[str, list[tuple[float, Measured]]] = {name: [] for name in CONTENDERS}
    worth: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for seed in range(rounds):
        for name in CONTENDERS:
            own = replace(job, seed=seed, output=f"{job.output}-{CONTENDERS.index(name)}")
            memory, printed = peak(["benchmarks.training", "--one", name, json.dumps(asdict(own))])
            found[name].append((memory, Measured(**json.loads(printed.rpartition(MARK)[2]))))
            worth[name].append(_worth(own))
    return Outcome(
        question=f"LoRA training, {model}: {job.steps} steps of {job.batch} examples, "
        + (f"upper {job.top_layers} layers" if job.top_layers else "all layers"),
        rows=[_row(name, job, found[name], worth[name]) for name in CONTENDERS],
        notes=[f"{name}: " + ", ".join(f"{k} {v}" for k, v in found[name][0][1].settings.items()) for name in found],
        details={name: _details(found[name], worth[name]) for name in found},
    )


def _details(found: Sequence[tuple[float, Measured]], worth: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    return [
        asdict(each) | {"peak_gib": memory, "validation_loss": loss, "validation_score": score}
        for (memory, each), (loss, score) in zip(found, worth, strict=True)
    ]


def _row(
    name: str, job: Job, found: Sequence[tuple[float, Measured]], worth: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    rates = [len(each.steps) / sum(each.steps) for _, each in found]
    last = found[-1][1]
    part = max(1, len(last.losses) // 4)
    quarters = [statistics.mean(last.losses[start : start + part]) for start in range(0, len(last.losses), part)]
    return {
        "contender": name,
        "examples/s": job.batch * statistics.median(rates),
        "spread": f"{job.batch * min(rates):.2f} to {job.batch * max(rates):.2f}",
        "processor s/example": statistics.median(sum(each.cpu) / len(each.cpu) for _, each in found) / job.batch,
        "tokens/s": statistics.median(rates) * last.tokens / job.steps,
        "whole, s": statistics.median(each.seconds for _, each in found),
        "peak, GiB": max(memory for memory, _ in found),
        "loss by quarters": " ".join(f"{loss:.2f}" for loss in quarters),
        "validation loss": _spread([loss for loss, _ in worth]),
        "validation score": _spread([score for _, score in worth]),
    }


def _spread(values: Sequence[float]) -> str:
    """The mean over seeds, and the least and the most."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def trained(name: str, job: Job) -> Measured:
    """One training by one contender."""
    parts = json.loads(Path(job.data).read_text(encoding="utf-8"))
    train = [read_pair(each) for each in parts[0]]
    return ours(job, train) if name == OURS else trl(job, train, by_hand=name == BY_HAND)


def read_pair(given: Mapping[str, Any]) -> TrainingPair:
    """A pair as the parent process wrote it."""
    return TrainingPair(messages=tuple(Message(**each) for each in given["messages"]), answer=given["answer"])


def ours(job: Job, train: Sequence[TrainingPair]) -> Measured:
    """By this package."""
    options = Lora(
        rank=job.rank,
        alpha=job.alpha,
        top_layers=job.top_layers,
        learning_rate=job.learning_rate,
        epochs=-(-job.steps * job.batch // len(train)),
        max_steps=job.steps,
        batch_size=job.batch,
        warmup=0.0,
        seed=job.seed,
        device="cpu",
    )
    stamps: list[tuple[float, float]] = []

    def step(what: str, done: int, total: int) -> None:
        stamps.append(now())

    run = options.tune(TuningWork(source=job.model, train=train, validation=[], folder=Path(job.output)), step)
    return Measured(
        steps=gaps([wall for wall, _ in stamps[1:]]),
        cpu=gaps([cpu for _, cpu in stamps[1:]]),
        seconds=run.seconds,
        tokens=run.tokens,
        losses=tuple(point.loss for point in run.losses),
        settings={"logging_steps": str(max(1, job.steps // 20))},
    )


def trl(job: Job, train: Sequence[TrainingPair], *, by_hand: bool) -> Measured:
    """By SFTTrainer, in the environment that its user has."""
    os.environ.pop(OUR_SPINNING, None)
    library, transformers = require("trl", extra="local"), require("transformers", extra="local")
    started = time.perf_counter()
    stamps: list[tuple[float, float]] = []

    def on_step_end(_: object, args: object, state: object, control: object, **rest: object) -> None:
        stamps.append(now())

    tuned = {
        "model_init_kwargs": {"dtype": "bfloat16"},
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
    }
    with quiet():
        arguments = library.SFTConfig(
            output_dir=job.output,
            max_steps=job.steps,
            per_device_train_batch_size=job.batch,
            learning_rate=job.learning_rate,
            seed=job.seed,
            logging_steps=max(1, job.steps // 20),
            use_cpu=True,
            report_to="none",
            **(tuned if by_hand else {}),
        )
        trainer = library.SFTTrainer(
            model=job.model,
            args=arguments,
            train_dataset=rows(job, train),
            peft_config=_adapter(job),
            callbacks=[type("Stamps", (transformers.TrainerCallback,), {"on_step_end": on_step_end})()],
        )
        trainer.train()
        trainer.save_model(job.output)
    history = trainer.state.log_history
    shown = ("bf16", "gradient_checkpointing", "packing", "optim", "train_sampling_strategy", "logging_steps")
    dtypes = {str(weight.dtype) for weight in trainer.model.parameters()}
    return Measured(
        steps=gaps([wall for wall, _ in stamps]),
        cpu=gaps([cpu for _, cpu in stamps]),
        seconds=time.perf_counter() - started,
        tokens=int(max(entry.get("num_tokens", 0) for entry in history)),
        losses=tuple(entry["loss"] for entry in history if "loss" in entry),
        settings={"weights": " and ".join(sorted(dtypes))} | {name: str(getattr(arguments, name)) for name in shown},
    )


def _adapter(job: Job) -> Any:
    layers = loaded("AutoConfig", job.model).get_text_config().num_hidden_layers
    upper = range(layers - job.top_layers, layers) if job.top_layers else ()
    return require("peft", extra="local").LoraConfig(
        r=job.rank,
        lora_alpha=job.alpha,
        lora_dropout=0.0,
        target_modules=[*LINEAR] if upper else "all-linear",
        layers_to_transform=[*upper] or None,
        task_type="CAUSAL_LM",
    )


def rows(job: Job, train: Sequence[TrainingPair]) -> Any:
    """Prompt and completion as texts whose tokens are those that this package trains on."""
    tokenizer = loaded("AutoTokenizer", job.model)
    made: list[dict[str, str]] = []
    for pair in train:
        turns = [{"role": message.role, "content": message.content} for message in pair.messages]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        made.append({"prompt": prompt, "completion": pair.answer + tokenizer.eos_token})
    return require("datasets", extra="local").Dataset.from_list(made)


def now() -> tuple[float, float]:
    """The time, and the processor time of all threads."""
    return time.perf_counter(), time.process_time()


def gaps(stamps: Sequence[float]) -> tuple[float, ...]:
    """Seconds from each to the next."""
    return tuple(after - before for before, after in pairwise(stamps))


def _worth(job: Job) -> tuple[float, float]:
    """Validation loss and score of an adapter, by the same code for all contenders."""
    parts = json.loads(Path(job.data).read_text(encoding="utf-8"))
    held = [read_pair(each) for each in parts[1]]
    with quiet():
        return validation_loss(job.model, Path(job.output), held), validation_score(job.model, Path(job.output), held)


def validation_loss(source: str, adapter: Path, held: Sequence[TrainingPair]) -> float:
    """Mean negative log-likelihood of the answers' tokens, over batches of eight."""
    torch, peft = require("torch", extra="local"), require("peft", extra="local")
    tokenizer, base = loaded("AutoTokenizer", source), loaded("AutoModelForCausalLM", source, dtype=torch.bfloat16)
    model = peft.PeftModel.from_pretrained(base, adapter).eval()
    pieces = encoded(held, ChatFormat(tokenizer, stop_tokens(base, tokenizer)), 1024)
    with torch.inference_mode():
        batches = [padded([row(pieces[start : start + 8])]) for start in range(0, len(pieces), 8)]
        one = torch.ones(())
        total = sum(float(answer_loss(model, batch, one)) for batch in batches)
    return total / sum(len(piece.answer) for piece in pieces)


def validation_score(source: str, adapter: Path, held: Sequence[TrainingPair]) -> float:
    """Share of right fields in the greedy answers to the validation examples."""
    model, metric = LocalModel(source, device="cpu").with_adapter(adapter), metrics.create("json_fields")
    asked = [Request(example_id=str(n), messages=pair.messages, max_tokens=48) for n, pair in enumerate(held)]
    replies = model.answer(Batch(requests=tuple(asked)))
    texts = [reply.text if isinstance(reply, Reply) else "" for reply in replies]
    wanted = [Example(id=str(n), messages=pair.messages, answer=pair.answer) for n, pair in enumerate(held)]
    return statistics.mean(metric.score(text, each).value for text, each in zip(texts, wanted, strict=True))


if __name__ == "__main__":
    main()
