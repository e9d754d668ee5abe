"""Models at providers, asked by the real client on a server of this machine that does whatever can go wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finetune_advisor import models
from finetune_advisor.datasets.tool_calls import answer_of
from finetune_advisor.errors import BadInput, Missing
from finetune_advisor.models import TUNED_MODEL
from finetune_advisor.models.accounts import Account
from finetune_advisor.records import Failure, Message, Reply, Request
from provider_stub import (
    KEY,
    Answer,
    Sent,
    Stub,
    asked,
    at_provider,
    error,
    failure,
    one,
    plausible,
    remote,
    reply,
    responded,
    said,
    text_item,
)

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    with at_provider(monkeypatch) as made:
        yield made


def test_chat_sends_the_prompt_and_nothing_that_was_not_asked_for(stub: Stub) -> None:
    answer = reply(remote())
    sent = stub.sent[0]
    assert sent.path == "/v1/chat/completions" and sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.body == {
        "model": "gpt-4.1-mini",
        "messages": [{"role": "user", "content": "Is it?"}],
        "max_completion_tokens": 8,
        "temperature": 0,
    }
    assert answer.finish == "stop" and answer.usage.seconds > 0 and not answer.usage.recounted


def test_responses_send_the_same_and_let_nothing_be_kept(stub: Stub) -> None:
    usage = {"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}
    thinking: dict[str, Any] = {"type": "reasoning", "summary": [], "content": None}
    stub.replies(responded(thinking, text_item(" yes\n"), usage=usage))
    answer = reply(remote(api="responses", reasoning_effort="low"))
    assert stub.sent[0].path == "/v1/responses"
    assert stub.sent[0].body == {
        "model": "gpt-4.1-mini",
        "input": [{"role": "user", "content": "Is it?"}],
        "max_output_tokens": 16,
        "store": False,
        "reasoning": {"effort": "low"},
        "temperature": 0,
    }
    assert (answer.text, answer.usage.prompt_tokens, answer.usage.cached_tokens) == ("yes", 9, 4)
    assert answer.usage.completion_tokens == 5


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_a_response_that_is_not_whole_says_so(stub: Stub, reason: str) -> None:
    stub.replies(responded(text_item("half an"), reason=reason))
    outcome = one(remote(api="responses"))
    if reason == "content_filter":
        assert isinstance(outcome, Failure) and "content filter" in outcome.message
    else:
        assert isinstance(outcome, Reply) and outcome.finish == "length"


def test_options_are_sent(stub: Stub) -> None:
    reply(remote(seed=3, reasoning_effort="low"))
    assert (stub.sent[0].body["seed"], stub.sent[0].body["reasoning_effort"]) == (3, "low")


@pytest.mark.parametrize(
    ("version", "path", "header"),
    [
        ("", "/openai/v1/chat/completions", "authorization"),
        ("2024-10-21", "/openai/deployments/mine/chat/completions?api-version=2024-10-21", "api-key"),
    ],
)
@pytest.mark.parametrize("tail", ["", "/", "/openai/v1/"])
def test_both_shapes_of_azure(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, version: str, path: str, header: str, tail: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", stub.origin + tail)
    reply(remote("azure", id="mine", base="gpt-4.1-mini", api_version=version))
    sent = stub.sent[0]
    assert sent.path == path and sent.body["model"] == "mine"
    assert {name for name, value in sent.headers.items() if KEY in value} == {header}


@pytest.mark.parametrize(
    ("version", "path"), [("", "/openai/v1/responses"), ("2025-04-01", "/openai/responses?api-version=2025-04-01")]
)
def test_responses_at_azure(stub: Stub, version: str, path: str) -> None:
    stub.replies(responded(text_item("yes")))
    reply(remote("azure", api="responses", api_version=version))
    assert stub.sent[0].path == path


@pytest.mark.parametrize("version", ["", "2024-10-21"])
def test_entra_id_gives_a_token_for_each_request(stub: Stub, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    tokens = iter(["first-token", "second-token"])
    entra(monkeypatch, lambda: next(tokens))
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    model = remote("azure", entra=True, api_version=version)
    assert model.secret == ""
    _ = reply(model), reply(model)
    assert [each.headers["authorization"] for each in stub.sent] == ["Bearer first-token", "Bearer second-token"]


def test_entra_id_without_a_login_says_what_to_do(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise AzureError("a long story")

    entra(monkeypatch, fails)
    with pytest.raises(Missing, match="Entra ID gives no token") as caught:
        one(remote("azure", entra=True))
    assert "az login" in caught.value.hint


def test_entra_id_without_its_library_names_the_extra(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(Missing) as caught:
        one(remote("azure", entra=True))
    assert "finetune-advisor[azure]" in caught.value.hint


class AzureError(Exception):
    """As azure.core has it."""


def entra(monkeypatch: pytest.MonkeyPatch, token: Any) -> None:
    """Stand in for azure-identity, which would ask Microsoft's servers."""
    identity, core = ModuleType("azure.identity"), ModuleType("azure.core.exceptions")

    def provider(credential: object, scope: str) -> Any:
        assert scope == "https://cognitiveservices.azure.com/.default"
        return token

    vars(identity).update(DefaultAzureCredential=object, get_bearer_token_provider=provider)
    vars(core).update(AzureError=AzureError)
    for name, module in {"azure.identity": identity, "azure.core.exceptions": core}.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_a_compatible_server_gets_the_older_names_and_none_of_openais_settings(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private-name")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Private: private-name\nX-Other: private-name")
    told = Request(example_id="1", messages=(Message(role="developer", content="Be brief."),), max_tokens=4)
    reply(remote("compatible", id="qwen", base_url=stub.url), told)
    sent = stub.sent[0]
    assert sent.body["max_tokens"] == 4 and sent.body["messages"][0]["role"] == "system"
    assert "authorization" not in sent.headers
    assert not any(KEY in value or "private-name" in value for value in sent.headers.values())
    reply(remote("compatible", id="qwen", base_url=stub.url, key_env="LOCAL_API_KEY"))
    assert stub.sent[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "ftp://x/v1"}, "http"),
        ({"base_url": "http://user:secret@x/v1"}, "user, password or query"),
        ({"base_url": "http://x/v1?key=secret"}, "user, password or query"),
        ({"base_url": "http://[x"}, "address"),
        ({"base_url": "http://x", "key_env": "sk-this-is-a-key-itself"}, "key_env"),
        ({"base_url": "http://x", "key_env": "OPENAI_API_KEY"}, "its own provider"),
        ({"base_url": "http://x", "api": "smoke"}, "no api"),
        ({"base_url": "http://x", "api": "responses", "seed": 1}, "seed"),
        ({"base_url": "http://x", "concurrency": 0}, "concurrency"),
    ],
)
def test_options_that_cannot_be_are_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        models.create("compatible", id="m", **options)
    assert "secret" not in str(caught.value) and "sk-this" not in str(caught.value)


