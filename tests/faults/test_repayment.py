"""What a user owes, repaid once: whoever dies or does it again."""

import asyncio

import pytest

from tests.auditing import assert_clean
from tests.faults.test_processes import QUICK
from tests.processes import running
from tests.workflows.meddling import reset, run_and_points
from tests.world import PATIENCE, Servers, World, open_world

pytestmark = pytest.mark.long


async def _repaid_once(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    steps = [posting["step"] for posting in closed["postings"]]
    assert sorted(steps) == ["credit", "repayment:credit", "stripe_fee"]
    assert [event["type"] for event in closed["events"]].count("receivable.repaid") == 1
    assert (await world.available(), await world.owed()) == (15_000 + 20_000, 0)
    await assert_clean(world)


async def test_f24_worker_killed_at_the_credit_that_repays(servers: Servers) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        async with world.inhabited_by_a_worker():
            first = await world.accepted_deposit(payment_method="pm_card_visa")
            await world.closed(first["id"])
        await world.owe(5_000)
        deposit = (await world.deposit(payment_method="pm_card_visa")).json()["id"]

        async with running(world.settings, "tests.crashing_worker") as worker:
            for moment in ("before", "after"):
                await worker.tell(f"credit_deposit:{moment}")
                assert await asyncio.wait_for(worker.said(), PATIENCE) == "-9"
            await worker.tell("never")

            await _repaid_once(world, deposit)


async def test_f24_reset_to_any_point_repays_once(world: World) -> None:
    first = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.closed(first["id"])
    await world.owe(5_000)
    deposit = (await world.accepted_deposit(payment_method="pm_card_visa"))["id"]
    await world.closed(deposit)
    # A debt that comes later is none of this deposit's, however often its credit is posted
    await world.owe(700)

    run_id, points = await run_and_points(world, deposit)
    for point in (points[0], points[len(points) // 2], points[-1]):
        await reset(world, deposit, run_id, point)
        await world.workflow(deposit).result()

    assert (await world.available(), await world.owed()) == (35_000, 700)
    steps = [posting["step"] for posting in (await world.operation(deposit))["postings"]]
    assert sorted(steps) == ["credit", "repayment:credit", "stripe_fee"]
    await assert_clean(world)
