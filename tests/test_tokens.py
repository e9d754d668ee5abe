"""Token counts: the figures that OpenAI's notebook prints, and no network whatever lies in tiktoken's cache."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_advisor.datasets import tokens
from finetune_advisor.errors import BadInput, require
from finetune_advisor.records import Example, Message

DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def no_remembered_counter() -> Iterator[None]:
    tokens.encoding.cache_clear()
    yield
    tokens.encoding.cache_clear()


def cached_file(folder: Path, name: str) -> Path:
    """Where tiktoken keeps a vocabulary that it has downloaded."""
    url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    return folder / hashlib.sha1(url.encode()).hexdigest()


def tiktoken_file(name: str, size: int) -> bytes:
    vocabulary = require("quicktok", extra="all").get_encoding(name)
    pairs = ((base64.b64encode(vocabulary.decode_single_token_bytes(rank)), rank) for rank in range(size))
    return b"".join(b"%s %d\n" % pair for pair in pairs)


def toy_rows() -> list[list[dict[str, Any]]]:
    file = DATA / "toy_chat_fine_tuning.jsonl"
    if not file.exists():
        pytest.skip("the shared data folder is not here")
    return [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]


def as_example(messages: list[dict[str, Any]]) -> Example:
    prompt = tuple(Message(role=m["role"], content=m["content"]) for m in messages[:-1])
    return Example(id="x", messages=prompt, answer=messages[-1]["content"])


@pytest.mark.parametrize("as_records", [False, True])
def test_toy_file_gives_the_figures_of_the_notebook(as_records: bool) -> None:
    rows = toy_rows()
    examples = [as_example(row) for row in rows] if as_records else rows
    made = tokens.training_summary(examples, tokens.encoding("cl100k_base"), limit=4096)
    assert made.totals == (45, 111, 26, 28, 8032)
    assert made.assistant == (10, 28, 9, 4, 8000)
    assert (made.without_system, made.without_user, made.over_limit) == (1, 1, 1)
    assert (made.billed_per_epoch, made.epochs, made.billed) == (4306, 20, 86_120)


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(1, 25), (10, 10), (20, 5), (33, 3), (34, 3), (100, 3), (8333, 3), (8334, 2), (12_501, 1), (90_000, 1)],
)
def test_default_epochs_follow_the_notebook(examples: int, epochs: int) -> None:
    assert tokens.default_epochs(examples) == epochs


def test_no_examples_bill_nothing() -> None:
    assert tokens.training_summary([], tokens.encoding("cl100k_base")).billed == 0


def test_names_count_one_more_and_weights_nothing() -> None:
    counter = tokens.encoding("cl100k_base")
    plain = tokens.chat_tokens([{"role": "user", "content": "hi"}], counter)
    named = tokens.chat_tokens([{"role": "user", "content": "hi", "name": "Ada", "weight": 1}], counter)
    assert plain == 3 + 3 + counter.count("user") + counter.count("hi")
    assert named == plain + 1 + counter.count("Ada")


def test_tools_and_tool_calls_count() -> None:
    counter = tokens.encoding()
    call = Message(role="assistant", content="", extra={"tool_calls": [{"id": "c1", "function": {"name": "look_up"}}]})
    without = Example(id="x", messages=(Message(role="assistant", content=""),), answer="ok")
    with_call = Example(id="x", messages=(call,), answer="ok", tools=({"type": "function"},))
    assert tokens.chat_tokens(with_call, counter) > tokens.chat_tokens(without, counter) + 10


@pytest.mark.parametrize("text", ["<|endoftext|>", "a\ud800b", "\x00", "مرحبا 你好 🙂"])
def test_any_text_has_a_count(text: str) -> None:
    assert tokens.encoding().count(text) >= 1
    assert tokens.encoding().count("") == 0


def test_a_wrong_file_in_the_cache_is_neither_used_nor_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cached_file(tmp_path, "cl100k_base")
    file.write_bytes(b"cut off")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokens.encoding("cl100k_base").source == "quicktok"
    assert file.read_bytes() == b"cut off"


@pytest.mark.parametrize("folder", ["", "/nowhere/at/all"])
def test_without_a_cache_the_offline_vocabulary_counts(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
    counter = tokens.encoding()
    assert (counter.name, counter.source) == ("o200k_base", "quicktok")
    assert counter.count("hello world") == 2


@pytest.mark.parametrize(("name", "size"), [("cl100k_base", 100_256), ("o200k_base", 199_998)])
def test_tiktoken_counts_where_its_vocabulary_is_at_hand(
    name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is rebuilt from quicktok's vocabulary, so tiktoken's own checksum proves that the two are the same."""
    cached_file(tmp_path, name).write_bytes(tiktoken_file(name, size))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tokens.encoding(name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    tokens.encoding.cache_clear()
    ours = tokens.encoding(name)
    assert (theirs.source, ours.source) == ("tiktoken", "quicktok")
    for text in ("Where is my card? E17", "你好，世界", "وَعَلَيْكُمُ", "<|endoftext|> 1234567", "👩‍👩‍👧 \n\n x"):
        assert theirs.count(text) == ours.count(text)


def test_an_unknown_vocabulary_is_named() -> None:
    with pytest.raises(BadInput, match="p50k"):
        tokens.encoding("p50k")
