"""The retrieval benchmark in a small size: it runs, ours and the peers find the same, and absent peers are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import measured, retrieval
from finetune_advisor.errors import Missing
from finetune_advisor.models import embedded

SMALL = retrieval.Sizes(passages=60, queries=6, embedded=4, rounds=1)


@pytest.fixture(autouse=True)
def no_files_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RUNS", tmp_path)


def test_words_agree_with_bm25s(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outcome = retrieval.answered(retrieval.by_words(SMALL), rounds=1, memory={})
    measured.publish(outcome, "retrieval_words", retrieval.PACKAGES)
    shares = {row["contender"]: row["agrees"] for row in outcome.rows}
    assert shares["ours"] == shares["bm25s, same words"] == 1
    assert "| ours |" in capsys.readouterr().out
    written = json.loads((tmp_path / "retrieval_words.json").read_text(encoding="utf-8"))
    assert [*written["details"]] == ["index 60, s", "6 queries at once, s", "6 one by one, s"]


@pytest.mark.parametrize("asked", ["embedding", "vectors", "both"])
def test_vectors_agree_with_what_is_installed(asked: str) -> None:
    try:
        embedded.sentence_encoder_folder()
    except Missing as error:
        pytest.skip(f"the embedded sentence encoder is not on this machine: {error.message}")
    outcome = retrieval.answered(retrieval.ASKED[asked](SMALL), rounds=1, memory={})
    assert [row["agrees"] for row in outcome.rows] == [1] * len(outcome.rows)


def test_a_list_that_misses_the_best_does_not_agree() -> None:
    question = retrieval.by_words(SMALL)

    def worst(texts: object) -> retrieval.Search:
        return lambda queries, depth: [[0]] * len(queries)

    made = replace(question, builds={**question.builds, "worst": worst})
    assert retrieval.agreement(made)["worst"] == 0


def test_absent_data_and_peers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retrieval, "DATA", tmp_path / "data")
    monkeypatch.setattr(retrieval, "PEERS", {"no_such_module": "no-such-package"})
    for made in (retrieval.passages, retrieval.queries, retrieval.source):
        made.cache_clear()
    try:
        outcome = retrieval.answered(retrieval.by_words(SMALL), rounds=1, memory={})
    finally:
        for made in (retrieval.passages, retrieval.queries, retrieval.source):
            made.cache_clear()
    assert len(outcome.notes) == 2
    assert "pip install no-such-package" in outcome.notes[0]
    assert "invented words" in outcome.notes[1]
    assert outcome.rows[1]["agrees"] == 1


def test_passages_differ_and_are_drawn_the_same_way_each_time() -> None:
    made = retrieval.passages(300)
    assert len(set(made)) == 300
    retrieval.passages.cache_clear()
    assert retrieval.passages(300) == made
    assert all(len(passage.split()) >= 60 for passage in made)


def test_memory_is_measured_for_each_contender_and_for_none() -> None:
    question = retrieval.by_words(SMALL)
    gib = retrieval.peaks(question, SMALL)
    assert [*gib] == [*question.builds, "nothing"]
    assert min(gib.values()) > 0.01
