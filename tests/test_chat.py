from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_advisor.datasets import chat, load
from finetune_advisor.datasets.jsonl import JSON
from finetune_advisor.records import Finding

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
USER = {"role": "user", "content": "x"}
HI = {"role": "assistant", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"b": 1, "a": "é"}'}}


def coded(findings: list[Finding]) -> list[str]:
    """Codes as broken_chat.expected.json writes them."""
    return [finding.code + (" (warning)" if finding.severity == "warning" else "") for finding in findings]


def row(*messages: object, **more: object) -> str:
    return json.dumps({"messages": list(messages), **more})


def calling(function: object, content: object = None) -> dict[str, object]:
    return {"role": "assistant", "content": content, "tool_calls": [{"id": "c1", "function": function}]}


CASES: list[tuple[str, list[str]]] = [
    (row(USER, HI), []),
    ('["not", "a", "dict"]', ["data_type"]),
    ("null", ["data_type"]),
    ('{"prompt": "x", "completion": "y"}', ["missing_messages_list"]),
    (row(), ["missing_messages_list"]),
    ('{"messages": "x"}', ["missing_messages_list"]),
    (row("x", HI), ["message_not_object"]),
    (row({"role": "user"}, HI), ["message_missing_key", "missing_content"]),
    (row({"content": "x"}, HI), ["message_missing_key", "unrecognized_role"]),
    (row({**USER, "mood": "sad"}, HI), ["message_unrecognized_key"]),
    (row({**USER, "role": "human"}, HI), ["unrecognized_role"]),
    (row({**USER, "role": ["user"]}, HI), ["unrecognized_role"]),
    (row({**USER, "content": ""}, HI), ["missing_content"]),
    (row({**USER, "content": " \n"}, HI), ["missing_content"]),
    (row({**USER, "content": None}, HI), ["missing_content"]),
    (row({**USER, "content": ["x"]}, HI), ["missing_content"]),
    (row({**USER, "content": [{"type": "text"}]}, HI), ["missing_content"]),
    (row({**USER, "content": None, "tool_calls": [CALL]}, HI), ["missing_content"]),
    (row(USER), ["example_missing_assistant_message"]),
    (row(HI), ["missing_prompt"]),
    ('{"messages": [{"role": "user", "content": "unclo', ["invalid_json"]),
    ('{"messages": NaN}', ["invalid_json"]),
    ('{"messages": "\\ud800"}', ["invalid_json"]),
    ("[" * 100_000, ["invalid_json"]),
    ("9" * 100_000, ["invalid_json"]),
    ("", ["blank_line"]),
    (" \t\r\n", ["blank_line"]),
    (row(HI, USER), ["last_message_not_assistant (warning)"]),
    (row(USER, USER, HI), ["two_user_turns (warning)"]),
    (row(USER, {"role": "system", "content": "late"}, HI), ["system_not_first (warning)"]),
    (row(USER, {"role": "developer", "content": "late"}, HI), ["system_not_first (warning)"]),
    (row({"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER, HI), []),
    (row(USER, {**HI, "weight": 0}), ["no_trained_tokens (warning)"]),
    (row(USER, {**HI, "weight": 1}, USER, {**HI, "weight": 0}), []),
    (row(USER, {**HI, "weight": 0.5}), ["weight_invalid"]),
    (row(USER, {**HI, "weight": True}), ["weight_invalid"]),
    (row({**USER, "content": "x\0y"}, HI), ["control_character (warning)"]),
    (row({**USER, "content": "tab\tand\r\nline"}, HI), []),
    (row({**USER, "content": [{"type": "text", "text": "x"}]}, HI), []),
    (row({**USER, "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, HI), ["content_not_text (warning)"]),
    (row(USER, {"role": "assistant", "tool_calls": [CALL]}, parallel_tool_calls=False), []),
    (row(USER, {"role": "assistant", "content": None, "function_call": CALL["function"]}), []),
    (row(USER, {**HI, "tool_calls": [CALL]}), ["text_beside_tool_calls (warning)"]),
    (row(USER, {**HI, "tool_calls": None, "refusal": None, "audio": None}), []),
    (row(USER, {**HI, "tool_calls": "find"}), ["tool_call_invalid"]),
    (row(USER, calling({"arguments": "{}"})), ["tool_call_invalid"]),
    (row(USER, calling({"name": "find", "arguments": '{"a": '})), ["tool_call_invalid"]),
    (row(USER, calling({"name": "find", "arguments": "[]"})), ["tool_call_invalid"]),
    (row(USER, calling({"name": "find", "arguments": {"a": 1}})), ["tool_call_invalid"]),
    (row(USER, calling({"name": "find", "arguments": '{"a": "\\ud800"}'})), ["tool_call_invalid"]),
    (row(USER, HI, tools={"name": "find"}), ["tool_invalid"]),
    (row(USER, HI, tools=[{"type": "function"}]), ["tool_invalid"]),
    (row(USER, HI, tools=[{"type": "function", "function": {"name": "f", "parameters": "p"}}]), ["tool_invalid"]),
    (row(USER, {"role": "tool", "tool_call_id": "c9", "content": "y"}, HI), ["tool_message_unmatched"]),
    (
        row(
            USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": ""}, HI
        ),
        [],
    ),
    (row(USER, HI, meta={"refs": ["a", "b"]}), []),
    (row(USER, HI, meta={"refs": "a"}), ["references_invalid (warning)"]),
]


@pytest.mark.parametrize(("raw", "expected"), CASES)
def test_each_fault_has_its_code(raw: str, expected: list[str]) -> None:
    value, findings = chat.check_line(raw, 7, "a.jsonl")
    assert coded(findings) == expected
    assert {(finding.file, finding.line) for finding in findings} <= {("a.jsonl", 7)}
    assert (value is None) == any(finding.severity == "error" for finding in findings)


def test_repeated_and_contradictory_rows_name_the_earlier_line(tmp_path: Path) -> None:
    other = row(USER, {"role": "assistant", "content": "ho"})
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([row(USER, HI), row(USER, HI, id=2), other, other]), encoding="utf-8")
    loaded = load.load(file)
    assert [(finding.line, finding.code, finding.severity) for finding in loaded.findings] == [
        (2, "duplicate_of_line_1", "error"),
        (3, "conflicting_label_with_previous", "warning"),
        (4, "duplicate_of_line_3", "error"),
    ]
    assert "line 1" in loaded.findings[1].message


def test_the_same_prompt_with_other_tools_is_another_prompt(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    tools = [{"type": "function", "function": {"name": "find"}}]
    file.write_text(row(USER, HI) + "\n" + row(USER, calling(CALL["function"]), tools=tools), encoding="utf-8")
    assert load.load(file).findings == ()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_every_fault_of_the_shared_file() -> None:
    loaded = load.load(SHARED / "broken_chat.jsonl")
    expected: list[dict[str, Any]] = json.loads((SHARED / "broken_chat.expected.json").read_text(encoding="utf-8"))
    found = {
        entry["line"]: [finding for finding in loaded.findings if finding.line == entry["line"]] for entry in expected
    }
    assert [len(expected), sum(map(len, found.values()))] == [21, len(loaded.findings)]
    for entry in expected:
        codes = [code if code.startswith("duplicate_of") else full for code, full in _both(found[entry["line"]])]
        assert codes == entry["expected"], entry["line"]


def _both(findings: list[Finding]) -> list[tuple[str, str]]:
    return list(zip([finding.code for finding in findings], coded(findings), strict=True))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from([*chat.ROLES, "human"]) | JSON_VALUES,
        "content": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "file"])})) | JSON_VALUES,
        "weight": JSON_VALUES,
        "tool_call_id": JSON_VALUES,
        "function_call": JSON_VALUES,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": JSON_VALUES, "function": JSON_VALUES})) | JSON_VALUES,
    },
)
ROWS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES | JSON_VALUES)}, optional={"tools": JSON_VALUES, "meta": JSON_VALUES}
)


@given(st.text())
def test_no_text_makes_the_check_raise(raw: str) -> None:
    value, findings = chat.check_line(raw, 1, "f")
    assert value is not None or findings


@given(ROWS | JSON_VALUES)
def test_no_json_makes_the_check_raise(value: JSON) -> None:
    checked, findings = chat.check_line(json.dumps(value), 1, "f")
    assert (checked is None) == any(finding.severity == "error" for finding in findings)
