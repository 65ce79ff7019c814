"""Webhooks of transfers, payouts and accounts: shuffled, early, late and lost."""

import asyncio

import pytest

from tests.auditing import assert_clean
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long


async def test_f25_f26_backwards_and_twice(world: World) -> None:
    # Given nothing arrives by itself
    account = await world.onboarded(account_number="000111111116")
    await world.funded()
    await world.sandbox.event_fault("*", "drop")
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] in ("paying_out", "reversing", "reversed"))

    # When all of it arrives from its end to its beginning, twice
    await world.closed(withdrawal)
    events = await world.sandbox.of_account(account, "events", limit=100)
    for event in [*events, *(await world.sandbox.listed("events"))]:
        if event["type"].startswith(("payout.", "transfer.", "account.", "capability.")):
            assert set(await world.sandbox.deliver(event["id"], times=2)) == {200}

    await world.settled_events()
    closed = await world.closed(withdrawal)
    assert (closed["status"], len(closed["postings"])) == ("reversed", 6)
    assert await world.available("carl") == 20_000
    await assert_clean(world)


async def test_f27_payout_events_before_our_own_call_has_returned(world: World) -> None:
    await world.onboarded()
    await world.funded()
    await world.sandbox.fault("POST", "/v1/payouts", "hang_after_commit", seconds=1)

    withdrawal = await world.accepted_withdrawal()

    await world.until(withdrawal, lambda now: now["status"] == "paid")

    # Without a sweep: the saga itself has kept what came before it could know of its payout
    async def taken_in() -> bool:
        rows = await world.sql("SELECT state FROM stripe_events WHERE type = 'payout.paid'")
        return [row["state"] for row in rows] == ["processed"]

    await until(taken_in)
    await assert_clean(world)


async def test_f28_sent_back_after_the_saga_has_closed(world: World) -> None:
    # Given a withdrawal that nobody watches any more
    await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    closed = await world.closed(withdrawal)
    assert closed["status"] == "paid"
    await world.workflow(withdrawal).result()
    await world.skip(30 * 86_400)

    await world.sandbox.control("POST", f"payouts/{closed['details']['payout']}/fail")

    # Then a follow-up brings it back, and the saga is not run again
    back = await world.until(withdrawal, lambda now: now["status"] == "reversed" and now["closed_at"] is not None)
    assert [posting["step"] for posting in back["postings"]][3:] == [
        "paid", "paid_mirror", "payout_mirror", "reversal#1", "restore#1",
    ]  # fmt: skip
    assert await world.available("carl") == 20_000
    assert await world.workflow(f"{withdrawal}/followup").result() == "reversed"
    assert await world.runs(withdrawal) == 1
    await world.settled_events()
    await assert_clean(world)


async def test_funds_that_come_wake_whoever_waits_for_them(servers: Servers) -> None:
    # Given a withdrawal that would ask again in an hour
    async with open_world(servers, pacing=BRISK.model_copy(update={"funds_poll": 3_600.0})) as world:
        await world.onboarded()
        paid = await world.accepted_deposit(user="clara", payment_method="pm_card_visa")
        await world.closed(paid["id"])
        await world.give("clara", "carl", 20_000)
        withdrawal = await world.accepted_withdrawal()
        await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")

        await world.sandbox.control("POST", "clock/advance", seconds=8 * 86_400)

        await world.until(withdrawal, lambda now: now["status"] == "paid")
        [told] = await world.sql(
            "SELECT state, reason FROM stripe_events WHERE type = 'balance.available' AND account = ''"
        )
        assert (told["state"], told["reason"] is not None) == ("ignored", True)


async def test_f29_every_webhook_dropped_ends_the_same(servers: Servers) -> None:
    heard, deaf = await asyncio.gather(_balances(servers, dropped=False), _balances(servers, dropped=True))

    assert heard == deaf == {"carl": 6_000, "rita": 20_000}


async def _balances(servers: Servers, *, dropped: bool) -> dict[str, int]:
    async with open_world(servers) as world:
        if dropped:
            await world.sandbox.event_fault("*", "drop")
        balances = await _every_way_that_a_withdrawal_can_go(world)
        assert bool(await world.sql("SELECT FROM stripe_events")) is not dropped
        await world.settled_events()
        await assert_clean(world)
        return balances


async def _every_way_that_a_withdrawal_can_go(world: World) -> dict[str, int]:
    """Paid, refused by the bank, sent back late, kept waiting for funds, and canceled; what the wallets then hold."""
    await asyncio.gather(world.onboarded("carl"), world.onboarded("rita", account_number="000111111113"))
    await world.funded("carl")
    await world.funded("rita")
    refused = await world.accepted_withdrawal(4_000, user="rita")
    paid, late = await world.accepted_withdrawal(8_000), await world.accepted_withdrawal(2_000)
    sent = await world.until(late, lambda now: now["status"] == "paid")
    await world.sandbox.control("POST", f"payouts/{sent['details']['payout']}/fail")
    assert (await world.closed(paid))["status"] == "paid"
    for operation_id in (refused, late):
        await world.until(operation_id, lambda now: now["status"] == "reversed" and now["closed_at"] is not None)
    # The bank that sent money back takes no more of it; its owner names another
    account = sent["details"]["stripe_account"]
    await world.sandbox.control("POST", f"accounts/{account}/bank_account")
    await world.until(await world.account_of("carl"), lambda now: now["status"] == "active")
    await world.sandbox.control("POST", "adjust_balance", amount=-31_500)
    off, waiting = await world.accepted_withdrawal(5_000), await world.accepted_withdrawal(6_000)
    for operation_id in (off, waiting):
        await world.until(operation_id, lambda now: now["status"] == "awaiting_funds")
    canceled = await world.call("POST", f"/v1/withdrawals/{off}/cancel", user="carl", role="contractor")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    await world.sandbox.control("POST", "adjust_balance", amount=31_500)
    assert (await world.closed(waiting))["status"] == "paid"
    return {user: await world.available(user) for user in ("carl", "rita")}
