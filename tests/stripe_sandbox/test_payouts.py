"""Payouts: to good and bad banks, moved by the clock and by control calls, failing late."""

from typing import Any

import pytest

from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.connect import on, payout_is, refused
from tests.stripe_sandbox.receiver import Receiver, eventually

DAY = 86_400


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


async def held(platform: Platform) -> tuple[str, Any]:
    """An account of 1000 with a payout of 600 that waits for its control call."""
    await platform.control("settings", payout_transit_delay_ms=60_000)
    account = (await platform.account()).id
    await platform.fund(1000, account=account)
    return account, await platform.v1.payouts.create_async({"amount": 600, "currency": "usd"}, on(account))


async def test_a_pending_payout_can_be_canceled(platform: Platform) -> None:
    account, payout = await held(platform)
    canceled = await platform.v1.payouts.cancel_async(
        payout.id, {"expand": ["failure_balance_transaction"]}, on(account)
    )
    assert (canceled.status, canceled.failure_balance_transaction.type) == ("canceled", "payout_cancel")
    assert await platform.available(account) == 1000
    assert (await refused(platform.v1.payouts.cancel_async(payout.id, {}, on(account)))).http_status == 400
    await platform.advance(120)
    assert (await platform.v1.payouts.retrieve_async(payout.id, {}, on(account))).status == "canceled"
    await platform.assert_sound()


async def test_a_payout_follows_the_clock(platform: Platform) -> None:
    await platform.control("settings", payout_arrival_delay_ms=DAY * 1000)
    account, payout = await held(platform)
    assert payout.arrival_date - payout.created in (DAY + 60, DAY + 61)
    await platform.advance(61)
    assert (await platform.v1.payouts.retrieve_async(payout.id, {}, on(account))).status == "in_transit"
    assert (await refused(platform.v1.payouts.cancel_async(payout.id, {}, on(account)))).http_status == 400
    await platform.advance(DAY)
    assert (await platform.v1.payouts.retrieve_async(payout.id, {}, on(account))).status == "paid"
    page = await platform.v1.payouts.list_async(
        {"status": "paid", "arrival_date": {"lte": payout.arrival_date}}, on(account)
    )
    assert [each.id for each in page.data] == [payout.id]


async def test_control_moves_a_payout(platform: Platform, receiver: Receiver) -> None:
    await platform.listen(receiver, connect=True)
    _, payout = await held(platform)
    assert (await platform.control(f"payouts/{payout.id}/send"))["status"] == "in_transit"
    assert (await platform.control(f"payouts/{payout.id}/pay"))["status"] == "paid"
    for wrong in ("send", "pay", "cancel"):
        assert (await platform.http.post(f"/_sandbox/payouts/{payout.id}/{wrong}")).status_code == 400
    late = await platform.control(f"payouts/{payout.id}/fail", failure_code="account_closed")
    assert (late["status"], late["failure_message"]) == ("failed", "The bank account has been closed.")
    assert (await platform.http.post(f"/_sandbox/payouts/{payout.id}/fail")).status_code == 400
    assert (
        await platform.http.post(f"/_sandbox/payouts/{payout.id}/fail", json={"failure_code": "x"})
    ).status_code == 400
    assert (await platform.http.post("/_sandbox/payouts/po_none/pay")).status_code == 404
    types = {"payout.updated", "payout.paid", "payout.failed", "account.external_account.updated", "account.updated"}
    await eventually(lambda: types <= set(receiver.types()))
    await platform.assert_sound()


async def test_payouts_can_be_held_in_transit(platform: Platform) -> None:
    await platform.control("settings", payout_hold=True)
    account = (await platform.account()).id
    await platform.fund(1000, account=account)
    payout = await platform.v1.payouts.create_async({"amount": 600, "currency": "usd"}, on(account))
    await payout_is(platform, account, payout.id, "in_transit")
    await platform.advance(30 * DAY)
    assert (await platform.v1.payouts.retrieve_async(payout.id, {}, on(account))).status == "in_transit"
    assert (await platform.control(f"payouts/{payout.id}/pay"))["status"] == "paid"


