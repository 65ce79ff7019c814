"""Money from the platform to a connected account, to its bank, and back: every balance the sum of its transactions."""

import pytest

from stripe_sandbox.store import Store
from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.connect import on, payout_is, refused, transfer_to
from tests.stripe_sandbox.receiver import Receiver, eventually

DAY = 86_400


async def test_a_transfer_arrives_and_is_paid_out(platform: Platform, receiver: Receiver) -> None:
    await platform.control("settings", duplicate_rate=0)
    account = (await platform.account()).id
    await platform.listen(receiver, connect=True)
    await platform.fund(10_000)
    transfer = await platform.v1.transfers.create_async(
        {
            "amount": 6000,
            "currency": "usd",
            "destination": account,
            "transfer_group": "group",
            "metadata": {"operation": "wd_1"},
            "expand": ["destination_payment.balance_transaction", "balance_transaction", "destination"],
        }
    )
    assert (transfer.balance_transaction.type, transfer.balance_transaction.net) == ("transfer", -6000)
    payment = transfer.destination_payment
    assert (payment.id[:3], payment.amount, payment.source_transfer) == ("py_", 6000, transfer.id)
    assert (payment.balance_transaction.type, payment.balance_transaction.net) == ("payment", 6000)
    assert transfer.destination.id == account
    assert (await platform.available(), await platform.available(account)) == (4000, 6000)
    payout = await platform.v1.payouts.create_async(
        {"amount": 6000, "currency": "usd", "metadata": {"operation": "wd_1"}}, on(account)
    )
    assert (payout.status, payout.automatic, payout.method) == ("pending", False, "standard")
    assert await platform.available(account) == 0
    await payout_is(platform, account, payout.id, "paid")
    types = {"payout.created", "payout.updated", "payout.paid", "balance.available"}
    await eventually(lambda: types <= set(receiver.types()))
    assert {received.event["account"] for received in receiver.received} == {account}
    await platform.assert_sound()


