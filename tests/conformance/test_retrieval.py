"""What every retriever has to do, ours and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from finetune_advisor import plugins, retrieval
from finetune_advisor.errors import Missing
from finetune_advisor.models.cache import VARIABLE
from provider_stub import embedded, serving

TEXTS = [
    "Parcels leave the warehouse in Leipzig every evening at six.",
    "To reset the pump, hold the blue button for ten seconds.",
    "退款将在五个工作日内退回原支付账户。",
    "واپسی کے لیے رسید اور اصل ڈبہ ساتھ لائیں۔",
    "تُرسل الفاتورة بالبريد الإلكتروني في أول كل شهر.",
    "मरम्मत में लगभग दो सप्ताह लगते हैं।",
    "คืนสินค้าได้ภายในสามสิบวัน",
]


@pytest.fixture(params=sorted(plugins.known(retrieval.GROUP, retrieval.TABLE)), scope="module")
def retriever(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[retrieval.Retriever]:
    with serving(embedded) as stub, pytest.MonkeyPatch.context() as patch:
        options: dict[str, Any] = {}
        if request.param == "remote":
            patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
            options = {"provider": "compatible", "id": "trigrams", "base_url": stub.url}
        yield made(request.param, options)


def made(name: str, options: dict[str, Any]) -> retrieval.Retriever:
    retriever = retrieval.create(name, **options)
    try:
        retriever.index(["a text"])
    except Missing as error:
        pytest.skip(f"{name}: {error.message}")
    return retriever


def test_the_identical_text_comes_first_in_any_script(retriever: retrieval.Retriever) -> None:
    found = retriever.index(TEXTS).search(TEXTS, 1)
    assert found == [[at] for at in range(len(TEXTS))]


def test_depth_is_respected(retriever: retrieval.Retriever) -> None:
    index = retriever.index([f"the same word and number {n}" for n in range(5)])
    for depth in (1, 3, 5):
        assert [len(found) for found in index.search(["the same word", "word number"], depth)] == [depth, depth]
    (found,) = index.search(["the same word"], 50)
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_equal_texts_keep_their_order(retriever: retrieval.Retriever) -> None:
    index = retriever.index(["blue button", "red lever", "blue button", "blue button"])
    assert index.search(["blue button"], 3) == [[0, 2, 3]]


def test_the_same_input_gives_the_same_order(retriever: retrieval.Retriever) -> None:
    queries = ["reset the pump", "退款", "فاتورة", "nothing of the kind"]
    first = retriever.index(TEXTS).search(queries, 4)
    assert retriever.index(TEXTS).search(queries, 4) == first
    assert [retriever.index(TEXTS).search([query], 4)[0] for query in queries] == first


def test_nothing_is_found_in_nothing(retriever: retrieval.Retriever) -> None:
    assert retriever.index([]).search(["anything", ""], 3) == [[], []]
    assert retriever.index(TEXTS).search([], 3) == []


def test_odd_queries_do_not_fail(retriever: retrieval.Retriever) -> None:
    queries = ["", " \n", "?!", "🙂", "\x00", "\ud800", "word " * 5000]
    found = retriever.index(["", *TEXTS]).search(queries, 2)
    assert [len(positions) <= 2 for positions in found] == [True] * len(queries)