async def test_fates_are_planted_for_the_next_payouts(platform: Platform) -> None:
    accounts = [(await platform.account()).id for _ in range(2)]
    for account in accounts:
        await platform.fund(1000, account=account)
    await platform.control("payout_faults", kind="fail", failure_code="declined", account=accounts[0])
    await platform.control("payout_faults", kind="hold", account=accounts[1], skip=1, times=None)
    given = {"amount": 100, "currency": "usd"}
    failing = await platform.v1.payouts.create_async(given, on(accounts[0]))
    paid, stays = [await platform.v1.payouts.create_async(given, on(accounts[1])) for _ in range(2)]
    assert (await payout_is(platform, accounts[0], failing.id, "failed")).failure_code == "declined"
    await payout_is(platform, accounts[1], paid.id, "paid")
    await platform.advance(DAY)
    await payout_is(platform, accounts[1], stays.id, "in_transit")
    counted = (await platform.look("payout_faults"))["faults"]
    assert [(fault["seen"], fault["fired"]) for fault in counted] == [(1, 1), (2, 1)]
    assert (await platform.http.delete("/_sandbox/payout_faults")).json() == {"removed": 2}
    for wrong in ({"kind": "drop"}, {"kind": "fail", "failure_code": "x"}, {"kind": "fail", "path": "*"}):
        assert (await platform.http.post("/_sandbox/payout_faults", json=wrong)).status_code == 400


async def test_where_a_payout_goes(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(1000, account=account)
    await platform.fund(1000, "eur", account=account)
    create = platform.v1.payouts.create_async
    error = await refused(create({"amount": 100, "currency": "eur"}, on(account)))
    assert error.code == "no_external_account_in_currency"
    iban = {"account_number": "DE62370400440532013001", "country": "DE", "currency": "eur"}
    await platform.control(f"accounts/{account}/bank_account", **iban)
    payout = await create({"amount": 100, "currency": "eur", "expand": ["destination"]}, on(account))
    assert (payout.destination.last4, payout.destination.currency) == ("3001", "eur")
    await payout_is(platform, account, payout.id, "failed")
    error = await refused(create({"amount": 100, "currency": "eur"}, on(account)))
    assert error.code == "bank_account_unusable"
    for wrong in (payout.destination.id, "ba_none"):
        error = await refused(create({"amount": 100, "currency": "usd", "destination": wrong}, on(account)))
        assert error.param == "destination"
    await create({"amount": 100, "currency": "usd"}, on(account))
    await platform.assert_sound()


async def test_the_platform_pays_itself_out(platform: Platform, receiver: Receiver) -> None:
    await platform.listen(receiver, "payout.paid", "account.updated")
    await platform.fund(1000)
    error = await refused(platform.v1.payouts.create_async({"amount": 1001, "currency": "usd"}))
    assert error.code == "balance_insufficient"
    await platform.v1.payouts.create_async({"amount": 1000, "currency": "usd"})
    await eventually(lambda: receiver.of("payout.paid"))
    assert "account" not in receiver.of("payout.paid")[0].event
    assert await platform.available() == 0


async def test_what_payouts_are_not_modelled(platform: Platform) -> None:
    account, payout = await held(platform)
    headers = {"Stripe-Account": account}
    for path, form in (
        ("/v1/payouts", {"amount": 1, "currency": "usd", "method": "instant"}),
        (f"/v1/payouts/{payout.id}/reverse", {}),
    ):
        answer = await platform.http.post(path, data=form, headers=headers)
        assert answer.status_code == 400
        assert "does not model" in answer.json()["error"]["message"]
    changed = await platform.v1.payouts.update_async(payout.id, {"metadata": {"a": "1"}}, on(account))
    assert changed.metadata.to_dict() == {"a": "1"}


async def test_a_balance_can_be_adjusted(platform: Platform) -> None:
    account = (await platform.account()).id
    path = f"accounts/{account}/adjust_balance"
    assert (await platform.control(path, amount=-5, currency="usd"))["available"][0]["amount"] == -5
    (booked,) = (await platform.v1.balance_transactions.list_async({}, on(account))).data
    assert (booked.type, booked.net, booked.source) == ("adjustment", -5, None)
    for body in ({"amount": 0}, {}, {"amount": 1, "currency": "xyz"}, {"amount": 1.5}):
        assert (await platform.http.post(f"/_sandbox/{path}", json=body)).status_code == 400
    assert (
        await platform.http.post("/_sandbox/accounts/acct_none/adjust_balance", json={"amount": 1})
    ).status_code == 403
    await platform.assert_sound()