def test_what_a_model_does_not_take_is_left_out_from_then_on(stub: Stub) -> None:
    def respond(sent: Sent) -> Answer:
        if "temperature" in sent.body:
            message = "Unsupported value: 'temperature' does not support 0 with this model."
            return error(400, message, code="unsupported_value", param="temperature")
        if "response_format" in sent.body:
            return error(400, "Invalid schema for response_format 'answer'", param="response_format")
        return plausible(sent)

    stub.respond = respond
    model = remote()
    reply(model, asked(answer_schema=SCHEMA))
    assert len(stub.sent) == 3
    reply(model, asked("and now?", answer_schema=SCHEMA))
    assert len(stub.sent) == 4 and not {"temperature", "response_format"} & set(stub.sent[-1].body)


@pytest.mark.parametrize(
    ("provider", "first", "second"),
    [("openai", "max_completion_tokens", "max_tokens"), ("compatible", "max_tokens", "max_completion_tokens")],
)
def test_the_limit_has_the_name_that_the_server_knows(stub: Stub, provider: str, first: str, second: str) -> None:
    def respond(sent: Sent) -> Answer:
        if first in sent.body:
            return error(422, f"Extra inputs are not permitted: {first}")
        return plausible(sent)

    stub.respond = respond
    model = remote(provider, **({"base_url": stub.url} if provider == "compatible" else {}))
    _ = reply(model), reply(model)
    assert [second in each.body for each in stub.sent] == [False, True, True]


