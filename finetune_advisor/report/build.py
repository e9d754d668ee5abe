"""Results into the blocks of a report, in reading order: the answer first, then what it rests on."""

from __future__ import annotations

from finetune_advisor.records import Results
from finetune_advisor.report.answer import answer, question
from finetune_advisor.report.blocks import Block
from finetune_advisor.report.evidence import data, examples, limits, questionnaire
from finetune_advisor.report.money import money, prices, quality_cost
from finetune_advisor.report.quality import choices, quality, skipped, training
from finetune_advisor.report.repeat import repeat

SECTIONS = (
    question,
    answer,
    quality_cost,
    quality,
    money,
    examples,
    questionnaire,
    data,
    choices,
    training,
    skipped,
    prices,
    limits,
    repeat,
)


def build(results: Results) -> tuple[Block, ...]:
    """The whole report as blocks."""
    return tuple(block for section in SECTIONS for block in section(results))
