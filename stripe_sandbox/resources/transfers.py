"""Transfers from the platform's balance to a connected account's. https://docs.stripe.com/api/transfers

A transfer succeeds or is refused at once. It debits the platform's available balance, or, tied to a charge by
`source_transaction`, what that charge will bring; the connected account gets a payment (`py_…`) that is available when
the money was.
"""

from stripe_sandbox import money
from stripe_sandbox.errors import StripeError, invalid_param, invalid_request, not_modelled, resource_missing
from stripe_sandbox.events import publish, updated
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import Params, clearable, merge_metadata, metadata, optional, required, string
from stripe_sandbox.resource import CREATED, Call, Operation, Resource, equals, listing, retrieve
from stripe_sandbox.resources.account_state import find_connected
from stripe_sandbox.resources.balance import available, insufficient, post
from stripe_sandbox.resources.charges import transfer_payment
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit


def _create(unit: Unit, call: Call) -> Json:
    given = call.params
    destination = _destination(unit, given["destination"])
    charge = _source(unit, given)
    group = given.get("transfer_group") if charge is None else _group(unit, charge, given.get("transfer_group"))
    available_in = 0.0 if charge is None else _settles_in(unit, charge)
    if available_in <= 0 and available(unit, given["currency"]) < given["amount"]:
        raise insufficient(
            "You have insufficient available funds in your Stripe account. Try adding funds directly to your available "
            "balance by creating Charges using the 4000000000000077 test card. See: "
            "https://stripe.com/docs/testing#available-balance"
        )
    transfer = unit.add(
        "transfer",
        "tr",
        {
            "amount": given["amount"],
            "amount_reversed": 0,
            "balance_transaction": None,
            "currency": given["currency"],
            "description": given.get("description"),
            "destination": destination.id,
            "destination_payment": None,
            "metadata": merge_metadata({}, given.get("metadata")),
            "reversed": False,
            "source_transaction": None if charge is None else charge.id,
            "source_type": "card",
            "transfer_group": group,
        },
    )
    debit = post(
        unit,
        transaction_type="transfer",
        source=transfer.id,
        amount=-given["amount"],
        fee=0,
        currency=given["currency"],
        available_in=available_in,
        description=given.get("description"),
    )
    payment = transfer_payment(unit.at(destination.id), transfer, available_in)
    unit.change(transfer, balance_transaction=debit.id, destination_payment=payment.id)
    publish(unit, "transfer.created", unit.show(transfer))
    return unit.show(transfer)


def _destination(unit: Unit, account_id: str) -> Stored:
    """The account to pay. Raises 400 for one that is not connected, or cannot receive transfers."""
    account = find_connected(unit, account_id)
    if account is None:
        raise resource_missing("destination", account_id, "destination", in_path=False)
    if account.body["capabilities"].get("transfers") != "active":
        raise invalid_request(
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments",
            code="insufficient_capabilities_for_transfer",
        )
    return account


# ── The charge that a transfer is tied to ────────────────────────────────────────────────────────────────────────────


def _source(unit: Unit, given: Json) -> Stored | None:
    """The charge that funds the transfer. Raises 400 for one that has not that much left to transfer."""
    if "source_transaction" not in given:
        return None
    charge = unit.get("charge", given["source_transaction"], "source_transaction")
    if charge.body["status"] != "succeeded":
        raise _source_refused(f"The charge {charge.id} has not succeeded, so it cannot fund a transfer.")
    amount, currency = _settled(unit, charge)
    if currency != given["currency"]:
        raise _source_refused(
            f"The currency of source_transaction's balance transaction ({currency}) must be the same as the transfer "
            f"currency ({given['currency']})"
        )
    tied = unit.all("transfer", Filter("json_extract(body, '$.source_transaction') = ?", (charge.id,)))
    left = amount - sum(transfer.body["amount"] - transfer.body["amount_reversed"] for transfer in tied)
    if given["amount"] > left:
        raise invalid_request(
            f"The transfer amount ({money.written(given['amount'], currency)}) exceeds what is left of the source "
            f"charge ({money.written(left, currency)}).",
            param="amount",
        )
    return charge


