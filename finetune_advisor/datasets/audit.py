"""Judge the data before anything is trained: repeats, contradictions, leaks, balance, lengths, private data.

Faults of single rows are found on reading (load, chat); here rows are compared with each other.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from finetune_advisor.datasets import duplicates, privacy, tokens
from finetune_advisor.datasets.tokens import TokenCounter
from finetune_advisor.records import Example, Finding, Part, Passage, Task, TaskKind

PARTS: tuple[Part, ...] = ("train", "validation", "test")
MOST_OF_A_CODE = 50
FEWEST_OF_A_LABEL = 5

_ON_READING = ("duplicate_of_line_", "conflicting_label_with_previous")
_FREE_TEXT = (TaskKind.SUMMARY, TaskKind.TEXT)
_LONG_ANCHOR, _SHORT_ANCHOR = 16, 6
_SHORTEST_QUESTION = 18
_ANSWER_WITHIN = 80
_FEWEST_COPIED = 5

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An example, its part, the text that exact repeats are told by, and the number of its near duplicates."""

    part: Part
    example: Example
    prompt: str
    group: int

    @property
    def where(self) -> str:
        """Its line and file in words."""
        return f"line {self.example.line} of {self.example.file}" if self.example.line else self.example.file


def audit(
    parts: Mapping[Part, Sequence[Example]],
    task: Task,
    passages: Sequence[Passage] = (),
    *,
    context_window: int | None = None,
    count: Callable[[Example], int] | None = None,
    files: Mapping[str, str] | None = None,
    known: Sequence[Finding] = (),
) -> tuple[Finding, ...]:
    """Everything that is suspicious about a data set, at most 50 findings of each code.

    Args:
        parts: The examples of each part; few-shot examples are drawn from train.
        task: What the examples are for.
        passages: The retrieval corpus.
        context_window: The smallest context of the models in question, in tokens; None leaves lengths unchecked.
        count: Tokens of a whole example by that model; by default an estimate with the o200k_base vocabulary.
        files: The file that a document came from, by document id.
        known: What was found on reading; repeats and contradictions that it names are not reported again.
    """
    rows = _rows(parts)
    counter = tokens.encoding()
    found = [
        *_repeats(rows, task, _known_lines(known)),
        *_in_corpus(rows, passages, files or {}),
        *_labels(rows, task),
        *_lengths(rows, context_window, count or (lambda example: tokens.chat_tokens(example, counter))),
        *answer_findings(rows, task, counter),
        *private_findings(rows),
    ]
    return tuple(_capped(found))


def _rows(parts: Mapping[Part, Sequence[Example]]) -> list[Placed]:
    placed: list[tuple[Part, Example]] = [
        (part, example) for part in sorted(parts, key=PARTS.index) for example in parts[part]
    ]
    examples = [example for _, example in placed]
    groups = duplicates.groups(duplicates.prompt_texts(examples))
    return [
        Placed(part=part, example=example, prompt=_prompt(example), group=group)
        for (part, example), group in zip(placed, groups, strict=True)
    ]


def _prompt(example: Example) -> str:
    return "\n".join(f"{message.role}: {duplicates.normalise(message.content)}" for message in example.messages)


def _finding(example: Example, code: str, severity: Severity, message: str) -> Finding:
    return Finding(file=example.file, line=example.line, code=code, severity=severity, message=message)


def _known_lines(known: Sequence[Finding]) -> set[tuple[str, int]]:
    return {(finding.file, finding.line) for finding in known if finding.code.startswith(_ON_READING)}


def _repeats(rows: Sequence[Placed], task: Task, known: set[tuple[str, int]]) -> Iterator[Finding]:
    """Compare each row with the rows before it that ask the same, or nearly the same."""
    groups: defaultdict[int, list[Placed]] = defaultdict(list)
    for row in rows:
        earlier = groups[row.group]
        if earlier:
            yield from _repeated(row, earlier, task, known)
        earlier.append(row)


def _repeated(row: Placed, earlier: Sequence[Placed], task: Task, known: set[tuple[str, int]]) -> Iterator[Finding]:
    same = [other for other in earlier if other.prompt == row.prompt]
    leaked = [other for other in same or earlier if other.part != row.part]
    if leaked:
        yield _leak(row, leaked[0], exact=bool(same))
    if (row.example.file, row.example.line) in known:
        return
    differing = [other for other in same or earlier if not _agree(row.example, other.example)]
    if differing and (same or task.kind is TaskKind.CLASSIFICATION):
        yield repeat_finding("conflicting_label" if same else "conflicting_label_near", row, differing[0], task)
    elif not leaked:
        yield repeat_finding("exact_duplicate" if same else "near_duplicate", row, (same or earlier)[0], task)


def repeat_finding(code: str, row: Placed, other: Placed, task: Task) -> Finding:
    """What is said of a row that asks the same or nearly the same as an earlier one; `code` says which of it."""
    if code.startswith("conflicting_label"):
        return _conflict(row, other, task, exact=code == "conflicting_label")
    how = "the same" if code == "exact_duplicate" else "nearly the same"
    return _finding(row.example, code, "warning", f"This asks {how} as {other.where}.")


