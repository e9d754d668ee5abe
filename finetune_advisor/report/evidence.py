"""What the answer rests on: the questionnaire, the data audit, the split, and examples where the arms disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC

from finetune_advisor.records import Answered, Finding, Results
from finetune_advisor.report.answer import simulated_arms
from finetune_advisor.report.blocks import Block, Bullets, Details, ExampleCard, Heading, Table, Text
from finetune_advisor.report.formats import DASH, count

FINDINGS = 20
"""How many findings of one severity are listed; the rest is counted."""

CARDS = 12
"""How many examples with disagreeing arms are shown."""

SEVERITIES = {"error": "Errors", "warning": "Warnings", "info": "Notes"}


def questionnaire(results: Results) -> tuple[Block, ...]:
    """Each answer with what the data and the runs show about it."""
    return (
        Heading(level=2, text="Your answers, and the evidence"),
        *(
            Table(
                columns=("Question", "Your answer", "What the data and the runs show"),
                rows=tuple(_answered_row(each) for each in results.answered if each.section == section),
                align="lll",
                caption=section,
            )
            for section in dict.fromkeys(each.section for each in results.answered)
        ),
    )


def _answered_row(each: Answered) -> tuple[str, ...]:
    return (f"{each.question} {each.why}".strip(), each.answer or "not answered", each.evidence or DASH)


def data(results: Results) -> tuple[Block, ...]:
    """What the audit found, and how the data was divided."""
    return (
        Heading(level=2, text="The data"),
        Text(text=size(results)),
        *audit(results.findings),
        *split(results),
    )


def size(results: Results) -> str:
    """How much labelled data and how many documents there are, in one sentence or two."""
    parts = results.split
    examples = count(parts.train + parts.validation + parts.test)
    corpus = (
        f" {count(results.documents)} documents in {count(results.passages)} passages." if results.documents else ""
    )
    return f"{examples} labelled examples in {count(parts.groups)} groups of near duplicates.{corpus}"


def audit(findings: tuple[Finding, ...]) -> tuple[Block, ...]:
    """Counts by severity and code, then the first findings of each severity."""
    if not findings:
        return (Text(text="The audit found nothing to mend."),)
    counts = Counter((each.severity, each.code) for each in findings)
    rows = tuple(
        (severity, code, count(counts[severity, code]))
        for severity in SEVERITIES
        for code in sorted(code for kind, code in counts if kind == severity)
    )
    return (
        Heading(level=3, text="What the audit found"),
        Table(columns=("Severity", "Code", "Findings"), rows=rows, align="llr"),
        *_listed(findings),
    )


def _listed(findings: tuple[Finding, ...]) -> Iterable[Block]:
    for severity, title in SEVERITIES.items():
        here = [each for each in findings if each.severity == severity]
        if here:
            said = f", the first {FINDINGS}" if len(here) > FINDINGS else ""
            yield Details(title=f"{title}: {count(len(here))}{said}", blocks=(_finding_table(here[:FINDINGS]),))


def _finding_table(findings: list[Finding]) -> Table:
    rows = tuple((each.file, str(each.line or ""), each.code, each.message) for each in findings)
    return Table(columns=("File", "Line", "Code", "What is wrong"), rows=rows, align="lrll")


def split(results: Results) -> tuple[Block, ...]:
    """The parts of the locked split and how many examples of each label they hold."""
    parts = results.split
    sizes = (
        f"{count(parts.train)} for training, {count(parts.validation)} for validation, {count(parts.test)} for testing"
    )
    locked = parts.locked_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        Heading(level=3, text="The split"),
        Text(text=f"{sizes}. Near duplicates stay in one part."),
        Text(text=f"Locked {locked} with seed {parts.seed}; hash {parts.hash}."),
        *((Details(title="Examples per label", blocks=(label_table(results),)),) if parts.label_counts else ()),
    )


def label_table(results: Results) -> Table:
    """Examples of each label in each part."""
    counts = results.split.label_counts
    labels = sorted({label for part in counts.values() for label in part})
    return Table(
        columns=("Label", *counts),
        rows=tuple((label, *(count(part.get(label, 0)) for part in counts.values())) for label in labels),
        align="l" + "r" * len(counts),
    )


def examples(results: Results) -> tuple[Block, ...]:
    """The first examples on which the arms disagree, with every prompt in full."""
    cards = results.disagreements[:CARDS]
    if not cards:
        return ()
    pretended = simulated_arms(results)
    return (
        Heading(level=2, text="Where the approaches disagree"),
        Text(text=f"{len(cards)} test examples that some arms got right and others did not."),
        *(ExampleCard(disagreement=each, simulated=pretended) for each in cards),
    )


def limits(results: Results) -> tuple[Block, ...]:
    """What these results cannot show, whatever the numbers say."""
    return (
        Heading(level=2, text="What this report cannot tell you"),
        Bullets(items=(*LIMITS, SAFETY_PROBED if results.side_effects else SAFETY)),
        *((Heading(level=3, text="Notes of this run"), Bullets(items=results.notes)) if results.notes else ()),
    )


LIMITS = (
    "Whether tomorrow's requests look like these examples. The intervals are about requests drawn like the test "
    "examples; when your users change, so do the scores.",
    "Whether the labels are right. An arm that is better than its labels is counted as wrong.",
    "What another training run would give. What was tested on the test examples was trained once, with one seed; the "
    "intervals do not hold the variation between trainings.",
    "What a larger or another model would do. Only the models listed here ran.",
    "How far a patient prompt engineer would get. The prompts are plain and the same for all arms.",
    "How fast it is in production. Times were measured in batches on this machine, under its load at the time.",
    "What it costs to keep: monitoring, new training when the base model retires, and people are in the money only "
    "where the table of prices lists them.",
)

SAFETY = "Whether it is safe: no test here tries to break the model, leak its training data, or measure what it forgot."
SAFETY_PROBED = (
    "Whether it is safe: no test here tries to break the model or leak its training data, and what it forgot was "
    "looked for with a few shipped prompts only."
)
