"""Everything that is needed to repeat the results."""

from __future__ import annotations

from datetime import UTC

from finetune_advisor.records import ArmResult, Results
from finetune_advisor.report.answer import label, touched
from finetune_advisor.report.blocks import Block, Details, Heading, Table, Text
from finetune_advisor.report.formats import approach_title
from finetune_advisor.report.quality import settings


def repeat(results: Results) -> tuple[Block, ...]:
    """Versions, hashes, seeds, the machine, and every arm's exact model and settings."""
    return (
        Heading(level=2, text="How to repeat this"),
        Text(text="Run finetune-advisor run on the same case folder, with the version, seed and packages below."),
        _provenance(results),
        Text(text=" ".join(touched(results)) or "Each arm was scored on the test examples once."),
        Details(title="Each arm's model and settings", blocks=(_arms(results),)),
        Details(title="Package versions", blocks=(_packages(results),)),
    )


def _provenance(results: Results) -> Table:
    made = results.provenance
    rows = (
        ("Finished", made.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("finetune-advisor", f"{made.version}, commit {made.commit or 'unknown'}"),
        ("Schema of results.json", str(made.schema)),
        ("Machine", made.machine),
        ("Seed", str(made.seed)),
        ("Data hash", made.data_hash),
        ("Split hash", made.split_hash),
        ("Price table", made.prices),
    )
    return Table(columns=("What", "Value"), rows=rows, align="ll")


def _arms(results: Results) -> Table:
    return Table(
        columns=("Arm", "Approach", "Model", "Settings", "Model details", "Interval", "Test looks"),
        rows=tuple(_arm_row(results, arm) for arm in results.arms),
        align="llllllr",
    )


def _arm_row(results: Results, arm: ArmResult) -> tuple[str, ...]:
    return (
        label(results, arm.name),
        approach_title(arm.approach),
        arm.model or "none",
        settings(arm.settings),
        settings(arm.model_details),
        arm.interval.method,
        str(arm.touches),
    )


def _packages(results: Results) -> Table:
    rows = tuple(sorted(results.provenance.packages.items()))
    return Table(columns=("Package", "Version"), rows=rows, align="ll")
