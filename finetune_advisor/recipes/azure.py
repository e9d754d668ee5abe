"""Azure OpenAI: the job through its v1 endpoint, the deployment through the management API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_advisor.recipes import hosted, openai
from finetune_advisor.recipes.figures import hosting, of_tokens
from finetune_advisor.recipes.guide import Stage
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.training_data import TrainingData

BYTE_ORDER_MARK = "\ufeff"
"""Azure wants its files to start with it."""

RATES = (
    ("Price of one training, global", "usd_per_mtok_training"),
    ("Price of one training, in your region", "usd_per_mtok_training_regional"),
    ("Price of one training, developer tier", "usd_per_mtok_training_developer"),
)
DIFFERENCES = (
    "`TRAINING_TYPE` in `tune.py` decides where it trains: `GlobalStandard` is cheaper, `Standard` stays in your "
    "region, `developerTier` is the cheapest.",
    "A deployment costs by the hour as long as it exists, asked or not: `tune.py undeploy` deletes it. Azure's "
    "older documentation says that one that nobody asks is deleted after 15 days.",
    'The deployment is made with the sku "standard", as the documentation shows; others are named in `tune.py`.',
)


@dataclass(frozen=True)
class Azure:
    """`tune.py`, with the openai client and the management API."""

    title: str = "Azure OpenAI"
    sentence: str = (
        "A job at Azure OpenAI and a deployment of its model, which costs about $1.70 an hour while it exists "
        "(meters read in August 2026)."
    )

    def files(self, recipe: Recipe, data: TrainingData) -> Mapping[str, str]:
        """The program and the data."""
        model = recipe.hosted("azure") or openai.DEFAULT
        name = f"azure:ft:{model}"
        rates = [(what, name, unit) for what, unit in RATES]
        made = hosted.files(
            recipe,
            data,
            title=self.title,
            package="openai",
            script=openai.script(recipe, model, azure=True),
            base=openai.base(recipe, model, "Azure"),
            tuned=openai.tuned(model),
            stages=self.stages(recipe),
            figures=(
                *of_tokens(data, recipe.options.epochs, rates, openai.LONGEST),
                hosting(name, "usd_per_hour_hosting"),
            ),
            here=openai.HERE,
            until=hosted.until(f"azure:{model}", "azure"),
            differences=(*openai.DIFFERENCES, *DIFFERENCES),
            last=(
                "Ask it from your own program: `serve.md` shows how. Delete the deployment with `tune.py undeploy` "
                "when it is not needed; the tuned model stays."
            ),
            mark=BYTE_ORDER_MARK,
        )
        return {**made, "serve.md": hosted.serving(recipe, data, "ask_openai.md.j2", azure=True)}

    def stages(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Install, start, watch, deploy, ask, take down."""
        return (
            hosted.install(),
            hosted.keys(
                AZURE_OPENAI_ENDPOINT="https://RESOURCE.openai.azure.com",
                AZURE_OPENAI_API_KEY="...",
                AZURE_SUBSCRIPTION_ID="...",
                AZURE_RESOURCE_GROUP="...",
            ),
            hosted.command("Upload the data and start the job. This costs money.", "start"),
            hosted.watch(),
            hosted.command(
                "Deploy the tuned model: it costs by the hour from now on. The token for the management API comes from "
                "`az login`, or from AZURE_MANAGEMENT_TOKEN; the role needed is one that may write deployments.",
                "deploy",
            ),
            hosted.command("Ask it the first validation example.", "ask"),
        )
