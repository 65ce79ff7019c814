"""Bank accounts to which payouts go: what they are, without the API over them (that is `external_accounts`).

They belong to the account that is paid out, and are kept in its scope.
"""

from stripe_sandbox import banks, money
from stripe_sandbox.countries import country
from stripe_sandbox.errors import invalid_param
from stripe_sandbox.ids import derived_id
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import Params, optional, required, string
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit

BANK_ACCOUNT: Params = {
    "account_holder_name": optional(string()),
    "account_holder_type": optional(string(choices=("company", "individual"))),
    "account_number": required(string()),
    "account_type": optional(string(choices=("checking", "futsu", "savings", "toza"))),
    "country": required(country),
    "currency": optional(money.currency),
    "object": optional(string(choices=("bank_account",))),
    "routing_number": optional(string()),
}
"""What a bank account is described by."""


def add_bank(unit: Unit, bank: banks.Bank, described: Json, *, currency: str, default: bool = False) -> Stored:
    """Add a bank account to the unit's account; the first in a currency becomes its default."""
    first = not any(each.body["currency"] == currency for each in all_banks(unit))
    added = unit.add(
        "bank_account",
        "ba",
        {
            "account": unit.scope.account,
            "account_holder_name": described.get("account_holder_name"),
            "account_holder_type": described.get("account_holder_type"),
            "account_type": described.get("account_type"),
            "available_payout_methods": ["standard"],
            "bank_name": "STRIPE TEST BANK",
            "country": described.get("country", bank.country),
            "currency": currency,
            "default_for_currency": first,
            "fingerprint": derived_id("fp", unit.scope.platform, bank.number).removeprefix("fp_"),
            "future_requirements": _no_requirements(),
            "last4": bank.number[-4:],
            "metadata": described.get("metadata", {}),
            "requirements": _no_requirements(),
            "routing_number": described.get("routing_number", bank.routing_number),
            "status": "new",
        },
        {"number": bank.number},
    )
    # Stripe's bank accounts say neither `created` nor `livemode`.
    del added.body["created"], added.body["livemode"]
    unit.store.save(added)
    if default:
        make_default(unit, added)
    return added


def _no_requirements() -> Json:
    return {"currently_due": [], "errors": [], "past_due": [], "pending_verification": []}


def typed_bank(described: Json, name: str) -> banks.Bank:
    """The test bank with a typed number. Raises 400 `account_number_invalid` for any other number."""
    number = described["account_number"].replace(" ", "").replace("-", "")
    bank = banks.by_number(number)
    if bank is None:
        raise invalid_param(
            "You must use a test bank account number in test mode. Try 000123456789 or see more options at "
            "https://stripe.com/docs/connect/testing#account-numbers.",
            f"{name}[account_number]",
            "account_number_invalid",
        )
    return bank


def all_banks(unit: Unit) -> list[Stored]:
    """The account's bank accounts, oldest first."""
    return unit.all("bank_account")


def bank_for(unit: Unit, currency: str) -> Stored | None:
    """Where payouts in a currency go unless they say otherwise."""
    found = [bank for bank in all_banks(unit) if bank.body["currency"] == currency]
    return next((bank for bank in found if bank.body["default_for_currency"]), None)


def make_default(unit: Unit, bank: Stored) -> None:
    """Make it the default of its currency, instead of whichever was."""
    for other in all_banks(unit):
        if other.body["currency"] == bank.body["currency"] and other.id != bank.id:
            unit.change(other, default_for_currency=False)
    unit.change(bank, default_for_currency=True)


def failure_of(bank: Stored) -> str | None:
    """The code with which payouts to it fail, or None."""
    known = banks.by_number(bank.private["number"])
    return None if known is None else known.failure


def render_bank(unit: Unit, bank: Stored) -> Json:
    """A deleted one is shown as the stub that its deletion answered with."""
    if not bank.deleted:
        return bank.body
    return {"id": bank.id, "object": "bank_account", "currency": bank.body["currency"], "deleted": True}
