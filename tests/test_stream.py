"""The audit of a large file says what the audit of a small one says, to the letter, in little memory."""

import json
import random
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_advisor.case import guess_kind
from finetune_advisor.datasets import audit, gather, load, stream
from finetune_advisor.datasets.stream import Limits
from finetune_advisor.errors import BadInput
from finetune_advisor.records import Finding, Task

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SMALL = Limits(range_bytes=300, workers=1)
BY_SKETCH = Limits(range_bytes=300, exact_up_to=0, workers=1)


def in_memory(path: Path) -> tuple[tuple[Finding, ...], int]:
    """What the audit of a small file finds, and in how many examples."""
    loaded = load.load(path)
    if not loaded.examples:
        return loaded.findings, 0
    task = Task(kind=guess_kind(loaded.examples), metric="")
    return loaded.findings + audit.audit({"train": loaded.examples}, task, known=loaded.findings), len(loaded.examples)


def streamed(path: Path, limits: Limits = SMALL) -> tuple[tuple[Finding, ...], int]:
    found = stream.audit_file(path, limits)
    kept = tuple(finding for finding in found.findings if finding.code != "near_duplicates_by_sketch")
    return kept, found.examples


def row(*said: str, system: str = "", **more: Any) -> str:
    roles = ("user", "assistant") * len(said)
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
    return json.dumps({"messages": messages, **more}, ensure_ascii=False)


def write(folder: Path, lines: Sequence[str], ends: str = "\n") -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(line + ends for line in lines), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("name", ["broken_chat", "toy_chat_fine_tuning", "xquad_en_qa_train", "snips_slots_test"])
def test_shared_files_are_judged_as_in_memory(name: str) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the shared data folder is not here")
    assert streamed(path, Limits(range_bytes=1 << 14, workers=1)) == in_memory(path)


QUESTIONS = [
    "Where is my parcel?",
    "where  is my\tPARCEL?",
    "Where is my parcel, number 12?",
    "Where is my parcel, number 13?",
    "The drum of the washing machine makes a grinding noise when it spins at 1200",
    "The drum of the washing machine makes a grinding noise when it spins at 1400!",
    "The drum of the washing machine makes a grinding noise when it spins, at 1400!",
    "我想更改送货地址",
    "Write to jane@acme.org",
    "\u0007 bell",
    "  ",
    "",
    "a\u00a0b",
]
ANSWERS = ["yes", "Yes", "no", "word " * 70, "Call +49 30 5260070.", '{"a": 1}', "12", "select 1", "\n/" * 80]
SYSTEMS = ["", "", "Answer.", "Ask joe@acme.org.", "Once only 1."]
ODD = [
    "",
    "  ",
    "{",
    "[]",
    "null",
    '{"messages": []}',
    '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "x"}]}',
    '{"messages": [{"role": "user", "content": NaN}]}',
    '{"messages": [], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "user", "content": "a", "name": null}, {"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
    '{"messages": [{"role": "bot", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "a"}, '
    '{"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "assistant", "content": "b"}]}',
    '{"messages": [{"role": "user", "content": "a"}]}',
    '{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, '
    '{"role": "assistant", "content": "b"}], "tools": []}',
]


def plain(said: tuple[str, str], system: str) -> str:
    return row(*said, system=system)


def rated(said: list[str], refs: list[str]) -> str:
    return row(*said, meta={"refs": refs})


PLAIN = st.builds(
    plain,
    st.tuples(st.sampled_from(QUESTIONS), st.sampled_from(ANSWERS)),
    st.sampled_from(SYSTEMS),
)
TALKS = st.builds(
    rated,
    st.lists(st.sampled_from([*QUESTIONS, *ANSWERS]), min_size=2, max_size=4),
    st.lists(st.sampled_from(ANSWERS), max_size=2),
)
LINES = st.lists(st.one_of(PLAIN, PLAIN, PLAIN, TALKS, st.sampled_from(ODD)), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES.filter(lambda lines: any(line.strip() for line in lines)), st.sampled_from(["\n", "\r\n"]))
def test_small_files_are_judged_as_in_memory(lines: list[str], ends: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), lines, ends)
        try:
            expected = in_memory(path)
        except BadInput as error:
            with pytest.raises(BadInput) as raised:
                streamed(path)
            assert (raised.value.message, raised.value.hint) == (error.message, error.hint)
            return
        assert streamed(path) == expected


def test_labels_are_judged_as_in_memory(tmp_path: Path) -> None:
    labels = ["late"] * 30 + ["lost"] * 7 + ["broken"] * 2
    path = write(tmp_path, [row(f"{at} {word} parcel {at * 7}", word) for at, word in enumerate(labels)])
    expected = in_memory(path)
    assert {"imbalanced_labels", "rare_label"} <= {finding.code for finding in expected[0]}
    assert streamed(path) == expected


