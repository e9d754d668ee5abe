"""The emulator by OpenAI's own client, in OpenAI's and in Azure's URL shapes, whole lives of files, jobs, batches."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam as MessageParam

import tiny_model
from emulated import HELLO, MODEL, SPEC, azure, client, close_clients, said, trained
from finetune_advisor import models
from finetune_advisor.emulator import uploads
from finetune_advisor.emulator.faults import KINDS, FaultSettings
from finetune_advisor.emulator.serve import Options, Running, running
from finetune_advisor.emulator.spec import Spec
from finetune_advisor.emulator.state import LISTED, ApiError
from finetune_advisor.emulator.validate import CHECKED, check
from finetune_advisor.errors import BadInput
from finetune_advisor.models.fake import FakeModel

DEPLOYMENTS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a/deployments"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with running(tmp_path_factory.mktemp("emulator"), models.create("fake"), options=Options(spec=SPEC)) as emulator:
        yield emulator


@pytest.fixture
def emulator(started: Running) -> Running:
    started.faults.set(FaultSettings())
    started.state.charges.clear()
    return started


@pytest.fixture(autouse=True)
def closing() -> Generator[None]:
    yield
    close_clients()


def refused(emulator: Running, path: str, body: object) -> dict[str, Any]:
    answer = httpx2.post(emulator.url + path, json=body, headers={"authorization": "Bearer any"})
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def deploy(emulator: Running, name: str, model: str) -> httpx2.Response:
    properties = {"model": {"format": "OpenAI", "name": model, "version": "1"}}
    body = {"sku": {"name": "standard", "capacity": 1}, "properties": properties}
    return managed(emulator, "PUT", f"/{name}", json=body)


def managed(emulator: Running, method: str, path: str = "", **options: Any) -> httpx2.Response:
    url = f"{emulator.azure_url}{DEPLOYMENTS}{path}?api-version=2024-10-01"
    return httpx2.request(method, url, headers={"authorization": "Bearer token"}, **options)


def test_chat_responses_and_embeddings_answer_and_are_charged(emulator: Running) -> None:
    api = client(emulator)
    chat = api.chat.completions.create(model="gpt-6-luna", messages=HELLO)
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("hello to all of us", "stop")
    assert chat.usage and (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (10, 5)
    response = api.responses.create(model="gpt-6-sol", instructions="be brief", input="please say hello to all of us")
    assert (response.output_text, response.status) == ("hello to all of us", "completed")
    texts = ["one two", "two one", "three"]
    vectors = api.embeddings.create(model="text-embedding-3-small", input=texts, dimensions=380)
    one, same, other = (row.embedding for row in vectors.data)
    assert len(one) == 380 and one == same != other
    assert [(c.what, c.prompt_tokens, c.completion_tokens, c.delivered) for c in emulator.state.charges] == [
        ("chat", 10, 5, True), ("responses", 15, 5, True), ("embeddings", 14, 0, True),
    ]  # fmt: skip


def test_an_answer_that_is_cut_off_says_so(emulator: Running) -> None:
    api = client(emulator)
    chat = api.chat.completions.create(model="gpt-6-luna", messages=HELLO, max_completion_tokens=2)
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("hello to", "length")
    assert said(emulator, stop="all") == "hello to "
    text = " ".join(map(str, range(40)))
    with pytest.raises(openai.BadRequestError) as error:
        api.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": text * 300}])
    assert error.value.code == "context_length_exceeded"


def test_a_stream_says_the_same_as_a_whole_answer(emulator: Running) -> None:
    api = client(emulator)
    stream = api.chat.completions.create(
        model="gpt-6-luna", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said(emulator)
    assert chunks[-1].usage and chunks[-1].usage.total_tokens == 15
    assert len(emulator.state.charges) == 2


def test_a_text_that_spells_tool_calls_becomes_tool_calls(tmp_path: Path) -> None:
    call = '[{"name": "track", "arguments": {"order": 7}}]'
    tool = {"name": "track", "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}}}
    with running(tmp_path, models.create("fake", skill=1, answers={"": call}), options=Options(spec=SPEC)) as emulator:
        api = client(emulator)
        tools: Any = [{"type": "function", "function": tool}]
        choice = api.chat.completions.create(model="gpt-6-luna", messages=HELLO, tools=tools).choices[0]
        (made,) = choice.message.tool_calls or []
        assert made.type == "function" and made.function.name == "track" and choice.finish_reason == "tool_calls"
        assert json.loads(made.function.arguments) == {"order": 7}
        assert said(emulator) == call
        flat: Any = [{"type": "function", "strict": False, **tool}]
        (item,) = api.responses.create(model="gpt-6-luna", input="hello", tools=flat).output
        assert item.type == "function_call" and item.name == "track"


def test_cached_tokens_follow_the_published_rule(emulator: Running) -> None:
    def cached(words: int, end: str) -> int:
        text = " ".join(["word"] * words) + " " + end
        messages: list[MessageParam] = [{"role": "system", "content": text}, {"role": "user", "content": end}]
        usage = client(emulator).chat.completions.create(model="gpt-4o", messages=messages).usage
        assert usage and usage.prompt_tokens_details
        return usage.prompt_tokens_details.cached_tokens or 0

    assert [cached(1200, end) for end in ("one", "two", "three")] == [0, 1152, 1152]
    assert cached(900, "one") == cached(900, "one") == 0
    assert emulator.state.charges[1].cached_tokens == 1152


CHAT = {"model": "gpt-4o", "messages": HELLO}
EMBEDDINGS = {"model": "text-embedding-3-small", "input": "x"}
BATCH = {"input_file_id": "f", "endpoint": "/v1/chat/completions"}
MISSING, WRONG = "missing_required_parameter", "invalid_value"


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/chat/completions", {"messages": HELLO}, "model", MISSING),
        ("/chat/completions", {**CHAT, "foo": 1}, "foo", "unknown_parameter"),
        ("/chat/completions", {**CHAT, "messages": [{"role": "usr", "content": "x"}]}, "messages[0].role", WRONG),
        ("/chat/completions", {**CHAT, "messages": [{"role": "user"}]}, "messages[0].content", MISSING),
        ("/chat/completions", {**CHAT, "messages": []}, "messages", "empty_array"),
        ("/chat/completions", {**CHAT, "temperature": 3}, "temperature", WRONG),
        ("/chat/completions", {**CHAT, "temperature": "1"}, "temperature", "invalid_type"),
        ("/chat/completions", {**CHAT, "n": 0}, "n", WRONG),
        ("/chat/completions", {**CHAT, "logprobs": True}, "logprobs", "unsupported_parameter"),
        ("/responses", {"model": "gpt-4o", "input": "x", "max_output_tokens": 3}, "max_output_tokens", WRONG),
        ("/responses", {"model": "gpt-4o", "input": "x", "messages": HELLO}, "messages", "unknown_parameter"),
        ("/embeddings", {**EMBEDDINGS, "input": ""}, "input", WRONG),
        ("/embeddings", {**EMBEDDINGS, "dimensions": 385}, "dimensions", WRONG),
        ("/fine_tuning/jobs", {"model": MODEL, "training_file": "f", "suffix": "x" * 65}, "suffix", WRONG),
        ("/batches", BATCH, "completion_window", MISSING),
    ],
)
def test_wrong_requests_are_refused_with_their_place(
    emulator: Running, path: str, body: object, param: str, code: str
) -> None:
    error = refused(emulator, path, body)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert not emulator.state.charges


KEYS = st.sampled_from(["model", "messages", "role", "content", "input", "type", "n", "suffix", "metadata", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(sorted(CHECKED)), body=JSON | st.dictionaries(KEYS, JSON, max_size=5))
def test_no_body_breaks_the_check(kind: str, body: object) -> None:
    try:
        assert check(kind, body) == body
    except ApiError as error:
        assert error.status == 400 and error.message


def test_models_are_listed_with_the_day_of_their_end(emulator: Running) -> None:
    api = client(emulator)
    assert {model.id for model in api.models.list()} >= set(LISTED)
    assert api.models.retrieve("gpt-4o-mini").shutdown_date == "2027-01-14"
    for gone in ("gpt-3.5-turbo", "gpt-0"):
        with pytest.raises(openai.NotFoundError) as error:
            api.models.retrieve(gone)
        assert error.value.code == "model_not_found"
    with pytest.raises(openai.PermissionDeniedError):
        api.models.delete("gpt-4o")


def test_files_live_until_they_are_deleted(emulator: Running) -> None:
    api = client(emulator)
    files = [api.files.create(file=(f"{n}.txt", b"\xef\xbb\xbftext"), purpose="user_data") for n in range(3)]
    pages = api.files.list(purpose="user_data", limit=2)
    assert [file.id for file in pages] == [file.id for file in reversed(files)]
    assert api.files.retrieve(files[0].id).bytes == 7 and api.files.content(files[0].id).read() == b"\xef\xbb\xbftext"
    assert api.files.delete(files[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        api.files.content(files[0].id)
    with pytest.raises(openai.BadRequestError):
        api.files.create(file=("empty", b""), purpose="user_data")


def test_keys_are_asked_for(emulator: Running, tmp_path: Path) -> None:
    assert httpx2.get(f"{emulator.url}/models").status_code == 401
    assert httpx2.get(f"{emulator.url}/models", headers={"api-key": "any"}).status_code == 401
    with running(tmp_path, models.create("fake"), options=Options(key="right")) as locked:
        assert client(locked, "right").models.list().data
        with pytest.raises(openai.AuthenticationError) as error:
            client(locked, "wrong").models.list()
    assert "right" not in str(error.value)


def test_a_job_really_tunes_and_its_model_answers(tmp_path: Path) -> None:
    base = models.create("huggingface", id=str(tiny_model.build(tmp_path / "base")), device="cpu")
    folder = tmp_path / "emulator"
    question: list[MessageParam] = [{"role": "user", "content": "what is the colour of the apple"}]
    with running(folder, base, options=Options(spec=SPEC)) as emulator:
        api = client(emulator)
        numbers = {"n_epochs": 30, "batch_size": 12, "learning_rate_multiplier": 100}
        method = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
        job = trained(api, suffix="fruit", seed=1, method=method)
        assert job.status == "succeeded", job.error
        assert job.fine_tuned_model.startswith(f"ft:{MODEL}:") and "fruit" in job.fine_tuned_model
        assert [c.training_tokens for c in emulator.state.charges] == [job.trained_tokens]
        assert api.fine_tuning.jobs.list_events(job.id).data and api.fine_tuning.jobs.checkpoints.list(job.id).data
        tuned = api.chat.completions.create(model=job.fine_tuned_model, messages=question, max_tokens=5)
        plain = api.chat.completions.create(model=MODEL, messages=question, max_tokens=5)
        assert tuned.choices[0].message.content == "red" != plain.choices[0].message.content
    with running(folder, base) as emulator:
        api = client(emulator)
        again = api.chat.completions.create(model=job.fine_tuned_model, messages=question, max_tokens=5)
        assert again.choices[0].message.content == "red"
        assert api.fine_tuning.jobs.list().data[0].id == job.id and api.models.delete(job.fine_tuned_model).deleted
    with running(folder, base) as emulator, pytest.raises(openai.NotFoundError):
        client(emulator).models.retrieve(job.fine_tuned_model)


def test_azure_answers_by_deployment_and_charges_for_its_existence(emulator: Running) -> None:
    api = azure(emulator)
    job = trained(api, suffix="fruit", extra_body={"trainingType": "developerTier"})
    assert job.status == "succeeded", job.error
    with pytest.raises(openai.NotFoundError) as error:
        api.chat.completions.create(model="mine", messages=HELLO)
    assert error.value.code == "DeploymentNotFound"
    assert deploy(emulator, "mine", job.fine_tuned_model).status_code == 201
    while managed(emulator, "GET", "/mine").json()["properties"]["provisioningState"] != "Succeeded":
        time.sleep(0.02)
    for one in (api, client(emulator, path="/openai/v1")):
        chat = one.chat.completions.create(model="mine", messages=HELLO)
        assert chat.choices[0].message.content == "red" and chat.model == job.fine_tuned_model
    assert [row["name"] for row in managed(emulator, "GET").json()["value"]] == ["mine"]
    hosting = httpx2.get(f"{emulator.azure_url}/emulator/charges").json()["hosting"]
    assert [row["deployment"] for row in hosting] == ["mine"]
    assert managed(emulator, "DELETE", "/mine").status_code == 200
    assert managed(emulator, "GET", "/mine").status_code == 404


def test_azures_older_urls_want_an_api_version(emulator: Running) -> None:
    for path in ("/openai/files", DEPLOYMENTS):
        answer = httpx2.get(emulator.azure_url + path, headers={"authorization": "Bearer any"})
        assert answer.status_code == 404, path
    assert httpx2.get(f"{emulator.azure_url}{DEPLOYMENTS}?api-version=1", headers={"api-key": "x"}).status_code == 401
    assert httpx2.get(f"{emulator.azure_url}/openai/v1/files", headers={"api-key": "any"}).status_code == 200


def batch_line(number: int) -> str:
    messages = [{"role": "user", "content": f"question {number}"}]
    body = {"model": "gpt-6-luna" if number else "gpt-0", "messages": messages}
    row = {"custom_id": f"q{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(row) + "\n"


def batch_file(questions: int) -> bytes:
    return "".join(map(batch_line, range(questions))).encode()


def finished(api: openai.OpenAI, data: bytes) -> Any:
    file = api.files.create(file=("batch.jsonl", data), purpose="batch")
    batch = api.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status not in ("completed", "failed", "cancelled"):
        time.sleep(0.02)
        batch = api.batches.retrieve(batch.id)
    return batch


def test_a_batch_answers_each_request_at_half_the_price(emulator: Running) -> None:
    api = client(emulator)
    batch = finished(api, batch_file(4))
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 3, 1)
    rows = [json.loads(line) for line in api.files.content(batch.output_file_id).text.splitlines()]
    texts = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
    assert texts == {f"q{n}": f"question {n}" for n in (1, 2, 3)}
    (fault,) = [json.loads(line) for line in api.files.content(batch.error_file_id).text.splitlines()]
    assert fault["custom_id"] == "q0" and fault["response"]["status_code"] == 404
    assert [charge.half_price for charge in emulator.state.charges] == [True] * 3
    assert api.batches.list().data[0].id == batch.id
    with pytest.raises(openai.ConflictError):
        api.batches.cancel(batch.id)


@pytest.mark.parametrize("data", [b"no json", b'{"custom_id": "x"}', batch_file(1) + batch_file(1), b"\xff"])
def test_a_batch_of_nonsense_fails_with_a_reason(emulator: Running, data: bytes) -> None:
    batch = finished(client(emulator), data)
    assert batch.status == "failed" and batch.errors.data[0].message
    assert not emulator.state.charges


class Slow(FakeModel):
    """Answers one question; the next one keeps it until somebody has stopped the emulator."""

    def answer(self, batch: Any) -> Any:
        if "question 2" in batch.requests[0].messages[0].content:
            time.sleep(0.3)
        return super().answer(batch)


def test_a_batch_goes_on_where_a_stopped_emulator_left_it(tmp_path: Path) -> None:
    with running(tmp_path, cast(models.Model, Slow())) as emulator:
        api = client(emulator)
        file = api.files.create(file=("batch.jsonl", batch_file(5)), purpose="batch")
        batch = api.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        while not emulator.state.charges:
            time.sleep(0.01)
    before = len(emulator.state.charges)
    assert 1 <= before < 4
    with running(tmp_path, models.create("fake")) as emulator:
        api = client(emulator)
        while api.batches.retrieve(batch.id).status != "completed":
            time.sleep(0.02)
        output = api.batches.retrieve(batch.id).output_file_id
        assert len(api.files.content(str(output)).text.splitlines()) == 4
        assert before + len(emulator.state.charges) == 4


def test_other_urls_and_other_hosts_are_refused(emulator: Running) -> None:
    answer = httpx2.get(f"{emulator.url}/assistants")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "unknown_url"
    assert httpx2.get(f"{emulator.url}/models", headers={"host": "evil.example"}).status_code == 400
    assert emulator.azure_url.startswith("http://127.0.0.1:")


def test_a_folder_and_a_port_have_one_emulator(emulator: Running) -> None:
    port = int(emulator.azure_url.rsplit(":", 1)[1])
    with pytest.raises(BadInput, match="at work"), running(emulator.state.folder, models.create("fake")):
        pass
    with pytest.raises(BadInput, match="Port"), running(Path("unused"), models.create("fake"), port=port):
        pass


@pytest.mark.skipif(SPEC is None, reason="needs OpenAI's specification in ../shared")
def test_an_answer_against_the_specification_is_an_error(emulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SPEC is not None
    model = {"id": "x", "object": "model", "owned_by": "y"}
    assert "'created' is a required property" in Spec(SPEC).answer_fault("GET", "/models/{model}", model)

    def short(rows: object, *, more: bool) -> object:
        return {"object": "list", "data": rows}

    monkeypatch.setattr(uploads, "as_list", short)
    with pytest.raises(openai.InternalServerError, match="against the specification"):
        client(emulator).files.list()


def test_a_specification_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("- a list", encoding="utf-8")
    for name in ("spec.yaml", "missing.yaml"):
        with pytest.raises(BadInput, match="specification"):
            Spec(tmp_path / name)


def test_the_block_of_the_docs_runs(emulator: Running, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "emulator.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "http://127.0.0.1:8765/v1" in block
    exec(compile(block.replace("http://127.0.0.1:8765/v1", emulator.url), "emulator.md", "exec"), {})
    assert capsys.readouterr().out.startswith("delivery ")
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", text, re.MULTILINE)))) >= set(KINDS)
