"""Withdrawals under the hands of engineers: canceled, terminated and resumed, reset and retried, at every point."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from tests.auditing import assert_clean, audited
from tests.workflows.meddling import Meddler, reset, run_and_points
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long

BEFORE_RETURN = ["reserve", "create_transfer", "book_transfer"]
AFTER_RETURN = ["create_payout", "book_payout", "observe_payout", "book_paid"]
ON_THE_WAY_BACK = ["unbook_paid", "unbook_payout", "create_reversal", "book_reversal", "restore", "record_status"]


async def _ready(world: World, contractor: str, amount: int, **bank: Any) -> str:
    account = await world.onboarded(contractor, **bank)
    await world.funded(contractor, amount)
    return account


async def _net_at_stripe(world: World) -> list[int]:
    """Of each transfer, what was not taken back."""
    return [transfer["amount"] - transfer["amount_reversed"] for transfer in await world.sandbox.listed("transfers")]


async def test_f45_temporal_cancel_at_every_step(servers: Servers) -> None:
    steps = [*BEFORE_RETURN, *AFTER_RETURN]
    meddler = Meddler("wd_", steps, lambda saga: world.workflow(saga).cancel())
    async with open_world(servers, around=[meddler]) as world:
        await _ready(world, "carl", 20_000)

        await asyncio.gather(*(world.withdraw(1_000) for _ in steps))

        # Then each ends by the true outcome of the step that was running: taken back, once, or followed
        await until(meddler.has_met_all)
        closed = {step: await world.closed(saga) for saga, step in meddler.met.items()}
        assert [closed[step]["status"] for step in BEFORE_RETURN] == ["canceled"] * 3
        assert [closed[step]["status"] for step in AFTER_RETURN] == ["paid"] * 4
        assert await world.available("carl") == 20_000 - 4_000
        assert sorted(await _net_at_stripe(world)) == [0, 0, 1_000, 1_000, 1_000, 1_000]
        await assert_clean(world)


async def test_f45_temporal_cancel_while_it_waits(world: World) -> None:
    # Given one that waits for its bank, and one that waits for funds
    await _ready(world, "carl", 20_000)
    await world.sandbox.payout_fault("hold")
    paying = await world.accepted_withdrawal(1_000)
    sent = await world.until(paying, lambda now: now["status"] == "paying_out")
    await world.sandbox.control("POST", "adjust_balance", amount=-18_500)
    waiting = await world.accepted_withdrawal(1_000)
    await world.until(waiting, lambda now: now["status"] == "awaiting_funds")

    for saga in (paying, waiting):
        await world.workflow(saga).cancel()

    # Then only the one that can still be called off is
    assert (await world.closed(waiting))["status"] == "canceled"
    await world.sandbox.control("POST", f"payouts/{sent['details']['payout']}/pay")
    assert (await world.closed(paying))["status"] == "paid"
    assert await _net_at_stripe(world) == [1_000]
    assert await world.available("carl") == 19_000


async def test_f46_terminated_at_every_step_and_resumed(servers: Servers) -> None:
    there, back = [*BEFORE_RETURN, *AFTER_RETURN], ON_THE_WAY_BACK
    steps = [*there, *back]
    meddler = Meddler("wd_", steps, lambda saga: world.workflow(saga).terminate("an engineer's slip"))
    async with open_world(servers, around=[meddler], answer_within=5.0) as world:
        # Given a bank that pays, and banks that do not: each refuses once, and then nothing more is paid out to it
        await _ready(world, "carl", 20_000)
        refused = [f"rita-{step}" for step in back]
        await asyncio.gather(*(world.onboarded(rita, account_number="000111111113") for rita in refused))
        for rita in refused:
            await world.give("carl", rita, 1_000)
        await asyncio.gather(*(world.withdraw(1_000, user="carl") for _ in there))
        await asyncio.gather(*(world.withdraw(1_000, user=rita) for rita in refused))
        await until(meddler.has_met_all)
        for saga in meddler.met:
            with pytest.raises(WorkflowFailureError):
                await world.workflow(saga).result()

        # When the audit has found them
        left = {violation.where for violation in (await audited(world)).violations}
        assert left >= {saga for saga, step in meddler.met.items() if step != "record_status"}
        answers = {
            step: (await world.admin(f"operations/{saga}/resume", key=f"again-{saga}")).status_code
            for saga, step in meddler.met.items()
        }

        # Then every step returns what is recorded of it, and the rest is done, but where nothing was left to do
        assert answers == {step: 409 if step == "record_status" else 200 for step in steps}
        closed = {step: await world.closed(saga) for saga, step in meddler.met.items()}
        assert {closed[step]["status"] for step in there} == {"paid"}
        assert {closed[step]["status"] for step in back} == {"reversed"}
        assert await world.available("carl") == 20_000 - 1_000 * len(steps)
        assert [await world.available(rita) for rita in refused] == [1_000] * len(back)
        assert len(await world.sandbox.listed("transfers")) == len(steps)
        assert sorted(await _net_at_stripe(world)) == [0] * len(back) + [1_000] * len(there)
        await assert_clean(world)

        # And what is over, or at work, is not begun again
        again = await world.admin(f"operations/{next(iter(meddler.met))}/resume")
        assert again.status_code == 409
        assert again.json()["type"].endswith("/not-resumable")


async def test_f44_reset_to_any_point(world: World) -> None:
    # Given a withdrawal that went all the way out and back
    await _ready(world, "carl", 20_000, account_number="000111111113")
    withdrawal = await world.accepted_withdrawal()
    first = await world.closed(withdrawal)
    assert first["status"] == "reversed"
    run, points = await run_and_points(world, withdrawal)

    for point in [points[0], points[len(points) // 3], points[2 * len(points) // 3], points[-1]]:
        await reset(world, withdrawal, run, point)
        assert await world.workflow(withdrawal).result() == "reversed"

    # Then recorded outcomes have come back, and nothing has happened twice
    again = await world.operation(withdrawal)
    assert again["postings"] == first["postings"]
    assert [call["attempts"] for call in again["calls"]] == [call["attempts"] for call in first["calls"]]
    assert await world.available("carl") == 20_000
    await assert_clean(world)


async def test_f44_reset_after_it_was_called_off_does_not_pay_out(world: World) -> None:
    # Given a withdrawal that was called off while it awaited funds
    await _ready(world, "carl", 20_000)
    await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")
    await world.call("POST", f"/v1/withdrawals/{withdrawal}/cancel", user="carl", role="contractor")
    await world.closed(withdrawal)
    await world.workflow(withdrawal).result()
    await world.sandbox.control("POST", "adjust_balance", amount=19_000)

    # When somebody resets it to its beginning, funds being there now
    run, points = await run_and_points(world, withdrawal)
    await reset(world, withdrawal, run, points[0])
    await world.workflow(withdrawal).result()

    assert await world.sandbox.listed("transfers") == []
    assert (await world.operation(withdrawal))["status"] == "canceled"
    assert await world.available("carl") == 20_000


async def test_f44_reset_after_it_was_taken_back_does_not_pay_out(servers: Servers) -> None:
    # Given a withdrawal that was called off when it had been transferred
    meddler = Meddler("wd_", ["book_transfer"], lambda saga: world.workflow(saga).cancel())
    async with open_world(servers, around=[meddler]) as world:
        account = await _ready(world, "carl", 20_000)
        withdrawal = await world.accepted_withdrawal()
        assert (await world.closed(withdrawal))["status"] == "canceled"
        await world.workflow(withdrawal).result()

        # When somebody resets it to before that
        run, points = await run_and_points(world, withdrawal)
        await reset(world, withdrawal, run, points[0])
        await world.workflow(withdrawal).result()

        assert await world.sandbox.of_account(account, "payouts") == []
        assert await _net_at_stripe(world) == [0]
        assert (await world.operation(withdrawal))["status"] == "canceled"
        assert await world.available("carl") == 20_000
        await assert_clean(world)


async def test_f43_retry_while_it_awaits_funds(servers: Servers) -> None:
    pacing = BRISK.model_copy(update={"funds_poll": 3_600.0})
    async with open_world(servers, pacing=pacing) as world:
        await _ready(world, "carl", 20_000)
        await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
        withdrawal = await world.accepted_withdrawal()
        await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")
        await world.sandbox.event_fault("*", "drop")
        await world.sandbox.control("POST", "adjust_balance", amount=19_000)

        # When two operators press at once, one of them twice
        keys = ["olivia", "olivia", "oscar"]
        answers = await asyncio.gather(*(world.admin(f"operations/{withdrawal}/retry", key=key) for key in keys))

        assert {answer.status_code for answer in answers} == {200}
        await world.until(withdrawal, lambda now: now["status"] == "paid")
        assert len(await world.sandbox.listed("transfers")) == 1
        assert len(await world.sql("SELECT FROM operator_actions WHERE verb = 'retry'")) == 2
