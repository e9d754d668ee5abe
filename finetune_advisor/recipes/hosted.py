"""What all recipes for a provider that trains for you have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from finetune_advisor.costs.tunable import routes
from finetune_advisor.datasets.chat import KEYS
from finetune_advisor.datasets.tool_calls import calls_in
from finetune_advisor.recipes.figures import Figure
from finetune_advisor.recipes.guide import LAST, Guide, Stage, readme
from finetune_advisor.recipes.pins import requirements
from finetune_advisor.recipes.recipe import Base, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import Row, TrainingData, data_files, lines, turns
from finetune_advisor.records import Message, TrainingPair
from finetune_advisor.report.formats import day
from finetune_advisor.report.markdown import escape

PYTHON = ".venv/bin/python"
LEAST_EXAMPLES = 10
"""OpenAI and Azure take no file with fewer."""


def files(
    recipe: Recipe,
    data: TrainingData,
    *,
    title: str,
    package: str,
    script: str,
    base: str,
    tuned: Base,
    stages: tuple[Stage, ...],
    figures: tuple[Figure, ...],
    here: Mapping[str, str],
    until: tuple[str, ...] = (),
    differences: tuple[str, ...] = (),
    last: str = LAST,
    mark: str = "",
) -> Mapping[str, str]:
    """A folder whose program tunes at a provider.

    Args:
        recipe: What is learnt.
        data: The examples.
        title: The provider.
        package: Its client library.
        script: The program.
        base: Which model is tuned, in Markdown.
        tuned: The same, with its licence.
        stages: The steps.
        figures: Cost and time.
        here: What the provider calls each setting.
        until: Until when it can be done.
        differences: What is not as in the measured training.
        last: The last step.
        mark: Put before the first line of each data file.
    """
    guide = Guide(
        purpose=f"tunes a model at {title} on what the arm **{escape(recipe.arm)}** learns.",
        base=base,
        tuned=tuned,
        last=last,
        result="`job.json` names the job, `tuned_model.json` the tuned model when it is done.",
        stages=stages,
        figures=figures,
        here={"Passages in the prompts": "in the data", **here},
        contents={
            "tune.py": "starts the job, watches it, asks the tuned model",
            "requirements.txt": "what to install",
            "serve.md": "how to ask the tuned model",
        },
        expect=_expect(recipe, title),
        differences=differences,
        until=until,
    )
    return {
        **data_files(data, lambda pairs: mark + openai_lines(pairs)),
        "README.md": readme(recipe, data, guide),
        "tune.py": script,
        "requirements.txt": requirements(recipe, package),
    }


def install() -> Stage:
    """An environment with the provider's client."""
    return Stage(
        words="Make an environment and install the client.",
        commands=("python3 -m venv .venv", f"{PYTHON} -m pip install -r requirements.txt"),
    )


def keys(**variables: str) -> Stage:
    """The step that sets what the program reads from the environment."""
    return Stage(
        words="Set the environment. Keys stand in no file of this folder; do not write them into one.",
        commands=tuple(f"export {name}={value}" for name, value in variables.items()),
    )


def watch() -> Stage:
    """The step of waiting; how to cancel stands in words, lest somebody runs all commands."""
    return command("Wait for its end. The job runs on when you stop waiting; `tune.py cancel` ends it.", "watch")


def command(words: str, *verbs: str) -> Stage:
    """A step that calls the program."""
    return Stage(words=words, commands=tuple(f"{PYTHON} tune.py {verb}" for verb in verbs))


def serving(recipe: Recipe, data: TrainingData, name: str, **values: Any) -> str:
    """How to ask the tuned model, by the provider's template."""
    return rendered(name, recipe, data=data, **values)


def until(base: str, provider: str) -> tuple[str, ...]:
    """For whom and until when the provider tunes a model, with the source of each date."""
    today = datetime.now(UTC).date()
    return tuple(
        f"{route.base}: for {route.who}. New trainings: "
        f"{f'until {day(route.new_jobs_until)}' if route.new_jobs_until else 'no end announced'}. Tuned models answer: "
        f"{f'until {day(route.answers_until)}' if route.answers_until else 'no end announced'}. {route.note} "
        f"Source: {route.source}; checked {route.checked}."
        for route in routes(base, on=today)
        if route.provider == provider
    )


def openai_lines(pairs: Sequence[TrainingPair]) -> str:
    """Pairs as JSONL in OpenAI's format of today: known keys only, and weight 0 on what is said before the answer."""
    return lines(_row(pair) for pair in pairs)


def plain_lines(pairs: Sequence[TrainingPair]) -> str:
    """The same without weights, for those who refuse them."""
    return lines({"messages": [_known(turn) for turn in turns(pair)]} for pair in pairs)


def _row(pair: TrainingPair) -> Row:
    messages = [*(_before(message) for message in pair.messages), _answer(pair)]
    return {"messages": messages, **({"tools": list(pair.tools)} if pair.tools else {})}


def _before(message: Message) -> Row:
    turn = _known({"role": message.role, "content": message.content, **message.extra})
    return {**turn, "weight": 0} if message.role == "assistant" else turn


def _known(turn: Row) -> Row:
    return {key: value for key, value in turn.items() if key in KEYS and key != "weight"}


def _answer(pair: TrainingPair) -> Row:
    calls = calls_in(pair.answer) if pair.tools else []
    if not calls:
        return {"role": "assistant", "content": pair.answer}
    return {
        "role": "assistant",
        "tool_calls": [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": json.dumps(call["arguments"], ensure_ascii=False),
                },
            }
            for number, call in enumerate(calls, start=1)
        ],
    }


def _expect(recipe: Recipe, title: str) -> str:
    if recipe.section.provider in title.lower():
        return "Another job of the same kind gives a slightly different model: score it before you trust it."
    return (
        f"That is another model on another machine: nothing was measured at {escape(title)}. Whether its model learns "
        "as much, nobody knows before it is scored."
    )
