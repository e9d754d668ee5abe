"""How good each arm is, and how sure that is: scores, comparisons, power, choices and training."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_advisor.records import ArmResult, Comparison, LossPoint, Results, Settings, TrainingRun
from finetune_advisor.report.answer import baseline, by_score, identity, label, needed, scored
from finetune_advisor.report.blocks import Block, Bullets, Cell, Chart, Heading, Table, Text
from finetune_advisor.report.formats import DASH, count, percent, percent_with, points, probability, seconds


def quality(results: Results) -> tuple[Block, ...]:
    """Scores of all arms, what the test can show, and each arm against the best untuned one."""
    return (
        Heading(level=2, text="How good is each approach?"),
        score_table(results),
        Text(text=_score_note(results)),
        scores_chart(results),
        outcomes_chart(results),
        *comparisons(results),
    )


def score_table(results: Results) -> Table:
    """One row per arm, best first."""
    extras = sorted({name for arm in results.arms for name in arm.extras})
    return Table(
        columns=(
            "Arm",
            "Score",
            "n",
            "Wrong",
            "Wrong form",
            "No answer",
            "Score if form right",
            *(name.replace("_", " ") for name in extras),
        ),
        rows=tuple(_score_row(results, arm, extras) for arm in by_score(results)),
        align="lrrrrrr" + "r" * len(extras),
        caption="Scores on the locked test examples, with 95% confidence intervals",
    )


def _score_row(results: Results, arm: ArmResult, extras: list[str]) -> tuple[str, ...]:
    in_form = arm.n - arm.failures - arm.format_failures
    mark = " (baseline)" if arm.name == baseline(results) else ""
    return (
        label(results, arm.name) + mark,
        percent_with(arm.score, arm.interval, arm.n),
        count(arm.n),
        count(arm.wrong),
        count(arm.format_failures),
        count(arm.failures),
        percent(arm.score_given_format, in_form) if in_form else DASH,
        *(f"{arm.extras[name]:.3g}" if name in arm.extras else DASH for name in extras),
    )


def _score_note(results: Results) -> str:
    against = baseline(results)
    start = f"The baseline is “{label(results, against)}”, the best arm without tuning. " if against else ""
    return start + (
        "“Wrong” counts answers in the right form that score below one half; “wrong form” counts answers that could "
        "not be read as an answer at all, which a clearer prompt can often mend; “no answer” counts calls that "
        "failed. All three count against the score."
    )


def scores_chart(results: Results) -> Chart:
    """Every arm's score with its interval."""
    arms = by_score(results)
    said = "; ".join(f"{label(results, arm.name)} {percent_with(arm.score, arm.interval, arm.n)}" for arm in arms)
    return Chart(
        kind="scores",
        title="Score of each arm with its 95% interval",
        rows=tuple(scored(results, arm) for arm in arms),
        alt=f"Dots with intervals, best first: {said}.",
        guides=needed(results),
    )


def outcomes_chart(results: Results) -> Chart:
    """Every arm's answers, divided into right, wrong, wrong form and none."""
    rows = tuple(_outcome_row(results, arm) for arm in by_score(results))
    said = "; ".join(
        f"{row['arm']}: {row['right']} right, {row['wrong']} wrong, {row['wrong form']} in the wrong form, "
        f"{row['no answer']} without an answer"
        for row in rows
    )
    return Chart(kind="outcomes", title="What became of the answers", rows=rows, alt=f"Stacked bars. {said}.")


def _outcome_row(results: Results, arm: ArmResult) -> Mapping[str, Cell]:
    return {
        **identity(results, arm.name),
        "right": arm.n - arm.wrong - arm.format_failures - arm.failures,
        "wrong": arm.wrong,
        "wrong form": arm.format_failures,
        "no answer": arm.failures,
    }


def comparisons(results: Results) -> tuple[Block, ...]:
    """Each arm against the baseline, example by example, and the smallest difference the test can show."""
    table = Table(
        columns=("Arm", "Against", "Difference in points", "Better on", "Worse on", "p", "p after Holm", "Test"),
        rows=tuple(_comparison_row(results, each) for each in results.comparisons),
        align="llrrrrrl",
        caption="Differences are the arm minus the baseline on the same examples, with 95% intervals",
    )
    return (
        Heading(level=2, text="Could the differences be chance?"),
        *((table,) if results.comparisons else (Text(text="There is nothing to compare: fewer than two arms ran."),)),
        Text(text=_power(results)),
    )


