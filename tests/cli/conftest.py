"""What the tests of the command and of the embedded stack share."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.stack.postgres import Postgres
from cli.stack.processes import started_at
from tests.cli.upping import identities


@pytest.fixture(autouse=True, scope="session")
def _no_services_from_outside() -> Iterator[None]:
    """Whatever the shell points at, these tests run their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("DATABASE_", "PAYSAGA_", "STRIPE_", "TEMPORAL_")):
                patch.delenv(name)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A Postgres that runs. Shared: a test that ends or breaks one starts its own."""
    async with Postgres(tmp_path_factory.mktemp("postgres"), fsync=False, temporary=True) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory; whatever a test leaves running on it is ended, wherever its files are they are deleted."""
    path = tmp_path / "data"
    yield path
    for identity in identities(path).values():
        if started_at(identity[0]) == identity[1]:
            os.kill(identity[0], signal.SIGKILL)
    if (path / "postgres").exists():
        Postgres(path / "postgres", temporary=True).delete()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()
