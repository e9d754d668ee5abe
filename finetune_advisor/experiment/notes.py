"""What a reader of the report has to know about how the arms were trained, and what goes on costing money."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from finetune_advisor.errors import AdvisorError
from finetune_advisor.experiment.arms import ArmRun
from finetune_advisor.records import ArmResult
from finetune_advisor.tuning import deployments
from finetune_advisor.tuning.autotrain import UNMAINTAINED

OWN = {"openai": ("OpenAI", "api.openai.com"), "azure": ("Azure OpenAI", ".azure.com")}
"""Providers, and how their own hosts end."""


def notes(runs: Sequence[ArmRun]) -> tuple[str, ...]:
    """Sentences on servers that stand in for a provider, on trainers that nobody maintains, on running deployments."""
    elsewhere = dict.fromkeys(filter(None, (_elsewhere(run.result) for run in runs)))
    trained = [run.result for run in runs if run.result.training]
    autotrain = [arm.name for arm in trained if arm.settings.get("trainer") == "autotrain"]
    said = [f"{', '.join(autotrain)}: {UNMAINTAINED}"] if autotrain else []
    azure = any(arm.model_details.get("provider") == "azure" for arm in trained)
    return (*elsewhere, *said, *(_running() if azure else ()))


def _elsewhere(arm: ArmResult) -> str:
    """That a server which is not the provider's answered under its name; "" where none did."""
    name, own = OWN.get(str(arm.model_details.get("provider")), ("", ""))
    host = str(arm.model_details.get("host", ""))
    if host.endswith(own):
        return ""
    return f"{arm.model} was asked at {host}, not at {name}: the answers are that server's, the prices {name}'s."


def _running() -> Iterator[str]:
    """The deployments at Azure; they cost by the hour as long as they exist, whether somebody asks them or not."""
    endpoint = os.environ.get("AZURE_OPENAI_ENDPOINT", "")
    try:
        found = deployments.running(deployments.account(endpoint))
    except AdvisorError as error:
        yield f"Deployments at Azure cost by the hour; which of them exist could not be read: {error.message}"
        return
    for each in found:
        hourly = "at a price that is not known" if each.usd_per_hour is None else f"at ${each.usd_per_hour} an hour"
        so_far = "" if each.usd is None else f", ${each.usd:.2f} so far"
        yield (
            f"Running at Azure ({urlsplit(endpoint).hostname}) when this was written: the deployment {each.name} of "
            f"{each.model} {hourly}{so_far}. To end it: finetune-advisor deployments --delete {each.name}"
        )
