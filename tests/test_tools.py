"""An example's tools reach the prompts, in asking as in training, and calls are compared fairly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from finetune_advisor import case
from finetune_advisor.approaches import prompts
from finetune_advisor.approaches.schema import answer_schema
from finetune_advisor.case import Case
from finetune_advisor.datasets import tool_calls
from finetune_advisor.errors import require
from finetune_advisor.experiment import run
from finetune_advisor.experiment.prepare import prepare
from finetune_advisor.experiment.shots import fitting
from finetune_advisor.experiment.trial import Trial, Workbench
from finetune_advisor.metrics.structured import JsonFields
from finetune_advisor.models.chat import ChatFormat, with_tools
from finetune_advisor.models.fake import FakeModel
from finetune_advisor.models.local import LocalModel
from finetune_advisor.records import (
    Batch,
    Example,
    Message,
    Reply,
    Request,
    Settings,
    Task,
    TaskKind,
    TrainingPair,
    no_progress,
)
from finetune_advisor.tuning.pairs import encoded
from finetune_advisor.tuning.record import training_key

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds it.", "parameters": PARAMETERS}}
BARE = {"type": "function", "function": {"name": "find"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Qom"}'}}
ANSWER = '[{"arguments":{"city":"Qom"},"name":"find"}]'
ASKED = (Message(role="system", content="Be brief."), Message(role="user", content="Where?"))
HISTORY = (
    *ASKED,
    Message(role="assistant", content="", extra={"tool_calls": [CALL]}),
    Message(role="tool", content="In the north.", extra={"tool_call_id": "c1"}),
)
KNOWING = (
    "{% for t in tools or [] %}<tool>{{ t.function.name }} {{ t.function.parameters.properties | length }}</tool>"
    "{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.arguments.city }}{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception(m.role) }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Letters:
    """A tokenizer of letters, so that a prompt can be read."""

    def __init__(self, template: str | None) -> None:
        self._inner = tiny_model.tokenizer(tiny_model.SPECIAL, template)
        self.chat_template = template

    def apply_chat_template(self, turns: list[dict[str, Any]], **options: Any) -> str:
        return self._inner.apply_chat_template(turns, **options)

    def __call__(self, text: str, **options: bool) -> dict[str, list[int]]:
        return {"input_ids": [*map(ord, text)]}


def read(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def prompt(template: str | None, messages: Sequence[Message], *tools: Settings) -> str:
    return read(ChatFormat(Letters(template)).prompt(messages, tools))


def test_a_template_that_knows_tools_words_them() -> None:
    assert prompt(KNOWING, ASKED, TOOL) == "<tool>find 1</tool><system>Be brief.<end><user>Where?<end><assistant>"
    # The template reads the arguments as an object; OpenAI's format has them as text.
    assert "<assistant>Qom<end><tool>In the north.<end>" in prompt(KNOWING, HISTORY, TOOL)


@pytest.mark.parametrize(("template", "tool"), [(tiny_model.TEMPLATE, TOOL), (KNOWING, BARE), (None, TOOL)])
def test_where_the_template_cannot_they_are_listed_in_the_system_message(
    template: str | None, tool: dict[str, Any]
) -> None:
    text = prompt(template, HISTORY, tool)
    assert text.count("You may call these tools:") == 1
    assert json.dumps(tool["function"]) in text
    assert text.index("Be brief.\n\nYou may call") < text.index("Where?") < text.index(ANSWER) < text.index("north")
    assert "tool_calls" not in text


def test_a_template_without_system_and_tool_messages_gets_the_same_words() -> None:
    text = prompt(ALTERNATING, HISTORY, TOOL)
    assert text.startswith("<user>Be brief.\n\nYou may call")
    assert text.endswith(f"<assistant>{ANSWER}<end><user>Result of the call:\nIn the north.<end><assistant>")
    assert prompt(ALTERNATING, ASKED[1:], TOOL).startswith("<user>You may call")


@pytest.mark.parametrize("template", [KNOWING, tiny_model.TEMPLATE, ALTERNATING, None])
def test_without_tools_nothing_changes(template: str | None) -> None:
    chat = ChatFormat(Letters(template))
    assert with_tools(HISTORY, ()) == HISTORY
    assert chat.prompt(ASKED, ()) == chat.prompt(ASKED)
    assert "tool" not in prompt(template, ASKED)


@pytest.mark.parametrize("template", [KNOWING, tiny_model.TEMPLATE, ALTERNATING, None])
def test_training_sees_the_prompt_that_is_asked(template: str | None) -> None:
    chat = ChatFormat(Letters(template), (3,))
    (one,) = encoded([TrainingPair(messages=ASKED, answer=ANSWER, tools=(TOOL,))], chat, 10_000)
    assert list(one.prompt) == chat.prompt(ASKED, (TOOL,))
    assert read(one.answer).startswith(ANSWER)
    (bare,) = encoded([TrainingPair(messages=ASKED, answer=ANSWER)], chat, 10_000)
    assert len(bare.prompt) < len(one.prompt)


def test_earlier_calls_that_cannot_be_read_stay_as_they_are() -> None:
    odd = Message(role="assistant", content="", extra={"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]})
    assert with_tools((ASKED[1], odd), (TOOL,))[-1] == odd
    assert prompt(KNOWING, (ASKED[1], odd), TOOL).startswith("<tool>find 1</tool>")


def call(name: object = "find", **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


TAGGED = f"<tool_call>\n{json.dumps(call(city='Qom'))}\n</tool_call>"
SAID = [
    ANSWER,
    json.dumps(call(city="Qom")),
    json.dumps([CALL]),
    json.dumps({"name": "find", "parameters": {"city": "Qom"}}),
    f"```json\n{json.dumps([call(city='Qom')])}\n```",
    TAGGED,
    f"I look it up.\n{TAGGED}",
    f"<think>\n{{}}?\n</think>\n\n{json.dumps(call(city='Qom'))}",
    f"<tool_call>[{json.dumps(call(city='Qom'))}]",
]


@pytest.mark.parametrize("text", SAID)
def test_every_common_form_of_a_call_is_the_same_answer(text: str) -> None:
    assert tool_calls.comparable(text) == ANSWER
    example = Example(id="1", messages=ASKED, answer=ANSWER, references=(ANSWER,))
    assert JsonFields().score(tool_calls.comparable(text), example).value == 1


def test_calls_in_a_row_keep_their_order() -> None:
    text = f"<tool_call>{json.dumps(call('a'))}</tool_call>\n<tool_call>{json.dumps(call('b', n=1))}</tool_call>"
    assert tool_calls.calls_in(text) == [call("a"), call("b", n=1)]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "Qom", '{"name": "Qom"}', '{"name": 1, "arguments": {}}', '{"name": "f", "arguments": "{"}',
     "<tool_call>find(Qom)</tool_call>", f"[{json.dumps(call())}, 3]", f"Sure: {json.dumps(call())}", "[" * 99_999],
)  # fmt: skip
def test_what_is_no_call_stays_as_it_is(text: str) -> None:
    assert tool_calls.comparable(text) == text
    assert tool_calls.calls_in(text) == []


def asked(*tools: Settings) -> Batch:
    return Batch(requests=(Request(example_id="1", messages=tiny_model.asked("fig"), max_tokens=2, tools=tools),))


def always_tagged(*_: object, **__: object) -> str:
    return TAGGED


def test_a_local_model_reads_tools_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(str(tiny_model.build(tmp_path)), device="cpu")
    tokenizer: Any = require("transformers", extra="local").PreTrainedTokenizerFast
    monkeypatch.setattr(tokenizer, "decode", always_tagged)
    (bare,), (told,) = model.answer(asked()), model.answer(asked(TOOL))
    assert isinstance(bare, Reply) and isinstance(told, Reply)
    assert bare.usage.prompt_tokens == model.count_tokens(tiny_model.asked("fig"))
    assert told.usage.prompt_tokens == model.count_tokens(with_tools(tiny_model.asked("fig"), (TOOL,)))
    assert told.usage.prompt_tokens > bare.usage.prompt_tokens
    assert (bare.text, told.text) == (TAGGED, ANSWER)


def test_the_fake_model_counts_them_too() -> None:
    (bare,), (told,) = FakeModel().answer(asked()), FakeModel().answer(asked(TOOL))
    assert told.usage.prompt_tokens > bare.usage.prompt_tokens


def test_a_training_is_known_by_its_tools_and_calls_too() -> None:
    def key(*pairs: TrainingPair) -> str:
        return training_key("hub/id", {"rank": 8}, pairs, pairs[:1])

    pairs = tiny_model.pairs()
    # As before there were tools, so that what was trained then is found again.
    assert key(*pairs) == "dce3222f54fb23733c08fdff87e4d1b09ce07e415f92200b9149636a26204fce"
    plain = TrainingPair(messages=ASKED, answer=ANSWER)
    others = [replace(plain, tools=(TOOL,)), replace(plain, tools=(BARE,)), replace(plain, messages=HISTORY)]
    shorn = tuple(replace(message, extra={}) for message in HISTORY)
    assert len({key(plain), *map(key, others), key(replace(plain, messages=shorn))}) == 5


def rule(*answers: str, tools: tuple[Settings, ...] = (TOOL,)) -> str:
    train = [Example(id=answer, messages=ASKED, answer=answer, tools=tools) for answer in answers]
    return prompts.rules(Task(kind=TaskKind.JSON, metric="json_fields"), train)


def test_the_rule_for_calls_leaves_the_form_to_the_tools() -> None:
    assert rule(ANSWER, "[" + ANSWER[1:]) == "Answer with calls of the tools and nothing else."
    assert rule(ANSWER, tools=()).startswith("Reply with a JSON list of calls and nothing else: [")
    assert rule(ANSWER, '{"a": 1}').startswith("Reply with one JSON object")


def schema(*answers: object, kind: TaskKind = TaskKind.JSON) -> Settings | None:
    train = [Example(id=str(n), messages=ASKED, answer=json.dumps(answer)) for n, answer in enumerate(answers)]
    return answer_schema(Task(kind=kind, metric="json_fields"), train)


def single(**kinds: object) -> dict[str, object]:
    return {"type": "object", "properties": kinds, "required": [*kinds], "additionalProperties": False}


def test_the_schema_has_the_keys_types_and_closed_sets_of_the_answers() -> None:
    rows = [("buy", None, 1), ("sell", "a", 2.5), ("buy", "b", 3), ("sell", "c", 4)]
    answers = [
        {"intent": intent, "slots": [{"n": n, "city": f"Town {n}"}], "sure": n > 1, "note": note, "price": price}
        for n, (intent, note, price) in enumerate(rows)
    ]
    assert schema(*answers) == single(
        intent={"type": "string", "enum": ["buy", "sell"]},
        slots={"type": "array", "items": single(n={"type": "integer"}, city={"type": "string"})},
        sure={"type": "boolean", "enum": [False, True]},
        note={"type": ["null", "string"]},
        price={"type": "number"},
    )


def test_a_place_with_objects_and_texts_may_hold_either() -> None:
    both = {"anyOf": [single(b={"type": "integer"}), {"type": "string"}]}
    assert schema({"a": {"b": 1}}, {"a": "x"}) == single(a=both)


@pytest.mark.parametrize(
    "answers",
    [
        (),
        ([1, 2],),
        ({"a": 1}, [1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": 1}}),
        ({"a": []},),
        ({"a": {"a": {"a": {"a": {"a": {}}}}}},),
        ({str(n): n for n in range(41)},),
        ({str(n): {str(m): m for m in range(20)} for n in range(5)},),
        tuple({str(n): f"value {m // 2}" for n in range(30)} for m in range(40)),
    ],
    ids=["none", "lists", "mixed", "keys", "inner keys", "empty lists", "deep", "wide", "large", "many values"],
)
def test_there_is_no_schema_where_a_strict_one_would_not_fit(answers: tuple[object, ...]) -> None:
    assert schema(*answers) is None


def test_only_json_tasks_have_a_schema() -> None:
    assert schema({"a": 1}) is not None
    assert schema({"a": 1}, kind=TaskKind.TEXT) is None
    broken = [Example(id="1", messages=ASKED, answer="{")]
    assert answer_schema(Task(kind=TaskKind.JSON, metric="json_fields"), broken) is None


def case_with_tools(folder: Path) -> Case:
    cities = ("Qom", "Lima", "Oslo", "Bonn", "Rome", "Kyiv", "Suva", "Male", "Apia", "Doha")
    rows: list[dict[str, object]] = []
    for number, city in enumerate(cities * 3):
        function = {"name": "find", "arguments": json.dumps({"city": city})}
        called = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
        rows.append({"messages": [{"role": "user", "content": f"{number}: where is {city}?"}, called], "tools": [TOOL]})
    (folder / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "case.toml").write_text(
        'schema = 1\ntitle = "Calls"\n[task]\nkind = "json"\n[data]\nexamples = "calls.jsonl"\n'
        '[[models]]\nname = "pretender"\nprovider = "fake"\n'
        '[[arms]]\napproach = "zero_shot"\n[[arms]]\napproach = "tuned"\n',
        encoding="utf-8",
    )
    return case.read(folder)


def test_a_free_question_is_asked_with_the_tools_of_the_data(tmp_path: Path) -> None:
    (tried, _) = Workbench(case_with_tools(tmp_path)).tries("Where is Baku?")
    assert isinstance(tried, Trial) and isinstance(tried.outcome, Reply)
    assert tried.prompt[0].content == "Answer with calls of the tools and nothing else."
    assert tried.outcome.usage.prompt_tokens == FakeModel().count_tokens(with_tools(tried.prompt, (TOOL,)))


def test_tools_count_in_the_lengths_of_prompts(tmp_path: Path) -> None:
    prepared = prepare(case_with_tools(tmp_path), [], no_progress)
    found = fitting(case.read(tmp_path), prepared, prepared.models["pretender"])
    first = prepared.parts["train"][0]
    asked = prompts.full(first, prepared.task, extra=prompts.rules(prepared.task, prepared.parts["train"]))
    assert found.longest_prompt == FakeModel().count_tokens(with_tools(asked, (TOOL,)))
    assert FakeModel().count_tokens(asked) < found.table[0].prompt_tokens


def test_a_case_of_calls_runs_from_data_to_scores(tmp_path: Path) -> None:
    results = run(case_with_tools(tmp_path))
    assert [arm.failures for arm in results.arms] == [0, 0]
    # The fake model repeats a training answer word for word, so what it learnt has the form that is scored.
    tuned = next(arm for arm in results.arms if arm.tuned)
    assert tuned.format_failures == 0
