"""The Dockerfile's steps, taken without Docker: its context, its `uv sync`, its commands.

What this cannot show is what only Docker does: the base image, the user, the layers.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.deployment.compose import ROOT

FILE = ROOT / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One line of the Dockerfile: `RUN`, and what is to be run."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """All of them, in order."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [Instruction(*line.split(" ", 1)) for line in lines]


def context() -> list[str]:
    """What .dockerignore lets through: it excludes everything, and then names what is needed."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    first, *rest = lines
    assert first == "*"
    assert rest.pop() == "**/__pycache__/"
    assert all(line.startswith("!") for line in rest)
    return [line.removeprefix("!").rstrip("/") for line in rest]


def uv() -> str:
    """The program, beside this Python or the system's."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    assert found, "needs uv: pip install uv"
    return found


def python() -> str:
    """The base image's version of Python, where this machine has one; else this one."""
    [version] = {image.removeprefix("python:").removesuffix("-slim") for image in base_images()}
    asked = [uv(), "python", "find", "--no-python-downloads", version]
    found = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else sys.executable


def build(folder: Path) -> Path:
    """Takes the steps of the first stage under `folder`; the environment that the second stage copies."""
    source, built = folder / "src", folder / "built"
    source.mkdir(parents=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV", "PYTHON"))
    }
    for instruction in instructions():
        if instruction.word == "ENV" and "UV_" in instruction.rest:
            environment |= dict(word.split("=", 1) for word in instruction.rest.split())
            environment["UV_PROJECT_ENVIRONMENT"] = str(built)
        elif instruction == Instruction("COPY", "pyproject.toml uv.lock ./"):
            for name in ("pyproject.toml", "uv.lock"):
                shutil.copy(ROOT / name, source)
        elif instruction == Instruction("COPY", ". ."):
            _copy_context(source)
        elif instruction.word == "RUN" and instruction.rest.startswith("uv "):
            words = [uv(), *instruction.rest.split()[1:], "--python", python()]
            done = subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return built


def _copy_context(source: Path) -> None:
    for name in context():
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)


def base_images() -> list[str]:
    """What each stage is made from."""
    return [re.split(r"\s", each.rest)[0] for each in instructions() if each.word == "FROM"]
