"""Stripe's events, however they come: what the inbox keeps of one, and whose it is."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db import inbox, operations, stripe_calls
from db.inbox import Arrival, InboxState
from db.jsonb import unstorable
from domain.stripe_events import FUNDS, WAITED_FOR, Unreadable, read


class NotAnEvent(Exception):
    """A text that no event of Stripe's can be."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done with an event. `concerned`: the operations whose sagas are to hear of it."""

    is_new: bool
    concerned: list[sa.RowMapping]


def parse(text: str) -> dict[str, Any]:
    """The event that a text of Stripe's is. Raises `NotAnEvent`."""
    try:
        event = json.loads(text, object_hook=_without_secret)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent("it is not JSON that can be read") from error
    if not isinstance(event, dict) or not all(_is_name(event.get(name)) for name in ("id", "type")):
        raise NotAnEvent("it has no id or type")
    return event


def _without_secret(thing: dict[str, Any]) -> dict[str, Any]:
    """An object of Stripe's as it may be kept: with a PaymentIntent's client secret, anybody could act on it."""
    thing.pop("client_secret", None)
    return thing


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable()


def arrival_of(event: dict[str, Any], *, connect: bool, livemode: bool) -> Arrival:
    """What the inbox keeps of an event, and whether a saga is to hear of it. `connect`: of a connected account."""
    payload = event
    account = event.get("account") or ""
    state, reason, object_id, operation_id = InboxState.QUARANTINED, None, None, None
    if (flaw := unstorable(event)) is not None:
        # Postgres takes no such jsonb. Turned away, Stripe would send it again for days, and then it would be lost: so
        # it is kept as one string, in which `\u0000` is six harmless characters.
        reason, payload, account = f"it {flaw}", {"text": json.dumps(event)}, ""
    elif event.get("livemode") is not livemode:
        reason = f"livemode is {event.get('livemode')}"
    elif not isinstance(account, str) or bool(account) is not connect:
        reason = f"account {account!r} does not belong to this endpoint"
    elif event["type"] == FUNDS and not connect:
        state, reason = InboxState.IGNORED, "belongs to no operation; told to all that wait for funds, who also poll"
    elif event["type"] not in WAITED_FOR:
        state, reason = InboxState.IGNORED, "no saga waits for its type"
    else:
        try:
            reading = read(event)
            state, object_id, operation_id = InboxState.RECEIVED, reading.object_id, reading.operation_id
        except Unreadable as error:
            reason = str(error)
    return Arrival(
        id=event["id"],
        account=str(account),
        type=event["type"],
        object_id=object_id,
        operation_id=operation_id,
        payload=payload,
        state=state,
        reason=reason,
    )


async def keep(connection: AsyncConnection, arrival: Arrival) -> Kept:
    """Store an event for the operation it belongs to, unless it is stored already."""
    owner = arrival.operation_id
    operation = await operations.get(connection, owner) if owner is not None else None
    if operation is None and arrival.state is InboxState.RECEIVED:
        owner = await stripe_calls.owner_of(connection, list(read(arrival.payload).related))
        operation = await operations.get(connection, owner) if owner is not None else None
    is_new = await inbox.store(connection, arrival.routed_to(operation["id"] if operation is not None else None))
    concerned = [operation] if operation is not None and arrival.state is InboxState.RECEIVED else []
    if arrival.type == FUNDS and not arrival.account and arrival.state is InboxState.IGNORED:
        concerned = await operations.awaiting_funds(connection)
    return Kept(is_new, concerned)
