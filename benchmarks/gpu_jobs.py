"""What one process of gpu.py does: write random weights, train, or answer, and say how fast and in how much memory.

Run: python -m benchmarks.gpu_jobs JOB.json FOUND.json, as gpu.py does.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import by_hand
from benchmarks.by_hand import Ask
from finetune_advisor import tuning
from finetune_advisor.costs import memory
from finetune_advisor.costs.shape import Config, Shape, from_config
from finetune_advisor.errors import AdvisorError, require
from finetune_advisor.models.generation import GreedyGenerator
from finetune_advisor.models.quiet import quiet
from finetune_advisor.models.weights import Weights
from finetune_advisor.records import Message, TrainingPair
from finetune_advisor.tuning.work import TuningWork

OURS = "finetune_advisor"
RANK, ALPHA = 16, 32
SPECIAL = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|> ' + m['role'] + ' ' + m['content'] + ' <|im_end|> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model's shape and the work that it is given; lengths in tokens."""

    name: str
    config: Config
    length: int = 1024
    examples: int = 96
    micro_batch: int = 8
    prompt: int = 512
    answer: int = 128

    @property
    def shape(self) -> Shape:
        """What memory and speed depend on."""
        return from_config(self.config, name=self.name)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process does: `kind` is "weights", "matrix", "training" or "answering"."""

    kind: str
    size: Size
    folder: str
    device: str
    contender: str = ""
    lengths: str = "equal"
    batches: Sequence[int] = ()
    rounds: int = 1


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What came out of it. `answers` are those of the first counted round, as token ids; `failure` says why nothing."""

    rate: float = 0.0
    peak_gib: float = 0.0
    batch: int = 0
    answers: Sequence[Sequence[int]] = ()
    failure: str = ""


Do = Callable[[Job], list[Figure]]


def done(job: Job) -> list[Figure]:
    """Do a job in this process."""
    with quiet():
        work: dict[str, Do] = {"weights": weights, "matrix": matrix, "training": training, "answering": answering}
        return work[job.kind](job)


def do_file(given: Path, found: Path) -> None:
    """Do the job of a file."""
    fields: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
    job = Job(size=Size(**fields.pop("size")), **fields)
    try:
        figures = done(job)
    except AdvisorError as error:
        figures = [Figure(failure=f"{error.message} {error.hint}".strip())]
    found.write_text(json.dumps([asdict(each) for each in figures]), encoding="utf-8")


def weights(job: Job) -> list[Figure]:
    """Write random weights and a tokenizer of one token a word."""
    torch, transformers = require("torch", extra="local"), require("transformers", extra="local")
    plain = {key: value for key, value in job.size.config.items() if key not in ("aliases", "model_type")}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = transformers.AutoConfig.for_model(job.size.config["model_type"], **plain, **ends)
    torch.manual_seed(0)
    with torch.device(job.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=_dtype(job))
    model.save_pretrained(job.folder)
    _tokenizer(job.size).save_pretrained(job.folder)
    return []


def _dtype(job: Job) -> Any:
    torch = require("torch", extra="local")
    return torch.float32 if job.device == "cpu" else torch.bfloat16


def _words(size: Size) -> list[str]:
    return [f"w{number}" for number in range(min(8192, size.config["vocab_size"] - len(SPECIAL) - 2))]


def _tokenizer(size: Size) -> Any:
    tokenizers, transformers = require("tokenizers", extra="local"), require("transformers", extra="local")
    ids = {word: place for place, word in enumerate((*SPECIAL, "user", "assistant", *_words(size)))}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=SPECIAL[1]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    made.chat_template = TEMPLATE
    return made


def matrix(job: Job) -> list[Figure]:
    """FLOP/s of a large square product in the model's number format."""
    torch = require("torch", extra="local")
    side, times = (8192, 30) if job.device != "cpu" else (256, 3)
    left, right = (torch.randn(side, side, device=job.device, dtype=_dtype(job)) for _ in range(2))
    taken: list[float] = []
    for _ in range(6):
        started = now(job)
        for _ in range(times):
            torch.matmul(left, right)
        taken.append(now(job) - started)
    return [Figure(rate=2 * side**3 * times / median(taken[1:]))]


def now(job: Job) -> float:
    """Seconds, once the device has done all that it was told."""
    if job.device != "cpu":
        require("torch", extra="local").cuda.synchronize()
    return time.perf_counter()


def _peak_gib(job: Job) -> float:
    if job.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return require("torch", extra="local").cuda.max_memory_allocated() / memory.GIB


