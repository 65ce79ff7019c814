"""Links that Stripe makes for the owners of connected accounts: to onboarding, and to their Express dashboard.

https://docs.stripe.com/api/account_links, …/login_link. An account link can be opened once, within minutes; a second
visit leads to the platform's refresh URL. What the pages do is `onboarding_page`'s.
"""

from urllib.parse import urlencode

from stripe_sandbox.errors import StripeError, invalid_request
from stripe_sandbox.ids import random_text
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import Params, fields, optional, required, string, url
from stripe_sandbox.resource import Call, Operation, Resource
from stripe_sandbox.resources.account_state import connected, find_connected
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit

LINK_SECONDS = 300
"""How long an account link can be opened, on the platform's clock."""


def _create(unit: Unit, call: Call) -> Json:
    given = call.params
    account = find_connected(unit, given["account"])
    if account is None:
        raise invalid_request(
            "You requested an account link for an account that is not connected to your platform or does not exist.",
            param="account",
        )
    if given["type"] == "account_update":
        # Only platforms that collect requirements themselves can; Stripe does that for Express accounts.
        raise _refused("You cannot create `account_update` type Account Links for this account.", "type")
    for name in ("refresh_url", "return_url"):
        if name not in given:
            raise invalid_request(f"Missing required param: {name}.", code="parameter_missing", param=name)
    token = random_text(32)
    link = unit.add(
        "account_link",
        "alink",
        {"expires_at": unit.timestamp + LINK_SECONDS},
        {
            "account": account.id,
            "refresh_url": given["refresh_url"],
            "return_url": given["return_url"],
            "token": token,
            # One after the other: opened, and then submitted once.
            "session": None,
            "used": False,
        },
    )
    return _shown(unit, link, "onboarding")


def _create_login_link(unit: Unit, call: Call) -> Json:
    account = connected(unit, call.path["account"])
    if not account.private["submitted"]:
        raise _refused("Cannot create a login link for an account that has not completed onboarding.", "account")
    token = random_text(32)
    link = unit.add(
        "login_link",
        "lael",
        {},
        {"account": account.id, "token": token},
    )
    return _shown(unit, link, "express")


def _shown(unit: Unit, link: Stored, page: str) -> Json:
    """Links say neither their id nor `livemode`; their URL opens a page of the sandbox."""
    shown = {name: value for name, value in link.body.items() if name not in ("id", "livemode")}
    return {**shown, "url": f"{unit.base_url}/_sandbox/{page}/{link.id}?{urlencode({'token': link.private['token']})}"}


def _refused(message: str, param: str) -> StripeError:
    return invalid_request(message, param=param)


_COLLECT = string(choices=("currently_due", "eventually_due"))

_CREATE: Params = {
    "account": required(string()),
    "collect": optional(_COLLECT),
    "collection_options": optional(
        fields({"fields": optional(_COLLECT), "future_requirements": optional(string(choices=("include", "omit")))})
    ),
    "refresh_url": optional(url),
    "return_url": optional(url),
    "type": required(string(choices=("account_onboarding", "account_update"))),
}

RESOURCE = Resource(
    kind="account_link",
    operations=(
        Operation("POST", "/v1/account_links", _create, _CREATE),
        Operation("POST", "/v1/accounts/{account}/login_links", _create_login_link),
    ),
)
