"""What no webhook brought is read from Stripe's Events API, though no saga asks any more."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError

from activities.dispatch import SagaDispatcher
from activities.sweeps import SweepActivities
from activities.temporal_client import connect
from cli.chaos.proxies import Proxy
from db.engine import open_database
from tests.auditing import assert_clean
from tests.world import BRISK, Servers, World, open_world, until

SUCCEEDED = "payment_intent.succeeded"

PATIENT = BRISK.model_copy(update={"polls": (3_600.0,)})
"""Sagas that would ask Stripe themselves in an hour."""


async def _paid_unheard(world: World) -> str:
    """A deposit of whose payment only Stripe's Events API has told, and no saga has heard; its id."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit()
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.sandbox.until_event("charge.updated")
    assert await world.catch_up() > 0
    return str(deposit["id"])


async def test_f29_catching_up_ends_a_deposit(servers: Servers) -> None:
    async with open_world(servers, pacing=PATIENT) as world:
        deposit = await _paid_unheard(world)
        await world.settled_events()

        assert (await world.closed(deposit))["status"] == "succeeded"
        assert await world.catch_up() == 0, "what is stored is not new again"
        assert "client_secret" not in str([dict(row) for row in await world.sql("SELECT payload FROM stripe_events")])
        await assert_clean(world)


async def test_f25_caught_up_with_while_the_webhook_comes_after_all(servers: Servers) -> None:
    async with open_world(servers, pacing=PATIENT) as world:
        # Given a payment that no webhook has told of yet
        await world.sandbox.event_fault("*", "drop")
        deposit = await world.accepted_deposit()
        await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
        await world.sandbox.until_event("charge.updated")
        event = (await world.sandbox.until_event(SUCCEEDED))["id"]

        # When it is read twice, and brought three times, all at once
        first, second, brought = await asyncio.gather(
            world.catch_up(), world.catch_up(), world.sandbox.deliver(event, times=3)
        )

        # Then it is there once, and was new to one of them
        assert brought == [200, 200, 200]
        [kept] = await world.sql("SELECT count(*) FROM stripe_events")
        assert kept["count"] - 1 <= first + second <= kept["count"]
        closed = await world.closed(deposit["id"])
        assert [posting["step"] for posting in closed["postings"]] == ["credit", "stripe_fee"]
        assert await world.available() == 20_000
        await world.settled_events()
        await assert_clean(world)


async def test_f29_catching_up_brings_back_what_failed_after_its_saga_had_ended(world: World) -> None:
    # Given a withdrawal that nobody watches any more
    await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    paid = await world.closed(withdrawal)
    await world.settled_events()
    await world.sandbox.event_fault("*", "drop")

    # When its bank sends the money back, and the webhook gets lost
    await world.sandbox.control("POST", f"payouts/{paid['details']['payout']}/fail")
    assert (await world.operation(withdrawal))["status"] == "paid"
    assert await world.catch_up() > 0
    await world.settled_events()

    # Then it is credited back
    await world.until(withdrawal, lambda now: now["status"] == "reversed" and now["closed_at"] is not None)
    assert await world.available("carl") == 20_000
    await world.settled_events()
    await assert_clean(world)


async def test_f29_a_sweep_that_does_not_reach_temporal_leaves_the_event_to_the_next(servers: Servers) -> None:
    """What was not told does not count as told: after an outage an event would wait as long as the outage again."""
    async with open_world(servers, pacing=PATIENT) as world:
        # Given an event that was stored ten minutes ago, and that no saga has heard of
        deposit = await _paid_unheard(world)
        await world.skip(600)

        # When a sweep cannot reach Temporal, and the next one can
        await _sweep_in_vain(world)
        assert await world.sql("SELECT FROM stripe_events WHERE state <> 'received' AND type = $1", SUCCEEDED) == []
        await world.sweep()

        assert (await world.closed(deposit))["status"] == "succeeded"
        # One that its saga heard as it ended is due again once it has waited twice as long.
        await world.skip(700)
        await world.settled_events()
        await assert_clean(world)


async def _sweep_in_vain(world: World) -> None:
    """A sweeper whose way to Temporal is cut goes through all events."""
    settings = world.settings
    host, _, port = settings.temporal_address.rpartition(":")
    line = Proxy(int(port))
    async with (
        line.running(),
        open_database(settings.database_url.get_secret_value(), pool_size=1) as database,
    ):
        line.down()
        cut_off = settings.model_copy(update={"temporal_address": f"{host}:{line.port}"})
        temporal = await connect(cut_off, lazy=True)
        dispatcher = SagaDispatcher(temporal, task_queue=settings.task_queue, pacing=settings.pacing)
        assert await SweepActivities(database, dispatcher, older_than=0.0, lasts=60.0).deliver_unprocessed_events() > 0
        assert line.turned_away > 0


@pytest.mark.long
async def test_catching_up_reads_every_page(world: World) -> None:
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.event_fault("payment_intent.succeeded", "new_id", copies=120)
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.closed(deposit["id"])

    assert await world.catch_up() >= 121

    [kept] = await world.sql("SELECT count(*) FROM stripe_events WHERE type = 'payment_intent.succeeded'")
    assert kept["count"] == 121


@pytest.mark.long
async def test_catching_up_leaves_what_may_still_come(servers: Servers) -> None:
    async with open_world(servers, catch_up_older_than=60.0) as world:
        await world.sandbox.event_fault("*", "drop")
        deposit = await world.accepted_deposit(payment_method="pm_card_visa")
        await world.closed(deposit["id"])

        assert await world.catch_up() == 0

        await world.skip(120)
        assert await world.catch_up() > 0


@pytest.mark.long
async def test_an_account_that_cannot_be_read_keeps_no_other_waiting(world: World) -> None:
    # Given two contractors with withdrawals whose payouts fail unheard
    await world.onboarded("carl")
    await world.onboarded("rita")
    withdrawals = {}
    for user in ("carl", "rita"):
        await world.funded(user)
        withdrawals[user] = await world.accepted_withdrawal(user=user)
    accounts = {}
    for user, withdrawal in withdrawals.items():
        paid = await world.closed(withdrawal)
        accounts[user] = paid["details"]["stripe_account"]
    await world.settled_events()
    await world.sandbox.event_fault("*", "drop")
    for withdrawal in withdrawals.values():
        payout = (await world.operation(withdrawal))["details"]["payout"]
        await world.sandbox.control("POST", f"payouts/{payout}/fail")

    # When Stripe answers for all but one of them
    unreadable, readable = sorted(accounts.values())
    # Each attempt's requests (Stripe's library repeats a read three times), after the one for our own account
    requests = 4 * world.settings.pacing.activity_attempts
    await world.sandbox.fault("GET", "/v1/events", "truncate", skip=1, times=requests)
    with pytest.raises(WorkflowFailureError) as failure:
        await world.catch_up()

    # Then the other's events are there, and the failure says whose are not
    assert unreadable in str(failure.value.cause)
    heard = await world.sql("SELECT DISTINCT account FROM stripe_events WHERE type = 'payout.failed'")
    assert [row["account"] for row in heard] == [readable]
    await world.sandbox.control("DELETE", "faults")
    await world.catch_up()

    async def both() -> bool:
        await world.sweep()
        return [await world.available(user) for user in accounts] == [20_000, 20_000]

    await until(both)
    await world.settled_events()
    await assert_clean(world)
