"""Connected accounts, of Stripe's Express kind. https://docs.stripe.com/api/accounts

A new account can neither be transferred to nor paid out: its capabilities are inactive until its owner has completed
onboarding (on the page of an account link, or by a control call).
"""

from typing import Any

from stripe_sandbox import money
from stripe_sandbox.countries import CURRENCIES, country
from stripe_sandbox.errors import StripeError, invalid_param, invalid_request, not_modelled
from stripe_sandbox.events import publish
from stripe_sandbox.ids import new_id
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    ADDRESS,
    Check,
    Param,
    Params,
    boolean,
    clearable,
    complete,
    email,
    fields,
    integer,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
    url,
)
from stripe_sandbox.resource import CREATED, Call, Operation, Resource, listing
from stripe_sandbox.resources.account_shape import new_account_body
from stripe_sandbox.resources.account_state import (
    CAPABILITIES,
    authorize,
    capability,
    connected,
    disconnect,
    new_private,
    own_account,
    reachable,
    refresh,
)
from stripe_sandbox.resources.external_accounts import external_account, take_external_account
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit


def _express(name: str, raw: Any) -> str:
    if raw in ("custom", "standard"):
        raise not_modelled(f"accounts of type '{raw}'", name)
    value: str = string(choices=("custom", "express", "standard"))(name, raw)
    return value


def _refused(what: str) -> Param:
    """A nested parameter that Stripe has and the sandbox refuses by name."""

    def check(name: str, raw: Any) -> Any:
        raise not_modelled(what, name)

    return optional(check)


def _capabilities(name: str, raw: Any) -> Json:
    if isinstance(raw, dict):
        for each in raw:
            if each not in CAPABILITIES:
                raise not_modelled(f"the capability '{each}'", f"{name}[{each}]")
    wanted: Check = fields({each: optional(fields({"requested": required(boolean)})) for each in CAPABILITIES})
    checked: Json = wanted(name, raw)
    return checked


def _delay_days(name: str, raw: Any) -> int:
    return 2 if raw == "minimum" else int(integer(2, 31)(name, raw))


SCHEDULE: Params = {
    "delay_days": optional(_delay_days),
    "interval": optional(string(choices=("daily", "manual", "monthly", "weekly"))),
    "monthly_anchor": optional(integer(1, 31)),
    "weekly_anchor": optional(
        string(choices=("friday", "monday", "saturday", "sunday", "thursday", "tuesday", "wednesday"))
    ),
    "monthly_payout_days": _refused("several payout days a month"),
    "weekly_payout_days": _refused("several payout days a week"),
}

_SETTINGS: Params = {
    "payouts": optional(
        fields(
            {
                "debit_negative_balances": optional(boolean),
                "schedule": optional(fields(SCHEDULE)),
                "statement_descriptor": optional(string(22)),
            }
        )
    ),
    **{
        name: _refused(f"the account settings '{name}'")
        for name in "bacs_debit_payments branding card_issuing card_payments invoices payments treasury".split()
    },
}

_BUSINESS_PROFILE: Params = {
    "mcc": optional(string(4)),
    "name": optional(string()),
    "product_description": optional(string(40_000)),
    "support_address": optional(fields(ADDRESS)),
    "support_email": optional(email),
    "support_phone": optional(string()),
    "support_url": clearable(url),
    "url": optional(url),
}

_SHARED: Params = {
    "business_profile": optional(fields(_BUSINESS_PROFILE)),
    "business_type": optional(string(choices=("company", "government_entity", "individual", "non_profit"))),
    "capabilities": optional(_capabilities),
    "default_currency": optional(money.currency),
    "email": optional(email),
    "external_account": optional(external_account),
    "metadata": clearable(metadata),
    "settings": optional(fields(_SETTINGS)),
}

_CREATE: Params = {**_SHARED, "country": optional(country), "type": optional(_express)}

_UNMODELLED = frozenset(
    "account_token bank_account company controller documents groups individual tos_acceptance".split()
)


# ── Create and change ────────────────────────────────────────────────────────────────────────────────────────────────


def _create(unit: Unit, call: Call) -> Json:
    if unit.scope.is_connected:
        raise invalid_request("You can only create new accounts if you've signed up for Connect.", storable=False)
    given = dict(call.params)
    if given.pop("type", None) is None:
        raise not_modelled("accounts other than those with type=express", "type")
    code = given.pop("country", own_account(unit).body["country"])
    body = new_account_body(new_id("acct"), code, given.get("default_currency", CURRENCIES[code]))
    account = unit.add("account", "acct", body, new_private())
    # Stripe's accounts do not say `livemode`.
    del account.body["livemode"]
    authorize(unit, account)
    _change(unit, account, given)
    return account.body


