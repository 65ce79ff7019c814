"""A deposit, as a marketplace sees it."""

from domain.pacing import Pacing
from tests.world import Servers, World, open_world

HOURS = 3600


async def test_deposit_with_3d_secure(world: World) -> None:
    deposit = await world.accepted_deposit(20_000, payment_method="pm_card_authenticationRequired")
    assert deposit["status"] == "awaiting_payment"
    assert deposit["client_secret"].startswith(deposit["payment_intent"])

    await world.sandbox.complete_3ds(deposit["payment_intent"])
    closed = await world.closed(deposit["id"])

    assert closed["status"] == "succeeded"
    assert await world.available() == 20_000
    assert [(posting["step"], amounts(posting)) for posting in closed["postings"]] == [
        ("credit", {"stripe_balance": -20_000, "wallet_available": 20_000}),
        ("stripe_fee", {"stripe_balance": 610, "stripe_fees": -610}),
    ]
    linked = {
        entry["balance_transaction"]
        for posting in closed["postings"]
        for entry in posting["entries"]
        if entry["account"] == "stripe_balance"
    }
    assert linked == {closed["details"]["balance_transaction"]}
    assert [event["type"] for event in closed["events"]] == [
        "deposit.requested",
        "deposit.awaiting_payment",
        "deposit.succeeded",
    ]


async def test_credit_status_and_event_are_one_transaction(world: World) -> None:
    deposit = await world.accepted_deposit(payment_method="pm_card_visa")
    await world.closed(deposit["id"])

    [row] = await world.sql(
        "SELECT t.xid AS posted, e.xid AS told FROM ledger_transactions t JOIN events e USING (operation_id)"
        " WHERE t.step = 'credit' AND e.type = 'deposit.succeeded'"
    )

    assert row["posted"] == row["told"]


async def test_deposit_that_succeeds_at_once(world: World) -> None:
    deposit = await world.accepted_deposit(5_000, payment_method="pm_card_visa")

    assert deposit["status"] == "succeeded"
    assert deposit["client_secret"] is None
    assert await world.available() == 5_000
    closed = await world.closed(deposit["id"])
    assert [call["outcome"] for call in closed["calls"]] == ["done", "done"]


async def test_deposit_confirmed_by_the_customers_browser(world: World) -> None:
    deposit = await world.accepted_deposit(5_000)
    assert deposit["status"] == "awaiting_payment"

    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

    assert (await world.closed(deposit["id"]))["status"] == "succeeded"
    assert await world.available() == 5_000


async def test_f17_card_declined_at_once(world: World) -> None:
    answer = await world.deposit(payment_method="pm_card_visa_chargeDeclinedInsufficientFunds")

    assert answer.status_code == 402
    problem = answer.json()
    assert problem["type"].endswith("/card-declined")
    assert problem["decline_code"] == "insufficient_funds"
    closed = await world.closed(problem["operation_id"])
    assert closed["status"] == "failed"
    assert closed["postings"] == []
    [intent] = await world.sandbox.listed("payment_intents")
    assert intent["status"] == "canceled"
    assert await world.available() == 0


async def test_decline_in_the_browser_leaves_the_deposit_open_for_another_card(world: World) -> None:
    deposit = await world.accepted_deposit()

    declined = await world.sandbox.pay(deposit["payment_intent"], "pm_card_chargeDeclined")
    assert declined["error"]["code"] == "card_declined"
    await world.until(deposit["id"], lambda now: len(now["stripe_events"]) >= 1)
    assert (await world.operation(deposit["id"]))["status"] == "awaiting_payment"
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

    assert (await world.closed(deposit["id"]))["status"] == "succeeded"
    assert await world.available() == 20_000


async def test_payment_method_that_does_not_exist_fails_the_deposit(world: World) -> None:
    answer = await world.deposit(payment_method="pm_never_made")

    assert answer.status_code == 402
    assert answer.json()["type"].endswith("/payment-refused")
    closed = await world.closed(answer.json()["operation_id"])
    assert closed["status"] == "failed"
    assert await world.sandbox.listed("payment_intents") == []


async def test_cancel_before_payment(world: World) -> None:
    deposit = await world.accepted_deposit()

    answer = await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    [intent] = await world.sandbox.listed("payment_intents")
    assert intent["status"] == "canceled"


async def test_cancel_that_loses_to_the_payment_is_refused(world: World) -> None:
    deposit = await world.accepted_deposit()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

    answer = await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel", key="too-late")

    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/not-cancelable")
    assert (await world.operation(deposit["id"]))["status"] == "succeeded"
    assert await world.available() == 20_000
    again = await world.call("POST", f"/v1/deposits/{deposit['id']}/cancel", key="too-late")
    assert again.status_code == 409
    assert again.json() == answer.json()


async def test_unpaid_deposit_expires_after_a_day(servers: Servers) -> None:
    async with open_world(servers, pacing=Pacing()) as world:
        deposit = await world.accepted_deposit()

        await world.skip(23 * HOURS, deposit["id"])
        assert (await world.operation(deposit["id"]))["status"] == "awaiting_payment"
        await world.skip(2 * HOURS, deposit["id"])

        closed = await world.closed(deposit["id"])
        assert closed["status"] == "expired"
        [intent] = await world.sandbox.listed("payment_intents")
        assert intent["status"] == "canceled"


async def test_payment_in_the_last_moment_beats_the_expiry(servers: Servers) -> None:
    async with open_world(servers, pacing=Pacing()) as world:
        deposit = await world.accepted_deposit()
        await world.sandbox.event_fault("*", "drop")
        await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

        await world.skip(25 * HOURS, deposit["id"])

        await world.until(deposit["id"], lambda now: now["status"] == "succeeded")
        assert await world.available() == 20_000


async def test_first_3d_secure_deposit_takes_at_most_70_history_events(servers: Servers) -> None:
    # Given production's waits, so that no poll is due while the customer answers
    async with open_world(servers, pacing=Pacing()) as world:
        deposit = await world.accepted_deposit(payment_method="pm_card_authenticationRequired")
        await world.sandbox.complete_3ds(deposit["payment_intent"])
        await world.closed(deposit["id"])
        await world.workflow(deposit["id"]).result()

        events = await world.events_of(deposit["id"])

        assert len(events) <= 70


def amounts(posting: dict[str, list[dict[str, object]]]) -> dict[object, object]:
    """A posting's signed amounts by account."""
    return {entry["account"]: entry["amount"] for entry in posting["entries"]}
