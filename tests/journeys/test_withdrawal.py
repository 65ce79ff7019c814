"""Withdrawals over HTTP, from the wallet to the bank and back; the entries as the chart's worked example has them."""

from typing import Any

import pytest

from domain.pacing import Pacing
from tests.auditing import assert_clean
from tests.stuck import short_of
from tests.world import Servers, World, open_world

DAYS = 86_400.0

OUT = [
    ("reserve", {"wallet_available": -8_000, "wallet_in_transit": 8_000}),
    ("transfer", {"connected_balance": -8_000, "stripe_balance": 8_000}),
    ("payout", {"payouts_in_flight": -8_000, "connected_balance": 8_000}),
]
PAID = ("paid", {"wallet_in_transit": -8_000, "payouts_in_flight": 8_000})
BACK = [
    ("payout_mirror", {"connected_balance": -8_000, "payouts_in_flight": 8_000}),
    ("reversal#1", {"stripe_balance": -8_000, "connected_balance": 8_000}),
    ("restore#1", {"wallet_in_transit": -8_000, "wallet_available": 8_000}),
]


def entries(operation: dict[str, Any]) -> list[tuple[str, dict[str, int]]]:
    """An operation's postings: step, and signed minor units by account."""
    return [
        (posting["step"], {entry["account"]: entry["amount"] for entry in posting["entries"]})
        for posting in operation["postings"]
    ]


async def test_paid(servers: Servers) -> None:
    async with open_world(servers, pacing=Pacing()) as world:
        await world.onboarded()
        await world.funded()

        withdrawal = await world.accepted_withdrawal()

        paid = await world.until(withdrawal, lambda now: now["status"] == "paid")
        assert entries(paid) == [*OUT, PAID]
        assert paid["closed_at"] is None, "it is watched on"
        wallet = await world.wallet()
        assert (wallet["available"], wallet["in_transit"]) == (12_000, 0)
        assert wallet["totals"] == {"earned": 20_000, "spent": 0, "withdrawn": 8_000}

        # When ten days have passed without word
        await world.skip(8 * DAYS, withdrawal)
        assert (await world.operation(withdrawal))["closed_at"] is None
        await world.skip(3 * DAYS, withdrawal)

        closed = await world.closed(withdrawal)
        assert entries(closed) == [*OUT, PAID]
        await world.workflow(withdrawal).result()
        assert len(await world.events_of(withdrawal)) < 250
        await world.settled_events()
        await assert_clean(world)


async def test_refused_by_the_bank(world: World) -> None:
    await world.onboarded(account_number="000111111113")
    await world.funded()

    withdrawal = await world.accepted_withdrawal()

    closed = await world.closed(withdrawal)
    assert closed["status"] == "reversed"
    assert closed["failure"]["code"] == "payout-failed"
    assert closed["failure"]["decline_code"] == "account_closed"
    assert entries(closed) == [*OUT, *BACK]
    assert await world.available("carl") == 20_000
    await assert_clean(world)


@pytest.mark.long
async def test_f21_sent_back_ten_days_after_it_was_paid(servers: Servers) -> None:
    async with open_world(servers, pacing=Pacing()) as world:
        account = await world.onboarded()
        await world.funded()
        withdrawal = await world.accepted_withdrawal()
        paid = await world.until(withdrawal, lambda now: now["status"] == "paid")
        for _ in range(9):
            await world.skip(DAYS, withdrawal)

        # When the bank sends it back on the tenth day, and nobody tells
        await world.sandbox.event_fault("*", "drop")
        await world.sandbox.control("POST", f"payouts/{paid['details']['payout']}/fail", failure_code="no_account")
        await world.skip(DAYS - 1, withdrawal)

        # Then it is in the wallet again, once, and says why
        closed = await world.closed(withdrawal)
        assert closed["status"] == "reversed"
        assert closed["failure"]["decline_code"] == "no_account"
        late = ("paid_mirror", {"payouts_in_flight": -8_000, "wallet_in_transit": 8_000})
        assert entries(closed) == [*OUT, PAID, late, *BACK]
        wallet = await world.wallet()
        assert (wallet["available"], wallet["in_transit"], wallet["totals"]["withdrawn"]) == (20_000, 0, 0)
        balance = await world.sandbox.of_account(account, "balance")
        assert sum(part["amount"] for part in balance["available"]) == 0
        await world.workflow(withdrawal).result()
        assert len(await world.events_of(withdrawal)) < 250
        await world.settled_events()
        await assert_clean(world)


async def test_f22_partly_reversed(world: World) -> None:
    # Given a payout that fails, on an account of which somebody has taken 30.00
    withdrawal = await short_of(world, 3_000)

    # Then exactly what Stripe gave back is restored, and the rest is not said to be
    short = await world.operation(withdrawal)
    assert (short["status"], short["attention"]["code"]) == ("reversing", "reversal-short")
    assert entries(short)[-2:] == [
        ("reversal#1", {"stripe_balance": -5_000, "connected_balance": 5_000}),
        ("restore#1", {"wallet_in_transit": -5_000, "wallet_available": 5_000}),
    ]
    wallet = await world.wallet()
    assert (wallet["available"], wallet["in_transit"]) == (17_000, 3_000)

    # Until it comes
    account = short["details"]["stripe_account"]
    await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=3_000)
    closed = await world.closed(withdrawal)
    assert closed["status"] == "reversed"
    assert not closed["needs_attention"]
    assert entries(closed)[-2:] == [
        ("reversal#2", {"stripe_balance": -3_000, "connected_balance": 3_000}),
        ("restore#2", {"wallet_in_transit": -3_000, "wallet_available": 3_000}),
    ]
    assert await world.available("carl") == 20_000


async def test_called_off_in_time(world: World) -> None:
    # Given a withdrawal that waits for the platform's funds
    await world.onboarded()
    await world.funded()
    await world.sandbox.control("POST", "adjust_balance", amount=-15_000)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")

    answer = await world.call("POST", f"/v1/withdrawals/{withdrawal}/cancel", user="carl", role="contractor")

    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    closed = await world.closed(withdrawal)
    assert entries(closed) == [OUT[0], ("restore", {"wallet_in_transit": -8_000, "wallet_available": 8_000})]
    assert await world.available("carl") == 20_000
    assert await world.sandbox.listed("transfers") == []


async def test_called_off_too_late(world: World) -> None:
    await world.onboarded()
    await world.funded()
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal()
    paying = await world.until(withdrawal, lambda now: now["status"] == "paying_out")

    answer = await world.call("POST", f"/v1/withdrawals/{withdrawal}/cancel", user="carl", role="contractor")

    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/not-cancelable")
    await world.sandbox.control("POST", f"payouts/{paying['details']['payout']}/pay")
    await world.until(withdrawal, lambda now: now["status"] == "paid")
    await assert_clean(world)
