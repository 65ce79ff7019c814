"""What a user owes, repaid once: whoever dies or does it again."""

import pytest

from tests.auditing import assert_clean
from tests.crashes.dying import CALLED, COMMITTED, Point, Step, serve_worker
from tests.crashes.mortal import mortal
from tests.workflows.meddling import reset, run_and_points
from tests.world import BRISK, Servers, World, open_world

pytestmark = pytest.mark.long

QUICK = BRISK.model_copy(update={"http_timeout": 2.0, "start_to_close": 3.0})
"""Pacing that finds a dead worker's step again soon."""


async def _repaid_once(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    steps = [posting["step"] for posting in closed["postings"]]
    assert sorted(steps) == ["credit", "repayment:credit", "stripe_fee"]
    assert [event["type"] for event in closed["events"]].count("receivable.repaid") == 1
    assert (await world.available(), await world.owed()) == (15_000 + 20_000, 0)
    await assert_clean(world)


@pytest.mark.parametrize(("mark", "number"), [(CALLED, 1), (COMMITTED, 1)])
async def test_f24_worker_killed_at_the_credit_that_repays(servers: Servers, mark: str, number: int) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        async with world.inhabited_by_a_worker():
            first = await world.accepted_deposit(payment_method="pm_card_visa")
            await world.closed(first["id"])
        await world.owe(5_000)
        deposit = (await world.deposit(payment_method="pm_card_visa")).json()["id"]

        point = Point(Step("Deposit", "credit_deposit"), mark, number)
        async with mortal(serve_worker, world.settings, point) as worker:
            await _repaid_once(world, deposit)
            assert worker.death is not None


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