def _change(unit: Unit, account: Stored, given: Json) -> None:
    """Apply checked parameters, and what follows from them."""
    changes = dict(given)
    external = changes.pop("external_account", None)
    _request_capabilities(unit, account, changes.pop("capabilities", {}))
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(account.body["metadata"], changes["metadata"])
    if "business_profile" in changes:
        changes["business_profile"] = _merged_profile(account, changes["business_profile"])
    if "settings" in changes:
        payouts = changes.pop("settings").get("payouts", {})
        changes["settings"] = {**account.body["settings"], "payouts": merged_payouts(account, payouts)}
    if external is not None:
        bank = take_external_account(unit.at(account.id), external, "external_account", default=True)
        publish(unit.at(account.id), "account.external_account.created", bank.body)
    refresh(unit, account, **changes)


def _request_capabilities(unit: Unit, account: Stored, wanted: Json) -> None:
    requested = account.private["requested"]
    for name, asked in wanted.items():
        if asked["requested"]:
            requested.setdefault(name, unit.timestamp)
        else:
            requested.pop(name, None)
    if "card_payments" in requested and "transfers" not in requested:
        raise invalid_param(
            "You cannot request `card_payments` without requesting `transfers` as well.", "capabilities"
        )


def _merged_profile(account: Stored, given: Json) -> Json:
    profile = {**account.body["business_profile"], **given}
    return {**profile, "support_address": complete(profile["support_address"], ADDRESS)}


def merged_payouts(account: Stored, given: Json) -> Json:
    """An account's payout settings with changes. Raises 400 for a schedule without the day that it needs."""
    payouts: Json = account.body["settings"]["payouts"]
    if "schedule" not in given:
        return {**payouts, **given}
    wanted = given["schedule"]
    interval = wanted.get("interval", payouts["schedule"]["interval"])
    schedule = {"delay_days": wanted.get("delay_days", payouts["schedule"]["delay_days"]), "interval": interval}
    for needed, anchor in (("monthly", "monthly_anchor"), ("weekly", "weekly_anchor")):
        value = wanted.get(anchor, payouts["schedule"].get(anchor))
        if interval == needed and value is None:
            raise invalid_param(f"You must provide `{anchor}` for {needed} payouts.", f"settings[payouts][{anchor}]")
        if interval == needed:
            schedule[anchor] = value
        elif anchor in wanted:
            raise invalid_param(f"`{anchor}` is only for {needed} payouts.", f"settings[payouts][{anchor}]")
    return {**payouts, **given, "schedule": schedule}


def _update(unit: Unit, call: Call) -> Json:
    account = connected(unit, call.path["account"])
    _change(unit, account, call.params)
    return account.body


def _delete(unit: Unit, call: Call) -> Json:
    """Test mode deletes an account at any time, whatever its balance."""
    account = connected(unit, call.path["account"])
    disconnect(unit, account)
    return {"id": account.id, "object": "account", "deleted": True}


# ── Read ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _retrieve(unit: Unit, call: Call) -> Json:
    return reachable(unit, call.path["account"]).body


def _retrieve_own(unit: Unit, call: Call) -> Json:
    return own_account(unit).body


# ── Capabilities ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _list_capabilities(unit: Unit, call: Call) -> Json:
    account = reachable(unit, call.path["account"])
    return {
        "object": "list",
        "data": [capability(account, name) for name in account.body["capabilities"]],
        "has_more": False,
        "url": f"/v1/accounts/{account.id}/capabilities",
    }


def _capability_name(call: Call) -> str:
    name = call.path["capability"]
    if name not in CAPABILITIES:
        raise _no_capability(name)
    return name


def _no_capability(name: str) -> StripeError:
    return invalid_request(f"No such capability: '{name}'", code="resource_missing", param="capability", status=404)


def _retrieve_capability(unit: Unit, call: Call) -> Json:
    return capability(reachable(unit, call.path["account"]), _capability_name(call))


def _update_capability(unit: Unit, call: Call) -> Json:
    account, name = connected(unit, call.path["account"]), _capability_name(call)
    if "requested" in call.params:
        _change(unit, account, {"capabilities": {name: {"requested": call.params["requested"]}}})
    return capability(account, name)


ACCOUNTS = Resource(
    kind="account",
    operations=(
        Operation("GET", "/v1/account", _retrieve_own),
        Operation("POST", "/v1/accounts", _create, _CREATE, _UNMODELLED),
        listing("/v1/accounts", "account", {"created": CREATED}),
        Operation("GET", "/v1/accounts/{account}", _retrieve),
        Operation("POST", "/v1/accounts/{account}", _update, _SHARED, _UNMODELLED),
        Operation("DELETE", "/v1/accounts/{account}", _delete),
    ),
)

CAPABILITY = Resource(
    kind="capability",
    expandable=frozenset({"account"}),
    operations=(
        Operation("GET", "/v1/accounts/{account}/capabilities", _list_capabilities),
        Operation("GET", "/v1/accounts/{account}/capabilities/{capability}", _retrieve_capability),
        Operation(
            "POST",
            "/v1/accounts/{account}/capabilities/{capability}",
            _update_capability,
            {"requested": optional(boolean)},
        ),
    ),
)
