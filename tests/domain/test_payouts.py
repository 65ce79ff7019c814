"""Transfers, reversals and payouts as Stripe writes them, read for what a withdrawal cares about."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from domain.operations import Failure
from domain.payouts import Payout, Reversal, Transfer

TRANSFER = {
    "id": "tr_1",
    "object": "transfer",
    "amount": 8_000,
    "currency": "usd",
    "balance_transaction": "txn_ours",
    "destination": "acct_1",
    "destination_payment": {"id": "py_1", "object": "charge", "balance_transaction": "txn_theirs"},
}
REVERSAL = {
    "id": "trr_1",
    "object": "transfer_reversal",
    "amount": 5_000,
    "currency": "usd",
    "transfer": "tr_1",
    "balance_transaction": "txn_ours",
    "destination_payment_refund": {"id": "pyr_1", "object": "refund", "balance_transaction": "txn_theirs"},
}
PAYOUT = {
    "id": "po_1",
    "object": "payout",
    "status": "pending",
    "amount": 8_000,
    "currency": "usd",
    "arrival_date": 1_700_000_000,
    "balance_transaction": "txn_out",
    "failure_balance_transaction": None,
    "failure_code": None,
    "failure_message": None,
}


def payout(**more: Any) -> Payout:
    """As it is read."""
    return Payout.from_stripe(PAYOUT | more)


# ── Transfers and reversals ──


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"destination": {"id": "acct_1", "object": "account"}},
        {"balance_transaction": {"id": "txn_ours", "object": "balance_transaction", "net": -8_000}},
        {"destination_payment": {"id": "py_1", "balance_transaction": {"id": "txn_theirs", "net": 8_000}}},
    ],
    ids=["ids", "account expanded", "ours expanded", "theirs expanded"],
)
def test_a_transfer_is_explained_on_either_side(told: dict[str, Any]) -> None:
    assert Transfer.from_stripe(TRANSFER | told) == Transfer(
        id="tr_1",
        amount=8_000,
        stripe_account="acct_1",
        balance_transaction="txn_ours",
        arrival_transaction="txn_theirs",
    )


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"balance_transaction": {"id": "txn_ours", "net": 5_000}},
        {"destination_payment_refund": {"id": "pyr_1", "balance_transaction": {"id": "txn_theirs", "net": -5_000}}},
    ],
    ids=["ids", "ours expanded", "theirs expanded"],
)
def test_a_reversal_is_explained_on_either_side(told: dict[str, Any]) -> None:
    assert Reversal.from_stripe(REVERSAL | told) == Reversal(
        id="trr_1", amount=5_000, balance_transaction="txn_ours", departure_transaction="txn_theirs"
    )


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (Transfer.from_stripe, TRANSFER | {"balance_transaction": None}),
        (Transfer.from_stripe, TRANSFER | {"destination_payment": {"id": "py_1", "balance_transaction": None}}),
        (Reversal.from_stripe, REVERSAL | {"balance_transaction": None}),
        (Payout.from_stripe, PAYOUT | {"balance_transaction": None}),
    ],
)
def test_a_movement_that_nothing_explains_is_not_read_as_explained(read: Any, told: dict[str, Any]) -> None:
    """It would be linked to a balance transaction of the name "None"."""
    with pytest.raises(ValidationError, match="transaction"):
        read(told)


# ── Payouts ──


def test_a_payout_says_when_the_bank_has_it() -> None:
    assert payout() == Payout(
        id="po_1",
        status="pending",
        amount=8_000,
        currency="usd",
        arrival=date(2023, 11, 14),
        balance_transaction="txn_out",
    )
    # Stripe's day is a day of UTC, also in its last second.
    assert payout(arrival_date=1_700_006_399).arrival == date(2023, 11, 14)
    assert payout(arrival_date=1_700_006_400).arrival == date(2023, 11, 15)


def test_a_payout_is_read_with_its_transactions_expanded_too() -> None:
    expanded = payout(
        status="failed",
        balance_transaction={"id": "txn_out", "net": -8_000},
        failure_balance_transaction={"id": "txn_back", "net": 8_000},
    )

    assert (expanded.balance_transaction, expanded.return_transaction) == ("txn_out", "txn_back")


@pytest.mark.parametrize(
    ("status", "back", "paid", "returned"),
    [
        ("pending", None, False, False),
        ("in_transit", None, False, False),
        ("paid", None, True, False),
        ("failed", "txn_back", False, True),
        ("failed", None, False, False),
        ("canceled", "txn_back", False, True),
        ("canceled", None, False, False),
        ("a_status_of_tomorrow", None, False, False),
        # Not before the status says so too.
        ("paid", "txn_back", True, False),
        ("in_transit", "txn_back", False, False),
    ],
)
def test_a_payout_has_come_back_once_the_money_has(status: str, back: str | None, paid: bool, returned: bool) -> None:
    found = payout(status=status, failure_balance_transaction=back)

    assert (found.paid, found.returned) == (paid, returned)
    assert found.return_transaction == back
    assert (found.failure is not None) is (status in ("failed", "canceled"))


@pytest.mark.parametrize(
    ("told", "detail", "reason"),
    [
        (
            {"failure_code": "account_closed", "failure_message": "The bank account has been closed."},
            "The bank account has been closed.",
            "account_closed",
        ),
        ({"failure_code": "could_not_process"}, "The bank did not take the payout.", "could_not_process"),
        ({}, "The bank did not take the payout.", None),
        ({"failure_message": ""}, "The bank did not take the payout.", None),
    ],
)
def test_a_bank_that_refuses_says_why_as_far_as_stripe_does(
    told: dict[str, Any], detail: str, reason: str | None
) -> None:
    failed = payout(status="failed", failure_balance_transaction="txn_back", **told)

    assert failed.failure == Failure(code="payout-failed", detail=detail, decline_code=reason)


def test_a_payout_canceled_at_stripe_is_not_the_banks_doing() -> None:
    canceled = payout(status="canceled", failure_balance_transaction="txn_back")

    assert canceled.failure == Failure(code="payout-failed", detail="The payout was canceled at Stripe.")


def test_the_fields_of_later_may_be_missing() -> None:
    bare = {name: value for name, value in PAYOUT.items() if not name.startswith("failure")}

    assert Payout.from_stripe(bare) == payout()


def test_what_is_kept_is_read_as_it_was_written() -> None:
    failed = payout(status="failed", failure_balance_transaction="txn_back", failure_code="account_closed")

    assert Payout.model_validate(failed.model_dump(mode="json")) == failed
    assert Transfer.model_validate(Transfer.from_stripe(TRANSFER).model_dump()) == Transfer.from_stripe(TRANSFER)
