"""A PaymentIntent as Stripe writes it, read for what a deposit cares about."""

from typing import Any

import pytest

from domain.money import Money
from domain.operations import Failure
from domain.payments import Payment, StripeFee

BOOKED = {"id": "txn_1", "amount": 20_000, "fee": 610, "net": 19_390, "currency": "usd"}
FEE = StripeFee(balance_transaction_id="txn_1", gross=20_000, fee=610, net=19_390, currency="usd")


def intent(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    """As Stripe's API answers."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": 20_000,
        "amount_received": 20_000 if status == "succeeded" else 0,
        "currency": "usd",
        "latest_charge": None,
        "last_payment_error": None,
    } | more


@pytest.mark.parametrize(
    ("charge", "charge_id", "fee"),
    [
        (None, None, None),
        ("ch_1", "ch_1", None),
        ({"id": "ch_1", "balance_transaction": None}, "ch_1", None),
        ({"id": "ch_1"}, "ch_1", None),
        ({"id": "ch_1", "balance_transaction": "txn_1"}, "ch_1", None),
        ({"id": "ch_1", "balance_transaction": BOOKED}, "ch_1", FEE),
    ],
    ids=["no charge", "an id", "not booked", "booked unsaid", "booked, an id", "booked, expanded"],
)
def test_a_charge_is_read_as_far_as_it_is_told(charge: object, charge_id: str | None, fee: StripeFee | None) -> None:
    payment = Payment.from_stripe(intent(latest_charge=charge))

    assert (payment.charge_id, payment.fee) == (charge_id, fee)


def test_an_intent_without_the_fields_of_later_is_read() -> None:
    bare = {name: value for name, value in intent().items() if name not in ("latest_charge", "last_payment_error")}

    assert Payment.from_stripe(bare) == Payment(id="pi_1", status="succeeded", amount_received=20_000, currency="usd")


@pytest.mark.parametrize(
    ("error", "detail", "decline_code"),
    [
        (
            {"code": "card_declined", "decline_code": "insufficient_funds", "message": "Insufficient funds."},
            "Insufficient funds.",
            "insufficient_funds",
        ),
        ({"code": "expired_card", "message": "Expired."}, "Expired.", "expired_card"),
        ({"code": "card_declined", "decline_code": None, "message": None}, "The card was declined.", "card_declined"),
        ({"type": "card_error"}, "The card was declined.", None),
    ],
)
def test_a_decline_says_why_as_far_as_stripe_does(error: dict[str, Any], detail: str, decline_code: str | None) -> None:
    payment = Payment.from_stripe(intent("requires_payment_method", last_payment_error=error))

    assert payment.decline == Failure(code="card-declined", detail=detail, decline_code=decline_code)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ("requires_payment_method", {"open", "lacks_card"}),
        ("requires_confirmation", {"open"}),
        ("requires_action", {"open"}),
        ("requires_capture", {"open"}),
        ("processing", {"open", "processing"}),
        ("succeeded", {"succeeded"}),
        ("canceled", {"canceled"}),
        ("a_status_of_tomorrow", {"open"}),
    ],
)
def test_only_stripes_last_words_end_a_payment(status: str, what: set[str]) -> None:
    payment = Payment.from_stripe(intent(status))

    told = {name for name in ("open", "succeeded", "canceled", "processing", "lacks_card") if getattr(payment, name)}

    assert told == what


# ── Other money than was asked for ──


def booked(**more: Any) -> dict[str, Any]:
    """A charge whose balance transaction differs."""
    return {"id": "ch_1", "balance_transaction": BOOKED | more}


@pytest.mark.parametrize(
    ("stripe_says", "code"),
    [
        (intent(), None),
        (intent("processing"), None),
        (intent("canceled"), None),
        (intent(latest_charge=booked()), None),
        (intent(amount_received=19_999), "amount-mismatch"),
        (intent(amount_received=0), "amount-mismatch"),
        (intent(currency="eur"), "amount-mismatch"),
        (intent(latest_charge=booked(amount=18_000)), "settlement-mismatch"),
        (intent(latest_charge=booked(currency="eur")), "settlement-mismatch"),
    ],
)
def test_other_money_than_was_asked_for_contradicts(stripe_says: dict[str, Any], code: str | None) -> None:
    contradiction = Payment.from_stripe(stripe_says).contradicts(Money(20_000, "usd"))

    assert (contradiction.code if contradiction else None) == code
