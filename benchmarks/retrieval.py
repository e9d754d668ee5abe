"""What does our retrieval cost beside the libraries that it stands on, or could stand on?

Run: python -m benchmarks.retrieval [--passages 100000] [--queries 1000] [--embedded 1000] [--rounds 3] [--only words]

Four questions, each a table of its own and a file in runs/bench:

- words: `bm25` beside bm25s, once with the same words and once as its documentation shows it, English stop words
  left out. Indexing and searching include the splitting into words.
- embedding: `dense` beside sentence-transformers with the same MiniLM and numpy. Fewer passages, for the time grows
  with their number; each round meets texts that are new to it.
- vectors: the search of `dense` over as many random unit vectors as there are passages, beside numpy and faiss's
  IndexFlatIP. Queries are embedded beforehand on all sides.
- both: the search of `hybrid` over the words and random vectors, beside bm25s and faiss fused by hand.

Passages are sentences of the corpora in ../shared/data, drawn anew into 60 to 140 words; queries are XQuAD's. Where the
data is absent, both are made of invented words, and a note says so. "agrees" is the share of queries for which a
contender's best texts score as ours do, rank by rank, so that texts of equal score may change places; all are scored
the plain way. Memory is that of a process with one contender in it; "nothing" only makes the texts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from typing import Any

from benchmarks.measured import ROOT, Outcome, Timing, absent, alternated, peak, publish
from finetune_advisor import retrieval
from finetune_advisor.errors import require
from finetune_advisor.models import embedded
from finetune_advisor.retrieval.bm25 import words
from finetune_advisor.retrieval.dense import DenseIndex, embed
from finetune_advisor.retrieval.hybrid import CANDIDATES, HybridIndex

DATA = ROOT.parent / "shared" / "data"
CORPORA = ("xquad_en_corpus", "scitldr_train", "scitldr_test", "gsm8k_train", "gsm8k_test")
QUERIES = ("xquad_en_qa_test", "xquad_en_qa_train")
PACKAGES = ("bm25s", "numba", "sentence-transformers", "faiss-cpu", "torch", "transformers", "numpy")
PEERS = {"numba": "numba", "sentence_transformers": "sentence-transformers", "faiss": "faiss-cpu"}
DEPTH = 10
NOBODY = "nothing"
SINGLE = 100
"""So many queries are also asked one by one."""

Search = Callable[[Sequence[str], int], Sequence[Sequence[int]]]
Build = Callable[[Sequence[str]], Search]
Scores = Callable[[str], Any]
"""The plain score of each text for a query, by which lists are compared."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    passages: int = 100_000
    queries: int = 1000
    embedded: int = 1000
    rounds: int = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """Contenders, ours first, on the same texts and queries."""

    name: str
    title: str
    builds: Mapping[str, Build]
    texts: Sequence[str]
    queries: Sequence[str]
    scores: Callable[[Sequence[str]], Scores]


