"""Results into the blocks of a report, in reading order: the answer first, then what it rests on."""

from __future__ import annotations

from finetune_advisor.records import Results
from finetune_advisor.report.answer import answer, question
from finetune_advisor.report.assumptions import assumptions
from finetune_advisor.report.blocks import Block
from finetune_advisor.report.confusion import confusions
from finetune_advisor.report.cost_parts import cost_parts
from finetune_advisor.report.effects import side_effects
from finetune_advisor.report.evidence import data, examples, limits, questionnaire
from finetune_advisor.report.learning import learning
from finetune_advisor.report.money import money, prices, quality_cost
from finetune_advisor.report.odds import how_sure
from finetune_advisor.report.ownership import ownership
from finetune_advisor.report.quality import choices, quality, skipped, training
from finetune_advisor.report.repeat import repeat
from finetune_advisor.report.routes import routes
from finetune_advisor.report.sign_off import sign_off

SECTIONS = (
    question,
    answer,
    sign_off,
    quality_cost,
    how_sure,
    quality,
    confusions,
    money,
    ownership,
    cost_parts,
    assumptions,
    routes,
    learning,
    side_effects,
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
