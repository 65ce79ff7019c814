"""What befalls a stack beside chaos's own faults, while it is under load: the deeds of engineers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingActivityState, ResetReapplyExcludeType
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription

from activities.temporal_client import connect
from cli.chaos.outside import Outside
from cli.chaos.plan import PACING
from cli.stack.supervisor import Stack

Accident = Callable[[Stack, asyncio.Event], Coroutine[Any, Any, None]]
"""Happens from the beginning of the load on, and ends some time after the event says that no more load comes: not
before it has happened."""

LOOKS_EVERY = 0.2
"""Seconds between two looks at the sagas under way."""

ENOUGH = 3
"""Sagas to whom something was done, so that it has happened."""

SILENCE = PACING.http_timeout + 0.5
"""Seconds: longer than anybody waits for Stripe."""

SLOWNESS = 2.0
"""Seconds: shorter than that."""

SPOILED = 24
"""Requests for a transfer to which Stripe does not answer as it should."""

STUCK = timedelta(seconds=0.7)
"""Of a step: then an engineer has seen that it does not go on."""

BEGINS_WITHIN = 1.0
"""Seconds from when a worker is given a step until it waits for the lock."""

_STRIPE_IS_ASKED = ("create_transfer", "create_payout")

_TO_BE_BOOKED = "SELECT count(*) FROM operations WHERE kind = 'withdrawal' AND status = 'reserved'"


async def sagas_are_reset(stack: Stack, over: asyncio.Event) -> None:
    """An engineer resets withdrawals, each once, that are stuck: Stripe has done what it was asked and says nothing."""
    await _spoil_transfers(stack, kind="hang_after_commit", seconds=SILENCE)

    async def reset_there(temporal: Client, saga: WorkflowExecutionDescription) -> None:
        await _reset(temporal, saga, from_the_beginning=False)

    def is_stuck(saga: WorkflowExecutionDescription) -> bool:
        now = datetime.now(UTC)
        return any(now - step.scheduled_time.ToDatetime(UTC) > STUCK for step in _under_way(saga, *_STRIPE_IS_ASKED))

    await _to_each(stack, over, is_stuck, reset_there)


async def sagas_are_canceled(stack: Stack, over: asyncio.Event) -> None:
    """An engineer cancels withdrawals in Temporal, each once, while Stripe takes its time to move their money."""
    await _spoil_transfers(stack, kind="hang", seconds=SLOWNESS)

    async def cancel(temporal: Client, saga: WorkflowExecutionDescription) -> None:
        await temporal.get_workflow_handle(saga.id, run_id=saga.run_id).cancel()

    await _to_each(stack, over, lambda saga: bool(_under_way(saga, *_STRIPE_IS_ASKED)), cancel)


async def ended_sagas_are_reset(stack: Stack, over: asyncio.Event) -> None:
    """An engineer calls withdrawals off that are stuck, and then thinks better of it.

    They are reset when they have ended, to their very beginning and without the cancel.
    """
    temporal = await connect(stack.settings)
    called_off: set[str] = set()
    async with _ledger_locked(stack):
        while len(called_off) < ENOUGH:
            async for saga in _running(temporal):
                if saga.id not in called_off and _under_way(saga, "reserve"):
                    called_off.add(saga.id)
                    await temporal.get_workflow_handle(saga.id).cancel()
            await asyncio.sleep(LOOKS_EVERY)
    for id in called_off:
        await temporal.get_workflow_handle(id).result()
        await _reset(temporal, await temporal.get_workflow_handle(id).describe(), from_the_beginning=True)


async def ledger_is_locked(stack: Stack, over: asyncio.Event) -> None:
    """Somebody locks the ledger's transactions (a migration, VACUUM FULL) for longer than a step may take.

    At a moment when transfers are under way, and until each is being booked by two attempts at once: one was given up
    for its time, and waits on beside the next.
    """
    temporal = await connect(stack.settings)
    watcher = await asyncpg.connect(stack.superuser_database_url)
    try:
        while True:
            if await watcher.fetchval(_TO_BE_BOOKED) >= ENOUGH:
                break
            await asyncio.sleep(0.01)
    finally:
        watcher.terminate()
    async with _ledger_locked(stack):
        while True:
            booked = [step async for saga in _running(temporal) for step in _under_way(saga, "book_transfer")]
            if sum(step.attempt > 1 for step in booked) >= ENOUGH:
                break
            await asyncio.sleep(LOOKS_EVERY)
        await asyncio.sleep(BEGINS_WITHIN)


async def _spoil_transfers(stack: Stack, *, kind: str, seconds: float) -> None:
    assert stack.sandbox_url is not None, "the stack has a Stripe sandbox"
    outside = Outside(stack.sandbox_url, stack.stripe_secret_key)
    fault = {"method": "POST", "path": "*/transfers", "kind": kind, "seconds": seconds, "times": SPOILED}
    await outside.control("POST", "faults", fault)
    outside.close()


@asynccontextmanager
async def _ledger_locked(stack: Stack) -> AsyncIterator[None]:
    """Nobody reads or writes the ledger's transactions while the block runs."""
    assert stack.superuser_database_url is not None, "the stack has a Postgres of its own"
    holder = await asyncpg.connect(stack.superuser_database_url)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE ledger_transactions IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        holder.terminate()


async def _to_each(
    stack: Stack,
    over: asyncio.Event,
    wanted: Callable[[WorkflowExecutionDescription], bool],
    act: Callable[[Client, WorkflowExecutionDescription], Awaitable[None]],
) -> None:
    """Does `act` once to each withdrawal that is, at some look while it runs, as it is `wanted`."""
    temporal = await connect(stack.settings)
    done: set[str] = set()
    while len(done) < ENOUGH or not over.is_set():
        async for saga in _running(temporal):
            if saga.id not in done and wanted(saga):
                done.add(saga.id)
                await act(temporal, saga)
        await asyncio.sleep(LOOKS_EVERY)


async def _running(temporal: Client) -> AsyncIterator[WorkflowExecutionDescription]:
    """Withdrawals that are under way."""
    async for saga in temporal.list_workflows("WorkflowType = 'Withdrawal' AND ExecutionStatus = 'Running'"):
        yield await temporal.get_workflow_handle(saga.id, run_id=saga.run_id).describe()


def _under_way(saga: WorkflowExecutionDescription, *steps: str) -> list[PendingActivityInfo]:
    """Those of these steps that a worker is at."""
    return [
        step
        for step in saga.raw_description.pending_activities
        if step.activity_type.name in steps and step.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    ]


async def _reset(temporal: Client, saga: WorkflowExecutionDescription, *, from_the_beginning: bool) -> None:
    """As the Temporal UI does it. From the beginning: also without what it was told since, as the UI offers."""
    handle = temporal.get_workflow_handle(saga.id, run_id=saga.run_id)
    decided = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    untold = [
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST,
    ]
    await temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=saga.id, run_id=saga.run_id),
            reason="an engineer tries",
            workflow_task_finish_event_id=decided[0 if from_the_beginning else -1],
            request_id=str(uuid.uuid4()),
            reset_reapply_exclude_types=untold if from_the_beginning else [],
        )
    )
