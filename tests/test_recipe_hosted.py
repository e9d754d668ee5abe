"""The programs that tune at a provider: the whole life of a job, paid once, and a refusal that is explained."""

from __future__ import annotations

import json
import runpy
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai.types.fine_tuning import job_create_params
from pydantic import TypeAdapter

from finetune_advisor import recipes
from recipe_case import EMBEDDED, HUB, PAIRS, made, rows
from tuning_stub import Seen, serving

KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
QUICK = "epochs = 3, batch_size = 2"


def step(folder: Path, *options: str) -> None:
    """Run the recipe's program in this process."""
    argv = sys.argv
    sys.argv = ["tune.py", *options]
    try:
        runpy.run_path(str(folder / "tune.py"), run_name="__main__")
    finally:
        sys.argv = argv


def written(tmp_path: Path, provider: str, model: str = EMBEDDED) -> Path:
    case = made(tmp_path / "case", model, QUICK)
    (case.folder / "train.jsonl").write_text(rows(PAIRS) + rows(PAIRS, "tell "), encoding="utf-8")
    recipes.write(case, None, tmp_path / "recipe", provider=provider)
    return tmp_path / "recipe"


def connect(monkeypatch: pytest.MonkeyPatch, server: Seen) -> None:
    variables = {
        "OPENAI_API_KEY": "sk-secret",
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "AZURE_OPENAI_API_KEY": "sk-secret",
        "AZURE_OPENAI_ENDPOINT": server.url,
        "AZURE_OPENAI_RESOURCE": "res",
        "AZURE_SUBSCRIPTION_ID": "sub",
        "AZURE_RESOURCE_GROUP": "group",
        "AZURE_MANAGEMENT_TOKEN": "token-secret",
        "AZURE_MANAGEMENT_ENDPOINT": server.url,
        "EVERY_SECONDS": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_job_at_openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path, "openai")
    with serving() as server:
        connect(monkeypatch, server)
        step(folder, "start")
        with pytest.raises(SystemExit, match="names a job already"):
            step(folder, "start")
        step(folder, "watch")
        step(folder, "ask")
    body = server.bodies["/fine_tuning/jobs"]
    TypeAdapter(job_create_params.JobCreateParams).validate_python(body)
    hyperparameters = {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": "auto"}
    assert body["method"] == {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    assert len(server.uploads) == 2 and b'"messages"' in server.uploads[0]
    assert server.calls.count(("POST", "/fine_tuning/jobs")) == 1
    said = capsys.readouterr().out
    assert said.count("step 1") == 1 and "ft:m:org::1 was trained on 123 billed tokens" in said
    assert "blue\nwanted: " in said
    assert (folder / "results.csv").read_text(encoding="utf-8").startswith("step,train_loss")
    asked = server.bodies["/chat/completions"]
    assert asked["model"] == "ft:m:org::1" and [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.*"))


def test_a_job_at_azure_with_its_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path, "azure")
    with serving() as server:
        connect(monkeypatch, server)
        step(folder, "start")
        step(folder, "watch")
        with pytest.raises(SystemExit, match="Deploy the tuned model first"):
            step(folder, "ask")
        step(folder, "deploy")
        step(folder, "ask")
        step(folder, "undeploy")
    assert server.bodies["/fine_tuning/jobs"]["trainingType"] == "GlobalStandard"
    assert b"\xef\xbb\xbf{" in server.uploads[0]
    place = (
        "/subscriptions/sub/resourceGroups/group/providers/Microsoft.CognitiveServices/accounts/res/deployments/tuned"
    )
    assert [method for method, path in server.calls if path == place] == ["PUT", "GET", "DELETE"]
    model = {"format": "OpenAI", "name": "ft:m:org::1", "version": "1"}
    assert server.bodies[place] == {"sku": {"name": "standard", "capacity": 1}, "properties": {"model": model}}
    assert server.bodies["/chat/completions"]["model"] == "tuned"
    assert "costs by the hour" in capsys.readouterr().out
    assert json.loads((folder / "tuned_model.json").read_text(encoding="utf-8")) == {"model": "ft:m:org::1"}
    assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.*"))


def test_a_refusal_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, "openai")
    with serving(refuse=True) as server:
        connect(monkeypatch, server)
        with pytest.raises(SystemExit, match=r"403, training_not_available[\s\S]*2027-01-06"):
            step(folder, "start")
    assert not (folder / "job.json").exists()


def test_too_few_examples_are_refused_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes.write(made(tmp_path / "case", EMBEDDED, QUICK), None, tmp_path / "recipe", provider="openai")
    with serving() as server:
        connect(monkeypatch, server)
        with pytest.raises(SystemExit, match="6 examples; at least 10"):
            step(tmp_path / "recipe", "start")
    assert not server.calls


class Recorder:
    """A client that keeps what it was asked, by the name of the call."""

    account_id = "me"

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return _Call(self, name)


class _Call:
    def __init__(self, client: Recorder, name: str) -> None:
        self.client, self.name = client, name

    def __getattr__(self, name: str) -> _Call:
        return _Call(self.client, f"{self.name}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.client.asked[self.name] = options
        return self.client.answers[self.name]


def plug(monkeypatch: pytest.MonkeyPatch, library: str, client: str, recorder: Recorder) -> None:
    module = types.ModuleType(library)
    setattr(module, client, lambda: recorder)
    monkeypatch.setitem(sys.modules, library, module)
    monkeypatch.setenv("EVERY_SECONDS", "0")


def simple(**values: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**values)


def test_a_job_at_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lora = simple(min_batch_size=8, max_batch_size=16, max_rank=64)
    limits = simple(
        lora_training=lora,
        max_num_epochs=20,
        max_num_evals=2,
        min_learning_rate=0.0,
        max_learning_rate=1e-3,
        min_max_seq_length=1,
        max_seq_length_sft=4096,
    )
    price = simple(estimation_available=True, estimated_total_price=0.5, estimated_train_token_count=9)
    done = simple(status="completed", x_model_output_name="me/tuned")
    client = Recorder(
        {
            "fine_tuning.model_limits": limits,
            "files.upload": simple(id="file-1"),
            "fine_tuning.estimate_price": price,
            "fine_tuning.create": simple(id="ft-1"),
            "fine_tuning.retrieve": done,
            "fine_tuning.list_events": simple(data=[simple(message="began")]),
        }
    )
    plug(monkeypatch, "together", "Together", client)
    folder = written(tmp_path, "together", HUB.format(id="org/name-1B"))
    step(folder, "start")
    step(folder, "watch")
    job = client.asked["fine_tuning.create"]
    assert (job["model"], job["n_epochs"], job["n_evals"], job["batch_size"]) == ("org/name-1B", 3, 2, 8)
    assert (job["lora_r"], job["lora_alpha"], job["train_on_inputs"]) == (8, 16, False)
    said = capsys.readouterr().out
    assert "batch_size is 8 instead of 2" in said and "$0.5" in said and "me/tuned is ready" in said


def test_a_job_at_fireworks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = simple(units="1", nanos=250_000_000, currency_code="USD")
    done = simple(state="JOB_STATE_COMPLETED", output_model="accounts/me/models/x", estimated_cost=cost)
    client = Recorder(
        {
            "datasets.create": None,
            "datasets.upload": None,
            "datasets.get": simple(state="READY"),
            "supervised_fine_tuning_jobs.create": simple(name="accounts/me/supervisedFineTuningJobs/j1"),
            "supervised_fine_tuning_jobs.get": done,
        }
    )
    plug(monkeypatch, "fireworks", "Fireworks", client)
    folder = written(tmp_path, "fireworks")
    with pytest.raises(SystemExit):
        step(folder, "start")
    step(folder, "start", "--model", "accounts/fireworks/models/m")
    step(folder, "watch")
    job = client.asked["supervised_fine_tuning_jobs.create"]
    assert (job["base_model"], job["epochs"], job["lora_rank"]) == ("accounts/fireworks/models/m", 3, 8)
    assert job["dataset"].startswith("accounts/me/datasets/train-") and job["early_stop"] is True
    assert json.loads((folder / "job.json").read_text(encoding="utf-8")) == {"job": "j1"}
    assert "estimated cost 1.25 USD" in capsys.readouterr().out
