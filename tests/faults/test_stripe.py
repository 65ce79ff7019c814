"""Stripe late, lying or silent."""

import asyncio

import pytest

from tests.auditing import assert_clean
from tests.world import Servers, World, open_world, until

WRITES = ["/v1/customers", "/v1/payment_intents"]


async def _paid_once(world: World, operation_id: str) -> None:
    """The customer got what they paid for, once, and the books agree."""
    closed = await world.closed(operation_id)
    assert closed["status"] == "succeeded"
    assert not closed["needs_attention"]
    assert await world.available() == 20_000
    charged = [intent for intent in await world.sandbox.listed("payment_intents") if intent["status"] == "succeeded"]
    assert len(charged) == 1
    assert len(await world.sandbox.listed("customers")) == 1
    await assert_clean(world)


LOSSES: list[tuple[str, dict[str, int]]] = [
    ("drop_after_commit", {}),
    ("hang_after_commit", {"seconds": 6}),
    ("truncate", {}),
    ("error_before", {}),
    ("error_before", {}),
    ("rate_limit", {}),
    ("rate_limit", {}),
    ("rate_limit", {}),
    ("key_in_use", {}),
    ("key_in_use", {}),
]
"""What can happen to a call without Stripe's saying that it does not know: the answer is lost after it has committed
(cases 11), nothing has begun yet, too many calls (14), the key in use (15)."""


async def test_f11_f14_f15_each_call_answered_badly(world: World) -> None:
    for path in WRITES:
        for kind, more in LOSSES:
            await world.sandbox.fault("POST", path, kind, **more)
    customers = [f"alice-{number}" for number, _ in enumerate(LOSSES)]

    answers = await asyncio.gather(*(world.deposit(payment_method="pm_card_visa", user=user) for user in customers))

    # Then each got what they paid for, once
    for user, answer in zip(customers, answers, strict=True):
        closed = await world.closed(answer.json()["id"])
        assert (closed["status"], closed["needs_attention"]) == ("succeeded", False)
        assert {call["generation"] for call in closed["calls"]} == {1}
        assert await world.available(user) == 20_000
    assert await world.sandbox.faults_fired() == len(WRITES) * len(LOSSES)
    # And under one key each
    for path in WRITES:
        requests = await world.sandbox.requests(path)
        executed = [request["idempotency_key"] for request in requests if request["executed"]]
        assert len(executed) == len(set(executed)) == len(customers)
        assert {request["idempotency_key"] for request in requests} == set(executed)
    await assert_clean(world)


@pytest.mark.parametrize("path", WRITES)
async def test_f12_stored_500_after_commit_is_looked_up_and_adopted(world: World, path: str) -> None:
    await world.sandbox.fault("POST", path, "server_error_stored_after_commit")

    deposit = await world.deposit(payment_method="pm_card_visa")

    await _paid_once(world, deposit.json()["id"])
    [generation] = {call["generation"] for call in (await world.operation(deposit.json()["id"]))["calls"]}
    assert generation == 1


@pytest.mark.parametrize("path", WRITES)
async def test_f12_stored_500_without_effect_is_sent_again_as_the_next_generation(world: World, path: str) -> None:
    await world.sandbox.fault("POST", path, "server_error_stored")

    deposit = await world.deposit(payment_method="pm_card_visa")

    await _paid_once(world, deposit.json()["id"])
    calls = (await world.operation(deposit.json()["id"]))["calls"]
    outcomes = [call["outcome"] for call in calls if call["write"].startswith(path.removeprefix("/v1/"))]
    assert outcomes == ["absent", "done"]


async def test_f12_nothing_is_compensated_while_it_is_unknown(servers: Servers) -> None:
    async with open_world(servers, answer_within=0.5) as world:
        await _nothing_is_compensated_while_it_is_unknown(world)


async def _nothing_is_compensated_while_it_is_unknown(world: World) -> None:
    # Given a payment of which Stripe says neither yes nor no
    await world.sandbox.fault("POST", "/v1/payment_intents", "server_error", times=1000)
    deposit = await world.deposit(payment_method="pm_card_visa")
    assert deposit.status_code == 202

    # When the customer wants it called off
    answer = await world.call("POST", f"/v1/deposits/{deposit.json()['id']}/cancel", key="off")

    # Then that waits
    assert answer.status_code == 202
    flagged = await world.until(deposit.json()["id"], lambda now: now["needs_attention"])
    assert flagged["status"] == "requested"
    assert flagged["attention"]["code"] == "in-doubt"
    # Until Stripe is itself again
    await world.sandbox.control("DELETE", "faults")
    closed = await world.closed(deposit.json()["id"])
    assert closed["status"] in ("canceled", "succeeded")
    assert not closed["needs_attention"]
    await assert_clean(world)


async def test_f16_parameter_mismatch_is_never_retried_by_itself(servers: Servers) -> None:
    async with open_world(servers, answer_within=1.0) as world:
        await _parameter_mismatch_is_never_retried_by_itself(world)


async def _parameter_mismatch_is_never_retried_by_itself(world: World) -> None:
    # Given somebody changed what is sent under a key that Stripe has seen
    await world.sandbox.fault("POST", "/v1/payment_intents", "drop_after_commit", times=100)
    deposit = (await world.deposit()).json()
    await world.until(deposit["id"], lambda now: len(now["calls"]) == 2)
    await world.sql("ALTER TABLE stripe_calls DISABLE TRIGGER ALL")
    await world.sql("UPDATE stripe_calls SET params = params || '{\"amount\": 20001}' WHERE step LIKE '%intent'")

    # When it is sent again: one attempt may have read what to send before that
    sent = len(await world.sandbox.requests("/v1/payment_intents"))

    async def sent_anew() -> bool:
        parked = (await world.operation(deposit["id"]))["needs_attention"]
        return parked or len(await world.sandbox.requests("/v1/payment_intents")) >= sent + 2

    await until(sent_anew)
    await world.sandbox.control("DELETE", "faults")
    parked = await world.until(deposit["id"], lambda now: now["needs_attention"])

    # Then it waits for an operator, under the one key
    assert parked["attention"]["code"] == "idempotency-mismatch"
    before = await world.sandbox.requests("/v1/payment_intents")
    assert before[-1]["status"] == 400
    assert len({request["idempotency_key"] for request in before}) == 1
    # However long it waits
    await asyncio.sleep(2 * world.settings.pacing.saga_retries[-1])
    assert await world.sandbox.requests("/v1/payment_intents") == before
    # And goes on once they have mended it
    await world.sql("UPDATE stripe_calls SET params = params || '{\"amount\": 20000}' WHERE step LIKE '%intent'")
    await world.retry(deposit["id"], reason="the parameters are mended")
    going = await world.until(deposit["id"], lambda now: now["status"] == "awaiting_payment")
    assert not going["needs_attention"]
    assert len(await world.sandbox.listed("payment_intents")) == 1
    await assert_clean(world)


async def test_stripe_received_another_amount_than_asked(world: World) -> None:
    deposit = await world.accepted_deposit()
    await world.sql("UPDATE operations SET amount = 20001")

    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    parked = await world.until(deposit["id"], lambda now: now["needs_attention"])

    assert parked["attention"]["code"] == "amount-mismatch"
    assert parked["postings"] == []
    await world.sql("UPDATE operations SET amount = 20000")
    await world.retry(deposit["id"], reason="the amount is mended")
    await _paid_once(world, deposit["id"])