def test_many_findings_are_summed_up_in_the_same_order(tmp_path: Path) -> None:
    words = random.Random(0)
    asked = ["".join(words.choices(string.ascii_lowercase, k=30)) for _ in range(70)]
    path = write(tmp_path, [row(f"{text} u{at}@acme.org", "word " * 90) for at, text in enumerate(asked)] * 2)
    lines = path.read_text(encoding="utf-8").splitlines()
    path = write(tmp_path, [*lines[:70], *(line.replace('"word', '"Word') for line in lines[70:])])
    expected = in_memory(path)
    assert sum("more findings" in finding.message for finding in expected[0]) == 2
    assert streamed(path) == expected


def test_findings_on_reading_are_summed_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MOST_OF_A_CODE", 3)
    path = write(tmp_path, ["{", row("a question", "an answer")] * 6)
    found, examples = streamed(path)
    counts = [(finding.code, finding.line) for finding in found]
    assert examples == 1
    assert counts[:6] == [
        ("invalid_json", 1), ("invalid_json", 3), ("duplicate_of_line_2", 4), ("invalid_json", 5),
        ("duplicate_of_line_2", 6), ("duplicate_of_line_2", 8),
    ]  # fmt: skip
    assert [finding.message for finding in found if not finding.line] == [
        "There are 3 more findings of the kind invalid_json.",
        "There are 2 more findings of the kind duplicate_of_line.",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_other_encodings_are_judged_as_in_memory(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [row(f"Wo ist mein Päckchen, Möbel {word}?", "Unterwegs") for word in ("eins", "zwei", "drei")]
    path.write_bytes("\n".join([*lines, "{"]).encode(encoding))
    assert streamed(path) == in_memory(path)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\x00\x01\x02" * 30, b'{"a": 1}', b'{"a": "\xff\x81"}\n'])
def test_unusable_files_raise_the_same(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput) as expected:
        in_memory(path)
    with pytest.raises(BadInput) as raised:
        streamed(path)
    assert (raised.value.message, raised.value.hint) == (expected.value.message, expected.value.hint)


def test_one_line_may_be_longer_than_a_range(tmp_path: Path) -> None:
    path = write(tmp_path, [row("short", "x"), row("long " * 5000, "y"), "{" * 9000, row("short", "z")])
    assert streamed(path) == in_memory(path)


def test_pairs_are_judged_as_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path, [json.dumps({"prompt": text, "completion": "yes"}) for text in QUESTIONS])
    assert streamed(path) == in_memory(path)


def near_copies() -> list[str]:
    chance = random.Random(1)
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(400)]
    asked = [" ".join(chance.choices(words, k=chance.choice([12, 60, 300]))) for _ in range(60)]
    return [*asked, *(f"{text[:-9]}{text[-8:]} please" for text in asked[:30]), *(f"{text} 7" for text in asked[30:40])]


def test_sketches_find_near_duplicates_and_say_that_they_were_used(tmp_path: Path) -> None:
    path = write(tmp_path, [row(text, "yes") for text in near_copies()])
    expected = in_memory(path)
    assert sum(finding.code == "near_duplicate" for finding in expected[0]) >= 30
    assert streamed(path, BY_SKETCH) == expected
    said = [f for f in stream.audit_file(path, BY_SKETCH).findings if f.code == "near_duplicates_by_sketch"]
    assert [(finding.line, finding.severity) for finding in said] == [(0, "info")]


def test_a_system_message_of_its_own_is_part_of_the_question(tmp_path: Path) -> None:
    talks = near_copies()
    rows = [row(text, "yes", system=f"{talks[at]} for you alone") for at, text in enumerate(talks)]
    path = write(tmp_path, [*rows, *(row(text, "no", system="Shared.") for text in talks[:20])])
    assert streamed(path) == in_memory(path)
    assert streamed(path, BY_SKETCH) == in_memory(path)


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, [row(text, "yes") for text in near_copies()])
    assert streamed(path, Limits(range_bytes=4000, workers=2)) == in_memory(path)


def test_which_files_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FROM_BYTES", 10)
    small, large, table = (tmp_path / name for name in ("s.jsonl", "l.ndjson", "t.csv"))
    for path, content in ((small, "1"), (large, "1" * 10), (table, "1" * 10)):
        path.write_text(content, encoding="utf-8")
    assert [stream.takes(path) for path in (small, large, table)] == [False, True, False]
