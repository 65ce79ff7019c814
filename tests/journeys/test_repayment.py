"""Who owes the platform repays it out of whatever comes into their wallet, and sees it in their statement."""

from typing import Any

import pytest

from tests.auditing import assert_clean
from tests.world import World

pytestmark = pytest.mark.long


async def _statement(world: World, user: str) -> list[tuple[str, int]]:
    """The steps and amounts of what the user may spend, oldest first."""
    wallet = (await world.wallet(user))["id"]
    page = await world.get(f"/v1/wallets/{wallet}/transactions?limit=100", user=user)
    lines = [line for line in page["data"] if line["account"] == "wallet_available"]
    return [(line["step"], line["amount"]) for line in reversed(lines)]


def _said(operation: dict[str, Any]) -> tuple[list[str], list[str]]:
    """An operation's postings and its events."""
    return [one["step"] for one in operation["postings"]], [one["type"] for one in operation["events"]]


async def test_a_deposit_repays_what_a_dispute_has_left_open(world: World) -> None:
    # Given a customer who owes 50.00
    first = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.closed(first["id"])
    await world.owe(5_000)

    # When they pay in 200.00
    second = await world.accepted_deposit(payment_method="pm_card_visa")
    closed = await world.closed(second["id"])

    # Then 150.00 are theirs to spend, and they see why
    assert (await world.available(), await world.owed()) == (35_000, 0)
    assert await _statement(world, "alice") == [
        ("credit", 20_000),
        ("credit", 20_000),
        ("repayment:credit", -5_000),
    ]
    assert _said(closed) == (["credit", "repayment:credit", "stripe_fee"], _said(closed)[1])
    [told] = [event["data"] for event in closed["events"] if event["type"] == "receivable.repaid"]
    assert told == {"wallet_id": second["wallet_id"], "amount": 5_000, "currency": "usd"}
    # And they may offer and withdraw again
    assert (await world.offer()).status_code == 201
    await assert_clean(world)


async def test_what_an_offer_brings_repays_either_party(world: World) -> None:
    # Given an offer of 100.00 whose parties both owe, the contractor more than they will have earned
    offer = await world.held_offer()
    await world.acted(offer, "accept", user="carl")
    await world.acted(offer, "contest", {"reason": "x"}, user="alice")
    await world.owe(1_000)
    await world.owe(5_000, user="carl")

    # When it is split 50/50
    shares = {"to_contractor": 5_000, "to_customer": 5_000, "reason": "half of it"}
    answer = await world.call("POST", f"/v1/admin/offers/{offer}/resolve", shares, user="root", role="admin")
    assert answer.status_code == 200, answer.text
    await world.closed(offer)

    # Then each share repays first
    assert (await world.owed(), await world.available()) == (0, 20_000 - 10_500 + 5_000 - 1_000)
    assert (await world.owed("carl"), await world.available("carl")) == (1_000, 0)
    assert ("repayment:return", -1_000) in await _statement(world, "alice")
    assert await _statement(world, "carl") == [("release#1", 4_000), ("repayment:release#1", -4_000)]
    # The customer, whose operation it is, does not learn what the contractor owes; staff do
    hers = await world.get(f"/v1/operations/{offer}")
    assert "repayment:return" in _said(hers)[0]
    assert "repayment:release#1" not in _said(hers)[0]
    assert not [step for step in hers["steps"] if step["step"] == "repayment:release#1"]
    assert _said(hers)[1].count("receivable.repaid") == 1
    all_of_it = await world.operation(offer)
    assert {"repayment:return", "repayment:release#1"} < set(_said(all_of_it)[0])
    assert _said(all_of_it)[1].count("receivable.repaid") == 2
    await assert_clean(world)


async def test_what_is_paid_out_by_itself_is_what_was_not_repaid(world: World) -> None:
    await world.onboarded()
    offer = await world.held_offer(auto_payout=True)
    await world.acted(offer, "accept", user="carl")
    await world.owe(3_000, user="carl")

    await world.acted(offer, "complete", user="alice")

    await world.closed(offer)
    [payout] = (await world.get(f"/v1/offers/{offer}", user="carl", role="contractor"))["payouts"]
    withdrawal = await world.closed(payout)
    assert (withdrawal["status"], withdrawal["amount"]) == ("paid", 5_000)
    assert (await world.owed("carl"), await world.available("carl")) == (0, 0)
    await assert_clean(world)


async def test_a_withdrawal_that_comes_back_repays_what_came_meanwhile(world: World) -> None:
    # Given a withdrawal whose bank refuses, and a debt that arises while it is on its way
    await world.onboarded(account_number="000111111113")
    await world.funded()
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal()
    paying = await world.until(withdrawal, lambda now: now["status"] == "paying_out")
    await world.owe(3_000, user="carl")

    payout = paying["details"]["payout"]
    await world.sandbox.control("POST", f"payouts/{payout}/fail")

    closed = await world.closed(withdrawal)
    assert closed["status"] == "reversed"
    assert (await world.owed("carl"), await world.available("carl")) == (0, 17_000)
    assert _said(closed)[0][-2:] == ["restore#1", "repayment:restore#1"]
    await assert_clean(world)
