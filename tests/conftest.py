"""The servers that a test session runs on: started once, on free ports, ended by pid."""

import atexit
import random
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import postgres_of_its_own
from tests.shared_servers import Addresses, SharedServers, addresses, join, session
from tests.world import Servers, World, open_world

# Short processes that used temporalio sometimes crash at their very end, after all went well (sdk-python#300).
atexit.register(time.sleep, 0.1)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """The main process holds what all share; the session has failed if something was wrong with it."""
    if hasattr(config, "workerinput"):
        join(Path(config.workerinput["session"]))
        return (yield)
    with tempfile.TemporaryDirectory(prefix="paysaga-tests-") as folder:
        servers = SharedServers(Path(folder))
        try:
            status = yield
        finally:
            wrong = servers.end()
        if wrong is None:
            return status
        config.get_terminal_writer().line(f"What the tests share was not in order:\n{wrong}", red=True)
        return pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker process of pytest-xdist."""
    node.workerinput["session"] = str(session())
    node.workerinput["crash_seed"] = node.config.option.crash_seed


@pytest.fixture(scope="session")
def shared() -> Addresses:
    """Where they are; this makes them start."""
    return addresses()


@pytest.fixture(scope="session")
def sandbox_url(shared: Addresses) -> str:
    """The Stripe sandbox, every answer of which is held against Stripe's own API description."""
    return shared.sandbox


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory, shared: Addresses) -> AsyncIterator[Servers]:
    """What almost every test runs on."""
    async with postgres_of_its_own(tmp_path_factory.mktemp("servers"), shared) as found:
        yield found


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    """A fresh Paysaga."""
    async with open_world(servers) as made:
        yield made


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single folders must be known before the folders are."""
    parser.addoption("--record", action="store_true", help="record the histories in tests/histories anew")
    parser.addoption(
        "--crash-sample", type=int, metavar="N", help="N cases of the worker's crash matrix, and N of the API's"
    )
    parser.addoption("--crash-seed", type=int, metavar="SEED", help="which: as an earlier run has printed")


def pytest_configure(config: pytest.Config) -> None:
    """Another sample each time, and the same one in all processes of a session."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    if config.option.crash_seed is None:
        config.option.crash_seed = given.get("crash_seed", random.randrange(1_000_000))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """How to have the same sample again."""
    if config.option.crash_sample is None:
        return []
    return [f"crash matrix: --crash-sample={config.option.crash_sample} --crash-seed={config.option.crash_seed}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many kills there were, and after which it took longest until somebody was at it again."""
    recoveries = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "recovery"
    ]
    if recoveries:
        point, seconds = max(recoveries, key=lambda recovery: recovery[1])
        terminalreporter.line(
            f"crash matrix: {len(recoveries)} kills; longest until the step was begun again: {seconds:.1f} s ({point})"
        )
