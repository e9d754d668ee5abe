"""The generation engine against transformers' own `generate`, and what a local model promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_model
from finetune_advisor.errors import BadInput, Missing, require
from finetune_advisor.models import generation
from finetune_advisor.models.chat import ChatFormat, without_system
from finetune_advisor.models.generation import Generated, GreedyGenerator
from finetune_advisor.models.hardware import Module, device_for, dtype_for
from finetune_advisor.models.local import LocalModel
from finetune_advisor.records import Batch, Failure, Message, Reply, Request

LONG = " ".join(["please answer the user briefly"] * 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel(str(folder), dtype="float32", device="cpu")


def requests(system: str = LONG, max_tokens: int = 12) -> list[Request]:
    """Requests of different lengths with a common beginning."""
    return [
        Request(
            example_id=str(place),
            messages=tiny_model.asked(" ".join(tiny_model.FRUIT[: place + 1]), system),
            max_tokens=max_tokens,
        )
        for place in range(6)
    ]


def alone(folder: Path, request: Request) -> str:
    """The answer by transformers' own generate, one prompt at a time, without padding or a remembered prefix."""
    torch = require("torch", extra="local")
    transformers = require("transformers", extra="local")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    given = theirs.generate(**ids, do_sample=False, max_new_tokens=request.max_tokens)
    return tokenizer.decode(given[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def texts(replies: list[Reply | Failure]) -> list[str]:
    return [reply.text if isinstance(reply, Reply) else reply.kind for reply in replies]


@pytest.mark.parametrize("system", [LONG, "answer"])
def test_a_batch_gives_what_generate_gives_for_each_prompt_alone(folder: Path, model: LocalModel, system: str) -> None:
    asked = requests(system)
    given = model.answer(Batch(requests=tuple(asked)))
    assert texts(given) == [alone(folder, request) for request in asked]
    assert len(set(texts(given))) > 1


@pytest.mark.parametrize("system", [LONG, "answer"])
def test_prompts_that_are_read_in_pieces_give_the_same(
    folder: Path, model: LocalModel, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(system)
    whole = texts(model.answer(Batch(requests=tuple(asked))))
    monkeypatch.setitem(generation.READ_TOGETHER, "cpu", 1)
    assert texts(model.answer(Batch(requests=tuple(asked)))) == whole == [alone(folder, each) for each in asked]


def test_answers_of_different_lengths_end_where_they_end_alone(folder: Path, model: LocalModel) -> None:
    """Rows that are finished leave the batch while others go on."""
    asked = requests(max_tokens=30)
    with_limits = [
        Request(example_id=r.example_id, messages=r.messages, max_tokens=3 + 5 * place) for place, r in enumerate(asked)
    ]
    replies = model.answer(Batch(requests=tuple(with_limits)))
    assert texts(replies) == [alone(folder, request) for request in with_limits]
    lengths = [reply.usage.completion_tokens for reply in replies]
    assert len(set(lengths)) == len(lengths)


def test_a_batch_gives_the_same_whatever_ran_before_and_after_a_restart(folder: Path) -> None:
    asked = requests()
    batch, other = Batch(requests=tuple(asked[:4])), Batch(requests=tuple(asked[2:]))
    fresh = LocalModel(str(folder), device="cpu")
    first = texts(fresh.answer(batch))
    fresh.answer(other)
    assert texts(fresh.answer(batch)) == first
    script = (
        "import sys, json; sys.path.insert(0, sys.argv[2])\n"
        "from test_local import *\n"
        "print(json.dumps(texts(LocalModel(sys.argv[1], device='cpu').answer(Batch(requests=tuple(requests()[:4]))))))"
    )
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder), here], capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert json.loads(run.stdout) == first
    assert run.stderr == ""


def test_the_common_beginning_is_counted_once(folder: Path) -> None:
    model = LocalModel(str(folder), device="cpu")
    batch = Batch(requests=tuple(requests()))
    first, second = model.answer(batch), model.answer(batch)
    counted = [[reply.usage.cached_tokens for reply in replies] for replies in (first, second)]
    shared = counted[1][0]
    assert shared >= 32 and counted[0][0] == 0 and counted[0][1:] == counted[1][1:]
    assert all(shared <= each < len(LONG) for each in counted[1])


def test_usage_counts_the_prompt_and_shares_the_time(model: LocalModel) -> None:
    asked = requests()
    replies = model.answer(Batch(requests=tuple(asked)))
    for request, reply in zip(asked, replies, strict=True):
        assert reply.usage.prompt_tokens == model.count_tokens(request.messages)
        assert 0 < reply.usage.prefill_seconds < reply.usage.seconds


def test_an_answer_that_is_cut_off_says_so(model: LocalModel) -> None:
    replies = model.answer(Batch(requests=tuple(requests(max_tokens=1))))
    assert {reply.finish for reply in replies if isinstance(reply, Reply)} == {"length"}
    assert {reply.usage.completion_tokens for reply in replies} == {1}


def test_a_prompt_that_does_not_fit_fails_alone(model: LocalModel) -> None:
    long = Request(example_id="long", messages=tiny_model.asked("pear " * 300), max_tokens=4)
    short = requests()[0]
    failure, reply = model.answer(Batch(requests=(long, short)))
    assert isinstance(failure, Failure) and failure.kind == "too_long"
    assert isinstance(reply, Reply)
    exactly = model.context_window - model.count_tokens(short.messages)
    fitting = Request(example_id="fits", messages=short.messages, max_tokens=exactly)
    beyond = Request(example_id="not", messages=short.messages, max_tokens=exactly + 1)
    assert [type(r) for r in model.answer(Batch(requests=(fitting, beyond)))] == [Reply, Failure]


def test_batches_hold_every_request_once_and_keep_to_the_limits(folder: Path) -> None:
    model = LocalModel(str(folder), batch_size=4, batch_tokens=150)
    asked = requests()
    made = model.batches(asked)
    assert sorted(r.example_id for batch in made for r in batch.requests) == sorted(r.example_id for r in asked)
    assert len(made) > 1 and all(len(batch.requests) <= 4 for batch in made)
    assert made == model.batches(asked)
    assert model.batches([]) == []


def test_out_of_memory_halves_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = require("torch", extra="local")
    model = LocalModel(str(folder), dtype="float32", device="cpu")
    batch = Batch(requests=tuple(requests()))
    right = texts(model.answer(batch))
    whole = GreedyGenerator.generate
    sizes: list[int] = []

    def small(
        self: GreedyGenerator, model: Module, prompts: list[list[int]], limits: list[int], variant: str
    ) -> list[Generated]:
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, model, prompts, limits, variant)

    monkeypatch.setattr(GreedyGenerator, "generate", small)
    assert texts(model.answer(batch)) == right
    assert sizes == [6, 3, 1, 2, 3, 1, 2]


