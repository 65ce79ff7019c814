"""Charges, fees, settlement: the balance is the sum of its balance transactions at every step."""

from typing import Any

import pytest

from stripe_sandbox import money
from stripe_sandbox.store import Store
from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.receiver import Receiver, eventually

DAY = 86_400


async def _booked(platform: Platform, charge: str) -> Any:
    """The charge's balance transaction, once it is known."""

    async def known() -> Any:
        found = await platform.v1.charges.retrieve_async(charge, {"expand": ["balance_transaction"]})
        return found.balance_transaction

    return await eventually(known)


async def _balance(platform: Platform, currency: str = "usd") -> tuple[int, int]:
    """Pending and available, in minor units."""
    balance = await platform.v1.balance.retrieve_async()
    pending, available = (
        {each.currency: each.amount for each in amounts}.get(currency, 0)
        for amounts in (balance.pending, balance.available)
    )
    return pending, available


async def test_200_00_costs_6_10_and_settles_after_two_days(platform: Platform, receiver: Receiver) -> None:
    await platform.listen(receiver, "balance.available", "charge.updated")
    intent = await platform.pay(amount=20_000)
    transaction = await _booked(platform, intent.latest_charge)
    assert (transaction.amount, transaction.fee, transaction.net) == (20_000, 610, 19_390)
    assert (transaction.status, transaction.available_on - transaction.created) == ("pending", 2 * DAY)
    assert await _balance(platform) == (19_390, 0)
    await platform.assert_sound()
    await eventually(lambda: receiver.of("charge.updated"))
    await platform.advance(2 * DAY - 60)
    assert await _balance(platform) == (19_390, 0)
    await platform.advance(120)
    assert await _balance(platform) == (0, 19_390)
    await eventually(lambda: receiver.of("balance.available"))
    assert receiver.of("balance.available")[0].event["data"]["object"]["available"][0]["amount"] == 19_390
    assert (await platform.v1.balance_transactions.retrieve_async(transaction.id)).status == "available"
    await platform.assert_sound()


async def test_the_fee_is_unknown_at_success_and_charge_updated_brings_it(
    platform: Platform, receiver: Receiver
) -> None:
    await platform.control("settings", balance_transaction_delay_ms=60_000)
    await platform.listen(receiver)
    intent = await platform.pay()
    await eventually(lambda: receiver.of("charge.succeeded"))
    assert receiver.of("charge.succeeded")[0].event["data"]["object"]["balance_transaction"] is None
    assert (await platform.v1.charges.retrieve_async(intent.latest_charge)).balance_transaction is None
    assert (await platform.v1.balance_transactions.list_async({})).data == []
    await platform.advance(61)
    await eventually(lambda: receiver.of("charge.updated"))
    event = receiver.of("charge.updated")[0].event
    assert event["data"]["previous_attributes"] == {"balance_transaction": None}
    assert event["data"]["object"]["balance_transaction"].startswith("txn_")
    assert event["request"] == {"id": None, "idempotency_key": None}


async def test_synchronous_capture_knows_the_fee_at_once(platform: Platform) -> None:
    intent = await platform.pay(capture_method="automatic", expand=["latest_charge.balance_transaction"])
    assert intent.latest_charge.balance_transaction.fee == 610


async def test_bypass_pending_is_available_at_once(platform: Platform) -> None:
    intent = await platform.pay("pm_card_bypassPending", capture_method="automatic")
    assert await _balance(platform) == (0, 19_390)
    (transaction,) = (await platform.v1.balance_transactions.list_async({"source": intent.latest_charge})).data
    assert transaction.status == "available"
    assert len((await platform.v1.events.list_async({"type": "balance.available"})).data) == 1
    await platform.assert_sound()


async def test_a_declined_charge_moves_nothing(platform: Platform) -> None:
    answer = await platform.post(
        "/v1/payment_intents",
        amount=20_000,
        currency="usd",
        confirm="true",
        payment_method="pm_card_visa_chargeDeclined",
        return_url="https://example.com",
    )
    assert answer.status_code == 402
    await platform.advance(3 * DAY)
    assert await _balance(platform) == (0, 0)
    assert (await platform.v1.balance_transactions.list_async({})).data == []
    await platform.assert_sound()


async def test_currencies_have_balances_of_their_own(platform: Platform) -> None:
    for currency, amount in (("usd", 1000), ("jpy", 1000), ("kwd", 1000)):
        await platform.pay(amount=amount, currency=currency, capture_method="automatic")
    balance = await platform.v1.balance.retrieve_async()
    assert {each.currency: each.amount for each in balance.pending} == {"jpy": 941, "kwd": 941, "usd": 941}
    only = await platform.v1.balance_transactions.list_async({"currency": "jpy"})
    assert [each.currency for each in only.data] == ["jpy"]
    await platform.assert_sound()


async def test_a_charge_can_settle_in_another_currency(platform: Platform) -> None:
    await platform.control("settings", settlement_currency="usd", exchange_rate_bps=11_000)
    intent = await platform.pay(amount=10_000, currency="eur", capture_method="automatic")
    (transaction,) = (await platform.v1.balance_transactions.list_async({"source": intent.latest_charge})).data
    assert (transaction.currency, transaction.amount, transaction.exchange_rate) == ("usd", 11_000, 1.1)
    assert await _balance(platform) == (11_000 - 349, 0)
    await platform.assert_sound()


async def test_fees_are_a_setting(platform: Platform) -> None:
    await platform.control("settings", fee_percent_bps=0, fee_fixed=0, settle_after_seconds=0)
    await platform.pay(capture_method="automatic")
    assert await _balance(platform) == (0, 20_000)


@pytest.mark.parametrize(("amount", "expected"), [(20_000, 610), (50, 31), (51, 31), (52, 32), (1, 30)])
def test_fee_rounds_half_up(amount: int, expected: int) -> None:
    assert money.fee(amount, 290, 30) == expected


async def test_a_charge_keeps_the_metadata_of_its_success(platform: Platform) -> None:
    intent = await platform.pay(metadata={"operation": "dep_1"})
    await platform.v1.payment_intents.update_async(intent.id, {"metadata": {"operation": "changed"}})
    charge = await platform.v1.charges.retrieve_async(intent.latest_charge)
    assert charge.metadata.to_dict() == {"operation": "dep_1"}
    updated = await platform.v1.charges.update_async(charge.id, {"metadata": {"note": "x"}})
    assert updated.metadata.to_dict() == {"operation": "dep_1", "note": "x"}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE balances SET pending = pending + 1 WHERE platform = ?", "its transactions sum to"),
        ("DELETE FROM objects WHERE kind = 'charge' AND platform = ?", "0 captured charges"),
        ("DELETE FROM objects WHERE kind = 'balance_transaction' AND platform = ?", "has 0 balance transactions"),
        (
            "INSERT INTO objects (platform, account, kind, id, created, body, private) SELECT platform, account, kind,"
            " 'ch_second', created, body, private FROM objects WHERE kind = 'charge' AND platform = ?",
            "2 captured charges",
        ),
    ],
)
async def test_the_check_finds_what_is_wrong(platform: Platform, store: Store, sql: str, expected: str) -> None:
    await platform.pay(capture_method="automatic")
    await platform.assert_sound()
    store.db.execute(sql, (platform.id,))
    found = (await platform.look("check"))["violations"]
    assert any(expected in violation for violation in found), found
