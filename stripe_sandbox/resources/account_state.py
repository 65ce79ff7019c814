"""What follows for an account from what happened to it: requirements, capabilities, what is enabled.

::

    created ──► onboarded ──► restricted ──► (lifted) onboarded
       └──────────────┴──────────────┴─────► deauthorized or deleted: out of the platform's reach

What happened is private state; `refresh` derives from it what the API shows, so that an account's parts cannot
contradict each other. Events of an account happen in the account, hence arrive at the Connect endpoint.
"""

from typing import Any

from stripe_sandbox import banks
from stripe_sandbox.errors import no_access
from stripe_sandbox.events import publish
from stripe_sandbox.ids import derived_id
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.resources.account_shape import new_account_body
from stripe_sandbox.resources.bank_accounts import add_bank, all_banks
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit

CAPABILITIES = ("card_payments", "transfers")
"""Those that the sandbox models."""

ONBOARDING = (
    "business_type",
    "external_account",
    "representative.dob.day",
    "representative.dob.month",
    "representative.dob.year",
    "representative.email",
    "representative.first_name",
    "representative.last_name",
    "tos_acceptance.date",
    "tos_acceptance.ip",
)
"""What Stripe still wants to know of an account that was not onboarded."""

DEFAULT_BANK = "000123456789"
"""The bank account that the platform itself is paid out to."""


def new_private() -> Json:
    """The state of an account to which nothing has happened yet. `requested`: capability to Unix seconds."""
    return {"requested": {}, "restriction": None, "submitted": False}


# ── Finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_connected(unit: Unit, account_id: str) -> Stored | None:
    """The account with this id that is connected to the unit's account; only platforms have any."""
    return None if unit.scope.is_connected else unit.find("account", account_id)


def connected(unit: Unit, account_id: str) -> Stored:
    """The connected account with this id. Raises 403 `account_invalid` for any other."""
    account = find_connected(unit, account_id)
    if account is None:
        raise no_access(account_id)
    return account


def reachable(unit: Unit, account_id: str) -> Stored:
    """A connected account, or the caller's own."""
    return own_account(unit) if account_id == unit.scope.account else connected(unit, account_id)


def own_account(unit: Unit) -> Stored:
    """The account that the unit acts on, be it out of the platform's reach by now. A platform's is made on first use:
    ready for business, with a test bank account in its currency.
    """
    home = unit.platform
    found = home.store.find(home.scope, unit.scope.account)
    if found is not None:
        return found
    body = new_account_body(unit.scope.account, "US", "usd")
    body |= {"object": "account", "type": "standard", "details_submitted": True}
    body["controller"] = {"type": "account"}
    private = {**new_private(), "submitted": True, "requested": dict.fromkeys(CAPABILITIES, unit.timestamp)}
    account = home.add("own_account", "acct", body, private)
    del account.body["livemode"]
    bank = banks.by_number(DEFAULT_BANK)
    assert bank is not None
    add_bank(home, bank, {}, currency="usd")
    home.change(account, **_derived(home, account))
    return account


# ── Deriving ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refresh(unit: Unit, account: Stored, **changes: Any) -> None:
    """Set fields, derive the rest, and publish `capability.updated` and `account.updated` for what changed."""
    there = unit.at(account.id)
    statuses = dict(account.body["capabilities"])
    previous = unit.change(account, **changes)
    previous = {**unit.change(account, **_derived(there, account)), **previous}
    for name in sorted({**statuses, **account.body["capabilities"]}):
        before, now = (each.get(name, "unrequested") for each in (statuses, account.body["capabilities"]))
        if before != now:
            publish(there, "capability.updated", capability(account, name), {"status": before})
    if previous:
        publish(there, "account.updated", account.body, previous)


