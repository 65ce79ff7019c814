"""Stripe's webhooks: verify, store, signal, answer. Nothing is decided here."""

import json
from typing import Annotated, Any

import stripe
import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, SecretStr
from temporalio.service import RPCError

from activities.dispatch import NoSaga
from api import problems
from api.services import Services, services
from db import inbox, operations, stripe_calls
from db.inbox import Arrival, InboxState
from domain import errors
from domain.operations import StripeHint
from domain.stripe_events import WAITED_FOR, Unreadable, read

TOLERANCE = 300
"""Seconds that a signature may be old (https://docs.stripe.com/webhooks#replay-attacks)."""

log = structlog.get_logger()
router = APIRouter(prefix="/webhooks/stripe", tags=["webhooks"])
Held = Annotated[Services, Depends(services)]
_REFUSALS = problems.described(errors.WebhookRefused, errors.BodyTooLarge, errors.Unavailable)


class Received(BaseModel):
    """The event is stored: Stripe need not send it again."""

    model_config = ConfigDict(json_schema_extra={"example": {"received": True}})

    received: bool = True


@router.post("", response_model=Received, summary="Events of our own account", responses=_REFUSALS)
async def platform_event(request: Request, held: Held) -> Received:
    """For Stripe alone: signed with the platform endpoint's secret."""
    return await _receive(held, request, held.settings.stripe_webhook_secrets, connect=False)


@router.post("/connect", response_model=Received, summary="Events of connected accounts", responses=_REFUSALS)
async def connect_event(request: Request, held: Held) -> Received:
    """For Stripe alone: signed with the Connect endpoint's secret."""
    return await _receive(held, request, held.settings.stripe_connect_webhook_secrets, connect=True)


async def _receive(held: Services, request: Request, secrets: tuple[SecretStr, ...], *, connect: bool) -> Received:
    payload = _verified(await request.body(), request.headers.get("stripe-signature"), secrets)
    arrival = _arrival(payload, connect=connect, livemode=held.settings.livemode)
    async with held.database.transaction() as connection:
        owner = arrival.operation_id
        operation = await operations.get(connection, owner) if owner is not None else None
        if operation is None and arrival.state is InboxState.RECEIVED:
            owner = await stripe_calls.owner_of(connection, list(read(payload).related))
            operation = await operations.get(connection, owner) if owner is not None else None
        is_new = await inbox.store(connection, arrival.routed_to(operation["id"] if operation is not None else None))
    if is_new and operation is not None and arrival.state is InboxState.RECEIVED:
        try:
            await held.dispatcher.deliver(operation, StripeHint(event_id=arrival.id, type=arrival.type))
        except (NoSaga, RPCError) as error:
            # It is stored, so the sweeper will tell the saga; asking Stripe to send it again would not be faster.
            log.warning("event waits for the sweeper", event_id=arrival.id, error=type(error).__name__)
    return Received()


def _verified(body: bytes, signature: str | None, secrets: tuple[SecretStr, ...]) -> dict[str, Any]:
    """The event, if one of `secrets` signed it not long ago. Raises `WebhookRefused`."""
    if not secrets:
        raise errors.WebhookRefused("This endpoint has no signing secret, so it accepts nothing.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise errors.WebhookRefused("The body is not UTF-8.") from error
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(text, signature or "", secret.get_secret_value(), TOLERANCE)
            break
        except stripe.SignatureVerificationError as error:
            reason = str(error.user_message or error)
    else:
        raise errors.WebhookRefused(f"No signing secret of this endpoint made this signature: {reason}")
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise errors.WebhookRefused("The body is not JSON.") from error
    if not isinstance(payload, dict) or not all(isinstance(payload.get(name), str) for name in ("id", "type")):
        raise errors.WebhookRefused("The body is not an event: it has no id or type.")
    return payload


def _arrival(payload: dict[str, Any], *, connect: bool, livemode: bool) -> Arrival:
    """What the inbox keeps of an event, and whether a saga is to hear of it."""
    account = payload.get("account") or ""
    state, reason, object_id, operation_id = InboxState.RECEIVED, None, None, None
    if payload.get("livemode") is not livemode:
        state, reason = InboxState.QUARANTINED, f"livemode is {payload.get('livemode')}"
    elif bool(account) is not connect:
        state, reason = InboxState.QUARANTINED, f"account {account!r} does not belong to this endpoint"
    elif payload["type"] not in WAITED_FOR:
        state, reason = InboxState.IGNORED, "no saga waits for its type"
    else:
        try:
            reading = read(payload)
            object_id, operation_id = reading.object_id, reading.operation_id
        except Unreadable as error:
            state, reason = InboxState.QUARANTINED, str(error)
    return Arrival(
        id=payload["id"],
        account=str(account),
        type=payload["type"],
        object_id=object_id,
        operation_id=operation_id,
        payload=payload,
        state=state,
        reason=reason,
    )