def test_an_option_that_the_server_does_not_take_is_never_dropped_in_silence(stub: Stub) -> None:
    stub.replies(error(400, "Unrecognized request argument supplied: seed"))
    with pytest.raises(BadInput, match="does not take seed"):
        one(remote(seed=1))


def test_tool_calls_become_the_answer_as_data_sets_have_it(stub: Stub) -> None:
    call: dict[str, Any] = {
        "id": "1",
        "type": "function",
        "function": {"name": "find", "arguments": '{"b": 2, "a": 1}'},
    }
    stub.replies(said(None, "tool_calls", tool_calls=[call]))
    request = asked(tools=(TOOL,))
    assert (
        reply(remote(), request).text
        == answer_of({"tool_calls": [call]})
        == ('[{"arguments":{"a":1,"b":2},"name":"find"}]')
    )
    assert stub.sent[0].body["tools"] == [TOOL]
    stub.replies(responded({"type": "function_call", "call_id": "1", **call["function"]}))
    assert reply(remote(api="responses"), request).text == answer_of({"tool_calls": [call]})
    assert stub.sent[1].body["tools"] == [{"type": "function", **TOOL["function"], "strict": False}]


def test_a_tool_call_that_cannot_be_read_is_an_answer_all_the_same(stub: Stub) -> None:
    stub.replies(said(None, tool_calls=[{"function": {"name": "find", "arguments": "{not json"}}]))
    assert json.loads(reply(remote()).text) == [{"name": "find", "arguments": "{not json"}]


def test_earlier_tool_calls_are_sent_in_the_form_of_each_api(stub: Stub) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = (
        Message(role="user", content="Find it."),
        Message(role="assistant", content="", extra={"tool_calls": [call], "weight": 0}),
        Message(role="tool", content="found", extra={"tool_call_id": "c1"}),
    )
    request = Request(example_id="1", messages=messages, max_tokens=8)
    reply(remote(), request)
    assert stub.sent[0].body["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "found", "tool_call_id": "c1"},
    ]
    stub.replies(responded(text_item("yes")))
    reply(remote(api="responses"), request)
    assert stub.sent[1].body["input"][1:] == [
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "found"},
    ]


def test_pictures_are_sent_in_the_form_of_each_api(stub: Stub) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    asking = Message(role="user", content="What?", extra={"content": parts})
    request = Request(example_id="1", messages=(asking,), max_tokens=8)
    stub.replies(said())
    reply(remote(), request)
    assert stub.sent[0].body["messages"][0]["content"] == parts
    stub.replies(responded(text_item("yes")))
    reply(remote(api="responses"), request)
    kinds = [part["type"] for part in stub.sent[1].body["input"][0]["content"]]
    assert kinds == ["input_text", "input_image"]


def test_a_schema_is_sent_in_the_form_of_each_api(stub: Stub) -> None:
    reply(remote(), asked(answer_schema=SCHEMA))
    wanted = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert stub.sent[0].body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    stub.replies(responded(text_item("{}")))
    reply(remote(api="responses"), asked(answer_schema=SCHEMA))
    assert stub.sent[1].body["text"] == {"format": {"type": "json_schema", **wanted}}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("  "), "empty"),
        (said(None, refusal="I will not."), "refused"),
        (said("", "content_filter"), "content filter"),
        (said("", "length"), "thinking"),
    ],
)
def test_no_answer_is_a_failure_that_still_counts(stub: Stub, answer: Answer, words: str) -> None:
    stub.replies(answer)
    outcome = failure(remote())
    assert outcome.kind == "error" and words in outcome.message
    assert outcome.usage.prompt_tokens == 9


def test_an_answer_that_was_cut_off_says_so(stub: Stub) -> None:
    stub.replies(said("and then", "length"))
    assert reply(remote()).finish == "length"