async def test_a_short_platform_is_refused_and_the_refusal_replayed(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.pay(amount=10_000, capture_method="automatic")
    given = {"amount": 5000, "currency": "usd", "destination": account}
    for _ in range(2):
        error = await refused(platform.v1.transfers.create_async(given, {"idempotency_key": "key"}))
        assert (error.http_status, error.code) == (400, "balance_insufficient")
        await platform.advance(DAY * 1.5)
    assert (await platform.v1.transfers.list_async({})).data == []
    transfer = await platform.v1.transfers.create_async(given, {"idempotency_key": "another"})
    assert transfer.amount == 5000
    await platform.assert_sound()


async def test_a_reversal_in_parts(platform: Platform, receiver: Receiver) -> None:
    await platform.listen(receiver, "transfer.reversed")
    account = (await platform.account()).id
    await platform.fund(1000)
    transfer = await platform.v1.transfers.create_async({"amount": 1000, "currency": "usd", "destination": account})
    reversals = platform.v1.transfers.reversals
    first = await reversals.create_async(
        transfer.id,
        {"amount": 400, "expand": ["balance_transaction", "destination_payment_refund.balance_transaction"]},
    )
    assert (first.balance_transaction.type, first.balance_transaction.net) == ("transfer_refund", 400)
    refund = first.destination_payment_refund
    assert (refund.id[:4], refund.balance_transaction.type) == ("pyr_", "payment_refund")
    assert refund.balance_transaction.net == -400
    error = await refused(reversals.create_async(transfer.id, {"amount": 601}))
    assert (error.http_status, error.param) == (400, "amount")
    await platform.fund(-1, account=account)
    error = await refused(reversals.create_async(transfer.id, {"amount": 600}, {"idempotency_key": "short"}))
    assert (error.http_status, error.code) == (400, "balance_insufficient")
    await platform.fund(1, account=account)
    await reversals.create_async(transfer.id, {})
    shown = await platform.v1.transfers.retrieve_async(transfer.id, {"expand": ["reversals.data.balance_transaction"]})
    assert (shown.amount_reversed, shown.reversed, len(shown.reversals.data)) == (1000, True, 2)
    assert shown.reversals.data[0].balance_transaction.amount == 600
    error = await refused(reversals.create_async(transfer.id, {"amount": 1}))
    assert error.http_status == 400
    assert (await platform.available(), await platform.available(account)) == (1000, 0)
    await eventually(lambda: len({each.event["id"] for each in receiver.of("transfer.reversed")}) == 2)
    await platform.assert_sound()


# ── Transfers ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_transfer_tied_to_a_charge_needs_no_available_balance(platform: Platform, receiver: Receiver) -> None:
    account = (await platform.account()).id
    await platform.listen(receiver, "balance.available", connect=True)
    intent = await platform.pay(amount=10_000, capture_method="automatic")
    charge = intent.latest_charge
    transfer = await transfer_to(platform, account, 9000, source_transaction=charge)
    assert transfer.transfer_group == f"group_{intent.id}"
    assert (await platform.v1.charges.retrieve_async(charge)).transfer_group == f"group_{intent.id}"
    assert (await platform.available(), await platform.available(account)) == (0, 0)
    error = await refused(platform.v1.payouts.create_async({"amount": 1, "currency": "usd"}, on(account)))
    assert error.code == "balance_insufficient"
    error = await refused(transfer_to(platform, account, 1001, source_transaction=charge))
    assert (error.http_status, error.param) == (400, "amount")
    reversal = {"amount": 4000}
    await platform.v1.transfers.reversals.create_async(transfer.id, reversal)
    await platform.assert_sound()
    await platform.advance(2 * DAY + 2)
    assert await platform.available(account) == 5000
    assert await platform.available() == 10_000 - 320 - 5000
    await eventually(lambda: receiver.of("balance.available"))
    await platform.assert_sound()


async def test_the_charge_may_still_be_unbooked(platform: Platform) -> None:
    await platform.control("settings", balance_transaction_delay_ms=5000)
    account = (await platform.account()).id
    intent = await platform.pay(amount=10_000, transfer_group="order")
    transfer = await transfer_to(platform, account, 10_000, source_transaction=intent.latest_charge)
    assert transfer.transfer_group == "order"
    assert await platform.available(account) == 0
    await platform.advance(2 * DAY + 10)
    assert (await platform.available(), await platform.available(account)) == (-320, 10_000)
    await platform.assert_sound()


async def test_what_a_charge_cannot_fund(platform: Platform) -> None:
    account = (await platform.account()).id
    intent = await platform.pay(amount=10_000, transfer_group="order")
    charge = intent.latest_charge
    for params, param in (
        ({"source_transaction": "ch_none"}, "source_transaction"),
        ({"source_transaction": charge, "currency": "eur"}, "source_transaction"),
        ({"source_transaction": charge, "transfer_group": "another"}, "transfer_group"),
    ):
        error = await refused(transfer_to(platform, account, **params))
        assert (error.http_status, error.param) == (400, param)
    answer = await platform.post("/v1/transfers", amount=1, currency="usd", destination=account, source_type="fpx")
    assert "does not model" in answer.json()["error"]["message"]


async def test_transfers_are_listed_and_annotated(platform: Platform, receiver: Receiver) -> None:
    await platform.listen(receiver, "transfer.created", "transfer.updated")
    accounts = [(await platform.account()).id for _ in range(2)]
    await platform.fund(10_000)
    made = [
        await transfer_to(platform, account, transfer_group=group)
        for account, group in ((accounts[0], "a"), (accounts[1], "a"), (accounts[1], "b"))
    ]
    transfers = platform.v1.transfers
    for query, expected in (
        ({"transfer_group": "a"}, [made[1], made[0]]),
        ({"destination": accounts[1]}, [made[2], made[1]]),
        ({"created": {"gt": made[0].created + 60}}, []),
    ):
        page = await transfers.list_async(query)
        assert [each.id for each in page.data] == [each.id for each in expected]
    changed = await transfers.update_async(made[0].id, {"metadata": {"a": "1"}, "description": "Withdrawal"})
    assert (changed.metadata.to_dict(), changed.description) == ({"a": "1"}, "Withdrawal")
    await eventually(lambda: receiver.of("transfer.updated"))
    await eventually(lambda: len({each.event["id"] for each in receiver.of("transfer.created")}) == 3)
    previous = receiver.of("transfer.updated")[0].event["data"]["previous_attributes"]
    assert previous == {"metadata": {"a": None}, "description": None}


async def test_reversals_are_listed_and_annotated(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(2000)
    transfer, other = await transfer_to(platform, account), await transfer_to(platform, account)
    reversals = platform.v1.transfers.reversals
    made = [await reversals.create_async(transfer.id, {"amount": 100, "metadata": {"n": n}}) for n in range(2)]
    page = await reversals.list_async(transfer.id, {"limit": 1})
    assert ([each.id for each in page.data], page.has_more) == ([made[1].id], True)
    changed = await reversals.update_async(transfer.id, made[0].id, {"metadata": {"n": "", "m": "1"}})
    assert changed.metadata.to_dict() == {"m": "1"}
    found = await reversals.retrieve_async(transfer.id, made[0].id, {"expand": ["transfer"]})
    assert found.transfer.amount_reversed == 200
    assert (await refused(reversals.retrieve_async(other.id, made[0].id))).http_status == 404


async def test_a_connected_account_sees_its_own(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(1000)
    transfer = await transfer_to(platform, account)
    (payment,) = (await platform.v1.charges.list_async({"expand": ["data.source_transfer"]}, on(account))).data
    assert (payment.id, payment.source_transfer.id) == (transfer.destination_payment, transfer.id)
    (booked,) = (await platform.v1.balance_transactions.list_async({"type": "payment"}, on(account))).data
    assert (booked.source, booked.net, booked.reporting_category) == (payment.id, 1000, "charge")
    assert (await refused(platform.v1.charges.retrieve_async(payment.id))).http_status == 404
    assert (await platform.v1.transfers.list_async({}, on(account))).data == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE balances SET available = available + 1 WHERE platform = ? AND account <> platform", "sum to"),
        ("DELETE FROM objects WHERE kind = 'transfer_reversal' AND platform = ?", "its reversals sum to 0"),
        ("DELETE FROM objects WHERE kind = 'charge' AND platform = ?", "was refunded None"),
        (
            "UPDATE objects SET body = json_set(body, '$.status', 'failed') WHERE kind = 'payout' AND platform = ?",
            "is failed; its transactions sum to -100",
        ),
    ],
)
async def test_the_check_finds_what_is_wrong(platform: Platform, store: Store, sql: str, expected: str) -> None:
    account = (await platform.account()).id
    await platform.fund(1000)
    transfer = await transfer_to(platform, account)
    await platform.v1.transfers.reversals.create_async(transfer.id, {"amount": 1})
    payout = await platform.v1.payouts.create_async({"amount": 100, "currency": "usd"}, on(account))
    await payout_is(platform, account, payout.id, "paid")
    await platform.assert_sound()
    store.db.execute(sql, (platform.id,))
    found = (await platform.look("check"))["violations"]
    assert any(expected in violation for violation in found), found
