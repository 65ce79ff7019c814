"""API and worker as processes of their own, for tests that kill them."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from domain.settings import Settings
from tests.world import until

ROOT = Path(__file__).parent.parent

LAST_WORDS = 5_000
"""Characters of its log that a failing test shows of a process."""


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to be part of the test's Paysaga."""
    secrets = settings.stripe_webhook_secrets, settings.stripe_connect_webhook_secrets
    platform, connect = (",".join(secret.get_secret_value() for secret in some) for some in secrets)
    assert settings.jwt_secret is not None
    return dict(os.environ) | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TEMPORAL_ADDRESS": settings.temporal_address,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_API_BASE": settings.stripe_api_base,
        "STRIPE_WEBHOOK_SECRETS": platform,
        "STRIPE_CONNECT_WEBHOOK_SECRETS": connect,
        "PAYSAGA_TASK_QUEUE": settings.task_queue,
        "PAYSAGA_JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "PAYSAGA_API_PORT": str(settings.api_port),
        "PAYSAGA_ANSWER_WITHIN": str(settings.answer_within),
        "PAYSAGA_SWEEP_OLDER_THAN": str(settings.sweep_older_than),
        "PAYSAGA_STICKY_TIMEOUT": str(settings.sticky_timeout),
        "PAYSAGA_STRIPE_BREAKER_FAILURES": str(settings.stripe_breaker_failures),
        "PAYSAGA_STRIPE_BREAKER_PAUSE": str(settings.stripe_breaker_pause),
        "PAYSAGA_PACING": settings.pacing.model_dump_json(),
    }


class Process:
    """One process under test."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running

    @property
    def state(self) -> str:
        """Whether it runs, as a failing test shows it."""
        code = self._running.returncode
        return "still running" if code is None else f"ended with {code}"

    async def kill(self) -> None:
        """SIGKILL: no warning, no goodbye."""
        self._running.kill()
        await self._running.wait()

    def signal(self, number: signal.Signals) -> None:
        """Freeze it, wake it, ask it to end."""
        self._running.send_signal(number)

    async def stop(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        await self._running.wait()


@asynccontextmanager
async def running(
    settings: Settings, *module: str, log_to: Path | None = None, code: Path = ROOT, **more: str
) -> AsyncIterator[Process]:
    """`python -m module…` with the test's settings, ended with the block. Where that fails, its last words are told.

    `code` is the folder that its packages are imported from.
    """
    with log_to.open("w+b") if log_to else tempfile.TemporaryFile() as log:
        heard = log if log_to or "PAYSAGA_TEST_NOISE" not in os.environ else None
        process = Process(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *module,
                cwd=code,
                env=environment(settings) | more,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=heard,
                stderr=heard,
                start_new_session=True,
            )
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            last = log.read().decode(errors="replace")[-LAST_WORDS:]
            sys.stderr.write(f"{' '.join(module)} ({process.state}) said at last:\n{last}\n")
            raise
        finally:
            await process.stop()


@asynccontextmanager
async def running_api(
    settings: Settings, *module: str, log_to: Path | None = None, code: Path = ROOT, **more: str
) -> AsyncIterator[Process]:
    """The API as a process, once it answers."""
    async with running(settings, *(module or ("cli.main", "api")), log_to=log_to, code=code, **more) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.api_port}", verify=False) as http:

            async def answers() -> bool:
                try:
                    return (await http.get("/healthz")).is_success
                except httpx.TransportError:
                    return False

            await until(answers)
        yield process
