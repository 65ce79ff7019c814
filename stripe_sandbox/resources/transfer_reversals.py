"""Reversals of transfers, whole or in parts. https://docs.stripe.com/api/transfer_reversals

The connected account must be able to pay: its available balance, or, of a transfer that is still pending, what that
will bring. Its payment is refunded (`pyr_…`), the platform gets the money back.
"""

from stripe_sandbox import money
from stripe_sandbox.errors import invalid_request, no_access, resource_missing
from stripe_sandbox.events import publish
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import clearable, merge_metadata, metadata, optional, string
from stripe_sandbox.resource import Call, Operation, Resource, listing, retrieve
from stripe_sandbox.resources.account_state import find_connected
from stripe_sandbox.resources.balance import available, insufficient, pending, post
from stripe_sandbox.resources.transfers import reversals_of
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit


def _create(unit: Unit, call: Call) -> Json:
    transfer = unit.get("transfer", call.path["id"], in_path=True)
    left = transfer.body["amount"] - transfer.body["amount_reversed"]
    amount, currency = call.params.get("amount", left), transfer.body["currency"]
    if left == 0:
        raise invalid_request(f"Transfer {transfer.id} has already been fully reversed.", param="id")
    if amount > left:
        raise invalid_request(
            f"Transfer reversal amount ({money.written(amount, currency)}) is greater than unreversed amount on "
            f"transfer ({money.written(left, currency)})",
            param="amount",
        )
    if find_connected(unit, transfer.body["destination"]) is None:
        raise no_access(transfer.body["destination"])
    there = unit.at(transfer.body["destination"])
    available_in = _available_in(there, transfer)
    held = pending(there, currency) if available_in > 0 else available(there, currency)
    if held < amount:
        raise insufficient(
            f"The connected account {transfer.body['destination']} has insufficient available funds to reverse this "
            "transfer. You can use the /v1/balance endpoint to view its balance."
        )
    reversal = unit.add(
        "transfer_reversal",
        "trr",
        {
            "amount": amount,
            "balance_transaction": None,
            "currency": currency,
            "destination_payment_refund": None,
            "metadata": merge_metadata({}, call.params.get("metadata")),
            "source_refund": None,
            "transfer": transfer.id,
        },
    )
    # Stripe's transfer reversals do not say `livemode`.
    del reversal.body["livemode"]
    refund = _refund_payment(there, transfer, reversal, available_in)
    credit = post(
        unit,
        transaction_type="transfer_refund",
        source=reversal.id,
        amount=amount,
        fee=0,
        currency=currency,
        available_in=available_in,
        description=call.params.get("description"),
    )
    unit.change(reversal, balance_transaction=credit.id, destination_payment_refund=refund.id)
    previous = unit.change(transfer, amount_reversed=transfer.body["amount_reversed"] + amount, reversed=amount == left)
    publish(unit, "transfer.reversed", unit.show(transfer), previous)
    return reversal.body


def _available_in(there: Unit, transfer: Stored) -> float:
    """Seconds until the transferred funds are available on the connected account; 0, they are."""
    payment = there.get("charge", transfer.body["destination_payment"])
    booked = there.get("balance_transaction", payment.body["balance_transaction"])
    if booked.body["status"] == "available":
        return 0.0
    return float(max(booked.body["available_on"] - there.now, 0.0) + 0.001)


def _refund_payment(there: Unit, transfer: Stored, reversal: Stored, available_in: float) -> Stored:
    """The refund of the connected account's payment."""
    payment = there.get("charge", transfer.body["destination_payment"])
    amount = reversal.body["amount"]
    refund = there.add(
        "refund",
        "pyr",
        {
            "amount": amount,
            "balance_transaction": None,
            "charge": payment.id,
            "currency": reversal.body["currency"],
            "metadata": {},
            "payment_intent": None,
            "reason": None,
            "receipt_number": None,
            "source_transfer_reversal": reversal.id,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )
    # Stripe's refunds do not say `livemode`.
    del refund.body["livemode"]
    debit = post(
        there,
        transaction_type="payment_refund",
        source=refund.id,
        amount=-amount,
        fee=0,
        currency=reversal.body["currency"],
        available_in=available_in,
        description="REFUND FOR PAYMENT",
    )
    there.change(refund, balance_transaction=debit.id)
    refunded = payment.body["amount_refunded"] + amount
    there.change(payment, amount_refunded=refunded, refunded=refunded == payment.body["amount"])
    return refund


# ── Read and change ──────────────────────────────────────────────────────────────────────────────────────────────────


def _find(unit: Unit, call: Call) -> Stored:
    transfer = unit.get("transfer", call.path["transfer"], "transfer", in_path=True)
    reversal = unit.find("transfer_reversal", call.path["id"])
    if reversal is None or reversal.body["transfer"] != transfer.id:
        raise resource_missing("transfer_reversal", call.path["id"], "id", in_path=True)
    return reversal


def _retrieve(unit: Unit, call: Call) -> Json:
    return _find(unit, call).body


def _update(unit: Unit, call: Call) -> Json:
    reversal = _find(unit, call)
    if "metadata" in call.params:
        unit.change(reversal, metadata=merge_metadata(reversal.body["metadata"], call.params["metadata"]))
    return reversal.body


def _of_transfer(unit: Unit, call: Call) -> list[Filter]:
    return [reversals_of(unit.get("transfer", call.path["id"], in_path=True).id)]


REVERSALS = Resource(
    kind="transfer_reversal",
    expandable=frozenset("balance_transaction destination_payment_refund source_refund transfer".split()),
    operations=(
        Operation(
            "POST",
            "/v1/transfers/{id}/reversals",
            _create,
            {
                "amount": optional(money.amount),
                "description": optional(string()),
                "metadata": clearable(metadata),
            },
            frozenset({"refund_application_fee"}),
        ),
        listing("/v1/transfers/{id}/reversals", "transfer_reversal", {}, always=_of_transfer),
        Operation("GET", "/v1/transfers/{transfer}/reversals/{id}", _retrieve),
        Operation("POST", "/v1/transfers/{transfer}/reversals/{id}", _update, {"metadata": clearable(metadata)}),
    ),
)

REFUNDS = Resource(
    kind="refund",
    expandable=frozenset(
        "balance_transaction charge payment_intent source_transfer_reversal transfer_reversal".split()
    ),
    operations=(retrieve("/v1/refunds/{refund}", "refund"),),
)
"""Only as the mirror of a reversal: refunds of card payments are not modelled."""
