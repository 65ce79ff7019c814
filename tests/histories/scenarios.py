"""Sagas to record: one for each way that they can go. Each gives the id of the workflow to keep."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import httpx

from activities import visibility
from activities.offer_ledger import OfferAct, OfferLedger
from activities.temporal_client import connect
from cli.stack.ports import free_port
from db.engine import open_database
from domain.offers import OfferVerb, OfferWish, Party
from domain.pacing import Pacing
from tests.stuck import quiet, short_of, transfer_by_hand, transfer_in_doubt
from tests.world import BRISK, World, until
from workflows.sweep import SnapshotBalances

Scenario = Callable[[World], Awaitable[str]]


async def succeeded(world: World) -> str:
    """Paid at once, every webhook lost: what it does then does not depend on when things arrive."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")

    async def fee_is_known() -> bool:
        [charge] = await world.sandbox.listed("charges")
        return charge["balance_transaction"] is not None

    await until(fee_is_known)
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
    return await _finished(world, _made_by(answer))


async def refused(world: World) -> str:
    """Stripe made no payment of it."""
    answer = await world.deposit(payment_method="pm_never_made")
    return await _finished(world, _made_by(answer))


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


async def wallet_transfer_succeeded(world: World) -> str:
    """From one wallet to another."""
    await world.funded("carl", 20_000)
    return await _finished(world, await _only(world, "wallet_transfer"))


async def wallet_transfer_failed(world: World) -> str:
    """The giver's wallet holds too little."""
    await world.accepted_deposit(user="clara")
    body = {"from_user_id": "clara", "to_user_id": "carl", "amount": 1_000, "currency": "usd"}
    await world.call("POST", "/v1/wallet-transfers", body, user="shop", role="service")
    return await _finished(world, await _only(world, "wallet_transfer"))


async def account_deauthorized(world: World) -> str:
    """Onboarded, restricted, set free, and cut off by its owner."""
    stripe_account = await world.onboarded()
    account = await _only(world, "connected_account")
    await world.sandbox.control("POST", f"accounts/{stripe_account}/restrict", requirements=["external_account"])
    await world.until(account, lambda now: now["status"] == "restricted")
    await world.sandbox.control("POST", f"accounts/{stripe_account}/lift_restriction")
    await world.until(account, lambda now: now["status"] == "active")
    await world.sandbox.control("POST", f"accounts/{stripe_account}/deauthorize")
    return await _finished(world, account)


async def account_failed(world: World) -> str:
    """Stripe makes no account in that country."""
    profile = {"email": "carl@example.com", "name": "Carl", "country": "AQ"}
    await world.call("PUT", "/v1/me", profile, user="carl", role="contractor")
    urls = {"return_url": "http://localhost/done", "refresh_url": "http://localhost/again"}
    await world.call("POST", "/v1/connect/account", urls, user="carl", role="contractor")
    return await _finished(world, await _only(world, "connected_account"))


async def withdrawal_paid(world: World) -> str:
    """Paid, and watched for ten days without word."""
    await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "paid")
    await world.skip(8 * 86_400, withdrawal)
    await world.skip(3 * 86_400, withdrawal)
    return await _finished(world, withdrawal)


async def withdrawal_reversed(world: World) -> str:
    """The bank did not take it, and every webhook was lost: what it does then does not depend on when things arrive."""
    account = await world.onboarded(account_number="000111111113")
    await world.funded()
    await world.sandbox.event_fault("*", "drop")
    withdrawal = await world.accepted_withdrawal()

    async def has_failed() -> bool:
        return [payout["status"] for payout in await world.sandbox.of_account(account, "payouts")] == ["failed"]

    await until(has_failed)
    await world.skip(6, withdrawal)
    await _finished(world, withdrawal)
    # Their account's saga asks for itself why Stripe needs another bank account.
    carls = await _only(world, "connected_account")
    await world.skip(6 * 3600, carls)
    await world.until(carls, lambda now: now["status"] == "restricted")
    return withdrawal