def test_a_model_without_a_template_gets_plain_text(tmp_path: Path) -> None:
    model = LocalModel(str(tiny_model.build(tmp_path, template=None)), device="cpu")
    tokenizer = require("transformers", extra="local").AutoTokenizer.from_pretrained(tmp_path)
    ids = ChatFormat(tokenizer).prompt(tiny_model.asked("fig"))
    assert tokenizer.decode(ids) == "answer briefly what is the colour of the fig"
    assert isinstance(model.answer(Batch(requests=tuple(requests())))[0], Reply)


def test_a_template_that_refuses_a_system_message_gets_it_in_front_of_the_question(tmp_path: Path) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + tiny_model.TEMPLATE
    model = LocalModel(str(tiny_model.build(tmp_path, template=refusing)), device="cpu")
    system, user = tiny_model.asked("fig")
    merged = Message(role="user", content=f"{system.content} {user.content}")
    assert model.count_tokens([system, user]) == model.count_tokens([merged])
    assert without_system([{"role": "system", "content": "a"}]) == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize("id", ["nobody/no-such-model", "no such model at all"])
def test_an_unknown_model_is_one_clear_sentence(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(require("huggingface_hub", extra="local").constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Missing, match="There is no model") as caught:
        LocalModel(id).answer(Batch(requests=tuple(requests())))
    assert "huggingface.co" in caught.value.hint


def test_a_folder_without_a_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no model"):
        LocalModel(str(tmp_path)).count_tokens(tiny_model.asked("fig"))


def test_an_adapter_that_is_not_there_is_missing(model: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no adapter"):
        model.with_adapter(tmp_path).answer(Batch(requests=tuple(requests())))


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadInput, match="needs an id"):
        LocalModel(" ")
    with pytest.raises(BadInput, match="batch_size"):
        LocalModel("x", batch_size=0)
    with pytest.raises(BadInput, match="number format"):
        dtype_for("int3", "cpu")
    if not require("torch", extra="local").cuda.is_available():
        with pytest.raises(BadInput, match="CUDA"):
            device_for("cuda")


def test_description_names_the_weights(folder: Path, tmp_path: Path, model: LocalModel) -> None:
    other = LocalModel(str(tiny_model.build(tmp_path, seed=1)), dtype="float32", device="cpu")
    assert model.describe()["sha256"] != other.describe()["sha256"]
    assert model.describe()["dtype"] == "float32"
    json.dumps(model.describe())


@given(st.floats(0, 1e6), st.lists(st.integers(0, 1000), min_size=1, max_size=9))
def test_shares_add_up(total: float, weights: list[int]) -> None:
    assert sum(generation.shares(total, weights)) == pytest.approx(total)


def test_special_messages_keep_their_extras() -> None:
    message = Message(role="tool", content="3", extra={"name": "add"})
    seen: list[dict[str, str]] = []

    class Recording:
        chat_template = "x"

        def apply_chat_template(self, turns: list[dict[str, str]], **options: bool) -> str:
            seen.extend(turns)
            return ""

        def __call__(self, text: str, **options: bool) -> dict[str, list[int]]:
            return {"input_ids": []}

    ChatFormat(Recording()).prompt([message])
    assert seen == [{"role": "tool", "content": "3", "name": "add"}]
