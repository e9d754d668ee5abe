"""Fine-tuning at OpenAI: supervised and by preferences, as its API takes it since 2025."""

from __future__ import annotations

from dataclasses import dataclass

from finetune_advisor.models.accounts import Account
from finetune_advisor.tuning.hosted import HostedTrainer
from finetune_advisor.tuning.work import TuningWork


@dataclass(frozen=True, kw_only=True)
class OpenAITrainer(HostedTrainer):
    """Trains at OpenAI. The tuned model answers as soon as the job has succeeded and costs nothing while it rests.

    Where a checkpoint before the last has the lowest loss on the validation part, that one is used.

    Args:
        key_env: The environment variable with the key. The address stands in OPENAI_BASE_URL, else it is OpenAI's own.
    """

    key_env: str = "OPENAI_API_KEY"

    def account(self) -> Account:
        """Whose server trains, and with which key."""
        return Account(provider="openai", key_env=self.key_env)

    def publish(self, work: TuningWork, model: str) -> dict[str, str]:
        """Nothing has to be done for a tuned model to answer here."""
        return {"provider": "openai"}
