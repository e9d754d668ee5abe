"""Every inference arm against `transformers serve`: a server with OpenAI's API that nobody here wrote."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

import tiny_model
from finetune_advisor import case, experiment
from oracle import write_case

SERVING = ("fastapi", "uvicorn")
ARMS = ("zero_shot", "few_shot", "nearest_shot", "rag")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in SERVING), reason="transformers[serving] is not installed"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The options that reach a server with the two-layer model."""
    folder, port = tiny_model.build(tmp_path_factory.mktemp("model")), free_port()
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(folder), "--device", "cpu", "--port", str(port)]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, folder / "log.txt")
            yield f'id = "{folder}", base_url = "http://127.0.0.1:{port}/v1"'
        finally:
            server.terminate()
            server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text(encoding="utf-8"))


def test_every_inference_arm_runs(tmp_path: Path, served: str) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "rules.md").write_text("# Rules\n\nMoney back goes to refund.\n", encoding="utf-8")
    model = f'[[models]]\nname = "served"\nprovider = "compatible"\noptions = {{ {served} }}\n'
    arms = "".join(f'[[arms]]\napproach = "{name}"\nsettings = {{}}\n' for name in ARMS)
    write_case(tmp_path, rows=40, arms=arms, model=model)
    text = (tmp_path / "case.toml").read_text(encoding="utf-8")
    text = text.replace("[data]\n", '[data]\ndocuments = "documents"\n')
    (tmp_path / "case.toml").write_text(text, encoding="utf-8")
    results = experiment.run(case.read(tmp_path))
    assert results.skipped == {}
    assert [arm.approach for arm in results.arms] == [*ARMS]
    for arm in results.arms:
        assert arm.failures == 0 and arm.prompt_tokens > 0 and arm.completion_tokens > 0 and arm.seconds > 0
        assert not arm.simulated
