"""Operations that nobody is bringing to an end; and what only looks like it."""

from typing import Any

import pytest
from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionDescription,
)

from activities.audit import Audit, Report
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from db.invariants import Invariant
from domain.operations import followup_id
from tests.audit.planting import behind_the_triggers, sees_only
from tests.audit.withdrawing import contractor
from tests.auditing import assert_clean, audited
from tests.world import World, until

pytestmark = pytest.mark.long


async def test_operation_whose_workflow_was_terminated(world: World, awaiting: str) -> None:
    await world.workflow(awaiting).terminate("planted")

    # Temporal's list lags a little behind.
    async def found() -> bool:
        return (await audited(world)).total > 0

    await until(found)
    report = await sees_only(world, Invariant.OPERATION_WITHOUT_WORKFLOW)
    assert report.violations[0].where == awaiting
    assert report.violations[0].what.endswith("its workflow is terminated")


@pytest.mark.parametrize(("seconds", "violations"), [(50, 0), (70, 1)])
async def test_operation_that_was_never_started(world: World, paid: str, seconds: int, violations: int) -> None:
    await world.sql(
        "INSERT INTO operations (id, kind, status, caller, user_id, wallet_id, amount, currency, created_at)"
        " SELECT 'dep_forgotten', kind, 'requested', caller, user_id, wallet_id, amount, currency,"
        f" app_now() - interval '{seconds} seconds' FROM operations"
    )

    report = await audited(world)

    assert [(found.invariant, found.where) for found in report.violations] == [
        (Invariant.OPERATION_WITHOUT_WORKFLOW, "dep_forgotten")
    ] * violations
    assert all(found.what.endswith("its workflow never ran, or is forgotten") for found in report.violations)


async def test_closed_operation_whose_workflow_is_stuck_open_is_no_violation(world: World, awaiting: str) -> None:
    await behind_the_triggers(world, "UPDATE operations SET status = 'canceled', closed_at = app_now()")

    await assert_clean(world)


class _ByOnes(Interceptor):
    """A Temporal that lists one workflow a page, and is asked for nothing but lists."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _ByOnesOutbound(next)


class _ByOnesOutbound(OutboundInterceptor):
    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        input.page_size = 1
        return super().list_workflows(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        raise AssertionError(f"{input.id} was not listed")


async def test_open_workflows_of_every_kind_are_listed_page_by_page(world: World, awaiting: str) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        taken_on_again = await someone.withdrawal()
        await taken_on_again.transferred()
        await world.workflow(taken_on_again.id).terminate("over")
        await someone.driven("WithdrawalFollowUp", followup_id(taken_on_again.id))
        [account] = await world.sql("SELECT id FROM operations WHERE kind = 'connected_account'")
        expected = {awaiting, withdrawal.id, followup_id(taken_on_again.id), account["id"]}

        async def listed() -> bool:
            running = world.temporal.list_workflows("ExecutionStatus = 'Running'")
            return expected <= {workflow.id async for workflow in running}

        await until(listed)
        assert (await audited_with(world, _ByOnes())).violations == ()


async def audited_with(world: World, interceptor: Interceptor) -> Report:
    """An audit that asks Temporal through `interceptor`."""
    async with open_client(world.sandbox.key, base=world.sandbox.url, timeout=5) as stripe:
        temporal = Client(world.temporal.service_client, namespace=world.temporal.namespace, interceptors=[interceptor])
        return await Audit(world.settings, StripeReads(stripe), temporal).run()


class _Behind(Interceptor):
    """A Temporal whose list of workflows is still empty, and to which something happens before it is asked again."""

    def __init__(self, meanwhile: Any) -> None:
        self.meanwhile = meanwhile

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _BehindOutbound(next, self.meanwhile)


class _BehindOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, meanwhile: Any) -> None:
        super().__init__(next)
        self._meanwhile = meanwhile

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        input.query = "WorkflowId = 'none'"
        return super().list_workflows(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        await self._meanwhile()
        return await super().describe_workflow(input)


async def audited_behind(world: World, meanwhile: Any) -> Report:
    """An audit whose list of workflows is older than everything in this world."""
    return await audited_with(world, _Behind(meanwhile))


async def test_workflow_that_temporal_does_not_list_yet_is_asked_for(world: World, awaiting: str) -> None:
    asked = []

    async def nothing() -> None:
        asked.append(awaiting)

    report = await audited_behind(world, nothing)

    assert report.violations == ()
    assert asked == [awaiting]


async def test_saga_that_ends_while_the_audit_reads_is_no_violation(world: World, awaiting: str) -> None:
    async def ends() -> None:
        await world.call("POST", f"/v1/deposits/{awaiting}/cancel")
        await world.closed(awaiting)
        await world.workflow(awaiting).result()

    report = await audited_behind(world, ends)

    assert report.violations == ()


async def test_follow_up_that_temporal_does_not_list_yet_is_asked_for(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await withdrawal.transferred()
        await world.workflow(withdrawal.id).terminate("over")
        await someone.driven("WithdrawalFollowUp", followup_id(withdrawal.id))

        async def nothing() -> None:
            return

        assert (await audited_behind(world, nothing)).violations == ()