def main() -> None:
    """Print the tables; or, with --alone, only let one contender do its work, for its memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=[*ASKED], help="ask this question only")
    parser.add_argument("--alone", help="a contender; nothing is timed")
    parser.add_argument("--no-memory", action="store_true", help="start no further processes")
    given = parser.parse_args()
    sizes = Sizes(**{name: getattr(given, name) for name in vars(Sizes())})
    questions = [ASKED[name](sizes) for name in ([given.only] if given.only else ASKED)]
    if given.alone:
        alone(questions[0], given.alone)
        return
    # First of all, for Linux counts what a parent took before as the peak of a process that it starts.
    memory = {} if given.no_memory else {question.name: peaks(question, sizes) for question in questions}
    for question in questions:
        publish(answered(question, sizes.rounds, memory.get(question.name, {})), f"retrieval_{question.name}", PACKAGES)


def peaks(question: Question, sizes: Sizes) -> dict[str, float]:
    """The GiB that each contender takes in a process of its own, and those of only making the texts."""
    sized = [part for key, value in vars(sizes).items() for part in (f"--{key}", str(value))]
    program = ["benchmarks.retrieval", "--only", question.name, *sized, "--alone"]
    return {name: peak([*program, name])[0] for name in [*question.builds, NOBODY]}


def answered(question: Question, rounds: int, memory: Mapping[str, float]) -> Outcome:
    """Time every contender, and compare what they find; `memory` is added to the table where there is any."""
    for build in question.builds.values():
        build(question.texts[:20])
    timings = _timings(question, rounds)
    agrees = agreement(question)
    rows: list[dict[str, Any]] = [{**_row(name, timings), "agrees": agrees[name]} for name in question.builds]
    if memory:
        rows.append({"contender": NOBODY})
        rows = [{**row, "peak, GiB": gib} for row, gib in zip(rows, memory.values(), strict=True)]
    notes = [absent(module, install) for module, install in PEERS.items()]
    notes.append("" if source() else f"{DATA.name} is absent: texts are made of invented words")
    seconds = {column: {timing.name: timing.seconds for timing in some} for column, some in timings.items()}
    return Outcome(question=question.title, rows=rows, notes=[note for note in notes if note], details=seconds)


def _timings(question: Question, rounds: int) -> dict[str, list[Timing]]:
    """Of indexing, of all queries at once, and of some one by one."""
    spaces = count(1)

    def fresh(texts: Sequence[str]) -> list[str]:
        """New to the memory of embeddings, where those are timed: a trailing space makes no token."""
        tail = " " * next(spaces) if question.name == "embedding" else ""
        return [text + tail for text in texts]

    def index(build: Build) -> None:
        build(fresh(texts))

    def at_once(search: Search) -> None:
        search(fresh(asked), DEPTH)

    def singly(search: Search) -> None:
        for query in fresh(asked[:SINGLE]):
            search([query], DEPTH)

    texts, asked = question.texts, question.queries
    indexing = {name: partial(index, build) for name, build in question.builds.items()}
    columns = {f"index {len(texts):,}, s": alternated(indexing, rounds, warm=False)}
    ready = {name: build(texts) for name, build in question.builds.items()}
    together = {name: partial(at_once, search) for name, search in ready.items()}
    columns[f"{len(asked):,} queries at once, s"] = alternated(together, rounds)
    single = {name: partial(singly, search) for name, search in ready.items()}
    return {**columns, f"{min(SINGLE, len(asked))} one by one, s": alternated(single, rounds)}


def _row(name: str, timings: Mapping[str, Sequence[Timing]]) -> dict[str, Any]:
    """Medians and spreads, and how much longer than this contender ours takes, by pairs."""
    row: dict[str, Any] = {"contender": name}
    for column, contenders in timings.items():
        timing = next(timing for timing in contenders if timing.name == name)
        row[column] = f"{timing.median:.3g} ({min(timing.seconds):.3g} to {max(timing.seconds):.3g})"
        pairs = zip(contenders[0].seconds, timing.seconds, strict=True)
        row[f"ours / it: {column.rpartition(',')[0]}"] = statistics.median(ours / its for ours, its in pairs)
    return row


def agreement(question: Question) -> dict[str, float]:
    """For each contender, the share of queries whose best texts score as ours do, rank by rank."""
    numpy = require("numpy", extra="all")
    found = {name: build(question.texts)(question.queries, DEPTH) for name, build in question.builds.items()}
    ours = next(iter(found.values()))
    scores = question.scores(question.texts)
    same = dict.fromkeys(found, 0)
    for at, query in enumerate(question.queries):
        known = scores(query)
        mine = _scored(known, ours[at])
        for name, lists in found.items():
            theirs = _scored(known, lists[at])
            same[name] += len(mine) == len(theirs) and bool(numpy.allclose(mine, theirs, rtol=0, atol=2e-5))
    return {name: hits / len(question.queries) for name, hits in same.items()}


def _scored(scores: Any, positions: Sequence[int]) -> list[float]:
    """Without the texts of score 0 that some fill their lists with."""
    return [float(scores[at]) for at in positions if scores[at] > 0]


def alone(question: Question, name: str) -> None:
    """Index and search with one contender; with an unknown one the texts are made only."""
    if build := question.builds.get(name):
        build(question.texts)(question.queries, DEPTH)


def by_words(sizes: Sizes) -> Question:
    """BM25, from texts to lists."""
    builds: dict[str, Build] = {
        "ours": retrieval_of("bm25"),
        "bm25s, same words": bm25s_same_words,
        "bm25s as documented": partial(raw_bm25s, stopwords="en"),
    }
    if not absent("numba", "numba"):
        builds["bm25s as documented, numba"] = partial(raw_bm25s, stopwords="en", backend="numba")
    return _question("words", builds, passages(sizes.passages), queries(sizes.queries), plain_words)


def by_embedding(sizes: Sizes) -> Question:
    """Dense, from texts to lists, embedding included."""
    builds: dict[str, Build] = {"ours": retrieval_of("dense")}
    if not absent("sentence_transformers", ""):
        builds["sentence-transformers + numpy"] = sentence_transformers
    return _question(
        "embedding", builds, passages(sizes.embedded), queries(min(SINGLE, sizes.queries)), plain_closeness
    )


def by_vectors(sizes: Sizes) -> Question:
    """Dense search over vectors that are there already."""
    builds: dict[str, Build] = {"ours": our_vectors, "numpy": numpy_vectors}
    if not absent("faiss", ""):
        builds["faiss IndexFlatIP"] = faiss_vectors
    return _question("vectors", builds, passages(sizes.passages), queries(sizes.queries), plain_vectors)


def by_both(sizes: Sizes) -> Question:
    """Hybrid search over words, and vectors that are there already."""
    builds: dict[str, Build] = {"ours": our_both}
    if not absent("faiss", ""):
        builds["bm25s (same words) + faiss, fused by hand"] = fused_by_hand
    return _question("both", builds, passages(sizes.passages), queries(sizes.queries), plain_both)


ASKED = {"words": by_words, "embedding": by_embedding, "vectors": by_vectors, "both": by_both}


def _question(
    name: str,
    builds: Mapping[str, Build],
    texts: Sequence[str],
    asked: Sequence[str],
    scores: Callable[[Sequence[str]], Scores],
) -> Question:
    title = f"Retrieval by {name}: {len(texts):,} passages, {len(asked):,} queries, {DEPTH} best"
    return Question(name=name, title=title, builds=builds, texts=texts, queries=asked, scores=scores)


def retrieval_of(name: str) -> Build:
    """One of our retrievers as the approaches use it."""
    return lambda texts: retrieval.create(name).index(texts).search


def raw_bm25s(texts: Sequence[str], *, backend: str = "numpy", **splitting: Any) -> Search:
    """The way bm25s's documentation goes, without a stemmer."""
    bm25s = require("bm25s", extra="all")
    split = partial(bm25s.tokenize, show_progress=False, **splitting)
    index = bm25s.BM25(backend=backend)
    index.index(split(list(texts)), show_progress=False)

    def search(asked: Sequence[str], depth: int) -> Any:
        most = min(depth, len(texts))
        return index.retrieve(split(list(asked)), k=most, show_progress=False, return_as="documents")

    return search


