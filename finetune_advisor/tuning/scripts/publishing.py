# pyright: basic
"""What happens to a trained model after its training: the model card, the merged model, the upload."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def card(training: dict[str, Any]) -> str:
    """A model card that says what this is and what it came from; no folder of this machine is named."""
    settings = training["settings"]
    name, method, task = Path(settings["model"]).name, settings["method"], settings["task"]
    base = "" if Path(settings["model"]).exists() else f"base_model: {settings['model']}\n"
    library = "transformers" if method == "full" else "peft"
    validation = [point["loss"] for point in training["losses"] if point["split"] == "validation"]
    lowest = f", lowest validation loss {min(validation):.4f}" if validation else ""
    table = "\n".join(f"| {key} | {value} |" for key, value in settings.items() if key != "model")
    return (
        f"---\n{base}library_name: {library}\ntags:\n- trl\n- {task}\n- {method}\n---\n\n"
        f"# {name}, {method} {task}\n\n"
        f"Trained from {name} with TRL on {training['examples']} examples: step "
        f"{training['best_step']} of {training['steps']}{lowest}. What it was trained on and what it is good for, "
        "its owner has to add.\n\n"
        f"| setting | value |\n|---|---|\n{table}\n"
    )


def merge(model: str, output: Path, merged: Path) -> None:
    """Write the base model, in 16 bits or as it is on a CPU, with the adapter merged into its weights."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The weights as they were published, not the 4-bit ones of QLoRA, which would be rounded a second time.
    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    partial = merged.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    PeftModel.from_pretrained(base, str(output)).merge_and_unload().save_pretrained(partial)
    AutoTokenizer.from_pretrained(model).save_pretrained(partial)
    shutil.rmtree(merged, ignore_errors=True)
    partial.rename(merged)
    print(f"The merged model is in {merged}")


def push(output: Path, repository: str) -> None:
    """Upload the model's files, and nothing else of the folder, to a private repository."""
    from huggingface_hub import HfApi

    files = ["*.safetensors", "*.json", "*.jinja", "README.md", "tokenizer*", "merges.txt", "vocab*"]
    private = ["settings.json", "training.json", "process.json", "started.json"]
    hub = HfApi()
    hub.create_repo(repository, private=True, exist_ok=True)
    hub.upload_folder(repo_id=repository, folder_path=output, allow_patterns=files, ignore_patterns=["*/*", *private])
    print(f"Uploaded to https://huggingface.co/{repository}")
