"""Stripe's webhooks: verify, store, signal, answer. Nothing is decided here."""

import asyncio
import time

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, SecretStr
from temporalio.service import RPCError

from activities.arrivals import NotAnEvent, arrival_of, keep, parse
from activities.dispatch import NoSaga
from api import problems
from api.services import Held, Services
from domain import errors
from domain.operations import StripeHint

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
    text, signed_at = _verified(await request.body(), request.headers.get("stripe-signature"), secrets)
    await _check_age(held, signed_at)
    try:
        event = parse(text)
    except NotAnEvent as error:
        raise errors.WebhookRefused(f"The body is no event of Stripe's: {error}.") from error
    arrival = arrival_of(event, connect=connect, livemode=held.settings.livemode)
    async with held.database.transaction() as connection:
        kept = await keep(connection, arrival)
    if kept.is_new:
        await _tell(held, kept.concerned, StripeHint(event_id=arrival.id, type=arrival.type))
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


def _verified(body: bytes, signature: str | None, secrets: tuple[SecretStr, ...]) -> tuple[str, int]:
    """The body, if one of `secrets` signed it, and when by Stripe's clock. Raises `WebhookRefused`."""
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
            stripe.WebhookSignature.verify_header(text, signature, key)
        except stripe.SignatureVerificationError as error:
            refusals.add(str(error))
        else:
            items = [item.split("=") for item in signature.split(",")]
            return text, next(int(item[1]) for item in items if item[0] == "t")
    reasons = "; ".join(sorted(refusals))
    log.warning("webhook refused", reasons=reasons)
    raise errors.WebhookRefused(f"No signing secret of this endpoint made this signature: {reasons}.")


async def _check_age(held: Services, signed_at: int) -> None:
    """Raises `WebhookRefused` for what was signed too long ago. What our own clock is to blame for, the log says.

    A signature from the future is Stripe's all the same: refused, it would be lost for a clock.
    """
    age = time.time() - signed_at
    if age < -TOLERANCE:
        log.error("webhook signed in the future: this clock is slow", seconds=round(-age))
    if age <= TOLERANCE:
        return
    ahead = await held.stripe_clock.ahead()
    # By Stripe's clock it was not too old: so it is neither late nor a recorded delivery that is sent again.
    if ahead is not None and age - ahead <= TOLERANCE:
        log.error("webhooks are refused: this clock is fast", seconds=round(ahead))
    else:
        log.warning("webhook refused", reasons="signed too long ago", seconds=round(age), ahead_of_stripe=ahead)
    raise errors.WebhookRefused(f"It was signed {age:.0f} s ago, which is outside the tolerance of {TOLERANCE} s.")
