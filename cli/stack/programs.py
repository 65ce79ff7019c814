"""Paysaga's own processes (`paysaga api`, `paysaga worker`, `paysaga stripe-sandbox`) as children."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.stack.errors import PartFailed
from cli.stack.processes import Child

READY_WITHIN = 60.0
"""Seconds; generous, for a first start on a slow disk imports every library from there."""

Ready = Callable[[int], Awaitable[bool]]
"""Whether the process with this pid can do its work."""


class Program:
    """A program as a child process, ready when `ready` says so."""

    def __init__(
        self, child: Child, argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path, ready: Ready
    ) -> None:
        self.child = child
        self._argv = argv
        self._environment = environment
        self._cwd = cwd
        self._ready = ready

    async def start(self) -> None:
        """Returns when it is ready. Raises `PartFailed`."""
        await self.child.end_orphan()
        self.child.spawn(self._argv, env=self._environment, cwd=self._cwd)
        try:
            await self._await_ready()
        except BaseException:
            await self.child.end()
            raise

    async def stop(self) -> None:
        await self.child.end()

    async def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            pid = self.child.pid
            ready = pid is not None and await self._ready(pid)
            # Looked at afterwards: another process's answer on our port must not pass for ours.
            self.child.check_alive()
            if ready:
                return
            if time.monotonic() > deadline:
                raise PartFailed(self.child.name, f"was not ready within {READY_WITHIN:.0f} s", self.child.log)
            await asyncio.sleep(0.05)


def answers_http(url: str, status: int = 200) -> Ready:
    """Ready when a GET of `url` is answered with `status`."""

    async def ready(pid: int) -> bool:
        with suppress(httpx.TransportError):
            # Not verified, because it is plain HTTP: reading all the authorities' certificates would take longer.
            async with httpx.AsyncClient(timeout=5, trust_env=False, verify=False) as http:
                return (await http.get(url)).status_code == status
        return False

    return ready


def polls_temporal(client: Callable[[], Awaitable[Client]], task_queue: str) -> Ready:
    """Ready when Temporal knows the process as a poller of the task queue: identities contain the pid."""

    async def ready(pid: int) -> bool:
        with suppress(RPCError, RuntimeError):
            temporal = await client()
            request = DescribeTaskQueueRequest(
                namespace=temporal.namespace,
                task_queue=TaskQueue(name=task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
            described = await temporal.workflow_service.describe_task_queue(request, timeout=timedelta(seconds=5))
            return any(re.search(rf"(?<!\d){pid}(?!\d)", poller.identity) for poller in described.pollers)
        return False

    return ready
