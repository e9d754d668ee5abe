"""Clients of the emulator, and what the tests of it ask for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam as MessageParam

import tiny_model
from finetune_advisor.emulator.serve import Running

SPECIFICATION = Path(__file__).parents[1].parent / "shared" / "reference" / "openai_openapi.yaml"
SPEC = SPECIFICATION if SPECIFICATION.is_file() else None
HELLO: list[MessageParam] = [{"role": "user", "content": "please say hello to all of us"}]
VERSION = "2024-10-21"
MODEL = "gpt-4.1-mini-2025-04-14"
OPENED: list[openai.OpenAI] = []


def close_clients() -> None:
    while OPENED:
        OPENED.pop().close()


def client(emulator: Running, key: str = "any", path: str = "/v1") -> openai.OpenAI:
    OPENED.append(openai.OpenAI(base_url=emulator.azure_url + path, api_key=key, max_retries=0, timeout=20))
    return OPENED[-1]


def azure(emulator: Running) -> openai.OpenAI:
    url = emulator.azure_url
    OPENED.append(openai.AzureOpenAI(azure_endpoint=url, api_key="any", api_version=VERSION, max_retries=0, timeout=20))
    return OPENED[-1]


def said(emulator: Running, stop: str | None = None) -> str | None:
    chat = client(emulator).chat.completions.create(model="gpt-6-luna", messages=HELLO, stop=stop)
    return chat.choices[0].message.content


def training_file() -> bytes:
    questions = [f"what is the colour of the {fruit}" for fruit in tiny_model.FRUIT * 2]
    rows = [[{"role": "user", "content": text}, {"role": "assistant", "content": "red"}] for text in questions]
    return "\n".join(json.dumps({"messages": row}) for row in rows).encode()


def trained(api: openai.OpenAI, **options: Any) -> Any:
    file = api.files.create(file=("train.jsonl", training_file()), purpose="fine-tune")
    job = api.fine_tuning.jobs.create(model=MODEL, training_file=file.id, **options)
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.02)
        job = api.fine_tuning.jobs.retrieve(job.id)
    return job
