"""Stripe late, lying, silent or short of funds, while money is on its way to a bank."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auditing import assert_clean
from tests.world import BRISK, Servers, World, open_world

pytestmark = pytest.mark.long

LOSSES = [
    ("drop_after_commit", {}),
    ("hang_after_commit", {"seconds": 6}),
    ("truncate", {}),
    ("error_before", {}),
    ("server_error_stored_after_commit", {}),
    ("server_error_stored", {}),
    ("rate_limit", {}),
    ("key_in_use", {}),
]
"""What can happen to a call: after, before, or instead of what was asked."""


async def test_f11_f12_f14_f15_each_call_answered_badly(world: World) -> None:
    # Given banks that refuse, so that money goes all the way out and back
    contractors = [f"carl-{number}" for number, _ in enumerate(LOSSES)]
    accounts = await asyncio.gather(*(world.onboarded(one, account_number="000111111113") for one in contractors))
    paid = await world.accepted_deposit(user="clara", payment_method="pm_card_bypassPending")
    await world.closed(paid["id"])
    for contractor in contractors:
        await world.give("clara", contractor, 1_000)
    for path in ("/v1/transfers", "/v1/payouts", "/v1/transfers/*/reversals"):
        for kind, more in LOSSES:
            await world.sandbox.fault("POST", path, kind, **more)

    answers = await asyncio.gather(*(world.withdraw(1_000, user=contractor) for contractor in contractors))

    withdrawals = [answer.json()["id"] for answer in answers]
    for withdrawal in withdrawals:
        closed = await world.closed(withdrawal)
        assert closed["status"] == "reversed"
        assert not closed["needs_attention"]
    assert await world.sandbox.faults_fired() == 3 * len(LOSSES)
    transfers = await world.sandbox.listed("transfers")
    assert sorted(transfer["metadata"]["operation_id"] for transfer in transfers) == sorted(withdrawals)
    assert all(transfer["reversed"] and len(transfer["reversals"]["data"]) == 1 for transfer in transfers)
    for account, contractor in zip(accounts, contractors, strict=True):
        assert len(await world.sandbox.of_account(account, "payouts")) == 1
        assert await world.available(contractor) == 1_000
    await assert_clean(world)


async def test_f12_nothing_is_taken_back_while_the_payout_is_unknown(servers: Servers) -> None:
    async with open_world(servers, answer_within=1.0) as world:
        await _nothing_is_taken_back_while_the_payout_is_unknown(world)


async def _nothing_is_taken_back_while_the_payout_is_unknown(world: World) -> None:
    # Given a payout that Stripe has made, and of which it says neither yes nor no
    await world.onboarded()
    await world.funded()
    await world.sandbox.fault("POST", "/v1/payouts", "drop_after_commit")
    await world.sandbox.fault("*", "/v1/payouts*", "server_error", times=1_000)
    withdrawal = str((await world.withdraw()).json()["id"])
    await world.until(withdrawal, lambda now: now["status"] == "transferred")

    # When its owner wants it called off
    canceling = asyncio.create_task(
        world.call("POST", f"/v1/withdrawals/{withdrawal}/cancel", user="carl", role="contractor")
    )
    flagged = await world.until(withdrawal, lambda now: now["needs_attention"])

    # Then that waits for Stripe's word, and the payout counts
    assert flagged["attention"]["code"] == "in-doubt"
    assert [posting["step"] for posting in flagged["postings"]] == ["reserve", "transfer"]
    await world.sandbox.control("DELETE", "faults")
    closed = await world.closed(withdrawal)
    assert closed["status"] == "paid"
    assert (await canceling).status_code in (202, 409)
    [transfer] = await world.sandbox.listed("transfers")
    assert transfer["amount_reversed"] == 0
    await assert_clean(world)


async def test_f18_funds_are_pending_and_settle(world: World) -> None:
    # Given money that a card has paid, and that Stripe has not settled yet
    await world.onboarded()
    paid = await world.accepted_deposit(user="clara", payment_method="pm_card_visa")
    await world.closed(paid["id"])
    await world.give("clara", "carl", 20_000)

    withdrawal = await world.accepted_withdrawal()

    waiting = await world.until(withdrawal, lambda now: [c["outcome"] for c in now["calls"]] == ["refused"] * 3)
    assert (waiting["status"], waiting["needs_attention"]) == ("awaiting_funds", False)
    assert [call["generation"] for call in waiting["calls"]] == [1, 2, 3]
    wallet = await world.wallet()
    assert (wallet["available"], wallet["in_transit"]) == (12_000, 8_000)
    # When it settles
    await world.sandbox.control("POST", "clock/advance", seconds=8 * 86_400)
    closed = await world.closed(withdrawal)
    assert closed["status"] == "paid"
    assert len(await world.sandbox.listed("transfers")) == 1


async def test_f18_funds_do_not_come_for_fourteen_days(servers: Servers) -> None:
    # Given a withdrawal that asks once in three days
    pacing = BRISK.model_copy(update={"funds_poll": 3 * 86_400.0})
    async with open_world(servers, pacing=pacing) as world:
        await world.onboarded()
        await world.funded()
        await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
        withdrawal = await world.accepted_withdrawal()
        await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")

        await world.skip(13.5 * 86_400, withdrawal)
        assert (await world.operation(withdrawal))["status"] == "awaiting_funds"
        await world.skip(86_400, withdrawal)

        closed = await world.closed(withdrawal)
        assert (closed["status"], closed["failure"]["code"]) == ("failed", "awaiting-funds")
        assert await world.available("carl") == 20_000
        assert await world.sandbox.listed("transfers") == []


@pytest.fixture
async def deaf(servers: Servers) -> AsyncIterator[World]:
    """A world that learns of accounts by webhooks alone, which a test can drop."""
    async with open_world(servers, pacing=BRISK.model_copy(update={"polls": (3_600.0,)})) as world:
        yield world


async def test_f19_f20_account_restricted_between_check_and_transfer(deaf: World) -> None:
    # Given an account that Stripe has restricted, without our having heard
    world = deaf
    account = await world.onboarded()
    await world.funded()
    await world.sandbox.event_fault("*", "drop")
    due = ["individual.verification.document"]
    await world.sandbox.control("POST", f"accounts/{account}/restrict", requirements=due)

    first = await world.withdraw(key="once")

    # Then the hold is released, and its owner learns what is missing
    operation_id = str(first.json().get("operation_id") or first.json()["id"])
    closed = await world.closed(operation_id)
    assert (closed["status"], closed["failure"]["code"]) == ("failed", "action-required")
    assert due[0] in closed["failure"]["detail"]
    assert await world.available("carl") == 20_000
    # And asking again with the same key brings the same answer, also once it could be done
    await world.sandbox.control("POST", f"accounts/{account}/lift_restriction")
    again: Any = await world.withdraw(key="once")
    assert again.status_code == 402
    assert again.json()["operation_id"] == operation_id
    assert again.json()["type"].endswith("/action-required")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await world.sandbox.listed("transfers") == []
    await assert_clean(world)


async def test_payout_refused_after_the_transfer(deaf: World) -> None:
    # Given an account that loses its right to pay out when the money is on it already
    world = deaf
    account = await world.onboarded()
    await world.funded()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.control("POST", f"accounts/{account}/restrict", disable=["payouts"])

    withdrawal = await world.accepted_withdrawal()

    closed = await world.closed(withdrawal)
    assert (closed["status"], closed["failure"]["code"]) == ("reversed", "action-required")
    assert [posting["step"] for posting in closed["postings"]] == ["reserve", "transfer", "reversal#1", "restore#1"]
    assert await world.available("carl") == 20_000
    await assert_clean(world)