def _leak(row: Placed, other: Placed, *, exact: bool) -> Finding:
    how, code = ("the same", "leak_exact") if exact else ("nearly the same", "leak_near")
    severity: Severity = "error" if exact and row.part == "test" else "warning"
    return _finding(
        row.example, code, severity, f"This {row.part} example asks {how} as {other.where}, which is in {other.part}."
    )


def _conflict(row: Placed, other: Placed, task: Task, *, exact: bool) -> Finding:
    how, code = ("The same", "conflicting_label") if exact else ("Nearly the same", "conflicting_label_near")
    answers = f"{_short(other.example.answer)} on {other.where} and {_short(row.example.answer)} here"
    severity: Severity = "info" if task.kind in _FREE_TEXT else "warning"
    return _finding(row.example, code, severity, f"{how} question has the answer {answers}.")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _agree(one: Example, other: Example) -> bool:
    return not _accepted(one).isdisjoint(_accepted(other))


def _accepted(example: Example) -> set[str]:
    return {duplicates.normalise(answer) for answer in (example.answer, *example.references)}


def _in_corpus(rows: Sequence[Placed], passages: Sequence[Passage], files: Mapping[str, str]) -> Iterator[Finding]:
    """Test questions that stand word for word in the documents; an answer alone may stand there, that is retrieval."""
    questions: defaultdict[str, list[Example]] = defaultdict(list)
    for row in rows:
        if row.part == "test":
            questions[_letters(row.example.question)].append(row.example)
    asked = [question for question in questions if _weight(question) >= _SHORTEST_QUESTION]
    for document, text in _documents(passages).items():
        places = _places(asked, text)
        name = files.get(document, document)
        answered = [question for question, end in places.items() if _answer_follows(questions[question], text, end)]
        if len(answered) >= _FEWEST_COPIED and len(answered) * 2 >= len(places):
            message = (
                f"The document holds {len(answered)} test questions with their answers; take it out of the corpus."
            )
            yield Finding(file=name, line=0, code="examples_in_corpus", severity="error", message=message)
            continue
        for question in places:
            message = f"The test question stands word for word in the document {name}."
            yield from (_finding(each, "question_in_corpus", "warning", message) for each in questions[question])


def _documents(passages: Sequence[Passage]) -> dict[str, str]:
    """The letters of each document, its passages joined, so that a cut between two passages hides nothing."""
    texts: dict[str, list[str]] = {}
    for passage in passages:
        texts.setdefault(passage.document_id, [passage.title]).append(passage.text)
    return {document: _letters("\n".join(pieces)) for document, pieces in texts.items()}


def _letters(text: str) -> str:
    """Letters and digits only, with JSON's escapes resolved: a question is found in an example file too."""
    if "\\" in text:
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        text = re.sub(r"\\[nrt]", " ", text)
    return "".join(filter(str.isalnum, duplicates.normalise(text)))


def _weight(letters: str) -> int:
    """A text's length in letters, where a Chinese, Japanese or Korean character stands for three."""
    return sum(3 if letter >= "\u2e80" else 1 for letter in letters)


def _places(questions: Iterable[str], text: str) -> dict[str, int]:
    """Where each question that is in the text ends for the first time, by one pass over the text per anchor length."""
    anchors: dict[int, defaultdict[str, list[str]]] = {
        _LONG_ANCHOR: defaultdict(list),
        _SHORT_ANCHOR: defaultdict(list),
    }
    for question in questions:
        size = _LONG_ANCHOR if len(question) >= _LONG_ANCHOR else _SHORT_ANCHOR
        anchors[size][question[:size]].append(question)
    found: dict[str, int] = {}
    for size, starts in anchors.items():
        for place in range(len(text) - size + 1 if starts else 0):
            for question in starts.get(text[place : place + size], ()):
                if text.startswith(question, place):
                    found.setdefault(question, place + len(question))
    return found


def _answer_follows(examples: Sequence[Example], text: str, end: int) -> bool:
    answers = [_letters(example.answer) for example in examples]
    return any(answer and answer in text[end : end + len(answer) + _ANSWER_WITHIN] for answer in answers)


def _labels(rows: Sequence[Placed], task: Task) -> Iterator[Finding]:
    if task.kind is not TaskKind.CLASSIFICATION or not rows:
        return
    first: dict[str, Placed] = {}
    for row in rows:
        first.setdefault(row.example.answer.strip(), row)
    trained = Counter(row.example.answer.strip() for row in rows if row.part == "train")
    yield from label_findings(first, trained, task, _unseen(rows, trained) if trained else ())


