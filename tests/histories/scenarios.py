"""Deposits to record: one for each way that a deposit can go. Each gives the ids of the workflows to keep."""

from collections.abc import Awaitable, Callable

from domain.pacing import Pacing
from tests.world import BRISK, World, until

Scenario = Callable[[World], Awaitable[str]]


async def succeeded(world: World) -> str:
    """Paid at once, every webhook lost: what it does then does not depend on when things arrive."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")

    async def fee_is_known() -> bool:
        [charge] = await world.sandbox.listed("charges")
        return charge["balance_transaction"] is not None

    await until(fee_is_known, within=10)
    await world.skip(6, deposit["id"])
    return await _finished(world, deposit["id"])


async def succeeded_after_3d_secure(world: World) -> str:
    """Awaited the customer, then their bank; Stripe's webhooks told."""
    deposit = await world.accepted_deposit(payment_method="pm_card_authenticationRequired")
    await world.sandbox.complete_3ds(deposit["payment_intent"])
    return await _finished(world, deposit["id"])


async def succeeded_with_another_card(world: World) -> str:
    """Declined in the browser, then paid with another card."""
    deposit = await world.accepted_deposit()
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_chargeDeclined")
    await world.until(deposit["id"], lambda now: any(event["state"] == "processed" for event in now["stripe_events"]))
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    return await _finished(world, deposit["id"])


async def declined(world: World) -> str:
    """Declined at once."""
    answer = await world.deposit(payment_method="pm_card_chargeDeclined")
    return await _finished(world, answer.json()["operation_id"])


async def refused(world: World) -> str:
    """Stripe made no payment of it."""
    answer = await world.deposit(payment_method="pm_never_made")
    return await _finished(world, answer.json()["operation_id"])


async def canceled(world: World) -> str:
    """Called off by the customer."""
    deposit = await world.accepted_deposit()
    await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel")
    return await _finished(world, deposit["id"])


async def canceled_in_temporal(world: World) -> str:
    """Called off by an engineer, with Temporal's own cancel."""
    deposit = await world.accepted_deposit()
    await world.workflow(deposit["id"]).cancel()
    return await _finished(world, deposit["id"])


async def cancel_refused(world: World) -> str:
    """Called off too late."""
    deposit = await world.accepted_deposit()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel")
    return await _finished(world, deposit["id"])


async def expired(world: World) -> str:
    """Never paid."""
    deposit = await world.accepted_deposit()
    await world.skip(25 * 3600, deposit["id"])
    return await _finished(world, deposit["id"])


async def put_off(world: World) -> str:
    """Stripe was away for longer than the activity tier, and longer than the saga tier before it is flagged."""
    await world.sandbox.fault("POST", "/v1/payment_intents", "error_before", times=1000)
    deposit = (await world.deposit(payment_method="pm_card_visa")).json()
    await world.until(deposit["id"], lambda now: now["needs_attention"])
    await world.sandbox.control("DELETE", "faults")
    return await _finished(world, deposit["id"])


async def parked(world: World) -> str:
    """Waited for an operator, who sent `retry`."""
    deposit = await world.accepted_deposit()
    await world.sql("UPDATE operations SET amount = 20001")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.until(deposit["id"], lambda now: now["needs_attention"])
    await world.sql("UPDATE operations SET amount = 20000")
    await world.retry(deposit["id"], reason="the amount is mended")
    return await _finished(world, deposit["id"])


async def followed_up(world: World) -> str:
    """An event that came after the saga had closed; the follow-up is kept."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await _finished(world, deposit["id"])
    event = await world.sandbox.until_event("payment_intent.succeeded")
    await world.sandbox.deliver(event["id"])
    await world.settled_events()
    return await _finished(world, f"{deposit['id']}/followup")


async def _finished(world: World, workflow_id: str) -> str:
    await world.workflow(workflow_id).result()
    return workflow_id


SCENARIOS: dict[str, tuple[Scenario, Pacing]] = {
    "deposit-succeeded": (succeeded, Pacing()),
    "deposit-succeeded-after-3d-secure": (succeeded_after_3d_secure, Pacing()),
    "deposit-succeeded-with-another-card": (succeeded_with_another_card, Pacing()),
    "deposit-declined": (declined, Pacing()),
    "deposit-refused": (refused, Pacing()),
    "deposit-canceled": (canceled, Pacing()),
    "deposit-canceled-in-temporal": (canceled_in_temporal, Pacing()),
    "deposit-cancel-refused": (cancel_refused, BRISK),
    "deposit-expired": (expired, Pacing()),
    "deposit-put-off": (put_off, BRISK),
    "deposit-parked": (parked, BRISK),
    "followup": (followed_up, BRISK),
}
"""What is recorded, by file name, and with which pacing."""
