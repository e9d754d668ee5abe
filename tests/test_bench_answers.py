"""The benchmark of answers: every contender gets the same prompts, and in float32 all give the same answers."""

from __future__ import annotations

from pathlib import Path

import tiny_model
from benchmarks.answers import OURS, Contest
from finetune_advisor.errors import require
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.quiet import quiet
from finetune_advisor.records import Request


def test_our_engine_answers_as_a_loop_and_as_the_pipeline(tmp_path: Path) -> None:
    transformers = require("transformers", extra="local")
    folder = str(tiny_model.build(tmp_path))
    model = LocalModel(folder, dtype="float32", device="cpu")
    asked = tuple(
        Request(example_id=fruit, messages=tiny_model.asked(fruit), max_tokens=6) for fruit in tiny_model.FRUIT
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    with quiet():
        peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        contest = Contest(arm="any", requests=asked, model=model, peer=peer, exact=model, tokenizer=tokenizer)
        found = {name: answer() for name, answer in contest.contenders().items()}
    assert len(found) >= 4 and OURS in found
    assert all(answers == found[OURS] == contest.truth() for answers in found.values())
    assert len(set(found[OURS])) > 1
