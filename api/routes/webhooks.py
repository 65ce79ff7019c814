"""Stripe's webhooks: verify, store, signal, answer. Nothing is decided here."""

import asyncio
import json
import time
from typing import Any

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, SecretStr
from temporalio.service import RPCError

from activities.dispatch import NoSaga
from api import problems
from api.services import Held, Services
from api.strict_json import unstorable
from db import inbox, operations, stripe_calls
from db.inbox import Arrival, InboxState
from domain import errors
from domain.operations import StripeHint
from domain.stripe_events import FUNDS, WAITED_FOR, Unreadable, read

TOLERANCE = 300
"""Seconds that a signature may be old (https://docs.stripe.com/webhooks#replay-attacks)."""

SIGNAL_WITHIN = 3.0
"""Seconds that Stripe waits, at most, for a saga to be told of what is stored already."""

log = structlog.get_logger()
router = APIRouter(prefix="/webhooks/stripe", tags=["webhooks"])
_REFUSALS = problems.described(errors.WebhookRefused, errors.BodyTooLarge, errors.Unavailable)
_SIGNED = {
    "parameters": [
        {
            "name": "Stripe-Signature",
            "in": "header",
            "required": True,
            "description": "`t=<Unix seconds>,v1=<HMAC-SHA256 of t.body>`; at most 300 seconds old.",
            "schema": {"type": "string"},
        }
    ],
    "requestBody": {
        "required": True,
        "description": "An event, as Stripe sends it.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["id", "type"]},
                "example": {
                    "id": "evt_3SV0aK2eZvKYlo2C1q9w8e7r",
                    "object": "event",
                    "type": "payment_intent.succeeded",
                    "livemode": False,
                    "data": {"object": {"id": "pi_3SV0aK2eZvKYlo2C1gF2h3J4", "object": "payment_intent"}},
                },
            }
        },
    },
}


class Received(BaseModel):
    """The event is stored: Stripe need not send it again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"received": True}]})

    received: bool = True


@router.post(
    "",
    response_model=Received,
    summary="Events of our own account",
    response_description="Stored.",
    responses=_REFUSALS,
    openapi_extra=_SIGNED,
)
async def platform_event(request: Request, held: Held) -> Received:
    """For Stripe alone: signed with the platform endpoint's secret."""
    return await _receive(held, request, held.settings.stripe_webhook_secrets, connect=False)


@router.post(
    "/connect",
    response_model=Received,
    summary="Events of connected accounts",
    response_description="Stored.",
    responses=_REFUSALS,
    openapi_extra=_SIGNED,
)
async def connect_event(request: Request, held: Held) -> Received:
    """For Stripe alone: signed with the Connect endpoint's secret."""
    return await _receive(held, request, held.settings.stripe_connect_webhook_secrets, connect=True)


async def _receive(held: Services, request: Request, secrets: tuple[SecretStr, ...], *, connect: bool) -> Received:
    text = _verified(await request.body(), request.headers.get("stripe-signature"), secrets)
    arrival = _arrival(text, connect=connect, livemode=held.settings.livemode)
    async with held.database.transaction() as connection:
        owner = arrival.operation_id
        operation = await operations.get(connection, owner) if owner is not None else None
        if operation is None and arrival.state is InboxState.RECEIVED:
            owner = await stripe_calls.owner_of(connection, list(read(arrival.payload).related))
            operation = await operations.get(connection, owner) if owner is not None else None
        is_new = await inbox.store(connection, arrival.routed_to(operation["id"] if operation is not None else None))
        concerned = [operation] if operation is not None and arrival.state is InboxState.RECEIVED else []
        if arrival.type == FUNDS and not connect and arrival.state is InboxState.IGNORED:
            concerned = await operations.awaiting_funds(connection)
    if is_new:
        await _tell(held, concerned, StripeHint(event_id=arrival.id, type=arrival.type))
    return Received()


async def _tell(held: Services, concerned: list[sa.RowMapping], hint: StripeHint) -> None:
    """Told at once, as far as that goes: it is stored, so whom this does not reach, the sweeper will.

    Asking Stripe to send it again would not be faster.
    """
    try:
        async with asyncio.timeout(SIGNAL_WITHIN):
            for operation in concerned:
                await held.dispatcher.deliver(operation, hint)
    except (NoSaga, RPCError, TimeoutError) as error:
        log.warning("event waits for the sweeper", event_id=hint.event_id, error=type(error).__name__)


def _verified(body: bytes, signature: str | None, secrets: tuple[SecretStr, ...]) -> str:
    """The body, if one of `secrets` signed it not long ago. Raises `WebhookRefused`."""
    keys = [secret.get_secret_value() for secret in secrets if secret.get_secret_value().strip()]
    if not keys:
        raise errors.WebhookRefused("This endpoint has no signing secret, so it accepts nothing.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise errors.WebhookRefused("The body is not UTF-8.") from error
    if signature is None or not signature.isascii():
        # The SDK's comparison takes constant time, and ASCII only.
        raise errors.WebhookRefused("The Stripe-Signature header is missing, or not ASCII.")
    refusals = set()
    for key in keys:
        try:
            stripe.WebhookSignature.verify_header(text, signature, key, TOLERANCE)
        except stripe.SignatureVerificationError as error:
            refusals.add(str(error))
        else:
            _watch_clock(signature)
            return text
    reasons = "; ".join(sorted(refusals))
    log.warning("webhook refused", reasons=reasons)
    raise errors.WebhookRefused(f"No signing secret of this endpoint made this signature: {reasons}.")


def _watch_clock(signature: str) -> None:
    """A signature from the future is Stripe's all the same, and says that our clock is slow."""
    items = [item.split("=") for item in signature.split(",")]
    ahead = next(int(item[1]) for item in items if item[0] == "t") - time.time()
    if ahead > TOLERANCE:
        log.warning("webhook signed in the future: this clock may be slow", seconds=round(ahead))


def _event(text: str) -> dict[str, Any]:
    """The event that a verified body is. Raises `WebhookRefused` if it is none, and so cannot be Stripe's."""
    try:
        event = json.loads(text, object_hook=_without_secret)
    except (ValueError, RecursionError) as error:
        raise errors.WebhookRefused("The body is not JSON that can be read.") from error
    if not isinstance(event, dict) or not all(_is_name(event.get(name)) for name in ("id", "type")):
        raise errors.WebhookRefused("The body is not an event: it has no id or type.")
    return event


def _without_secret(thing: dict[str, Any]) -> dict[str, Any]:
    """An object of Stripe's as it may be kept: with a PaymentIntent's client secret, anybody could act on it."""
    thing.pop("client_secret", None)
    return thing


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable()


def _arrival(text: str, *, connect: bool, livemode: bool) -> Arrival:
    """What the inbox keeps of a verified event, and whether a saga is to hear of it."""
    payload = event = _event(text)
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