def bm25s_same_words(texts: Sequence[str]) -> Search:
    """With the words that ours takes out of English texts."""
    return raw_bm25s(texts, stopwords=None, token_pattern=r"[^\W_]+")


def sentence_transformers(texts: Sequence[str]) -> Search:
    """As its documentation embeds, with numpy for the nearest."""
    encode = partial(_sentence_transformer().encode, normalize_embeddings=True, show_progress_bar=False)
    vectors = encode(list(texts))
    return lambda asked, depth: _nearest(vectors, encode(list(asked)), depth)


@cache
def _sentence_transformer() -> Any:
    made = require("sentence_transformers", extra="all")
    require("transformers", extra="all").utils.logging.disable_progress_bar()
    return made.SentenceTransformer(str(embedded.sentence_encoder_folder()))


def _nearest(vectors: Any, asked: Any, depth: int) -> Any:
    numpy = require("numpy", extra="all")
    closeness = asked @ vectors.T
    found = numpy.argpartition(-closeness, min(depth, len(vectors)) - 1, axis=1)[:, :depth]
    order = numpy.argsort(-numpy.take_along_axis(closeness, found, axis=1), axis=1)
    return numpy.take_along_axis(found, order, axis=1)


def our_vectors(texts: Sequence[str]) -> Search:
    """Our dense search, its texts as if embedded."""
    return _our_vectors(texts).search


def _our_vectors(texts: Sequence[str]) -> DenseIndex:
    return DenseIndex(encoder="", vectors=random_vectors(len(texts)))


def numpy_vectors(texts: Sequence[str]) -> Search:
    """The product and its largest, by numpy."""
    vectors = random_vectors(len(texts))
    return lambda asked, depth: _nearest(vectors, _embedded(asked), depth)


def faiss_vectors(texts: Sequence[str]) -> Search:
    """Exact search by faiss."""
    vectors = random_vectors(len(texts))
    index = require("faiss", extra="all").IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda asked, depth: index.search(_embedded(asked), depth)[1]