@pytest.mark.parametrize(
    ("usage", "sound"),
    [
        ({"prompt_tokens": 60, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 50}}, True),
        ({"prompt_tokens": 60, "completion_tokens": 8, "prompt_tokens_details": None}, True),
        ({"prompt_tokens": -5, "completion_tokens": 1}, False),
        ({"prompt_tokens": 0, "completion_tokens": 1}, False),
        ({"prompt_tokens": 5000, "completion_tokens": 1}, False),
        ({"prompt_tokens": 9, "completion_tokens": 9}, False),
        ({"prompt_tokens": 9, "completion_tokens": 0}, False),
        ({"prompt_tokens": 9, "completion_tokens": -1}, False),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10}}, False),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": -1}}, False),
        ({"prompt_tokens": "many", "completion_tokens": 1}, False),
        ({"prompt_tokens": 1e99, "completion_tokens": 1}, False),
        ([], False),
    ],
)
def test_impossible_numbers_are_counted_here(stub: Stub, usage: Any, sound: bool) -> None:
    stub.replies(said("yes it is", usage=usage))
    model = remote()
    used = reply(model, asked()).usage
    assert used.recounted is not sound
    if not sound:
        assert (used.prompt_tokens, used.cached_tokens) == (model.count_tokens(asked().messages), 0)
        assert 1 <= used.completion_tokens <= 8 and used.seconds > 0


def test_a_model_says_what_decides_its_answers(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    described = remote("azure", id="mine", base="gpt-4.1", api_version="2024-10-21").describe()
    assert described == {
        "id": "mine",
        "provider": "azure",
        "api": "chat",
        "host": stub.origin.removeprefix("http://"),
        "temperature": 0,
        "seed": None,
        "reasoning_effort": "",
        "batch": False,
        "base": "gpt-4.1",
        "api_version": "2024-10-21",
    }
    assert remote().trainer == ("openai", {"key_env": "OPENAI_API_KEY"}) and remote().tunable
    reach = {"key_env": "AZURE_OPENAI_API_KEY", "api_version": "", "entra": False}
    assert remote("azure", base="gpt-4.1").trainer == ("azure", reach)
    assert remote("azure", id="mine", base="gpt-4.1").source == "gpt-4.1"
    other = remote("compatible", base_url=stub.url)
    assert (other.trainer, other.tunable, other.source, other.secret) == (("", {}), False, "", "")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert remote().addresses == ("api.openai.com",)


def test_context_windows_are_known_or_given(stub: Stub) -> None:
    assert remote().context_window == 1_000_000
    assert remote(id="ft:gpt-4o-mini-2024-07-18:us::x").context_window == 128_000
    assert remote(id="somebody's", context_window=300).context_window == 300
    outcome = failure(remote(context_window=300), asked("word " * 400))
    assert outcome.kind == "too_long" and not stub.sent


def test_prompts_are_counted_by_the_models_vocabulary() -> None:
    asking = asked("Donaudampfschifffahrtsgesellschaft für 退款").messages
    assert remote(id="gpt-4").count_tokens(asking) != remote(id="gpt-4o").count_tokens(asking)


def test_the_tuned_model_is_the_one_that_the_folder_names(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / TUNED_MODEL
    file.write_text('{"model": "ft:gpt-4.1-mini:us::1", "provider": "openai"}', encoding="utf-8")
    base = remote()
    tuned = base.with_adapter(tmp_path)
    assert reply(tuned).text and stub.sent[0].body["model"] == "ft:gpt-4.1-mini:us::1"
    assert tuned.describe()["id"] == "ft:gpt-4.1-mini:us::1" and tuned.name == base.name
    assert base.describe()["id"] == "gpt-4.1-mini"
    with pytest.raises(BadInput, match="at openai, not at azure"):
        remote("azure").with_adapter(tmp_path)
    file.write_text('{"model": "m.ft-1", "provider": "azure", "deployment": "mine-tuned"}', encoding="utf-8")
    reply(remote("azure").with_adapter(tmp_path))
    assert stub.sent[-1].body["model"] == "mine-tuned"
    file.write_text('{"model": "m.ft-1", "provider": "azure"}', encoding="utf-8")
    with pytest.raises(Missing, match="not deployed"):
        remote("azure").with_adapter(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"model": 1}'])
def test_a_file_that_names_no_tuned_model_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / TUNED_MODEL).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="does not name a tuned model"):
        remote().with_adapter(tmp_path)
    with pytest.raises(Missing, match="no tuned model"):
        remote().with_adapter(tmp_path / "elsewhere")


def test_accounts_refuse_what_is_no_address() -> None:
    assert Account(provider="azure").host == ""
    with pytest.raises(BadInput, match="address"):
        Account(provider="compatible", base_url="http://host:99999999/v1")
