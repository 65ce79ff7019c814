"""An offer's whole ways, as its parties see them, with the exact entries that each makes."""

from typing import Any

from tests.auditing import assert_clean
from tests.world import World


async def entries(world: World, operation_id: str) -> list[tuple[str, list[tuple[str, int]]]]:
    """Each posting's step, with its entries: account, and signed minor units."""
    shown = await world.operation(operation_id)
    return [
        (posting["step"], sorted((entry["account"], entry["amount"]) for entry in posting["entries"]))
        for posting in shown["postings"]
    ]


async def balances(world: World, user: str) -> tuple[int, int]:
    """What a user's wallet has available, and in escrow."""
    wallet = await world.wallet(user)
    return wallet["available"], wallet["escrow"]


def verbs(offer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was done to an offer: the verb, the party and who."""
    return [(action["verb"], action["party"], action["actor"]) for action in offer["actions"]]


async def test_worked_example(world: World) -> None:
    # Given a customer with 200.00
    offer_id = await world.held_offer(10_000)
    assert await balances(world, "alice") == (9_500, 10_500)

    # When the contractor takes the job, does it, and the customer is content
    assert (await world.acted(offer_id, "accept", user="carl"))["status"] == "accepted"
    assert (await world.acted(offer_id, "deliver", user="carl"))["status"] == "delivered"
    completed = await world.acted(offer_id, "complete", user="alice")

    # Then each has what is theirs
    assert (completed["status"], completed["released"], completed["service_fee"]) == ("completed", 10_000, 2_000)
    assert await balances(world, "alice") == (9_500, 0)
    assert await balances(world, "carl") == (8_000, 0)
    assert await entries(world, offer_id) == [
        ("hold", [("wallet_available", -10_500), ("wallet_escrow", 10_500)]),
        ("accept_fee", [("platform_fees", 500), ("wallet_escrow", -500)]),
        ("release#1", [("service_fees", 2_000), ("wallet_available", 8_000), ("wallet_escrow", -10_000)]),
    ]
    assert verbs(completed) == [
        ("accept", "contractor", "carl"),
        ("deliver", "contractor", "carl"),
        ("complete", "customer", "alice"),
    ]
    await world.closed(offer_id)
    await assert_clean(world)


async def test_declined(world: World) -> None:
    offer_id = await world.held_offer(10_000)

    declined = await world.acted(offer_id, "decline", {"reason": "too busy"}, user="carl")

    assert (declined["status"], declined["left"], declined["returned"]) == ("declined", 0, 10_000)
    assert [action["reason"] for action in declined["actions"]] == ["too busy"]
    assert await balances(world, "alice") == (20_000, 0)
    assert (await entries(world, offer_id))[1:] == [
        ("return", [("wallet_available", 10_500), ("wallet_escrow", -10_500)])
    ]
    await assert_clean(world)


async def test_expires_and_completes_by_itself(world: World) -> None:
    expiring = await world.held_offer(10_000)
    await world.skip(7 * 86_400 + 1, expiring)
    assert (await world.closed(expiring))["status"] == "expired"
    assert await balances(world, "alice") == (20_000, 0)

    completing = (await world.offer(10_000)).json()["id"]
    await world.acted(completing, "accept", user="carl")
    await world.acted(completing, "deliver", user="carl")
    await world.skip(7 * 86_400 + 1, completing)
    assert (await world.closed(completing))["status"] == "completed"
    assert await balances(world, "carl") == (8_000, 0)
    offer = await world.get(f"/v1/offers/{completing}", user="carl")
    assert verbs(offer)[-1] == ("auto_complete", "clock", "paysaga")
    # The deposit's last events may have come after its saga had closed, and by now are days old.
    await world.settled_events()
    await assert_clean(world)


async def test_milestones_then_contested_and_split(world: World) -> None:
    offer_id = await world.held_offer(10_000, milestones=[3_333, 3_333])
    await world.acted(offer_id, "accept", user="carl")
    first = await world.acted(offer_id, "release", {"milestone": 1}, user="alice")
    assert (first["released"], first["service_fee"], first["left"]) == (3_333, 667, 6_667)

    contested = await world.acted(offer_id, "contest", {"reason": "half of it is missing"}, user="alice")
    assert contested["status"] == "contested"
    split = {"to_contractor": 4_000, "to_customer": 2_667, "reason": "most of it was there"}
    resolved = await world.call("POST", f"/v1/admin/offers/{offer_id}/resolve", split, user="root", role="admin")

    assert resolved.status_code == 200, resolved.text
    assert (resolved.json()["status"], resolved.json()["service_fee"]) == ("resolved", 1_467)
    assert await balances(world, "carl") == (7_333 - 1_467, 0)
    assert await balances(world, "alice") == (9_500 + 2_667, 0)
    assert verbs(resolved.json())[-1] == ("resolve", "operator", "root")
    await assert_clean(world)


async def test_canceled_after_acceptance_by_both(world: World) -> None:
    offer_id = await world.held_offer(10_000)
    await world.acted(offer_id, "accept", user="carl")
    asked = await world.acted(offer_id, "cancel", user="alice")
    assert (asked["status"], asked["cancel_asked"]) == ("accepted", True)

    agreed = await world.acted(offer_id, "agree-cancel", user="carl")

    # The platform keeps its fee.
    assert (agreed["status"], agreed["returned"]) == ("canceled", 10_000)
    assert await balances(world, "alice") == (19_500, 0)
    await assert_clean(world)


async def test_overdue_is_the_customers_to_cancel(world: World) -> None:
    offer_id = await world.held_offer(10_000)
    await world.acted(offer_id, "accept", user="carl")
    await world.skip(14 * 86_400 + 1, offer_id)

    assert (await world.acted(offer_id, "cancel", user="alice"))["status"] == "canceled"
    assert await balances(world, "alice") == (19_500, 0)
    await world.settled_events()
    await assert_clean(world)


async def test_paid_out_by_itself(world: World) -> None:
    await world.onboarded("carl")
    offer_id = await world.held_offer(10_000, milestones=[6_000], auto_payout=True)
    await world.acted(offer_id, "accept", user="carl")
    await world.acted(offer_id, "release", {"milestone": 1}, user="alice")
    completed = await world.acted(offer_id, "complete", user="alice")

    assert len(completed["payouts"]) == 2
    paid = [await world.until(payout, lambda now: now["status"] == "paid") for payout in completed["payouts"]]
    assert [payout["amount"] for payout in paid] == [4_800, 3_200]
    assert await balances(world, "carl") == (0, 0)
    for payout in completed["payouts"]:
        await world.closed(payout)
    await assert_clean(world)
