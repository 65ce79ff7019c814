"""What Paysaga expects of a Temporal namespace: its retention, search attributes and schedules."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from activities import visibility
from domain.settings import Settings
from domain.stripe_events import CatchUpRound
from workflows.catch_up import CatchUp
from workflows.sweep import SnapshotBalances, Sweep

SNAPSHOT_EVERY = timedelta(minutes=5)


async def prepare(client: Client, settings: Settings) -> None:
    """Bring the namespace to what the code expects. May be called again at any time, by several at once."""
    await prepare_namespace(client, settings)
    pacing = settings.pacing
    await _schedule(client, settings, "sweep", Sweep.run, pacing, timedelta(seconds=settings.sweep_every))
    catch_up_every = timedelta(seconds=settings.catch_up_every)
    await _schedule(client, settings, "catch-up", CatchUp.run, CatchUpRound(pacing=pacing), catch_up_every)
    await _schedule(client, settings, "snapshot-balances", SnapshotBalances.run, pacing, SNAPSHOT_EVERY)


async def prepare_namespace(client: Client, settings: Settings) -> None:
    """Retention and search attributes alone."""
    await _namespace(client, settings)
    await _search_attributes(client)


async def _namespace(client: Client, settings: Settings) -> None:
    retention = Duration(seconds=settings.temporal_retention_days * 86_400)
    service = client.workflow_service
    try:
        described = await service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        await service.register_namespace(
            RegisterNamespaceRequest(namespace=client.namespace, workflow_execution_retention_period=retention)
        )
        return
    if described.config.workflow_execution_retention_ttl != retention:
        await service.update_namespace(
            UpdateNamespaceRequest(
                namespace=client.namespace, config=NamespaceConfig(workflow_execution_retention_ttl=retention)
            )
        )


async def _search_attributes(client: Client) -> None:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {
        key.name: IndexedValueType.ValueType(key.indexed_value_type)
        for key in visibility.ALL
        if key.name not in known.custom_attributes
    }
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )


async def _schedule(
    client: Client, settings: Settings, name: str, run: Callable[..., Any], given: object, every: timedelta
) -> None:
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(run, given, id=name, task_queue=settings.task_queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        # One at a time: what a sweep does not get through, the next one finds again.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )

    def updated(_: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(schedule=schedule)

    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(name).update(updated)