async def withdrawal_sent_back_late(world: World) -> str:
    """Paid, and sent back five days later."""
    await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    paid = await world.until(withdrawal, lambda now: now["status"] == "paid")
    await world.skip(5 * 86_400, withdrawal)
    await world.sandbox.control("POST", f"payouts/{paid['details']['payout']}/fail")
    return await _finished(world, withdrawal)


async def withdrawal_partly_reversed(world: World) -> str:
    """The connected account held too little to be taken back, for a while."""
    withdrawal = await short_of(world, 3_000)
    account = (await world.operation(withdrawal))["details"]["stripe_account"]
    await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=3_000)
    return await _finished(world, withdrawal)


async def withdrawal_written_off(world: World) -> str:
    """The connected account never held enough to be taken back, and an operator gave the rest up."""
    withdrawal = await short_of(world, 3_000)
    await _helped(world, withdrawal, "write-off")
    return await _finished(world, withdrawal)


async def withdrawal_adopted(world: World) -> str:
    """Its transfer was made by hand, while Stripe answered nothing else than errors."""
    withdrawal, account = await transfer_in_doubt(world)
    made = await transfer_by_hand(world, account, withdrawal)
    await quiet(world)
    await _helped(world, withdrawal, "adopt", step="create_transfer", stripe_id=made)
    return await _finished(world, withdrawal)


async def withdrawal_given_up(world: World) -> str:
    """Compensated by an operator, while it awaited the platform's funds."""
    withdrawal = await _awaiting_funds(world)
    await _helped(world, withdrawal, "compensate")
    return await _finished(world, withdrawal)


async def withdrawal_canceled(world: World) -> str:
    """Called off while it awaited the platform's funds."""
    withdrawal = await _awaiting_funds(world)
    await world.call("POST", f"/v1/withdrawals/{withdrawal}/cancel", user="carl", role="contractor")
    return await _finished(world, withdrawal)


async def withdrawal_funds_came(world: World) -> str:
    """Awaited the platform's funds, which came."""
    withdrawal = await _awaiting_funds(world)
    await world.sandbox.control("POST", "adjust_balance", amount=19_000)
    return await _finished(world, withdrawal)


async def withdrawal_failed(world: World) -> str:
    """There is no account to withdraw through."""
    await world.funded()
    answer = await world.withdraw()
    return await _finished(world, _made_by(answer))


async def withdrawal_followed_up(world: World) -> str:
    """Sent back after the saga had closed; the follow-up is kept."""
    await world.onboarded()
    await world.funded()
    withdrawal = await world.accepted_withdrawal()
    closed = await world.closed(withdrawal)
    await world.workflow(withdrawal).result()
    await world.sandbox.control("POST", f"payouts/{closed['details']['payout']}/fail")
    await world.until(withdrawal, lambda now: now["status"] == "reversed")
    return await _finished(world, f"{withdrawal}/followup")


WEEK = 7 * 86_400 + 1.0
"""Seconds that nobody is waited for."""


async def offer_completed(world: World) -> str:
    """Accepted, delivered and completed."""
    offer = await world.held_offer()
    for verb, user in (("accept", "carl"), ("deliver", "carl"), ("complete", "alice")):
        await world.acted(offer, verb, user=user)
    return await _finished(world, offer)


async def offer_in_milestones(world: World) -> str:
    """Released in two parts, each of which begins a withdrawal."""
    offer = await world.held_offer(milestones=[6_000, 4_000], auto_payout=True)
    await world.acted(offer, "accept", user="carl")
    for number in (1, 2):
        released = await world.acted(offer, "release", {"milestone": number}, user="alice")
        await world.closed(released["payouts"][-1])
    return await _finished(world, offer)


async def offer_declined(world: World) -> str:
    """The contractor did not want it."""
    offer = await world.held_offer()
    await world.acted(offer, "decline", user="carl")
    return await _finished(world, offer)


async def offer_expired(world: World) -> str:
    """The contractor did not answer."""
    offer = await world.held_offer()
    await world.skip(WEEK, offer)
    return await _finished(world, offer)


async def offer_canceled(world: World) -> str:
    """Called off before anybody had accepted it."""
    offer = await world.held_offer()
    await world.acted(offer, "cancel", user="alice")
    return await _finished(world, offer)