def our_both(texts: Sequence[str]) -> Search:
    """Our hybrid search, its texts as if embedded."""
    return HybridIndex(indexes=(retrieval.create("bm25").index(texts), _our_vectors(texts)), k=60).search


def fused_by_hand(texts: Sequence[str]) -> Search:
    """What one would write: two lists of candidates for each query, and a sum of reciprocal ranks."""
    by_word, by_vector = bm25s_same_words(texts), faiss_vectors(texts)

    def search(asked: Sequence[str], depth: int) -> list[list[int]]:
        pairs = zip(by_word(asked, CANDIDATES), by_vector(asked, CANDIDATES), strict=True)
        return [list(reciprocal_ranks(pair))[:depth] for pair in pairs]

    return search


def reciprocal_ranks(rankings: Sequence[Any]) -> dict[int, float]:
    """The sums, highest first."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, position in enumerate(ranking.tolist(), start=1):
            sums[position] = sums.get(position, 0.0) + 1 / (60 + rank)
    return dict(sorted(sums.items(), key=lambda item: item[1], reverse=True))


def plain_words(texts: Sequence[str]) -> Scores:
    """BM25 of every text, by bm25s."""
    index = require("bm25s", extra="all").BM25()
    index.index([words(text) for text in texts], show_progress=False)
    return lambda query: index.get_scores(words(query))


def plain_closeness(texts: Sequence[str]) -> Scores:
    """The cosine to every text."""
    vectors = embed(texts)
    return lambda query: vectors @ embed([query])[0]


def plain_vectors(texts: Sequence[str]) -> Scores:
    """The cosine to every random vector."""
    vectors = random_vectors(len(texts))
    return lambda query: vectors @ embed([query])[0]


def plain_both(texts: Sequence[str]) -> Scores:
    """Reciprocal ranks out of two full sorts."""
    numpy = require("numpy", extra="all")
    by_word, by_vector = plain_words(texts), plain_vectors(texts)

    def scores(query: str) -> Any:
        word, vector = by_word(query), by_vector(query).round(5)
        rankings = [(-some).argsort(kind="stable")[:CANDIDATES] for some in (word, vector)]
        sums = reciprocal_ranks([rankings[0][word[rankings[0]] > 0], rankings[1]])
        made = numpy.zeros(len(texts))
        made[list(sums)] = list(sums.values())
        return made

    return scores


def _embedded(asked: Sequence[str]) -> Any:
    return require("numpy", extra="all").stack([_embedded_one(query) for query in asked])


@cache
def _embedded_one(query: str) -> Any:
    return embed([query])[0]


@cache
def random_vectors(number: int) -> Any:
    """Unit vectors as wide as MiniLM's, the same each time."""
    numpy = require("numpy", extra="all")
    made = numpy.random.default_rng(0).standard_normal((number, 384), dtype="float32")
    return made / numpy.linalg.norm(made, axis=1, keepdims=True)


@cache
def passages(number: int) -> list[str]:
    """So many passages of 60 to 140 words, of real sentences in a new order where there are some."""
    chance = random.Random(0)
    sentences = source() or [_invented(chance, 20) for _ in range(2000)]
    return [_passage(chance, sentences) for _ in range(number)]


def _passage(chance: random.Random, sentences: Sequence[str]) -> str:
    most, taken = chance.randint(60, 140), list[str]()
    while sum(sentence.count(" ") + 1 for sentence in taken) < most:
        taken.append(chance.choice(sentences))
    return " ".join(taken)


@cache
def queries(number: int) -> list[str]:
    """So many real questions; fewer where there are fewer."""
    real = [row["messages"][1]["content"] for name in QUERIES for row in _rows(name)]
    chance = random.Random(1)
    return real[:number] or [_invented(chance, 10) for _ in range(number)]


@cache
def source() -> list[str]:
    """The different sentences of the corpora; none where those are absent."""
    texts = [row.get("text") or row["messages"][1]["content"] for name in CORPORA for row in _rows(name)]
    sentences = (sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text))
    return list(dict.fromkeys(sentence for sentence in sentences if sentence.count(" ") > 2))


def _rows(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def _invented(chance: random.Random, number: int) -> str:
    """Words by Zipf's law, near enough."""
    return " ".join(f"w{int(20_000 ** chance.random())}" for _ in range(number)) + "."


if __name__ == "__main__":
    main()
