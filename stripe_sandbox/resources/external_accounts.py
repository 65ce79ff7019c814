"""External accounts: the bank accounts of an account, over the API. https://docs.stripe.com/api/external_accounts

Stripe gives this to platforms that collect requirements themselves, and lets the owners of Express accounts do it in
their dashboard. The sandbox lets the platform do it for them.
"""

from typing import Any

from stripe_sandbox import banks
from stripe_sandbox.countries import CURRENCIES
from stripe_sandbox.errors import invalid_request, not_modelled, resource_missing
from stripe_sandbox.events import publish
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    Params,
    boolean,
    clearable,
    fields,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
)
from stripe_sandbox.resource import Call, ListFilter, Operation, Resource, listing
from stripe_sandbox.resources.account_state import reachable, refresh
from stripe_sandbox.resources.bank_accounts import (
    BANK_ACCOUNT,
    add_bank,
    all_banks,
    make_default,
    render_bank,
    typed_bank,
)
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit


def external_account(name: str, raw: Any) -> Json | str:
    """A test token (`btok_us…`), or a bank account's details."""
    checked: Json | str = (fields(BANK_ACCOUNT) if isinstance(raw, dict) else string())(name, raw)
    return checked


def take_external_account(unit: Unit, given: Json | str, param: str, *, default: bool) -> Stored:
    """Add what a request describes to the unit's account; the account is not refreshed yet."""
    if isinstance(given, str):
        bank = banks.by_token(given)
        if bank is None and given.startswith(("tok_", "card_")):
            raise not_modelled("debit cards as external accounts", param)
        if bank is None:
            raise resource_missing("token", given, param, in_path=False)
        return add_bank(unit, bank, {}, currency=CURRENCIES[bank.country], default=default)
    bank = typed_bank(given, param)
    currency = given.get("currency", CURRENCIES[given["country"]])
    return add_bank(unit, bank, given, currency=currency, default=default)


def _create(unit: Unit, call: Call) -> Json:
    account = reachable(unit, call.path["account"])
    there = unit.at(account.id)
    given = call.params
    bank = take_external_account(
        there, given["external_account"], "external_account", default=given.get("default_for_currency", False)
    )
    unit.change(bank, metadata=merge_metadata({}, given.get("metadata")))
    publish(there, "account.external_account.created", bank.body)
    refresh(unit, account)
    return bank.body


def _find(unit: Unit, call: Call) -> tuple[Stored, Stored]:
    """The account and its bank account, as the path names them."""
    account = reachable(unit, call.path["account"])
    bank = unit.at(account.id).find("bank_account", call.path["id"])
    if bank is None:
        raise resource_missing("external account", call.path["id"], "id", in_path=True)
    return account, bank


def _retrieve(unit: Unit, call: Call) -> Json:
    return _find(unit, call)[1].body


def _update(unit: Unit, call: Call) -> Json:
    account, bank = _find(unit, call)
    changes = dict(call.params)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(bank.body["metadata"], changes["metadata"])
    if changes.pop("default_for_currency", False):
        make_default(unit.at(account.id), bank)
    previous = unit.change(bank, **changes)
    if previous:
        publish(unit.at(account.id), "account.external_account.updated", bank.body, previous)
    refresh(unit, account)
    return bank.body


def _delete(unit: Unit, call: Call) -> Json:
    account, bank = _find(unit, call)
    there = unit.at(account.id)
    others = [
        other for other in all_banks(there) if other.id != bank.id and other.body["currency"] == bank.body["currency"]
    ]
    if others and bank.body["default_for_currency"]:
        raise invalid_request(
            "You cannot delete the default external account for your default currency. Please make another external "
            "account the default using the `default_for_currency` param, and then delete this one.",
            param="id",
        )
    publish(there, "account.external_account.deleted", bank.body)
    bank.deleted = True
    unit.store.save(bank)
    refresh(unit, account)
    return render_bank(there, bank)


def _list(unit: Unit, call: Call) -> Json:
    """The list of another account's objects: read there, under the platform's path."""
    account = reachable(unit, call.path["account"])
    return _LISTING.run(unit.at(account.id), call)


_LISTING = listing(
    "/v1/accounts/{account}/external_accounts",
    "bank_account",
    {
        "object": ListFilter(
            optional(string(choices=("bank_account", "card"))),
            lambda kind: Filter("json_extract(body, '$.object') = ?", (kind,)),
        )
    },
)

_UPDATE: Params = {
    "account_holder_name": clearable(string()),
    "account_holder_type": clearable(string(choices=("company", "individual"))),
    "account_type": optional(BANK_ACCOUNT["account_type"].check),
    "default_for_currency": optional(boolean),
    "metadata": clearable(metadata),
}

_CARD_ONLY = frozenset(
    "address_city address_country address_line1 address_line2 address_state address_zip documents exp_month exp_year "
    "name".split()
)

RESOURCE = Resource(
    kind="bank_account",
    render=render_bank,
    expandable=frozenset({"account"}),
    operations=(
        Operation(
            "POST",
            "/v1/accounts/{account}/external_accounts",
            _create,
            {
                "default_for_currency": optional(boolean),
                "external_account": required(external_account),
                "metadata": optional(metadata),
            },
            frozenset({"bank_account"}),
        ),
        Operation("GET", _LISTING.path, _list, _LISTING.params),
        Operation("GET", "/v1/accounts/{account}/external_accounts/{id}", _retrieve),
        Operation("POST", "/v1/accounts/{account}/external_accounts/{id}", _update, _UPDATE, _CARD_ONLY),
        Operation("DELETE", "/v1/accounts/{account}/external_accounts/{id}", _delete),
    ),
)
