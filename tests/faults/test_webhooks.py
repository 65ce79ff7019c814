"""Webhooks doubled, shuffled, early, late and lost."""

import json

from tests.auditing import assert_clean
from tests.world import World, until


async def _paid(world: World) -> str:
    deposit = await world.accepted_deposit()
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    return str(deposit["id"])


async def _credited_once(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    assert closed["status"] == "succeeded"
    assert [posting["step"] for posting in closed["postings"]] == ["credit", "stripe_fee"]
    assert await world.available() == 20_000


async def test_f25_each_event_ten_times(world: World) -> None:
    await world.sandbox.event_fault("*", "duplicate", copies=9)

    operation_id = await _paid(world)

    await _credited_once(world, operation_id)
    for event in await world.sandbox.events("payment_intent.succeeded"):
        await world.sandbox.deliver(event["id"], times=10)
    await world.settled_events()
    await _credited_once(world, operation_id)
    await assert_clean(world)


async def test_f25_the_same_event_wakes_its_saga_once(world: World) -> None:
    # Given a saga that goes on waiting after the event
    deposit = await world.accepted_deposit()
    await world.sandbox.event_fault("*", "duplicate", copies=9)
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_chargeDeclined")
    [failed] = await world.sandbox.events("payment_intent.payment_failed")

    assert await world.sandbox.deliver(failed["id"], times=10) == [200] * 10

    history = await world.events_of(deposit["id"])
    assert sum(event.HasField("workflow_execution_signaled_event_attributes") for event in history) == 1


async def test_f25_two_event_ids_for_one_change(world: World) -> None:
    await world.sandbox.event_fault("*", "new_id", copies=1)

    operation_id = await _paid(world)

    await _credited_once(world, operation_id)
    assert len(await world.sandbox.events("payment_intent.succeeded")) == 2
    await world.settled_events()
    await _credited_once(world, operation_id)
    await assert_clean(world)


async def test_f26_out_of_order(world: World) -> None:
    # Given nothing arrives by itself
    await world.sandbox.event_fault("*", "drop")
    operation_id = await _paid(world)
    [succeeded] = await world.sandbox.events("payment_intent.succeeded")
    [created] = await world.sandbox.events("payment_intent.created")

    # When the end arrives before the beginning
    await world.sandbox.deliver(succeeded["id"])
    await world.sandbox.deliver(created["id"])
    await world.until(operation_id, lambda now: now["status"] == "succeeded")
    charged = await world.sandbox.until_event("charge.updated")
    await world.sandbox.deliver(charged["id"])

    await _credited_once(world, operation_id)
    await assert_clean(world)


async def test_f27_webhook_before_our_own_call_has_returned(world: World) -> None:
    # Given Stripe has done it, and its answer takes a second longer than its event
    await world.sandbox.fault("POST", "/v1/payment_intents", "hang_after_commit", seconds=1)

    deposit = await world.accepted_deposit(payment_method="pm_card_visa")

    await _credited_once(world, deposit["id"])

    # Without a sweep: the saga itself has kept what came before it could know of its payment
    async def taken_in() -> bool:
        rows = await world.sql("SELECT state FROM stripe_events WHERE type = 'payment_intent.succeeded'")
        return [row["state"] for row in rows] == ["processed"]

    await until(taken_in)
    await assert_clean(world)


async def test_f28_three_days_late_starts_a_follow_up_and_no_second_saga(world: World) -> None:
    await world.sandbox.event_fault("*", "drop")
    operation_id = await _paid(world)
    await _credited_once(world, operation_id)
    await world.workflow(operation_id).result()
    await world.skip(3 * 86_400)

    [succeeded] = await world.sandbox.events("payment_intent.succeeded")
    await world.sandbox.deliver(succeeded["id"])

    await world.settled_events()
    assert await world.workflow(f"{operation_id}/followup").result() == "succeeded"
    assert await world.runs(operation_id) == 1
    await _credited_once(world, operation_id)
    await assert_clean(world)


async def test_f28_follow_up_does_what_a_lost_saga_left_undone(world: World) -> None:
    # Given a deposit that closed, and whose entries are gone, as if by a restored backup
    operation_id = await _closed_without_entries(world, status="succeeded")

    [succeeded] = await world.sandbox.events("payment_intent.succeeded")
    await world.sandbox.deliver(succeeded["id"])

    await world.settled_events()
    await world.workflow(f"{operation_id}/followup").result()
    await _credited_once(world, operation_id)
    await assert_clean(world)


async def _closed_without_entries(world: World, *, status: str) -> str:
    await world.sandbox.event_fault("*", "drop")
    operation_id = await _paid(world)
    await _credited_once(world, operation_id)
    await world.workflow(operation_id).result()
    await world.script(
        "SET session_replication_role = replica; DELETE FROM stripe_balance_links; DELETE FROM ledger_entries;"
        "DELETE FROM ledger_transactions; UPDATE ledger_balances SET balance = 0;"
        f"UPDATE operations SET status = '{status}'"
    )
    return operation_id


async def test_paid_after_all_is_not_credited_behind_the_customers_back(world: World) -> None:
    # Given a deposit of which the customer was told that nothing would be taken
    operation_id = await _closed_without_entries(world, status="canceled")

    [succeeded] = await world.sandbox.events("payment_intent.succeeded")
    await world.sandbox.deliver(succeeded["id"])

    parked = await world.until(operation_id, lambda now: now["needs_attention"])
    assert parked["attention"]["code"] == "paid-after-all"
    assert parked["postings"] == []
    assert await world.available() == 0


async def test_f29_every_webhook_dropped(world: World) -> None:
    await world.sandbox.event_fault("*", "drop")

    paid = await _paid(world)
    secure = await world.accepted_deposit(payment_method="pm_card_authenticationRequired", user="bob")
    await world.sandbox.complete_3ds(secure["payment_intent"])
    declined = await world.deposit(payment_method="pm_card_chargeDeclined", user="carol")

    await _credited_once(world, paid)
    assert (await world.closed(secure["id"]))["status"] == "succeeded"
    assert declined.status_code == 402
    refused = await world.closed(declined.json()["operation_id"])
    assert refused["status"] == "failed"
    intent = await world.sandbox.get(f"payment_intents/{refused['calls'][-1]['stripe_id']}")
    assert intent["status"] == "canceled"
    assert await world.available("bob") == 20_000
    assert await world.sql("SELECT FROM stripe_events") == []
    await assert_clean(world)


async def test_event_that_reached_only_the_inbox_is_swept_to_its_saga(world: World) -> None:
    # Given a deposit that polls no more today
    deposit = await world.accepted_deposit()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await _credited_once(world, deposit["id"])
    await world.workflow(deposit["id"]).result()
    [event] = await world.sandbox.events("payment_intent.succeeded")
    await world.sql(
        "INSERT INTO stripe_events (id, type, object_id, operation_id, payload, state)"
        " VALUES ($1, $2, $3, NULL, $4, 'received')",
        event["id"],
        event["type"],
        deposit["payment_intent"],
        json.dumps(event),
    )

    await world.sweep()

    await world.settled_events()
    [row] = await world.sql("SELECT state, operation_id FROM stripe_events WHERE id = $1", event["id"])
    assert (row["state"], row["operation_id"]) == ("processed", deposit["id"])
    await assert_clean(world)
