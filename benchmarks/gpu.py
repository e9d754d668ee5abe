"""How fast our engine trains and answers on a GPU, and in how much memory, beside its peers and our own estimate.

Run: python -m benchmarks.gpu [--sizes 1b,8b] [--what training,answering] [--batches 1,4,16,64,256] [--rounds 2]
[--folder FOLDER] [--tiny]. Random weights in the shapes of Llama 3.2 1B and Llama 3.1 8B are written to FOLDER, else to
a temporary one (16 GB for the 8B). --tiny runs all of it on the CPU with two narrow layers, to see that it works.

Training: our LoRA against TRL's SFTTrainer as documented (by_hand.py), the same rank, batch and examples, an eighth of
whose tokens are the answer; two epochs, of which the second counts. "4N" is 4 times the parameters that a token is
multiplied with, in FLOP: what LoRA needs without recomputing. It is held against this card's own bfloat16 matrix
product. Answering: our greedy generation against plain `generate` and vLLM, prompts of one length that have no
beginning in common, answers of one length; the first round does not count. Each contender runs in a process of its own;
memory is torch's largest allocation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_jobs import OURS, RANK, Do, Figure, Job, Size
from benchmarks.measured import ROOT, Outcome, absent, publish
from finetune_advisor.costs import gpus, memory
from finetune_advisor.costs.estimate import EstimateOptions, estimate
from finetune_advisor.costs.shape import Config, read
from finetune_advisor.errors import BadInput, require

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "vllm")
NEEDED = {"SFTTrainer": ("trl", "datasets", "peft"), "generate": ("transformers",), "vLLM": ("vllm",)}
TRAINERS, ANSWERERS = (OURS, "SFTTrainer"), (OURS, "generate", "vLLM")
SHAPES = {"1b": "llama-3.2-1b", "8b": "llama-3.1-8b"}
TINY: Config = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 96,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def apart(job: Job) -> list[Figure]:
    """Do a job in a process of its own; one that fails is a figure with the last line that it said."""
    with tempfile.TemporaryDirectory() as place:
        given, found = Path(place) / "job.json", Path(place) / "found.json"
        given.write_text(json.dumps(asdict(job), default=dict), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.gpu_jobs", str(given), str(found)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            return [Figure(failure=(ended.stderr.strip().splitlines() or ["it died"])[-1][:300])]
        return [Figure(**each) for each in json.loads(found.read_text(encoding="utf-8"))]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, and by whom jobs are done."""

    sizes: Sequence[Size]
    batches: Sequence[int]
    rounds: int
    device: str
    card: str
    folder: Path
    do: Do

    def job(self, kind: str, size: Size, **more: Any) -> Job:
        """A job on the weights of that size, which are written first."""
        place = self.folder / size.name
        made = Job(kind=kind, size=size, folder=str(place), device=self.device, **more)
        if kind in ("training", "answering") and not (place / "config.json").exists():
            self.do(self.job("weights", size))
        return made


def options(size: Size) -> EstimateOptions:
    """The training as the estimate knows it."""
    return EstimateOptions(model=size.config, micro_batch=size.micro_batch, seq=size.length, rank=RANK)


def training_rows(plan: Plan, size: Size, matrix_rate: float) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each kind of lengths and contender, and what is missing."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    expected = estimate(options(size))
    for lengths in ("equal", "mixed"):
        figures, missing = _contended(plan, size, "training", TRAINERS, lengths=lengths)
        notes += missing
        theirs = figures.get("SFTTrainer", [Figure()])[0].rate
        for name, (figure,) in figures.items():
            rows.append(
                {
                    "shape": size.name,
                    "lengths": lengths,
                    "trained by": name,
                    "tokens/s": f"{figure.rate:,.0f}",
                    "of the matrix rate, 4N": f"{4 * size.shape.matmul * figure.rate / matrix_rate:.0%}",
                    "times SFTTrainer": f"{figure.rate / theirs:.2f}" if theirs else "",
                    **_memory(plan, figure, expected.peak_gib.likely),
                    "estimated tokens/s": f"{_expected_rate(plan, size):,.0f}" if plan.card else "",
                }
            )
    return rows, notes


def _expected_rate(plan: Plan, size: Size) -> float:
    return estimate(replace(options(size), gpu=plan.card)).tokens_per_second.likely


def _memory(plan: Plan, figure: Figure, expected: float) -> dict[str, str]:
    off = f"{expected / figure.peak_gib - 1:+.0%}" if plan.device != "cpu" and figure.peak_gib else ""
    return {"peak GiB": f"{figure.peak_gib:.2f}", "estimated GiB": f"{expected:.2f}", "estimate off by": off}


