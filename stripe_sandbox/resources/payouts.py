"""Payouts of an account's balance to its bank. https://docs.stripe.com/api/payouts

On a connected account (`Stripe-Account`) or on the platform's own. All are manual: the sandbox keeps a payout schedule
and pays nothing out by it.
"""

import math

from stripe_sandbox import money
from stripe_sandbox.errors import invalid_param, invalid_request, not_modelled, resource_missing
from stripe_sandbox.events import publish, updated
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    Params,
    clearable,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
    time_range,
)
from stripe_sandbox.resource import CREATED, Call, ListFilter, Operation, Resource, equals, listing, retrieve
from stripe_sandbox.resources.account_state import own_account
from stripe_sandbox.resources.balance import available, insufficient, post
from stripe_sandbox.resources.bank_accounts import bank_for
from stripe_sandbox.resources.payout_flow import JOBS, cancel, fate, submit_later
from stripe_sandbox.resources.transfers import source_type
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit


def _create(unit: Unit, call: Call) -> Json:
    given = call.params
    amount, currency = given["amount"], given["currency"]
    if not own_account(unit).body["payouts_enabled"]:
        raise invalid_request(
            "Payouts have been disabled on this account. Check the account's status to see if any additional "
            "information needs to be provided, or if payouts have been disabled for another reason.",
            code="payouts_not_allowed",
        )
    bank = _destination(unit, given)
    if available(unit, currency) < amount:
        raise insufficient(
            "You have insufficient funds in your Stripe account for this transfer. Your card balance is too low.  You "
            "can use the /v1/balance endpoint to view your Stripe balance (for more details, see "
            "stripe.com/docs/api#balance)."
        )
    decided = fate(unit, bank)
    payout = unit.add(
        "payout",
        "po",
        {
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": math.ceil(unit.now + decided["transit"] + decided["arrival"]),
            "automatic": False,
            "balance_transaction": None,
            "currency": currency,
            "description": given.get("description"),
            "destination": bank.id,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "metadata": merge_metadata({}, given.get("metadata")),
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "not_applicable",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": given.get("statement_descriptor"),
            "status": "pending",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        },
        decided,
    )
    debit = post(
        unit,
        transaction_type="payout",
        source=payout.id,
        amount=-amount,
        fee=0,
        currency=currency,
        available_in=0,
        description="STRIPE PAYOUT",
    )
    unit.change(payout, balance_transaction=debit.id)
    publish(unit, "payout.created", payout.body)
    submit_later(unit, payout)
    return payout.body


def _destination(unit: Unit, given: Json) -> Stored:
    """The bank account to pay out to. Raises 400 where there is none in the currency, or it had a failed payout."""
    currency = given["currency"]
    if "destination" in given:
        bank = unit.find("bank_account", given["destination"])
        if bank is None:
            raise resource_missing("external account", given["destination"], "destination", in_path=False)
        if bank.body["currency"] != currency:
            raise invalid_param(
                f"The external account {bank.id} cannot take payouts in {currency}: its currency is "
                f"{bank.body['currency']}.",
                "destination",
            )
    else:
        bank = bank_for(unit, currency)
        if bank is None:
            raise invalid_request(
                f"Sorry, you don't have any external accounts in that currency ({currency}).",
                code="no_external_account_in_currency",
            )
    if bank.body["status"] == "errored":
        raise invalid_request(
            "The bank account provided cannot be used for payouts. A different bank account must be used.",
            code="bank_account_unusable",
        )
    return bank


def _update(unit: Unit, call: Call) -> Json:
    payout = unit.get("payout", call.path["payout"], in_path=True)
    if "metadata" in call.params:
        merged = merge_metadata(payout.body["metadata"], call.params["metadata"])
        updated(unit, "payout.updated", payout, metadata=merged)
    return payout.body


def _cancel(unit: Unit, call: Call) -> Json:
    payout = unit.get("payout", call.path["payout"], in_path=True)
    cancel(unit, payout)
    return payout.body


def _reverse(unit: Unit, call: Call) -> Json:
    unit.get("payout", call.path["payout"], in_path=True)
    raise not_modelled("reversals of payouts", "payout")


def _standard(name: str, raw: object) -> str:
    if raw == "instant":
        raise not_modelled("instant payouts", name)
    value: str = string(choices=("instant", "standard"))(name, raw)
    return value


_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _arriving(bounds: dict[str, int]) -> Filter:
    sql = " AND ".join(f"json_extract(body, '$.arrival_date') {_COMPARISONS[name]} ?" for name in bounds)
    return Filter(sql or "1", tuple(bounds.values()))


_CREATE: Params = {
    "amount": required(money.amount),
    "currency": required(money.currency),
    "description": optional(string()),
    "destination": optional(string()),
    "metadata": optional(metadata),
    "method": optional(_standard),
    "source_type": optional(source_type),
    "statement_descriptor": optional(string(22)),
}

RESOURCE = Resource(
    kind="payout",
    expandable=frozenset(
        "application_fee balance_transaction destination failure_balance_transaction original_payout "
        "reversed_by".split()
    ),
    jobs=JOBS,
    operations=(
        Operation("POST", "/v1/payouts", _create, _CREATE, frozenset({"payout_method"})),
        listing(
            "/v1/payouts",
            "payout",
            {
                "arrival_date": ListFilter(optional(time_range), _arriving),
                "created": CREATED,
                "destination": equals("destination"),
                "status": equals("status", choices=("canceled", "failed", "in_transit", "paid", "pending")),
            },
        ),
        retrieve("/v1/payouts/{payout}", "payout"),
        Operation("POST", "/v1/payouts/{payout}", _update, {"metadata": clearable(metadata)}),
        Operation("POST", "/v1/payouts/{payout}/cancel", _cancel),
        Operation("POST", "/v1/payouts/{payout}/reverse", _reverse, {"metadata": optional(metadata)}),
    ),
)
