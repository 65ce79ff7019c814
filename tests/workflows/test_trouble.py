"""What a saga in trouble shows, and how it gets out of it."""

from typing import Any

import pytest

from activities import visibility
from tests.auditing import assert_clean
from tests.workflows.meddling import card_of
from tests.world import Servers, World, open_world

pytestmark = pytest.mark.long


async def _shown(world: World, workflow_id: str) -> dict[str, Any]:
    described = await world.workflow(workflow_id).describe()
    attributes = described.typed_search_attributes
    return {key.name: attributes.get(key) for key in visibility.ALL}


async def test_stuck_saga_is_found_read_and_mended(servers: Servers) -> None:
    async with open_world(servers, answer_within=0.5) as world:
        await _stuck_saga_is_found_read_and_mended(world)


async def _stuck_saga_is_found_read_and_mended(world: World) -> None:
    await world.sandbox.fault("POST", "/v1/payment_intents", "error_before", times=1000)
    deposit = (await world.deposit(payment_method="pm_card_visa")).json()
    await world.until(deposit["id"], lambda now: now["needs_attention"])

    # It is found
    shown = await _shown(world, deposit["id"])
    assert shown == {
        "PaysagaKind": "deposit",
        "PaysagaStatus": "requested",
        "PaysagaWallets": [deposit["wallet_id"]],
        "PaysagaNeedsAttention": True,
    }
    # It says what it is stuck at
    card = await card_of(world, deposit["id"])
    assert "200.00 USD" in card
    assert "stuck at: ask for the payment" in card
    assert "retry" in card
    # It is mended, and the operator is remembered
    await world.sandbox.control("DELETE", "faults")
    await world.retry(deposit["id"], reason="Stripe is back")
    closed = await world.closed(deposit["id"])
    assert closed["status"] == "succeeded"
    assert (closed["needs_attention"], closed["attention"]) == (False, None)
    await world.workflow(deposit["id"]).result()
    shown = await _shown(world, deposit["id"])
    assert (shown["PaysagaStatus"], shown["PaysagaNeedsAttention"]) == ("succeeded", False)
    card = await card_of(world, deposit["id"])
    assert "stuck at" not in card
    assert "waiting for" not in card
    [action] = await world.sql("SELECT verb, actor, reason, seen FROM operator_actions")
    assert (action["verb"], action["actor"], action["reason"]) == ("retry", "olivia", "Stripe is back")
    assert '"needs_attention": true' in action["seen"]
    await assert_clean(world)


async def test_flag_is_lowered_after_trouble_of_another_kind(world: World) -> None:
    # Given a deposit that was parked, and flagged at once
    deposit = await world.accepted_deposit()
    await world.sql("UPDATE operations SET amount = 20001")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.until(deposit["id"], lambda now: now["needs_attention"])
    await world.sql("UPDATE operations SET amount = 20000")

    # When its retry first meets another trouble, of the unflagged kind
    await world.sandbox.fault("GET", "/v1/payment_intents/*", "server_error", times=4)
    await world.retry(deposit["id"], reason="the amount is mended")

    # Then the flag goes with the trouble
    await world.closed(deposit["id"])
    await world.workflow(deposit["id"]).result()
    assert (await _shown(world, deposit["id"]))["PaysagaNeedsAttention"] is False


async def test_retry_without_a_reason_is_refused(world: World) -> None:
    deposit = await world.accepted_deposit()

    refused = await world.refused_retry(deposit["id"], {"actor": "olivia", "reason": " "})

    assert refused == "invalid-request"
    assert await world.sql("SELECT FROM operator_actions") == []


async def test_profile_that_stripe_refuses_can_be_corrected(world: World) -> None:
    # Given an e-mail address that we take and Stripe does not
    await world.get("/v1/me")
    await world.sql("UPDATE users SET email = 'not an address'")
    refused = await world.deposit(payment_method="pm_card_visa")
    assert refused.status_code == 402

    # When the customer corrects it
    await world.call("PUT", "/v1/me", {"email": "alice@example.com"})

    # Then the next deposit goes through
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.closed(deposit["id"])
    [customer] = await world.sandbox.listed("customers")
    assert customer["email"] == "alice@example.com"
    await assert_clean(world)


async def test_temporal_cancel_waits_for_stripes_word(world: World) -> None:
    deposit = await world.accepted_deposit()

    await world.workflow(deposit["id"]).cancel()

    assert await world.workflow(deposit["id"]).result() == "canceled"
    assert (await world.operation(deposit["id"]))["status"] == "canceled"
    [intent] = await world.sandbox.listed("payment_intents")
    assert intent["status"] == "canceled"
    await assert_clean(world)