def label_findings(
    first: Mapping[str, Placed], trained: Counter[str], task: Task, unseen: Iterable[Finding] = ()
) -> Iterator[Finding]:
    """What is wrong with labels and how they are spread.

    Args:
        first: The first example of each label, in order of appearance.
        trained: How many training examples each has.
        task: What the examples are for.
        unseen: What was found about labels that are not in the training data.
    """
    if len(first) == 1:
        message = f"Every example has the label {_short(next(iter(first)))}, so there is nothing to tell apart."
        yield _finding(next(iter(first.values())).example, "one_class_only", "error", message)
    yield from _undeclared(first, task)
    yield from unseen
    if trained:
        yield from _balance(trained, first)


def _undeclared(first: Mapping[str, Placed], task: Task) -> Iterator[Finding]:
    declared = {duplicates.normalise(label) for label in task.labels}
    for label, row in first.items():
        if declared and duplicates.normalise(label) not in declared:
            message = f"The answer {_short(label)} is not one of the task's labels."
            yield _finding(row.example, "unknown_label", "error", message)


def _unseen(rows: Sequence[Placed], trained: Mapping[str, int]) -> Iterator[Finding]:
    reported: set[tuple[str, str]] = set()
    for row in rows:
        label = row.example.answer.strip()
        if label not in trained and (row.part, label) not in reported:
            reported.add((row.part, label))
            severity: Severity = "error" if row.part == "test" else "warning"
            message = f"The label {_short(label)} is in {row.part}, but no training example has it."
            yield _finding(row.example, "label_unseen_in_training", severity, message)


def _balance(trained: Counter[str], first: Mapping[str, Placed]) -> Iterator[Finding]:
    label, most = trained.most_common(1)[0]
    share = most / trained.total()
    if len(trained) > 1 and share >= (0.75 if len(trained) == 2 else 0.5):
        severity: Severity = "warning" if share >= 0.75 else "info"
        message = (
            f"{share:.0%} of the training examples have the label {_short(label)}: always answering it scores as much."
        )
        yield Finding(
            file=first[label].example.file, line=0, code="imbalanced_labels", severity=severity, message=message
        )
    for name, number in sorted(trained.items()):
        if number < FEWEST_OF_A_LABEL:
            message = f"The label {_short(name)} has only {number} training example{'s' * (number > 1)}."
            yield _finding(first[name].example, "rare_label", "warning", message)


def _lengths(rows: Sequence[Placed], window: int | None, count: Callable[[Example], int]) -> Iterator[Finding]:
    if window is None:
        return
    for row in rows:
        length = count(row.example)
        if length > window:
            message = f"The example has {length:,} tokens, more than the {window:,} that the model can read."
            yield _finding(row.example, "too_long", "error", message)
        elif length * 2 > window:
            message = f"The example has {length:,} tokens, more than half of the {window:,} that the model can read."
            yield _finding(row.example, "long_example", "warning", message)


def answer_findings(rows: Sequence[Placed], task: Task, counter: TokenCounter) -> Iterator[Finding]:
    """Answers that are empty, or longer than the task allows."""
    for row in rows:
        answer = row.example.answer
        if not answer.strip():
            yield _finding(row.example, "empty_answer", "error", "The answer is empty.")
        elif len(answer) > task.max_answer_tokens and counter.count(answer) > task.max_answer_tokens:
            message = (
                f"The answer has {counter.count(answer):,} tokens; the task's limit of {task.max_answer_tokens:,} "
                "would cut it off."
            )
            yield _finding(row.example, "long_answer", "warning", message)


def private_findings(rows: Sequence[Placed]) -> Iterator[Finding]:
    """Personal data and secrets, one finding a code and row."""
    shared: set[str] = set()
    for row in rows:
        for code, excerpts in _private_in(row.example, shared).items():
            more = f" and {len(excerpts) - 1} more" if len(excerpts) > 1 else ""
            message = f"This holds {privacy.describe(code)}: {excerpts[0]}{more}."
            yield _finding(row.example, code, privacy.severity(code), message)


def _private_in(example: Example, shared: set[str]) -> dict[str, list[str]]:
    """Finds by code; a system message that many examples share is looked at once."""
    systems = {m.content for m in example.messages if m.is_system}
    texts = [m.content for m in example.messages if m.content not in shared] + [example.answer]
    shared |= systems
    found: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        for code, excerpt in privacy.scan(text):
            found[code].append(excerpt)
    return found


def _capped(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The first findings of each code, then for each code that has more of them how many."""
    seen: Counter[str] = Counter()
    worst: dict[str, Finding] = {}
    for finding in findings:
        seen[finding.code] += 1
        if seen[finding.code] <= MOST_OF_A_CODE:
            yield finding
        elif finding.code not in worst or finding.severity == "error":
            worst[finding.code] = finding
    yield from (more(last, seen[code] - MOST_OF_A_CODE) for code, last in worst.items())


def more(last: Finding, number: int) -> Finding:
    """Says that there are so many more findings of the kind of another one."""
    message = f"There are {number:,} more findings of the kind {last.code}."
    return Finding(file=last.file, line=0, code=last.code, severity=last.severity, message=message)
