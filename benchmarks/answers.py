"""How many answers a second each arm gets from the embedded model, beside what a user would write instead.

Run: python -m benchmarks.answers [CASE] [--rows 81] [--rounds 3] [--arms rag,few_shot] [--dtype float32]
[--against pipeline,lm-eval] [--memory].
CASE is a case folder with a local model; without one, the shipped sample. Beside our engine: a plain `transformers`
loop (`generate` for one prompt at a time), the transformers text-generation pipeline with several batch sizes, and
lm-evaluation-harness's hf backend. All get the same prompts, number format and threads, choose greedily and may write
as many tokens. Printed is how many answers are to the letter those of our engine in float32, where rounding decides
nothing: in bfloat16 every contender rounds a few of them away, each in its own way; with --dtype float32 all are to be
the same. With --memory each contender answers once in a process of its own, whose peak is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.measured import Outcome, Timing, absent, alternated, peak, publish
from finetune_advisor import approaches, case
from finetune_advisor.approaches.tuned import Training
from finetune_advisor.errors import require
from finetune_advisor.experiment.arms import Plan, plans
from finetune_advisor.experiment.prepare import Prepared, prepare
from finetune_advisor.models.hardware import Module, Tokenizer
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.models.weights import Weights
from finetune_advisor.records import Reply, Request, no_progress

PACKAGES = ("torch", "transformers", "lm-eval", "finetune-advisor")
OURS, LOOP = "ours", "transformers loop"
CONTENDERS = (OURS, LOOP, "pipeline, batches of 8", "pipeline, batches of 32", "lm-eval hf, batches of 16")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The prompts of one arm, our model, and the same weights as the peers load them."""

    arm: str
    requests: Sequence[Request]
    model: LocalModel
    peer: Module
    exact: LocalModel
    tokenizer: Tokenizer

    def contenders(self) -> Mapping[str, Callable[[], list[str]]]:
        """What answers all prompts, by name."""
        made: dict[str, Callable[[], list[str]]] = {OURS: self.ours, LOOP: self.loop}
        for name in CONTENDERS[2:]:
            size = int(name.rpartition(" ")[2])
            made[name] = partial(self.pipeline if name.startswith("pipeline") else self.harness, size)
        if absent("lm_eval", "lm-eval"):
            made.pop(CONTENDERS[-1])
        return made

    def ours(self) -> list[str]:
        """Our engine, nothing remembered from before."""
        return self._asked(self.model)

    def truth(self) -> list[str]:
        """What our engine answers in float32."""
        return self._asked(self.exact)

    def _asked(self, model: LocalModel) -> list[str]:
        cast(Any, model)._weights.generator.forget()
        texts: dict[str, str] = {}
        for batch in model.batches(self.requests):
            for request, outcome in zip(batch.requests, model.answer(batch), strict=True):
                texts[request.example_id] = outcome.text if isinstance(outcome, Reply) else ""
        return [texts[request.example_id] for request in self.requests]

    def loop(self) -> list[str]:
        """`generate` for one prompt after the other."""
        texts: list[str] = []
        for request, text in zip(self.requests, self._texts(), strict=True):
            given = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
            made = self.peer.generate(**given, max_new_tokens=request.max_tokens, do_sample=False)
            answer = made[0, given["input_ids"].shape[1] :]
            texts.append(self.tokenizer.decode(answer, skip_special_tokens=True).strip())
        return texts

    def pipeline(self, size: int) -> list[str]:
        """The text-generation pipeline on a list of conversations."""
        make = require("transformers", extra="local").pipeline
        pipe = make("text-generation", model=self.peer, tokenizer=self.tokenizer, batch_size=size)
        most = max(request.max_tokens for request in self.requests)
        given = pipe(self._chats(), max_new_tokens=most, do_sample=False, return_full_text=False)
        return [each[0]["generated_text"].strip() for each in given]

    def harness(self, size: int) -> list[str]:
        """lm-evaluation-harness's hf backend."""
        instance = require("lm_eval.api.instance", extra="local").Instance
        backend = require("lm_eval.models.huggingface", extra="local").HFLM
        model = backend(pretrained=self.peer, tokenizer=self.tokenizer, batch_size=size)
        rules = {
            "until": list[str](),
            "max_gen_toks": max(request.max_tokens for request in self.requests),
            "do_sample": False,
        }
        asked = [
            instance(request_type="generate_until", doc={}, arguments=(text, rules), idx=place)
            for place, text in enumerate(self._texts())
        ]
        return [text.strip() for text in model.generate_until(asked, disable_tqdm=True)]

    def _chats(self) -> list[list[dict[str, str]]]:
        return [[{"role": turn.role, "content": turn.content} for turn in each.messages] for each in self.requests]

    def _texts(self) -> list[str]:
        template = self.tokenizer.apply_chat_template
        return [template(chat, tokenize=False, add_generation_prompt=True) for chat in self._chats()]