async def offer_canceled_by_both(world: World) -> str:
    """Called off later, and agreed to; declining was too late."""
    offer = await world.held_offer()
    await world.acted(offer, "accept", user="carl")
    assert (await world.act(offer, "decline", user="carl")).status_code == 409
    await world.acted(offer, "cancel", user="alice")
    await world.acted(offer, "agree-cancel", user="carl")
    return await _finished(world, offer)


async def offer_canceled_in_temporal(world: World) -> str:
    """Called off by an engineer, with Temporal's own cancel."""
    offer = await world.held_offer()
    await world.workflow(offer).cancel()
    return await _finished(world, offer)


async def offer_auto_completed(world: World) -> str:
    """Delivered, and the customer did not answer."""
    offer = await world.held_offer()
    await world.acted(offer, "accept", user="carl")
    await world.acted(offer, "deliver", user="carl")
    await world.skip(WEEK, offer)
    return await _finished(world, offer)


async def offer_resolved(world: World) -> str:
    """Contested, and split by an operator."""
    offer = await world.held_offer()
    await world.acted(offer, "accept", user="carl")
    await world.acted(offer, "contest", {"reason": "half of it is missing"}, user="alice")
    split = {"to_contractor": 6_000, "to_customer": 4_000, "reason": "most of it was there"}
    await world.call("POST", f"/v1/admin/offers/{offer}/resolve", split, user="root", role="admin")
    return await _finished(world, offer)


async def offer_failed(world: World) -> str:
    """The customer's wallet holds too little."""
    answer = await world.offer()
    return await _finished(world, _made_by(answer))


async def offer_parked(world: World) -> str:
    """Waited for an operator, who mended the books and sent `retry`."""
    offer = await world.held_offer()
    await world.acted(offer, "accept", user="carl")
    await world.take_from_escrow(1)
    completing = asyncio.create_task(world.acted(offer, "complete", user="alice"))
    await world.until(offer, lambda now: now["needs_attention"])
    await world.take_from_escrow(-1)
    await world.retry(offer, reason="the books are mended")
    await completing
    return await _finished(world, offer)


async def offer_behind(world: World) -> str:
    """Accepted in Postgres by a run of which this one knows nothing: it learns that when it would let it expire."""
    offer = await world.held_offer()
    async with open_database(world.settings.database_url.get_secret_value(), pool_size=1) as database:
        wish = OfferWish(party=Party.CONTRACTOR)
        accept = OfferAct(operation_id=offer, action_id="an earlier run's", verb=OfferVerb.ACCEPT, wish=wish)
        await OfferLedger(database, payout_bounds={}, earnings_hold=0).act(accept)
    await world.skip(WEEK, offer)

    async def has_learned() -> bool:
        described = await world.workflow(offer).describe()
        return described.typed_search_attributes.get(visibility.STATUS) == "accepted"

    await until(has_learned)
    await world.acted(offer, "complete", user="alice")
    return await _finished(world, offer)


async def swept(world: World) -> str:
    """A sweep that finds one of each: an operation, an event and a verb that never reached their sagas."""
    nowhere = world.settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}", "answer_within": 0.5})
    cut_off = World(
        settings=nowhere,
        superuser_url=world.superuser_url,
        sandbox=world.sandbox,
        temporal=await connect(nowhere, lazy=True),
        http=world.http,
    )
    paid, unwanted = [await world.accepted_deposit(user=user) for user in ("alice", "anna")]
    for deposit in (paid, unwanted):
        await world.workflow(deposit["id"]).terminate()
    async with cut_off.serving(port=free_port()) as http:
        cut_off.http = http
        accepted = (await cut_off.deposit(user="bob", payment_method="pm_card_visa")).json()
        assert accepted["status"] == "requested"
        canceled = await cut_off.call("POST", f"/v1/deposits/{unwanted['id']}/cancel", user="anna")
        assert canceled.status_code == 202
    await world.sandbox.pay(paid["payment_intent"], "pm_card_visa")
    await world.until(paid["id"], lambda now: bool(now["stripe_events"]))
    for deposit in (paid, unwanted):
        assert (await world.admin(f"operations/{deposit['id']}/resume")).status_code == 200
    sweep = f"sweep-{uuid.uuid4()}"
    await world.sweep(sweep)
    for deposit in (paid, unwanted, accepted):
        await _finished(world, deposit["id"])
    return sweep


