"""The commands that run no model: estimate, and verdict on results from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_advisor import cli

EVIDENCE = Path(__file__).parent / "evidence"
JOB = ("--model", "llama-3.1-8b", "--micro-batch", "2", "--seq", "2048", "--rank", "8", "--gpu", "A100-80")


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def estimated(*arguments: str) -> dict[str, Any]:
    return json.loads(call("estimate", *JOB, *arguments, "--json").stdout)


def test_an_estimate_has_ranges_in_order_and_no_money_without_tokens() -> None:
    found = estimated("--method", "lora", "--targets", "q,v", "--checkpointing", "yes", "--tokens", "6000000")
    for name in ("peak_gib", "tokens_per_second", "seconds", "usd"):
        assert 0 < found[name]["low"] < found[name]["likely"] < found[name]["high"], name
    assert found["trainable"] == 3_407_872
    assert found["seconds"]["likely"] == pytest.approx(6e6 / found["tokens_per_second"]["likely"], rel=0.01)
    assert estimated()["usd"] is None


def test_layers_kept_take_more_memory_and_four_bits_less() -> None:
    peak = {
        way: estimated(*way.split())["peak_gib"]["likely"]
        for way in ("--checkpointing yes", "--checkpointing no", "--method qlora", "--method full")
    }
    assert peak["--method qlora"] < peak["--checkpointing yes"] < peak["--checkpointing no"] < peak["--method full"]


def test_an_estimate_reads_as_text() -> None:
    text = call("estimate", *JOB, "--tokens", "6000000").stdout
    for words in ("Peak memory:", "fits", "tokens/s", "hours", "Money: $"):
        assert words in text


@pytest.mark.parametrize(
    ("option", "value", "code", "words"),
    [
        ("--gpu", "abacus", 2, "abacus"),
        ("--method", "magic", 2, "magic"),
        ("--micro-batch", "-1", 2, "micro_batch"),
        ("--targets", "nose", 2, "nose"),
        ("--model", "no-such-model", 3, "no-such-model"),
    ],
)
def test_an_impossible_job_is_refused(option: str, value: str, code: int, words: str) -> None:
    result = call("estimate", *JOB, option, value)
    assert result.exit_code == code
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("Error: ") and words in error
    assert hint.startswith("Hint: ")


@pytest.mark.parametrize(("file", "decision"), [("tuning_helps", "GO"), ("tuning_does_not", "NO-GO")])
def test_a_verdict_on_results_from_elsewhere(file: str, decision: str) -> None:
    files = ("--evidence", EVIDENCE / f"{file}.json", "--money", EVIDENCE / "money.json")
    judged = json.loads(call("verdict", *files, "--json").stdout)
    assert judged["verdict"]["decision"] == decision
    assert judged["verdict"]["headline"] in " ".join(call("verdict", *files).stdout.split())


def test_evidence_that_is_no_evidence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}", encoding="utf-8")
    result = call("verdict", "--evidence", tmp_path / "empty.json", "--money", EVIDENCE / "money.json")
    assert result.exit_code == 2
    assert "Hint: " in result.stderr and "Traceback" not in result.output
