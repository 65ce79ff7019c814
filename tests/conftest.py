"""The servers that a test session runs on: started once, on free ports, ended by pid."""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import free_port
from tests.servers import running_servers
from tests.world import Servers, World, open_world

# Short processes that used temporalio sometimes crash at their very end, after all went well (sdk-python#300).
atexit.register(time.sleep, 0.1)


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Stripe sandbox, every answer of which is held against Stripe's own API description."""
    folder = tmp_path_factory.mktemp("stripe")
    port, violations = free_port(), folder / "violations.txt"
    command = [sys.executable, "-m", "tests.stripe_sandbox.checked_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data", str(folder / "stripe.sqlite"), "--violations", str(violations)]
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ)
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/_sandbox/health", process, folder / "log.txt")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)
        log.close()
    assert not violations.exists() or not violations.read_text(), violations.read_text()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            if httpx.get(url, verify=False).is_success:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.05)


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory, sandbox_url: str) -> AsyncIterator[Servers]:
    """What almost every test runs on."""
    folder = tmp_path_factory.mktemp("servers")
    async with running_servers(folder, sandbox_url) as (found, _, _):
        yield found


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    """A fresh Paysaga."""
    async with open_world(servers) as made:
        yield made


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single folders must be known before the folders are."""
    parser.addoption("--record", action="store_true", help="record the histories in tests/histories anew")