def answering_rows(plan: Plan, size: Size) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each batch size and contender, and what is missing."""
    figures, notes = _contended(plan, size, "answering", ANSWERERS, batches=plan.batches, rounds=plan.rounds)
    plain = {figure.batch: figure for figure in figures.get("generate", [])}
    rows: list[dict[str, Any]] = []
    for batch in plan.batches:
        for name, found in figures.items():
            rows += [_answer_row(plan, size, name, each, plain) for each in found if each.batch == batch]
    return rows, notes


def _answer_row(plan: Plan, size: Size, name: str, figure: Figure, plain: Mapping[int, Figure]) -> dict[str, Any]:
    same = plain.get(figure.batch, Figure())
    one = plain.get(1, Figure()).rate
    context = size.prompt + size.answer
    expected = sum(memory.inference_bytes(size.shape, quantised=False, batch=figure.batch, context=context).values())
    equal = sum(list(a) == list(b) for a, b in zip(figure.answers, same.answers, strict=False))
    return {
        "shape": size.name,
        "batch": figure.batch,
        "answered by": name,
        "tokens/s": f"{figure.rate:,.0f}",
        "times generate": f"{figure.rate / same.rate:.2f}" if same.rate else "",
        "times generate one at a time": f"{figure.rate / one:.2f}" if one else "",
        "same answers": f"{equal} of {len(figure.answers)}" if same.answers else "",
        **_memory(plan, figure, expected / memory.GIB),
    }


def _contended(
    plan: Plan, size: Size, kind: str, names: Sequence[str], **more: Any
) -> tuple[dict[str, list[Figure]], list[str]]:
    """The figures of all contenders that can be run, and a sentence for each other one."""
    figures: dict[str, list[Figure]] = {}
    notes: list[str] = []
    for name in names:
        missing = [note for module in NEEDED.get(name, ()) if (note := absent(module, module))]
        found = [] if missing else plan.do(plan.job(kind, size, contender=name, **more))
        # A run that is cut off is to have said what it had measured by then.
        said = [f"{each.batch or ''} {each.rate:.1f} tokens/s, {each.peak_gib:.2f} GiB" for each in found]
        print(size.name, kind, name, *more.values(), *said, file=sys.stderr, flush=True)
        failed = [*missing, *(figure.failure for figure in found if figure.failure)]
        notes += [f"{size.name}, {kind}, {name}: {why}" for why in failed]
        if not failed:
            figures[name] = found
    return figures, list(dict.fromkeys(notes))


def measure(plan: Plan, what: Sequence[str]) -> None:
    """Print and keep the tables."""
    (matrix_figure,) = plan.do(plan.job("matrix", plan.sizes[0]))
    if matrix_figure.failure:
        raise SystemExit(f"The card's own rate could not be measured: {matrix_figure.failure}")
    said = [f"Matrix product: {matrix_figure.rate / 1e12:.3g} TFLOP/s on {plan.card or plan.device}."]
    found: dict[str, list[dict[str, Any]]] = {"training": [], "answering": []}
    notes: dict[str, list[str]] = {"training": [*said], "answering": [*said]}
    for size in plan.sizes:
        for kind in what:
            made = training_rows(plan, size, matrix_figure.rate) if kind == "training" else answering_rows(plan, size)
            found[kind] += made[0]
            notes[kind] += made[1]
    for kind in what:
        question = f"How fast is {kind} on a GPU, and in how much memory?"
        publish(Outcome(question=question, rows=found[kind], notes=notes[kind]), f"gpu_{kind}", PACKAGES)


def main(arguments: Sequence[str] | None = None, do: Do = apart) -> None:
    """Measure what is wanted."""
    given = _parsed(arguments)
    torch = require("torch", extra="local")
    if not (given.tiny or torch.cuda.is_available()):
        print("This benchmark needs a CUDA device; --tiny shows on the CPU that it works.", file=sys.stderr)
        raise SystemExit(2)
    card = "" if given.tiny else torch.cuda.get_device_name()
    sizes = [size_named(name) for name in (["tiny"] if given.tiny else given.sizes.split(","))]
    batches = [1, 3] if given.tiny else [int(batch) for batch in given.batches.split(",")]
    with tempfile.TemporaryDirectory() as place:
        plan = Plan(
            sizes=sizes,
            batches=batches,
            rounds=given.rounds,
            device="cpu" if given.tiny else "cuda",
            card=known(card),
            folder=given.folder or Path(place),
            do=do,
        )
        measure(plan, given.what.split(","))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1b,8b")
    parser.add_argument("--what", default="training,answering")
    parser.add_argument("--batches", default="1,4,16,64,256")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args(arguments)


def size_named(name: str) -> Size:
    """The size of that name: 1b, 8b or tiny."""
    if name == "tiny":
        return Size(name=name, config=TINY, length=48, examples=8, micro_batch=2, prompt=24, answer=6)
    return Size(name=name, config=read(SHAPES[name]))


def known(card: str) -> str:
    """The card's name among those with known figures; empty where it is not there."""
    try:
        return gpus.find(card).name if card else ""
    except BadInput:
        return ""


if __name__ == "__main__":
    main()