def main() -> None:
    """Print the table."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as scratch, quiet():
        contests = list(_contests(given, Path(scratch)))
        if given.only:
            contests[0].contenders()[given.only]()
            return
        rows = [row for contest in contests for row in _rows(contest, given)]
    notes = [note for note in (absent("lm_eval", "lm-eval"),) if note]
    publish(
        Outcome(question="Answers per second", rows=rows, notes=notes), f"answers_{given.dtype}_{given.arms}", PACKAGES
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=81, help="how many test examples are answered")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the first is not warmed up, for nobody")
    parser.add_argument("--arms", default="zero_shot,few_shot,nearest_shot,rag", help="approaches, comma-separated")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--against", default="", help="only peers whose names begin so, comma-separated")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, not time")
    parser.add_argument("--only", choices=CONTENDERS, help="answer once with this contender and print nothing")
    return parser.parse_args()


def _contests(given: argparse.Namespace, scratch: Path) -> Sequence[Contest]:
    folder = given.case or scratch / "case"
    if given.case is None:
        case.sample(folder)
    read = case.read(folder)
    prepared = prepare(read, [], no_progress)
    wanted = given.arms.split(",")
    chosen = [plan for plan in plans(read, prepared.models) if plan.approach in wanted]
    source = cast(LocalModel, next(iter(prepared.models.values()))).source
    model, peer = LocalModel(source, dtype=given.dtype), Weights(source, given.dtype, "auto")
    exact = LocalModel(source, dtype="float32")
    requests = {plan.name: _requests(plan, prepared, scratch, given.rows) for plan in chosen}
    return [
        Contest(arm=name, requests=asked, model=model, peer=peer.model, exact=exact, tokenizer=_padding(peer.tokenizer))
        for name, asked in requests.items()
    ]


def _padding(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def _requests(plan: Plan, prepared: Prepared, folder: Path, rows: int) -> list[Request]:
    approach = approaches.create(plan.approach, **plan.grid[0])
    bench = prepared.bench(plan.model, folder)
    ask = approach.asking(bench) if isinstance(approach, Training) else approach.fit(bench).ask
    return ask(prepared.parts["test"][:rows])


def _rows(contest: Contest, given: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = (OURS, *given.against.split(","))
    found = {name: answer for name, answer in contest.contenders().items() if name.startswith(chosen)}
    if given.memory:
        return [{"arm": contest.arm, "contender": name, "peak, GiB": _memory(contest, name)} for name in found]
    answers: dict[str, list[str]] = {}

    def kept(name: str, answer: Callable[[], list[str]]) -> None:
        answers[name] = answer()

    contenders = {name: partial(kept, name, answer) for name, answer in found.items()}
    timings = alternated(contenders, given.rounds, warm=False)
    truth = contest.truth()
    same = {name: sum(map(str.__eq__, texts, truth)) for name, texts in answers.items()}
    ours = timings[0].median
    best = min(timing.median for timing in timings[1:])
    print(f"{contest.arm}: {best / ours:.2f} times the best peer", file=sys.stderr)
    return [_row(contest, timing, same, ours) for timing in timings]


def _row(contest: Contest, timing: Timing, same: Mapping[str, int], ours: float) -> dict[str, Any]:
    n = len(contest.requests)
    return {
        "arm": contest.arm,
        "contender": timing.name,
        "answers/s": n / timing.median,
        "spread": f"{n / max(timing.seconds):.2f} to {n / min(timing.seconds):.2f}",
        "ours is faster by": timing.median / ours,
        "as in float32": f"{same[timing.name]} of {n}",
    }


def _memory(contest: Contest, name: str) -> float:
    approach = next(key for key in approaches.TABLE if approaches.named(key).title == contest.arm)
    return peak(["benchmarks.answers", "--arms", approach, "--only", name])[0]


if __name__ == "__main__":
    main()
