"""Money from the platform to a connected account, to its bank, and back: every balance the sum of its transactions."""

from typing import Any

import pytest

from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.receiver import Receiver, eventually
from tests.stripe_sandbox.refusals import on, refused

DAY = 86_400


async def payout_is(platform: Platform, account: str, payout: str, status: str) -> Any:
    """The payout, once it has this status."""

    async def found() -> Any:
        shown = await platform.v1.payouts.retrieve_async(payout, {}, on(account))
        return shown if shown.status == status else None

    return await eventually(found)


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


@pytest.mark.parametrize(("bank", "code"), [("000111111116", "no_account"), ("000111111113", "account_closed")])
async def test_a_payout_to_a_bad_bank_fails(platform: Platform, bank: str, code: str) -> None:
    account = (await platform.account(bank=bank)).id
    await platform.fund(1000, account=account)
    payout = await platform.v1.payouts.create_async({"amount": 1000, "currency": "usd"}, on(account))
    failed = await payout_is(platform, account, payout.id, "failed")
    assert failed.failure_code == code
    assert failed.failure_balance_transaction.startswith("txn_")
    assert await platform.available(account) == 1000
    shown = await platform.v1.accounts.retrieve_async(account)
    assert shown.payouts_enabled is False
    assert shown.external_accounts.data[0].status == "errored"
    assert shown.requirements.past_due == ["external_account"]
    error = await refused(platform.v1.payouts.create_async({"amount": 1000, "currency": "usd"}, on(account)))
    assert (error.http_status, error.code) == (400, "payouts_not_allowed")
    await platform.control(f"accounts/{account}/bank_account", account_number="000123456789")
    again = await platform.v1.payouts.create_async({"amount": 1000, "currency": "usd"}, on(account))
    await payout_is(platform, account, again.id, "paid")
    await platform.assert_sound()


async def test_a_paid_payout_fails_late(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(1000, account=account)
    await platform.control("payout_faults", kind="fail_late", failure_code="account_closed", seconds=3 * DAY)
    payout = await platform.v1.payouts.create_async({"amount": 1000, "currency": "usd"}, on(account))
    await payout_is(platform, account, payout.id, "paid")
    await platform.advance(3 * DAY + 1)
    failed = await platform.v1.payouts.retrieve_async(payout.id, {}, on(account))
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert await platform.available(account) == 1000
    await platform.assert_sound()