def examples(size: Size, lengths: str) -> tuple[list[TrainingPair], int]:
    """What is learnt, and its tokens: pairs of the full length, or from an eighth of it up ("mixed").

    The template's own words count: three around each turn.
    """
    chance, words = random.Random(0), _words(size)
    pairs: list[TrainingPair] = []
    total = 0
    for _ in range(size.examples):
        length = size.length if lengths == "equal" else chance.randint(size.length // 8, size.length)
        answer = max(1, length // 8)
        asked = " ".join(chance.choices(words, k=max(1, length - answer - 6)))
        message = Message(role="user", content=asked)
        pairs.append(TrainingPair(messages=(message,), answer=" ".join(chance.choices(words, k=answer))))
        total += max(1, length - answer - 6) + answer + 6
    return pairs, total


class Marks:
    """When each step of a training ended; the device is waited for where an epoch ends."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.times: dict[int, float] = {}

    def __call__(self, what: str, step: int, steps: int) -> None:
        """A step is done."""
        if step in (steps // 2, steps):
            self.times[step] = now(self._job)

    @property
    def second_half(self) -> float:
        """Seconds of the second epoch."""
        half, end = sorted(self.times)
        return self.times[end] - self.times[half]


def training(job: Job) -> list[Figure]:
    """Two epochs of LoRA; tokens a second of the second one, and the peak."""
    pairs, tokens = examples(job.size, job.lengths)
    marks = Marks(job)
    with tempfile.TemporaryDirectory() as folder:
        train = _ours_trains if job.contender == OURS else _trl_trains
        train(job, pairs, Path(folder), marks)
    return [Figure(rate=tokens / marks.second_half, peak_gib=_peak_gib(job))]


def _ours_trains(job: Job, pairs: Sequence[TrainingPair], folder: Path, marks: Marks) -> None:
    tuner = tuning.create(
        "lora",
        rank=RANK,
        alpha=ALPHA,
        epochs=2,
        batch_size=job.size.micro_batch,
        learning_rate=1e-4,
        max_length=job.size.length,
        # Once at the end, so that saving checkpoints is not what is timed.
        evaluations=1,
        dtype=str(_dtype(job)).removeprefix("torch."),
        device=job.device,
    )
    tuner.tune(TuningWork(source=job.folder, train=pairs, validation=[], folder=folder), marks)


def _trl_trains(job: Job, pairs: Sequence[TrainingPair], folder: Path, marks: Marks) -> None:
    def on_step_end(_: object, args: object, state: Any, control: object, **rest: object) -> None:
        marks("training", state.global_step, state.max_steps)

    base = require("transformers", extra="local").TrainerCallback
    lora = by_hand.Lora(
        rank=RANK,
        alpha=ALPHA,
        epochs=2,
        batch_size=job.size.micro_batch,
        learning_rate=1e-4,
        seed=0,
        max_length=job.size.length,
    )
    rows = [
        {
            "prompt": [{"role": each.role, "content": each.content} for each in pair.messages],
            "completion": [{"role": "assistant", "content": pair.answer}],
        }
        for pair in pairs
    ]
    watch = type("Watch", (base,), {"on_step_end": on_step_end})()
    by_hand.train(job.folder, rows, [], str(folder), lora, [watch])


def answering(job: Job) -> list[Figure]:
    """Tokens a second at each batch size, and the peak of each."""
    makers: dict[str, Callable[[str, str], Ask]] = {OURS: ours, "generate": by_hand.generate, "vLLM": by_hand.vllm}
    ask = makers[job.contender](job.folder, job.device)
    return [_answered(job, ask, batch) for batch in job.batches]


def ours(model: str, device: str) -> Ask:
    """Our generation, with no token that ends an answer."""
    loaded = Weights(model, "auto" if device != "cpu" else "float32", device).model
    generator = GreedyGenerator(loaded, ())

    def ask(prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        given = generator.generate(loaded, [list(ids) for ids in prompts], [limit] * len(prompts), "")
        return [list(one.tokens) for one in given]

    return ask


def _answered(job: Job, ask: Ask, batch: int) -> Figure:
    if job.device != "cpu":
        require("torch", extra="local").cuda.reset_peak_memory_stats()
    taken: list[float] = []
    answers: list[list[int]] = []
    for each in range(job.rounds + 1):
        chance = random.Random(1000 * batch + each)
        # Ids from the middle of the vocabulary: no special ones.
        prompts = [chance.choices(range(8, 8 + len(_words(job.size)) // 2), k=job.size.prompt) for _ in range(batch)]
        started = now(job)
        given = ask(prompts, job.size.answer)
        taken.append(now(job) - started)
        answers = given if each == 1 else answers
    tokens = sum(map(len, answers))
    return Figure(rate=tokens / median(taken[1:]), peak_gib=_peak_gib(job), batch=batch, answers=answers)


if __name__ == "__main__":
    do_file(Path(sys.argv[1]), Path(sys.argv[2]))