def _source_refused(message: str) -> StripeError:
    return invalid_request(message, param="source_transaction")


def _settled(unit: Unit, charge: Stored) -> tuple[int, str]:
    """What a charge brings before fees: minor units of the settlement currency; until that is known, as presented."""
    if charge.body["balance_transaction"] is None:
        return charge.body["amount"], charge.body["currency"]
    booked = unit.get("balance_transaction", charge.body["balance_transaction"])
    return booked.body["amount"], booked.body["currency"]


def _settles_in(unit: Unit, charge: Stored) -> float:
    """Seconds until the charge's funds are available; 0, they are. An unbooked one's are expected after all delays."""
    settings = unit.settings
    if charge.body["balance_transaction"] is None:
        return settings.settle_after_seconds + settings.balance_transaction_delay_ms[1] / 1000
    booked = unit.get("balance_transaction", charge.body["balance_transaction"])
    if booked.body["status"] == "available":
        return 0.0
    # A hair later than the whole second, lest rounding makes it a second earlier.
    return float(max(booked.body["available_on"] - unit.now, 0.0) + 0.001)


def _group(unit: Unit, charge: Stored, wanted: str | None) -> str:
    """The transfer takes the charge's group; a charge without one gets the transfer's, or a new one."""
    present: str | None = charge.body["transfer_group"]
    if present is not None and wanted not in (None, present):
        raise invalid_param(
            f"The transfer_group ({wanted}) must be that of the source_transaction ({present}).", "transfer_group"
        )
    group = present or wanted or f"group_{charge.body['payment_intent'] or charge.id}"
    unit.change(charge, transfer_group=group)
    return group


# ── Read and change ──────────────────────────────────────────────────────────────────────────────────────────────────


def _render(unit: Unit, transfer: Stored) -> Json:
    """With its ten newest reversals."""
    page, more = unit.store.page(unit.scope, "transfer_reversal", [reversals_of(transfer.id)], limit=10)
    reversals = {
        "object": "list",
        "data": [reversal.body for reversal in page],
        "has_more": more,
        "url": f"/v1/transfers/{transfer.id}/reversals",
    }
    return {**transfer.body, "reversals": reversals}


def reversals_of(transfer_id: str) -> Filter:
    """The reversals of one transfer."""
    return Filter("json_extract(body, '$.transfer') = ?", (transfer_id,))


def _update(unit: Unit, call: Call) -> Json:
    transfer = unit.get("transfer", call.path["transfer"], in_path=True)
    changes = dict(call.params)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(transfer.body["metadata"], changes["metadata"])
    updated(unit, "transfer.updated", transfer, **changes)
    return unit.show(transfer)


def source_type(name: str, raw: object) -> str:
    """Every balance of the sandbox comes from cards."""
    if raw in ("bank_account", "fpx"):
        raise not_modelled(f"funds of the source type '{raw}'", name)
    value: str = string(choices=("bank_account", "card", "fpx"))(name, raw)
    return value


_CREATE: Params = {
    "amount": required(money.amount),
    "currency": required(money.currency),
    "description": optional(string()),
    "destination": required(string()),
    "metadata": optional(metadata),
    "source_transaction": optional(string()),
    "source_type": optional(source_type),
    "transfer_group": optional(string()),
}

RESOURCE = Resource(
    kind="transfer",
    render=_render,
    expandable=frozenset("balance_transaction destination destination_payment reversals source_transaction".split()),
    operations=(
        Operation("POST", "/v1/transfers", _create, _CREATE),
        listing(
            "/v1/transfers",
            "transfer",
            {
                "created": CREATED,
                "destination": equals("destination"),
                "transfer_group": equals("transfer_group"),
            },
        ),
        retrieve("/v1/transfers/{transfer}", "transfer"),
        Operation(
            "POST",
            "/v1/transfers/{transfer}",
            _update,
            {"description": clearable(string()), "metadata": clearable(metadata)},
        ),
    ),
)
