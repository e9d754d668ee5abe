"""The four things that are needed to go on, each ticked or open."""

from __future__ import annotations

from dataclasses import dataclass

from finetune_advisor.case import Case
from finetune_advisor.records import ArmResult, Results, highest


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that is needed, whether it is there, and why that is so."""

    name: str
    ticked: bool
    why: str


def needs(case: Case, results: Results | None) -> tuple[Need, ...]:
    """The pre-trained model, the data set, the training and the hosting environment.

    A need is ticked by the person's answer, and stays open where what was measured stands against it.
    """
    tuned = _tuned(results)
    return (
        _model(case, tuned),
        _data_set(case, results),
        _training(case, tuned),
        _hosting(case),
    )


def _tuned(results: Results | None) -> ArmResult | None:
    """The best arm that was tuned for real."""
    return highest(arm for arm in (results.arms if results else ()) if arm.tuned and not arm.simulated)


def _model(case: Case, tuned: ArmResult | None) -> Need:
    named = str(case.answers.get("base_model") or "").strip()
    measured = f"{tuned.name} was measured on {tuned.model}." if tuned else "No real model has been tuned here yet."
    why = f"You named one. {measured}" if named else f"Say below which one you will tune. {measured}"
    return Need(name="Pre-trained model", ticked=bool(named), why=why)


def _data_set(case: Case, results: Results | None) -> Need:
    answer = case.answers.get("data_set")
    errors = sum(finding.severity == "error" for finding in results.findings) if results else 0
    if results is None:
        why = "No run has audited it yet."
    elif errors:
        why = f"The audit found {errors} {'error' if errors == 1 else 'errors'}: mend them under Data and run again."
    else:
        why = "The audit found no errors." + ("" if answer else " Say below whether you may train on it.")
    return Need(name="Data set", ticked=answer is True and results is not None and not errors, why=why)


def _training(case: Case, tuned: ArmResult | None) -> Need:
    answer = case.answers.get("training_environment")
    trained = f"{tuned.name} was trained where the case was run." if tuned and tuned.training else ""
    if answer is True:
        return Need(name="Training environment", ticked=True, why="You have a machine or an account for it.")
    if answer is None and trained:
        return Need(name="Training environment", ticked=True, why=trained)
    why = "Find a machine or an account that can train this model."
    return Need(name="Training environment", ticked=False, why=why)


def _hosting(case: Case) -> Need:
    settled = case.answers.get("hosting_environment") is True
    why = "You settled where it runs and who looks after it." if settled else "Settle where it runs and who watches it."
    return Need(name="Hosting environment", ticked=settled, why=why)