def _derived(there: Unit, account: Stored) -> Json:
    capabilities = {name: _status(account, name) for name in sorted(account.private["requested"])}
    attached = all_banks(there)
    usable = any(bank.body["status"] != "errored" for bank in attached)
    submitted = account.private["submitted"]
    return {
        "capabilities": capabilities,
        "charges_enabled": capabilities.get("card_payments") == "active",
        "details_submitted": submitted,
        "external_accounts": {
            "object": "list",
            "data": [bank.body for bank in attached[::-1][:10]],
            "has_more": len(attached) > 10,
            "url": f"/v1/accounts/{account.id}/external_accounts",
        },
        "payouts_enabled": submitted and usable and not _disables(account, "payouts"),
        "requirements": _requirements(account, usable),
    }


def _status(account: Stored, name: str) -> str:
    if not account.private["submitted"]:
        return "inactive"
    if not _disables(account, name):
        return "active"
    return "pending" if account.private["restriction"]["pending_verification"] else "inactive"


def _disables(account: Stored, what: str) -> bool:
    restriction = account.private["restriction"]
    return restriction is not None and what in restriction["disable"]


def _requirements(account: Stored, bank_usable: bool) -> Json:
    if not account.private["submitted"]:
        provided = {"external_account"} if bank_usable else set()
        if account.body["business_type"] is not None:
            provided.add("business_type")
        due = past_due = [name for name in ONBOARDING if name not in provided]
    else:
        due = past_due = [] if bank_usable else ["external_account"]
    restriction = account.private["restriction"] or {"requirements": [], "pending_verification": [], "disable": []}
    if restriction["requirements"]:
        due = [*due, *restriction["requirements"]]
        past_due = due if restriction["disable"] else past_due
    reason = restriction.get("disabled_reason")
    if reason is None and past_due:
        reason = "requirements.past_due"
    if reason is None and restriction["disable"]:
        reason = "requirements.pending_verification" if restriction["pending_verification"] else "other"
    return {
        "alternatives": [],
        "current_deadline": restriction.get("current_deadline"),
        "currently_due": due,
        "disabled_reason": reason,
        "errors": [],
        "eventually_due": due,
        "past_due": past_due,
        "pending_verification": restriction["pending_verification"],
    }


def capability(account: Stored, name: str) -> Json:
    """A capability object."""
    status = account.body["capabilities"].get(name, "unrequested")
    due: list[str] = account.body["requirements"]["currently_due"] if status == "inactive" else []
    reason = {"inactive": "requirements.fields_needed", "pending": "pending.review"}.get(status)
    shared: Json = {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": [],
        "disabled_reason": None,
        "errors": [],
        "eventually_due": [],
        "past_due": [],
        "pending_verification": [],
    }
    return {
        "id": name,
        "object": "capability",
        "account": account.id,
        "future_requirements": shared,
        "requested": name in account.private["requested"],
        "requested_at": account.private["requested"].get(name),
        "requirements": shared
        | {"currently_due": due, "eventually_due": due, "past_due": due, "disabled_reason": reason},
        "status": status,
    }


# ── What happens to an account ───────────────────────────────────────────────────────────────────────────────────────


def authorize(unit: Unit, account: Stored) -> None:
    """The account is connected from now on."""
    publish(unit.at(account.id), "account.application.authorized", _application(unit))


def submit(unit: Unit, account: Stored) -> None:
    """The account's owner has given every detail, and Stripe is content."""
    account.private["submitted"] = True
    refresh(
        unit,
        account,
        business_type=account.body["business_type"] or "individual",
        tos_acceptance={"date": unit.timestamp, "ip": "127.0.0.1", "user_agent": None},
    )


def restrict(unit: Unit, account: Stored, restriction: Json | None) -> None:
    """Stripe wants something, and disables parts until it has it; None lifts that."""
    account.private["restriction"] = restriction
    refresh(unit, account)


def disconnect(unit: Unit, account: Stored) -> None:
    """The account leaves the platform's reach: nothing of it answers any more, and nothing more is heard of it."""
    publish(unit.at(account.id), "account.application.deauthorized", _application(unit))
    account.deleted = True
    unit.store.save(account)


def _application(unit: Unit) -> Json:
    """The platform's Connect application."""
    client = derived_id("ca", unit.scope.platform)
    return {"id": client, "object": "application", "name": "Stripe sandbox platform"}