def _comparison_row(results: Results, each: Comparison) -> tuple[str, ...]:
    low, high = points(each.interval.low, each.n), points(each.interval.high, each.n)
    return (
        label(results, each.arm),
        label(results, each.baseline),
        f"{points(each.difference, each.n)} ({low} to {high})",
        count(each.gained),
        count(each.lost),
        probability(each.p_value),
        probability(each.p_adjusted),
        each.test,
    )


def _power(results: Results) -> str:
    power = results.power
    if power is None:
        return "How small a difference this test could show was not computed."
    return (
        f"This test set of {count(power.n)} examples can show differences of {100 * power.smallest_difference:.0f} "
        f"points or more (80% power at the 5% level); about {count(power.examples_for_3_points)} examples would show "
        f"3 points. A smaller difference that goes unseen here is not shown to be absent. Basis: {power.basis}."
    )


def choices(results: Results) -> tuple[Block, ...]:
    """Which settings were tried on validation data, and which was taken."""
    rows = tuple(
        (label(results, arm.name), settings(each.settings), f"{100 * each.score:.1f}%", "chosen" if each.chosen else "")
        for arm in results.arms
        for each in arm.choices
    )
    note = "Every setting was chosen on validation examples; the test examples had no part in it."
    table = Table(columns=("Arm", "Settings", "Validation score", ""), rows=rows, align="llrl")
    return (
        Heading(level=2, text="How were the settings chosen?"),
        *((Text(text=note), table) if rows else (Text(text="No arm had settings to choose between."),)),
    )


def training(results: Results) -> tuple[Block, ...]:
    """What each training took, and its loss step by step."""
    runs = [(arm, arm.training) for arm in results.arms if arm.training]
    if not runs:
        return ()
    table = Table(
        columns=("Arm", "Base", "Examples", "Steps (best)", "Tokens", "Trained weights", "Time", "Settings"),
        rows=tuple(_training_row(label(results, arm.name), run) for arm, run in runs),
        align="llrrrrrl",
    )
    return (Heading(level=2, text="Training"), table, *_billed(results, runs), *_loss_chart(results, runs))


def _training_row(name: str, run: TrainingRun) -> tuple[str, ...]:
    return (
        name,
        run.base,
        count(run.examples),
        f"{count(run.steps)} ({count(run.best_step)})",
        count(run.tokens),
        count(run.trainable_parameters) if run.trainable_parameters else "not known",
        seconds(run.seconds),
        settings(run.options),
    )


def _billed(results: Results, runs: list[tuple[ArmResult, TrainingRun]]) -> tuple[Block, ...]:
    """What a provider billed beside what was expected, and what it calls the training and the tuned model."""
    items = tuple(
        f"{label(results, arm.name)}: {count(run.tokens)} tokens were billed, {count(run.estimated_tokens)} expected "
        f"({(run.tokens - run.estimated_tokens) / max(1, run.estimated_tokens):+.0%}). Job {run.job}, tuned model "
        f"{run.tuned_model}."
        for arm, run in runs
        if run.job and run.estimated_tokens is not None
    )
    return (Bullets(items=items),) if items else ()


def _loss_chart(results: Results, runs: list[tuple[ArmResult, TrainingRun]]) -> tuple[Block, ...]:
    rows = tuple(_loss_row(label(results, arm.name), arm, point) for arm, run in runs for point in run.losses)
    if not rows:
        return ()
    said = "; ".join(
        f"{label(results, arm.name)}: best checkpoint at step {count(run.best_step)} of {count(run.steps)}"
        for arm, run in runs
    )
    alt = f"Training and validation loss over training steps. {said}."
    return (Chart(kind="loss", title="Loss during training", rows=rows, alt=alt),)


def _loss_row(name: str, arm: ArmResult, point: LossPoint) -> Mapping[str, Cell]:
    return {"arm": name, "approach": arm.approach, "split": point.split, "step": point.step, "loss": point.loss}


def settings(options: Settings) -> str:
    """Options as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in options.items()) or DASH


def skipped(results: Results) -> tuple[Block, ...]:
    """The arms that did not run, each with its reason."""
    items = tuple(f"{name}: {reason}" for name, reason in results.skipped.items())
    return (Heading(level=2, text="What did not run, and why"), Bullets(items=items)) if items else ()
