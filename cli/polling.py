"""`paysaga worker --check`: does Temporal know a worker of this host? For health checks, which have no port to ask."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from cli.stack.errors import StackError
from cli.stack.preparation import connect_temporal
from domain.settings import Settings

LATELY = timedelta(seconds=90)
"""A worker's poll ends after a minute at the latest, and the next one begins; Temporal remembers it for five."""

WITHIN = 10.0
"""Seconds that Temporal has to answer."""


async def require_worker(settings: Settings) -> None:
    """Raises `StackError` unless a process of this host has polled the task queue lately. A container is a host."""
    try:
        async with asyncio.timeout(WITHIN):
            temporal = await connect_temporal(settings)
            request = DescribeTaskQueueRequest(
                namespace=temporal.namespace,
                task_queue=TaskQueue(name=settings.task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
            described = await temporal.workflow_service.describe_task_queue(request)
    except (RPCError, TimeoutError) as error:
        raise StackError(
            f"Temporal at {settings.temporal_address} says not who polls ({error or 'no answer'}): see that it runs."
        ) from error
    # The SDK's own names for its workers are `<pid>@<host>`.
    here, now = f"@{socket.gethostname()}", datetime.now(UTC)
    polls = [poller.last_access_time.ToDatetime(UTC) for poller in described.pollers if poller.identity.endswith(here)]
    if not any(now - last < LATELY for last in polls):
        raise StackError(
            f"No worker of this host polls the task queue {settings.task_queue}: see the worker's log, and restart it."
        )
