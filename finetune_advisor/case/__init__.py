"""A case is a folder: `case.toml`, the data files, a store and reports. Read, check, change it, write a new one."""

from finetune_advisor.case.editing import edit
from finetune_advisor.case.new import guess_kind, sample, write_new
from finetune_advisor.case.reading import check, read
from finetune_advisor.case.sections import (
    FILE,
    METRICS,
    ArmSection,
    Case,
    DataSection,
    GoalSection,
    LearningCurveSection,
    ModelSection,
    MoneySection,
    Range,
    Section,
    SignOffSection,
    TaskSection,
    UncertaintySection,
)
from finetune_advisor.case.toml_text import key

__all__ = [
    "FILE",
    "METRICS",
    "ArmSection",
    "Case",
    "DataSection",
    "GoalSection",
    "LearningCurveSection",
    "ModelSection",
    "MoneySection",
    "Range",
    "Section",
    "SignOffSection",
    "TaskSection",
    "UncertaintySection",
    "check",
    "edit",
    "guess_kind",
    "key",
    "read",
    "sample",
    "write_new",
]
