"""Where a Stripe event belongs. Pure: what a payload says, before any table is asked."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from domain.pacing import Pacing

_OF_ACCOUNTS = frozenset(
    {
        "account.updated",
        "account.application.deauthorized",
        "account.external_account.created",
        "account.external_account.updated",
        "account.external_account.deleted",
        "capability.updated",
    }
)
"""Told of a connected account as a whole: its own saga hears them."""

FUNDS = "balance.available"
"""Tells whoever waits for funds to try again. It belongs to no operation, and those that miss it poll."""

WAITED_FOR = _OF_ACCOUNTS | {
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    # Stripe's fee is known from the charge's balance transaction, which is made after the success.
    "charge.updated",
    "payout.updated",
    "payout.paid",
    "payout.failed",
    "payout.canceled",
}
"""The types that a saga acts on. Stripe sends many more; they are kept, and nobody is woken."""


class Unreadable(Exception):
    """An event of a type we act on that does not have the shape it must have."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an event is about: an object, whose it says it is, and the objects through which else to find out."""

    object_id: str
    operation_id: str | None
    related: tuple[str, ...]


def read(payload: dict[str, Any]) -> Reading:
    """Read an event of a type in `WAITED_FOR`. Raises `Unreadable`."""
    data = payload.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if not isinstance(thing, dict) or not isinstance(thing.get("id"), str):
        raise Unreadable("data.object.id is missing")
    metadata = thing.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise Unreadable("data.object.metadata is not an object")
    operation_id = metadata.get("operation_id")
    # A connected account's id says whose an event is only where the event is about the account as such: a payout or a
    # bank of it may be somebody else's doing.
    account = payload.get("account") if payload.get("type") in _OF_ACCOUNTS else None
    related = (thing["id"], thing.get("payment_intent"), account)
    return Reading(
        object_id=thing["id"],
        operation_id=operation_id if isinstance(operation_id, str) else None,
        related=tuple(name for name in related if isinstance(name, str)),
    )


class EventPage(BaseModel):
    """One page of what Stripe could not deliver: an account's (empty: our own), after the event `after`."""

    account: str
    after: str | None = None


class PageRead(BaseModel):
    """What was on it: how many events were `new` to us, and after which the `next` page begins, if there is one."""

    new: int
    next: str | None = None


class CatchUpRound(BaseModel):
    """Once through the accounts. `left`: those still to come (None: all); `unread`: those that could not be read."""

    pacing: Pacing
    left: list[str] | None = None
    unread: list[str] = []
