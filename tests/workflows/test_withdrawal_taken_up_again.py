"""Withdrawals that are taken up again: by a second run that cannot know what the first was told, or after the saga."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError

from tests.auditing import assert_clean
from tests.workflows.meddling import Meddler
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long


async def test_called_off_after_the_transfer_then_terminated_on_the_way_back(servers: Servers) -> None:
    points = ["record_status", "create_reversal", "book_reversal", "restore"]
    canceler = Meddler("wd_", ["book_transfer"] * len(points), lambda saga: world.workflow(saga).cancel())
    killer = Meddler("wd_", points, lambda saga: world.workflow(saga).terminate("an engineer's slip"))
    async with open_world(servers, around=[canceler, killer], answer_within=5.0) as world:
        account = await world.onboarded()
        await world.funded()
        await asyncio.gather(*(world.withdraw(1_000) for _ in points))
        await until(killer.has_met_all)
        for saga in killer.met:
            with pytest.raises(WorkflowFailureError):
                await world.workflow(saga).result()

        for saga in killer.met:
            assert (await world.admin(f"operations/{saga}/resume")).status_code == 200

        # Then each ends as it was to end, and nothing is paid out
        for saga in killer.met:
            closed = await world.closed(saga)
            assert (closed["status"], closed["failure"]) == ("canceled", None)
        assert await world.sandbox.of_account(account, "payouts") == []
        assert await world.available("carl") == 20_000
        await assert_clean(world)


async def test_refused_payout_keeps_its_reason_when_the_saga_is_resumed(servers: Servers) -> None:
    killer = Meddler("wd_", ["create_reversal"], lambda saga: world.workflow(saga).terminate("an engineer's slip"))
    pacing = BRISK.model_copy(update={"polls": (3_600.0,)})  # It learns of the account by webhooks alone.
    async with open_world(servers, pacing=pacing, around=[killer], answer_within=5.0) as world:
        account = await world.onboarded()
        await world.funded()
        await world.sandbox.event_fault("*", "drop")
        await world.sandbox.control("POST", f"accounts/{account}/restrict", disable=["payouts"])
        withdrawal = (await world.withdraw()).json()["id"]
        await until(killer.has_met_all)
        with pytest.raises(WorkflowFailureError):
            await world.workflow(withdrawal).result()

        assert (await world.admin(f"operations/{withdrawal}/resume")).status_code == 200

        closed = await world.closed(withdrawal)
        assert (closed["status"], closed["failure"]["code"]) == ("reversed", "action-required")


async def test_follow_up_is_retried_and_resumed_like_its_saga(world: World) -> None:
    # Given a follow-up that cannot take back what somebody else has taken
    account = await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    closed = await world.closed(withdrawal)
    await world.workflow(withdrawal).result()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.control("POST", f"payouts/{closed['details']['payout']}/fail")
    await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=-8_000)
    [failed] = [one for one in await world.sandbox.of_account(account, "events") if one["type"] == "payout.failed"]
    await world.sandbox.deliver(failed["id"])
    await world.until(withdrawal, lambda now: now["needs_attention"])

    # When it is retried, terminated, and resumed
    assert (await world.admin(f"operations/{withdrawal}/retry")).status_code == 200
    await world.workflow(f"{withdrawal}/followup").terminate("an engineer's slip")
    assert (await world.admin(f"operations/{withdrawal}/retry")).status_code == 409
    await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=8_000)
    assert (await world.admin(f"operations/{withdrawal}/resume")).status_code == 200

    back = await world.closed(withdrawal)
    assert (back["status"], back["needs_attention"]) == ("reversed", False)
    assert await world.available("carl") == 20_000
    assert (await world.admin(f"operations/{withdrawal}/resume")).status_code == 409


async def test_account_that_is_cut_off_while_its_payout_is_watched(servers: Servers) -> None:
    async with open_world(servers, pacing=BRISK.model_copy(update={"paid_watch": 5.0, "paid_poll": 0.5})) as world:
        account = await world.onboarded()
        await world.funded()
        withdrawal = await world.accepted_withdrawal()
        await world.until(withdrawal, lambda now: now["status"] == "paid")
        await world.sandbox.control("POST", f"accounts/{account}/deauthorize")

        # Then nobody can say how it stands: somebody is told, and what the customer relies on stays
        flagged = await world.until(withdrawal, lambda now: now["needs_attention"])
        assert (flagged["status"], flagged["attention"]["code"]) == ("paid", "action-required")
        assert (await world.closed(withdrawal))["status"] == "paid"


async def test_account_that_is_cut_off_with_the_money_on_it(world: World) -> None:
    account = await world.onboarded()
    await world.funded()
    await world.sandbox.fault("POST", "/v1/payouts", "error_before", times=3)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "transferred")

    await world.sandbox.control("POST", f"accounts/{account}/deauthorize")

    # Then it is not said to be recovered
    flagged = await world.until(withdrawal, lambda now: now["needs_attention"])
    assert (flagged["status"], flagged["attention"]["code"]) == ("reversing", "reversal-short")
    wallet = await world.wallet()
    assert (wallet["available"], wallet["in_transit"]) == (12_000, 8_000)