async def snapshot_taken(world: World) -> str:
    """The platform's balances, after a deposit."""
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await _finished(world, deposit["id"])
    snapshot = f"snapshot-{uuid.uuid4()}"
    pacing, queue = world.settings.pacing, world.settings.task_queue
    await world.temporal.execute_workflow(SnapshotBalances.run, pacing, id=snapshot, task_queue=queue)
    return snapshot


async def caught_up(world: World) -> str:
    """A payment that no webhook told of, found at Stripe before its saga would have asked."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit()
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.sandbox.until_event("charge.updated")
    catch_up = f"catch-up-{uuid.uuid4()}"
    await world.catch_up(catch_up)
    # Of which there were none before.
    assert await world.sql("SELECT FROM stripe_events")
    await world.settled_events()
    await _finished(world, deposit["id"])
    return catch_up


async def _awaiting_funds(world: World) -> str:
    await world.onboarded()
    await world.funded()
    await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")
    return withdrawal


def _made_by(answer: httpx.Response) -> str:
    """The operation that a request has made: refused, as it mostly is, or not known yet how it begins."""
    said = answer.json()
    return str(said["operation_id"] if answer.is_error else said["id"])


async def _only(world: World, kind: str) -> str:
    [row] = await world.sql("SELECT id FROM operations WHERE kind = $1", kind)
    return str(row["id"])


async def _helped(world: World, operation_id: str, verb: str, **what: str) -> None:
    """Done by an operator, as soon as the evidence allows it: while the saga asks Stripe, it does not."""

    async def done() -> bool:
        return (await world.help(operation_id, verb, **what)).status_code == 200

    await until(done)


async def _finished(world: World, workflow_id: str) -> str:
    await world.workflow(workflow_id).result()
    return workflow_id


PATIENT = BRISK.model_copy(update={"saga_retries": (600.0,)})
"""Nothing is tried again before somebody has looked."""

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
    "wallet_transfer-succeeded": (wallet_transfer_succeeded, Pacing()),
    "wallet_transfer-failed": (wallet_transfer_failed, Pacing()),
    "connected_account-deauthorized": (account_deauthorized, Pacing()),
    "connected_account-failed": (account_failed, Pacing()),
    "withdrawal-paid": (withdrawal_paid, Pacing()),
    "withdrawal-reversed": (withdrawal_reversed, Pacing()),
    "withdrawal-sent-back-late": (withdrawal_sent_back_late, Pacing()),
    "withdrawal-partly-reversed": (withdrawal_partly_reversed, BRISK),
    "withdrawal-written-off": (withdrawal_written_off, PATIENT),
    "withdrawal-adopted": (withdrawal_adopted, PATIENT),
    "withdrawal-given-up": (withdrawal_given_up, Pacing()),
    "withdrawal-canceled": (withdrawal_canceled, Pacing()),
    "withdrawal-funds-came": (withdrawal_funds_came, BRISK),
    "withdrawal-failed": (withdrawal_failed, Pacing()),
    "withdrawal-followup": (withdrawal_followed_up, BRISK),
    "offer-completed": (offer_completed, Pacing()),
    "offer-in-milestones": (offer_in_milestones, Pacing()),
    "offer-declined": (offer_declined, Pacing()),
    "offer-expired": (offer_expired, Pacing()),
    "offer-canceled": (offer_canceled, Pacing()),
    "offer-canceled-by-both": (offer_canceled_by_both, Pacing()),
    "offer-canceled-in-temporal": (offer_canceled_in_temporal, Pacing()),
    "offer-auto-completed": (offer_auto_completed, Pacing()),
    "offer-resolved": (offer_resolved, Pacing()),
    "offer-failed": (offer_failed, Pacing()),
    "offer-parked": (offer_parked, Pacing()),
    "offer-behind": (offer_behind, Pacing()),
    "sweep": (swept, Pacing()),
    "snapshot": (snapshot_taken, BRISK),
    "catch-up": (caught_up, BRISK),
}
"""What is recorded, by file name, and with which pacing."""
