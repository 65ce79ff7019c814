"""Charges: made by PaymentIntents, read and annotated here. https://docs.stripe.com/api/charges

With asynchronous capture, Stripe's default, a charge succeeds before its balance transaction exists; `charge.updated`
says when it does.
"""

from stripe_sandbox import cards, money
from stripe_sandbox.events import publish, updated
from stripe_sandbox.ids import random_text
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    ADDRESS,
    SHIPPING,
    Params,
    clearable,
    complete,
    complete_shipping,
    email,
    fields,
    merge_metadata,
    metadata,
    optional,
    string,
)
from stripe_sandbox.resource import CREATED, Call, Operation, Resource, equals, listing, retrieve
from stripe_sandbox.resources.balance import post
from stripe_sandbox.resources.payment_methods import card_of
from stripe_sandbox.settings import Settings
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit


def charge_card(
    unit: Unit, intent: Stored, payment_method: Stored, *, authenticated: bool, decline: cards.Decline | None
) -> Stored:
    """Charge a PaymentIntent's amount to a card; the charge has failed if there is a decline. Publishes the event.

    authenticated: whether the cardholder passed 3-D Secure.
    """
    body = intent.body
    charge = unit.add(
        "charge",
        "ch",
        {
            "amount": body["amount"],
            "amount_captured": 0 if decline else body["amount"],
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": payment_method.body["billing_details"],
            "calculated_statement_descriptor": _descriptor(body["statement_descriptor_suffix"]),
            "captured": decline is None,
            "currency": body["currency"],
            "customer": body["customer"],
            "description": body["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": None if decline is None else decline.code,
            "failure_message": None if decline is None else decline.message,
            "fraud_details": {},
            # A copy as of now: later changes of the PaymentIntent's metadata do not reach the charge.
            "metadata": dict(body["metadata"]),
            "on_behalf_of": None,
            "outcome": _outcome(decline),
            "paid": decline is None,
            "payment_intent": intent.id,
            "payment_method": payment_method.id,
            "payment_method_details": _details(body["amount"], payment_method, authenticated),
            "radar_options": {},
            "receipt_email": body["receipt_email"],
            "receipt_number": None,
            # The sandbox hosts no receipts.
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": body["shipping"],
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": body["statement_descriptor_suffix"],
            "status": "succeeded" if decline is None else "failed",
            "transfer_data": None,
            "transfer_group": body["transfer_group"],
        },
    )
    if decline is None:
        _book_when_due(unit, charge, intent)
    publish(unit, "charge.succeeded" if decline is None else "charge.failed", charge.body)
    return charge


def transfer_payment(unit: Unit, transfer: Stored, available_in: float) -> Stored:
    """The payment (`py_…`) as which a transfer arrives in the unit's account.

    available_in: seconds until its funds are available. The platform reads of it at the transfer: Stripe tells the
    account of it by events that the sandbox does not have.
    """
    amount, currency = transfer.body["amount"], transfer.body["currency"]
    payment = unit.add("charge", "py", {**_payment_body(), "amount": amount, "amount_captured": amount})
    transaction = post(
        unit,
        transaction_type="payment",
        source=payment.id,
        amount=amount,
        fee=0,
        currency=currency,
        available_in=available_in,
    )
    unit.change(payment, balance_transaction=transaction.id, currency=currency, source_transfer=transfer.id)
    return payment


def _payment_body() -> Json:
    nothing = (
        "application application_fee application_fee_amount balance_transaction calculated_statement_descriptor "
        "customer description failure_balance_transaction failure_code failure_message on_behalf_of outcome "
        "payment_intent payment_method receipt_email receipt_number receipt_url review shipping source_transfer "
        "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    return {
        **dict.fromkeys(nothing.split()),
        "amount_refunded": 0,
        "billing_details": {"address": complete({}, ADDRESS), **dict.fromkeys(("email", "name", "phone", "tax_id"))},
        "captured": True,
        "disputed": False,
        "fraud_details": {},
        "metadata": {},
        "paid": True,
        "payment_method_details": {"stripe_account": {}, "type": "stripe_account"},
        "radar_options": {},
        "refunded": False,
        "status": "succeeded",
    }


def _book_when_due(unit: Unit, charge: Stored, intent: Stored) -> None:
    """`capture_method=automatic` books in the request itself; `automatic_async` some time after the success."""
    if intent.body["capture_method"] == "automatic":
        _book(unit, charge)
    else:
        low, high = unit.settings.balance_transaction_delay_ms
        unit.later(unit.chance().uniform(low, high) / 1000, "book_charge", charge=charge.id)


def _book(unit: Unit, charge: Stored) -> Json:
    """Post the charge's balance transaction. Returns the previous attributes of the charge."""
    settings = unit.settings
    payment_method = unit.get("payment_method", charge.body["payment_method"])
    amount, currency, exchange_rate = _settled(charge.body["amount"], charge.body["currency"], settings)
    transaction = post(
        unit,
        transaction_type="charge",
        source=charge.id,
        amount=amount,
        fee=money.fee(amount, settings.fee_percent_bps, settings.fee_fixed),
        currency=currency,
        exchange_rate=exchange_rate,
        available_in=0 if card_of(payment_method).bypass_pending else settings.settle_after_seconds,
        description=charge.body["description"],
    )
    return unit.change(charge, balance_transaction=transaction.id)


def _settled(amount: int, currency: str, settings: Settings) -> tuple[int, str, float | None]:
    """What a charge becomes in the settlement currency, and the rate if it was converted."""
    if settings.settlement_currency in ("", currency):
        return amount, currency, None
    converted = (amount * settings.exchange_rate_bps + 5000) // 10_000
    return converted, settings.settlement_currency, settings.exchange_rate_bps / 10_000


def _book_later(unit: Unit, payload: Json) -> None:
    charge = unit.get("charge", payload["charge"])
    previous = _book(unit, charge)
    publish(unit, "charge.updated", charge.body, previous)


def _descriptor(suffix: str | None) -> str:
    return "STRIPE SANDBOX" if suffix is None else f"STRIPE SANDBOX* {suffix}"[:22]


def _outcome(decline: cards.Decline | None) -> Json:
    outcome: Json = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete.",
        "type": "authorized",
    }
    if decline is None:
        return outcome
    if decline is cards.FRAUDULENT:
        return outcome | {
            "network_status": "not_sent_to_network",
            "reason": "highest_risk_level",
            "risk_level": "highest",
            "risk_score": 90,
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    return outcome | {
        "network_decline_code": "05",
        "network_status": "declined_by_network",
        "reason": decline.decline_code or decline.code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _details(amount: int, payment_method: Stored, authenticated: bool) -> Json:
    card = payment_method.body["card"]
    three_d_secure = {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": random_text(20),
        "version": "2.2.0",
    }
    return {
        "card": {
            "amount_authorized": amount,
            "authorization_code": random_text(6).upper(),
            "brand": card["brand"],
            "checks": card["checks"],
            "country": card["country"],
            "exp_month": card["exp_month"],
            "exp_year": card["exp_year"],
            "extended_authorization": {"status": "disabled"},
            "fingerprint": card["fingerprint"],
            "funding": card["funding"],
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "last4": card["last4"],
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": card["brand"],
            "network_token": {"used": False},
            "network_transaction_id": random_text(15).upper(),
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "regulated_status": card["regulated_status"],
            "three_d_secure": three_d_secure if authenticated else None,
            "wallet": None,
        },
        "type": "card",
    }


def _update(unit: Unit, call: Call) -> Json:
    charge = unit.get("charge", call.path["charge"], in_path=True)
    changes = dict(call.params)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(charge.body["metadata"], changes["metadata"])
    if "shipping" in changes:
        changes["shipping"] = complete_shipping(changes["shipping"])
    updated(unit, "charge.updated", charge, **changes)
    return charge.body


_UPDATE: Params = {
    "description": clearable(string(40_000)),
    "metadata": clearable(metadata),
    "receipt_email": clearable(email),
    "shipping": optional(fields(SHIPPING)),
    "transfer_group": optional(string()),
}

RESOURCE = Resource(
    kind="charge",
    expandable=frozenset(
        "application application_fee balance_transaction customer failure_balance_transaction on_behalf_of "
        "payment_intent review source_transfer transfer".split()
    ),
    jobs={"book_charge": _book_later},
    operations=(
        listing(
            "/v1/charges",
            "charge",
            {
                "created": CREATED,
                "customer": equals("customer"),
                "payment_intent": equals("payment_intent"),
                "transfer_group": equals("transfer_group"),
            },
        ),
        retrieve("/v1/charges/{charge}", "charge"),
        Operation("POST", "/v1/charges/{charge}", _update, _UPDATE, frozenset({"customer", "fraud_details"})),
    ),
)
