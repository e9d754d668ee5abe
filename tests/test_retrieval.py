"""BM25, dense and hybrid search: known answers, the published recall, and any text in any script."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_advisor import retrieval
from finetune_advisor.errors import BadInput, Missing, require
from finetune_advisor.models import embedded
from finetune_advisor.retrieval.bm25 import BM25, words
from finetune_advisor.retrieval.dense import Dense, DenseIndex, embed
from finetune_advisor.retrieval.hybrid import Hybrid, fuse
from finetune_advisor.retrieval.ranking import highest

DATA = Path(__file__).parents[1].parent / "shared" / "data"


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return embedded.sentence_encoder_folder()
    except Missing as error:
        pytest.skip(f"the embedded sentence encoder is not on this machine: {error.message}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Straße, 2nd floor: snake_case!", ["the", "strasse", "2nd", "floor", "snake", "case"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("我想退款", ["我想", "想退", "退款"]),
        ("茶 tea", ["茶", "tea"]),
        ("カードXを", ["カー", "ード", "x", "を"]),
        ("سلام، کیسے ہیں؟", ["سلام", "کیسے", "ہیں"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("thanks 👍👍", ["thanks", "👍", "👍"]),
        ("?! …", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_thai_is_cut_into_pairs() -> None:
    assert set(words("คืนเงิน")) <= set(words("ขอคืนเงินครับ"))


@settings(max_examples=300)
@given(st.text(max_size=40) | st.text("aé_İ9'\u0301\u05d0漢\U00011000 \U0001f44d", max_size=20))
def test_the_short_way_to_words_changes_none(text: str) -> None:
    # A picture anywhere makes a text go the long way, which holds for every script.
    assert words(f"{text} 👍") == [*words(text), "👍"]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 0.25, 1.0, -1.0]) | st.floats(-1, 1, width=32), min_size=1, max_size=400),
    st.integers(1, 12),
    st.sampled_from([-math.inf, 0.0]),
    st.sampled_from([None, 1, 5]),
)
def test_highest_is_the_start_of_a_full_sort(scores: list[float], depth: int, above: float, digits: int | None) -> None:
    array = np.array(scores, dtype="float32")
    compared = array if digits is None else array.round(digits)
    counted = [int(at) for at in (-compared).argsort(kind="stable") if array[at] > above]
    assert highest(array, depth, above=above, digits=digits) == counted[:depth]


def test_bm25_finds_what_bm25s_scores_highest() -> None:
    chance = np.random.default_rng(0)
    texts = [" ".join(f"w{at}" for at in chance.zipf(1.5, 30) if at < 500) for _ in range(3000)]
    queries = [f"w1 w{at} w{2 * at} w{at}" for at in range(2, 40)]
    scorer = require("bm25s", extra="all").BM25(k1=1.5, b=0.75)
    scorer.index([text.split() for text in texts], show_progress=False)
    plain: list[list[int]] = []
    for query in queries:
        scores = scorer.get_scores(query.split())
        plain.append([int(at) for at in (-scores).argsort(kind="stable")[:10] if scores[at] > 0])
    assert BM25().index(texts).search(queries, 10) == plain


def test_bm25_reaches_the_published_recall_on_xquad() -> None:
    corpus, asked = rows("xquad_en_corpus.jsonl"), rows("xquad_en_qa_test.jsonl")
    found = BM25().index([row["text"] for row in corpus]).search([row["messages"][1]["content"] for row in asked], 10)
    ids = [[corpus[at]["id"] for at in positions] for positions in found]
    gold = [row["meta"]["doc_id"] for row in asked]
    for depth, expected in ((1, 0.911), (3, 0.969), (5, 0.982), (10, 0.989)):
        recall = float(np.mean([g in found[:depth] for g, found in zip(gold, ids, strict=True)]))
        assert recall == pytest.approx(expected, abs=0.02)


def test_bm25_breaks_ties_by_position() -> None:
    index = BM25().index(["x y", "a b", "b a", "a b"])
    assert index.search(["a"], 10) == [[1, 2, 3]]
    assert index.search(["a"], 2) == [[1, 2]]


def test_bm25_prefers_rare_words_and_short_texts() -> None:
    texts = ["red cat", "red dog", "red fish", "red fish in a very long text about nothing at all"]
    assert BM25().index(texts).search(["red fish"], 2) == [[2, 3]]


def test_bm25_finds_nothing_where_no_word_is_shared() -> None:
    assert BM25().index(["one", "two"]).search(["three", "", "?!"], 5) == [[], [], []]
    assert BM25().index(["?!", ""]).search(["one"], 5) == [[]]


def test_bm25_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    BM25().index(["one", "two"]).search(["two"], 1)
    assert capfd.readouterr() == ("", "")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=30), st.integers(1, 10))
def test_bm25_takes_any_text(texts: list[str], query: str, depth: int) -> None:
    (found,) = BM25().index(texts).search([query], depth)
    assert len(found) <= depth
    assert len(set(found)) == len(found)
    assert all(set(words(texts[at])) & set(words(query)) for at in found)


def test_fusion_sums_reciprocal_ranks() -> None:
    # 1: 1/62 + 1/61, 0: 1/61, 2: 1/62
    assert fuse([[0, 1], [1, 2]], k=60) == [1, 0, 2]
    assert fuse([[2, 1], [1, 2]]) == [1, 2]
    assert fuse([[], [5]]) == [5]
    assert fuse([]) == []


@settings(max_examples=50)
@given(st.lists(st.permutations(range(6)), min_size=1, max_size=3))
def test_fusion_keeps_every_position_once(rankings: list[list[int]]) -> None:
    assert sorted(fuse(rankings)) == list(range(6))


@pytest.mark.usefixtures("minilm")
def test_embeddings_do_not_depend_on_the_company() -> None:
    texts = ["short one", "a somewhat longer text, " * 20, "我想退款", "", "\ud800 half a pair"]
    together = embed(texts)
    assert together.shape == (5, 384)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert embed([]).shape[0] == 0
    # A trailing space makes no token, but escapes the cache.
    assert np.allclose(embed([texts[0] + " "]), together[:1], atol=1e-5)


def test_embeddings_are_the_masked_mean(minilm: Path) -> None:
    torch, transformers = require("torch", extra="local"), require("transformers", extra="local")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm)
    with torch.inference_mode():
        mean = model(**tokenizer(["Where is my card?"], return_tensors="pt")).last_hidden_state[0].mean(0)
    expected = (mean / mean.norm()).numpy()
    assert np.allclose(embed(["Where is my card?", "and something longer beside it"])[0], expected, atol=1e-5)


@pytest.mark.usefixtures("minilm")
def test_embeddings_read_256_tokens_and_are_computed_once() -> None:
    calls: list[tuple[int, int]] = []

    def watch(what: str, done: int, total: int) -> None:
        calls.append((done, total))

    pair = ["river " * 254, "river " * 254 + "bank " * 50]
    long, longer = embed(pair, progress=watch)
    assert np.allclose(long, longer, atol=1e-5)
    assert calls == [(2, 2)]
    embed(pair, progress=watch)
    assert calls == [(2, 2)]


@pytest.mark.usefixtures("minilm")
def test_dense_finds_meaning_without_shared_words() -> None:
    texts = ["Opening hours of our shops", "Refunds are paid within five days", "How to change a tyre"]
    assert Dense().index(texts).search(["When do I get my money back?"], 1) == [[1]]


@pytest.mark.usefixtures("minilm")
def test_many_queries_find_what_each_finds_alone() -> None:
    vectors = np.random.default_rng(0).standard_normal((100_000, 384), dtype=np.float32)
    vectors[90_000:] = vectors[:10_000]  # Ties.
    index = DenseIndex(encoder="", vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    queries = ["Where is my card?", "When do I get my money back?", "tea"]
    plain = [
        [int(at) for at in (-(index.vectors @ query).round(5)).argsort(kind="stable")[:10]] for query in embed(queries)
    ]
    # So many that the products do not fit into one piece.
    assert index.search(queries * 150, 10) == plain * 150
    assert [index.search([query], 10)[0] for query in queries] == plain


@pytest.mark.usefixtures("minilm")
def test_hybrid_joins_words_and_meaning() -> None:
    texts = ["Error QX-7731", "Refunds are paid within five days", "How to change a tyre", "Error QX-7732"]
    index = Hybrid().index(texts)
    assert index.search(["QX-7732"], 1) == [[3]]
    assert index.search(["When do I get my money back?"], 1) == [[1]]
    assert len(index.search(["我"], 9)[0]) == 4


def test_unknown_encoder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="cannot be loaded"):
        Dense(encoder=str(tmp_path)).index(["text"])


def test_unknown_retriever_lists_the_known_ones() -> None:
    with pytest.raises(BadInput) as caught:
        retrieval.create("elastic")
    assert "bm25, dense, hybrid" in caught.value.hint
