"""The questionnaire as data, the check of what a person answered, and what was measured on each question.

The command line, the app and the report draw the questions from here. Figures that are reckoned with stand in `[goal]`
and `[money]` of a case under the question's id (the goal itself as `kind`), all other answers in `[answers]`.
"""

from finetune_advisor.questions.catalogue import QUESTIONS, STEPS, Kind, Question, Section, Step, answered, check
from finetune_advisor.questions.contradictions import contradictions
from finetune_advisor.questions.measured import evidence

__all__ = [
    "QUESTIONS",
    "STEPS",
    "Kind",
    "Question",
    "Section",
    "Step",
    "answered",
    "check",
    "contradictions",
    "evidence",
]
