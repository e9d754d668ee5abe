"""What the audit says about data that has one fault, and that it is silent about data that has none."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from finetune_advisor.datasets import audit
from finetune_advisor.records import Example, Finding, Message, Part, Passage, Task, TaskKind

DATA = Path(__file__).parents[1].parent / "shared" / "data"
LABELS = Task(kind=TaskKind.CLASSIFICATION, metric="label")
ANSWERS = Task(kind=TaskKind.QA, metric="token_f1")

QUESTIONS = [
    "Where has my parcel been since Monday?",
    "The drum makes a grinding noise when it spins",
    "Can I still return the toaster after a month?",
    "Mein Konto ist gesperrt, was nun?",
    "میری واشنگ مشین پانی نہیں نکال رہی",
    "我想更改送货地址",
    "Please cancel the second subscription",
    "Who pays for shipping a replacement lid?",
    "كيف أغير كلمة المرور الخاصة بي؟",
    "App crashes as soon as I open the timer",
]


def example(line: int, question: str, answer: str, file: str = "train.jsonl") -> Example:
    messages = (Message(role="system", content="Answer."), Message(role="user", content=question))
    return Example(id=f"{file}:{line}", messages=messages, answer=answer, file=file, line=line)


def clean(file: str = "train.jsonl", endings: str = "") -> list[Example]:
    return [example(n, question + endings, "ab"[n % 2], file) for n, question in enumerate(QUESTIONS, start=1)]


def other_questions(*answers: str) -> list[Example]:
    asked = ["Is there a shop in Lyon?", "Does the warranty cover rust on the door?", "How loud is the small model?"]
    return [example(n, q, a, "test.jsonl") for n, (q, a) in enumerate(zip(asked, answers, strict=False), start=1)]


def found(
    parts: Mapping[Part, Sequence[Example]], task: Task = LABELS, passages: Sequence[Passage] = ()
) -> list[tuple[str, str, int, str]]:
    findings = audit.audit(parts, task, passages)
    assert all(finding.message.endswith(".") for finding in findings)
    return [(finding.code, finding.file, finding.line, finding.severity) for finding in findings]


def passage(text: str, document: str = "manual", number: int = 0) -> Passage:
    return Passage(id=f"{document}#{number}", document_id=document, title="Manual", text=text)


def test_clean_data_in_six_scripts_has_no_findings() -> None:
    assert found({"train": clean(), "test": other_questions("a", "b", "a")}) == []


def test_repeats_inside_a_part() -> None:
    rows = [*clean(), example(11, QUESTIONS[0].upper(), "b"), example(12, QUESTIONS[1] + "!", "a")]
    assert found({"train": rows}) == [
        ("exact_duplicate", "train.jsonl", 11, "warning"),
        ("near_duplicate", "train.jsonl", 12, "warning"),
    ]


def test_contradictory_labels() -> None:
    rows = [*clean(), example(11, QUESTIONS[0], "a"), example(12, QUESTIONS[1] + "!", "b")]
    assert found({"train": rows}) == [
        ("conflicting_label", "train.jsonl", 11, "warning"),
        ("conflicting_label_near", "train.jsonl", 12, "warning"),
    ]


def test_another_accepted_answer_is_no_contradiction() -> None:
    one, other = example(11, "Who made it?", "Ada"), example(12, "Who made it?", "A. Lovelace")
    agreeing = Example(
        id="x", messages=other.messages, answer="A. Lovelace", references=("A. Lovelace", "ada"), line=12
    )
    assert [f.code for f in audit.audit({"train": [one, agreeing]}, ANSWERS)] == ["exact_duplicate"]
    assert [f.code for f in audit.audit({"train": [one, other]}, ANSWERS)] == ["conflicting_label"]


def test_the_same_last_message_of_two_conversations_is_no_repeat() -> None:
    def talk(line: int, before: str, answer: str) -> Example:
        turns = (("user", before), ("assistant", "Is it plugged in?"), ("user", "yes"))
        messages = tuple(Message(role=role, content=content) for role, content in turns)
        return Example(id=str(line), messages=messages, answer=answer, file="f", line=line)

    rows = [talk(1, "The kettle stays cold", "a"), talk(2, "There is no sound from my radio", "b")]
    assert audit.audit({"train": [*clean(), *rows]}, ANSWERS) == ()


def test_what_was_said_on_reading_is_not_said_again() -> None:
    rows = [*clean(), example(11, QUESTIONS[0], "b"), example(12, QUESTIONS[1], "b")]
    known = [
        Finding(file="train.jsonl", line=11, code="duplicate_of_line_1", severity="warning", message="."),
        Finding(file="train.jsonl", line=12, code="conflicting_label_with_previous", severity="warning", message="."),
    ]
    assert len(audit.audit({"train": rows}, LABELS)) == 2
    assert audit.audit({"train": rows}, LABELS, known=known) == ()


def test_leaks_between_parts() -> None:
    leaking = [example(1, QUESTIONS[0], "b", "test.jsonl"), example(2, QUESTIONS[1] + "!", "a", "test.jsonl")]
    assert found({"test": leaking, "train": clean()}) == [
        ("leak_exact", "test.jsonl", 1, "error"),
        ("leak_near", "test.jsonl", 2, "warning"),
    ]
    assert found({"train": clean(), "validation": leaking[:1]}) == [("leak_exact", "test.jsonl", 1, "warning")]


def test_a_test_question_in_the_corpus_is_found_across_passages_and_scripts() -> None:
    rows = [example(1, QUESTIONS[4], "x", "test.jsonl"), example(2, QUESTIONS[5], "x", "test.jsonl")]
    words = QUESTIONS[4].split()
    corpus = [
        passage("FAQ " + " ".join(words[:3])),
        passage(" ".join(words[3:]) + " ...", number=1),
        passage("常见问题：我想更改送货地址。", "faq"),
    ]
    assert found({"test": rows}, ANSWERS, corpus) == [
        ("question_in_corpus", "test.jsonl", 1, "warning"),
        ("question_in_corpus", "test.jsonl", 2, "warning"),
    ]


def test_answers_and_short_phrases_may_stand_in_the_corpus() -> None:
    rows = [
        example(1, "How long is the warranty?", "five years", "test.jsonl"),
        example(2, "Opening hours", "nine to five", "t"),
    ]
    assert (
        found({"test": rows}, ANSWERS, [passage("The warranty is five years. Opening hours are nine to five.")]) == []
    )


@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_example_file_among_the_documents_is_one_error(ascii_only: bool) -> None:
    rows = clean("test.jsonl")
    turns = [[{"role": "user", "content": r.question}, {"role": "assistant", "content": r.answer}] for r in rows]
    lines = [json.dumps({"messages": messages}, ensure_ascii=ascii_only) for messages in turns]
    corpus = [passage(line, "d7", number) for number, line in enumerate(lines)]
    findings = audit.audit({"test": rows}, ANSWERS, corpus, files={"d7": "docs/test.jsonl"})
    assert [(f.code, f.file, f.line, f.severity) for f in findings] == [
        ("examples_in_corpus", "docs/test.jsonl", 0, "error")
    ]


def test_labels_that_are_undeclared_unseen_or_rare() -> None:
    declared = Task(kind=TaskKind.CLASSIFICATION, metric="label", labels=("A", "b"))
    assert found({"train": clean(), "test": other_questions("a", "new", "new")}, declared) == [
        ("unknown_label", "test.jsonl", 2, "error"),
        ("label_unseen_in_training", "test.jsonl", 2, "error"),
    ]
    assert found({"train": clean()[:9]}) == [("rare_label", "train.jsonl", 2, "warning")]


@pytest.mark.parametrize(
    ("answers", "severity"), [("aaaaabbbbb", ""), ("aaaaaaabbb", ""), ("aaaaaaaabb", "warning"), ("aaaaabbbcc", "info")]
)
def test_balance(answers: str, severity: str) -> None:
    rows = [example(n, question, label) for n, (question, label) in enumerate(zip(QUESTIONS, answers, strict=True), 1)]
    findings = [f for f in audit.audit({"train": rows}, LABELS) if f.code == "imbalanced_labels"]
    assert [f.severity for f in findings] == ([severity] if severity else [])


def test_one_class_only() -> None:
    rows = [example(n, question, "a") for n, question in enumerate(QUESTIONS, start=1)]
    assert found({"train": rows}) == [("one_class_only", "train.jsonl", 1, "error")]


def test_lengths_against_the_context_window() -> None:
    lengths = {1: 101, 2: 51, 3: 50}
    findings = audit.audit({"train": clean()}, LABELS, context_window=100, count=lambda row: lengths.get(row.line, 0))
    assert [(f.code, f.line, f.severity) for f in findings] == [
        ("too_long", 1, "error"),
        ("long_example", 2, "warning"),
    ]
    assert "101" in findings[0].message
    estimated = audit.audit({"train": [example(1, "word " * 200, "a")]}, ANSWERS, context_window=210)
    assert [f.code for f in estimated] == ["too_long"]


def test_empty_and_long_answers() -> None:
    rows = [
        example(1, QUESTIONS[0], " "),
        example(2, QUESTIONS[1], "word" + " word" * 63),
        example(3, QUESTIONS[2], "word" + " word" * 64),
    ]
    assert found({"train": rows}, ANSWERS) == [
        ("empty_answer", "train.jsonl", 1, "error"),
        ("long_answer", "train.jsonl", 3, "warning"),
    ]


def test_private_data_is_reported_once_a_line_and_masked() -> None:
    rows = [
        example(1, "I am jane@acme.org, not joe@acme.org", "ok"),
        example(2, QUESTIONS[0], "Use AKIAIOSFODNN7EXAMPLE"),
        example(3, QUESTIONS[1], "ok"),
    ]
    findings = audit.audit({"train": rows}, ANSWERS)
    assert [(f.code, f.line, f.severity) for f in findings] == [
        ("personal_email", 1, "warning"),
        ("secret_aws_key", 2, "error"),
    ]
    assert "1 more" in findings[0].message
    assert not any("acme" in f.message or "EXAMPLE" in f.message for f in findings)


def test_a_shared_instruction_with_an_address_is_reported_once() -> None:
    def row(line: int) -> Example:
        system = Message(role="system", content="Send complaints to jane@acme.org")
        return Example(
            id=str(line), messages=(system, Message(role="user", content=QUESTIONS[line])), answer="a", line=line
        )

    assert [(f.code, f.line) for f in audit.audit({"train": [row(n) for n in range(1, 8)]}, ANSWERS)] == [
        ("personal_email", 1)
    ]


def test_many_findings_of_a_kind_are_summed_up() -> None:
    rows = [example(n, f"the {n}th question", "") for n in range(1, 121)]
    findings = audit.audit({"train": rows}, ANSWERS)
    assert len(findings) == 51
    assert (findings[-1].line, findings[-1].severity) == (0, "error")
    assert "70 more" in findings[-1].message


def chats(name: str, rows: slice) -> list[Example]:
    file = DATA / f"{name}.jsonl"
    if not file.exists():
        pytest.skip("the shared data folder is not here")
    chosen = list(enumerate(file.read_text(encoding="utf-8").splitlines(), start=1))[rows]
    made: list[Example] = []
    for line, raw in chosen:
        *_, user, assistant = json.loads(raw)["messages"]
        made.append(example(line, user["content"], assistant["content"], name))
    return made


def test_banking77_has_repeats_leaks_and_disputed_labels() -> None:
    """The literature says that its labels are noisy; lines 3554 and 4793 disagree about one and the same charge."""
    rows = [*chats("banking77_train", slice(3500, 3900)), *chats("banking77_train", slice(4590, 4900))]
    codes = {
        (f.code, f.line) for f in audit.audit({"train": rows, "test": chats("banking77_test", slice(970, 990))}, LABELS)
    }
    assert {("exact_duplicate", 4596), ("conflicting_label_near", 4793)} <= codes
    assert not {code for code, _ in codes if code.startswith(("personal_", "secret_"))}
    leaks = audit.audit(
        {"train": chats("banking77_train", slice(3100, 3120)), "test": chats("banking77_test", slice(970, 990))}, LABELS
    )
    assert ("leak_exact", 977) in {(f.code, f.line) for f in leaks}


def test_xquad_questions_are_not_in_its_corpus() -> None:
    documents = [json.loads(line) for line in corpus_lines()]
    corpus = [passage(d["text"], d["id"]) for d in documents]
    findings = audit.audit({"test": chats("xquad_en_qa_test", slice(None))}, ANSWERS, corpus)
    assert {f.code for f in findings} <= {"exact_duplicate", "near_duplicate", "conflicting_label"}


def corpus_lines() -> list[str]:
    file = DATA / "xquad_en_corpus.jsonl"
    if not file.exists():
        pytest.skip("the shared data folder is not here")
    return file.read_text(encoding="utf-8").splitlines()
