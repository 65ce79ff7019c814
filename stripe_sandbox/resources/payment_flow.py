"""The state machine of a PaymentIntent paid by card. https://docs.stripe.com/payments/paymentintents/lifecycle

::

    requires_payment_method ──► requires_confirmation ──► requires_action ──► succeeded
             ▲    └────────────── confirm ─────────────────────┘  │
             └───────────── declined, 3-D Secure failed ──────────┘          canceled (from any but succeeded)

A decline is an answer of 402 that keeps what happened: the failed charge, the intent back in
requires_payment_method, their events.
"""

from typing import NamedTuple
from urllib.parse import urlencode

from stripe_sandbox import cards
from stripe_sandbox.errors import StripeError, doc_url, invalid_param, invalid_request
from stripe_sandbox.events import publish
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.resources.charges import charge_card
from stripe_sandbox.resources.payment_methods import attach_to, card_of, consume, materialize, refuse_consumed
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
"""Statuses from which an intent can still be changed, confirmed and canceled."""


class Confirmation(NamedTuple):
    """How an intent is confirmed.

    payment_method: an id or a test token; None takes the intent's own. off_session and error_on_requires_action turn
    a demand for 3-D Secure into a decline. by_client: the cardholder's browser confirms, where Stripe.js supplies what
    a server must (a return URL).
    """

    payment_method: str | None = None
    return_url: str | None = None
    off_session: bool = False
    error_on_requires_action: bool = False
    use_stripe_sdk: bool = False
    by_client: bool = False


def confirm(unit: Unit, intent: Stored, confirmation: Confirmation) -> None:
    """Confirm: succeed, ask for 3-D Secure, or raise the 402 of a decline."""
    if intent.body["status"] not in OPEN:
        raise unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
            if intent.body["status"] == "succeeded"
            else f"You cannot confirm this PaymentIntent because it has a status of {intent.body['status']}.",
        )
    named = confirmation.payment_method or intent.body["payment_method"]
    if named is None:
        raise unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
        )
    _require_return_url(intent, confirmation)
    payment_method = materialize(unit, named)
    check_usable(intent, payment_method)
    if confirmation.return_url is not None:
        intent.private["return_url"] = confirmation.return_url
    intent.private["three_d_secure_token"] = None
    unit.change(intent, payment_method=payment_method.id, next_action=None)
    if card_of(payment_method).requires_authentication:
        _ask_for_authentication(unit, intent, payment_method, confirmation)
    else:
        _charge(unit, intent, payment_method, authenticated=False)


def _require_return_url(intent: Stored, confirmation: Confirmation) -> None:
    """A server's confirmation must say where redirect-based methods lead back to, unless it rules them out."""
    automatic = intent.body["automatic_payment_methods"]
    if (
        automatic is not None
        and automatic["allow_redirects"] == "always"
        and not confirmation.by_client
        and confirmation.return_url is None
        and intent.private["return_url"] is None
    ):
        raise invalid_request(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents.",
            param="return_url",
            storable=False,
        )


def check_usable(intent: Stored, payment_method: Stored) -> None:
    """Refuse a payment method that belongs to another customer than the intent's, or was used up."""
    refuse_consumed(payment_method)
    owner, customer = payment_method.body["customer"], intent.body["customer"]
    if owner is not None and customer is None:
        raise invalid_param(
            f"The PaymentMethod {payment_method.id} belongs to the Customer {owner}. Please include the Customer in "
            "the `customer` parameter on the PaymentIntent.",
            "payment_method",
        )
    if owner is not None and owner != customer:
        raise invalid_param(
            f"The PaymentMethod {payment_method.id} does not belong to the Customer {customer}.", "payment_method"
        )


# ── 3-D Secure ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ask_for_authentication(unit: Unit, intent: Stored, payment_method: Stored, confirmation: Confirmation) -> None:
    if confirmation.off_session or confirmation.error_on_requires_action:
        _charge(unit, intent, payment_method, authenticated=False, decline=cards.AUTHENTICATION_REQUIRED)
        return
    token = random_text(32)
    url = f"{unit.base_url}/_sandbox/3ds/{intent.id}?{urlencode({'token': token})}"
    return_url = intent.private["return_url"]
    if return_url is not None and not confirmation.use_stripe_sdk:
        next_action: Json = {
            "redirect_to_url": {"return_url": return_url, "url": url},
            "type": "redirect_to_url",
        }
    else:
        next_action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"source": new_id("src"), "stripe_js": url, "type": "three_d_secure_redirect"},
        }
    intent.private["three_d_secure_token"] = token
    unit.change(intent, status="requires_action", next_action=next_action)
    publish(unit, "payment_intent.requires_action", intent.body)


def finish_authentication(unit: Unit, intent: Stored, *, passed: bool) -> None:
    """The cardholder passed 3-D Secure or failed it. Raises the 402 of a decline that follows."""
    if intent.body["status"] != "requires_action":
        raise unexpected_state(
            intent, f"This PaymentIntent awaits no authentication: its status is {intent.body['status']}."
        )
    payment_method = unit.get("payment_method", intent.body["payment_method"])
    intent.private["three_d_secure_token"] = None
    unit.change(intent, next_action=None)
    if passed:
        _charge(unit, intent, payment_method, authenticated=True)
        return
    error = {
        "code": "payment_intent_authentication_failure",
        "doc_url": doc_url("payment_intent_authentication_failure"),
        "message": "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        "payment_method": payment_method.body,
        "type": "invalid_request_error",
    }
    unit.change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    publish(unit, "payment_intent.payment_failed", intent.body)


# ── The charge ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _charge(
    unit: Unit,
    intent: Stored,
    payment_method: Stored,
    *,
    authenticated: bool,
    decline: cards.Decline | None = None,
) -> None:
    decline = decline or card_of(payment_method).decline
    charge = charge_card(unit, intent, payment_method, authenticated=authenticated, decline=decline)
    if decline is not None:
        raise _declined(unit, intent, payment_method, charge, decline)
    unit.change(
        intent,
        amount_received=intent.body["amount"],
        last_payment_error=None,
        latest_charge=charge.id,
        status="succeeded",
    )
    publish(unit, "payment_intent.succeeded", intent.body)
    _settle_ownership(unit, intent, payment_method)


def _settle_ownership(unit: Unit, intent: Stored, payment_method: Stored) -> None:
    """Save the payment method if that was asked for; one that nobody owns cannot be used again."""
    customer = intent.body["customer"]
    if payment_method.body["customer"] is not None:
        return
    if customer is not None and intent.body["setup_future_usage"] is not None:
        attach_to(unit, payment_method, unit.get("customer", customer, "customer"))
    else:
        consume(unit, payment_method)


def _declined(
    unit: Unit, intent: Stored, payment_method: Stored, charge: Stored, decline: cards.Decline
) -> StripeError:
    details: Json = {"charge": charge.id, "code": decline.code}
    if decline.decline_code is not None:
        details["decline_code"] = decline.decline_code
    details |= {
        "doc_url": doc_url(decline.code),
        "message": decline.message,
        "payment_method": payment_method.body,
        "type": "card_error",
    }
    unit.change(
        intent,
        last_payment_error=details,
        latest_charge=charge.id,
        payment_method=None,
        status="requires_payment_method",
    )
    publish(unit, "payment_intent.payment_failed", intent.body)
    extra: Json = {name: details[name] for name in ("charge", "decline_code", "payment_method") if name in details}
    return StripeError(
        402,
        "card_error",
        decline.message,
        code=decline.code,
        commits=True,
        extra={**extra, "payment_intent": intent.body},
    )


# ── Cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def cancel(unit: Unit, intent: Stored, reason: str | None) -> None:
    """Cancel an open intent."""
    status = intent.body["status"]
    if status not in OPEN:
        raise unexpected_state(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {status}. Only a PaymentIntent with one "
            "of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing.",
        )
    intent.private["three_d_secure_token"] = None
    unit.change(intent, canceled_at=unit.timestamp, cancellation_reason=reason, next_action=None, status="canceled")
    publish(unit, "payment_intent.canceled", intent.body)


def unexpected_state(intent: Stored, message: str) -> StripeError:
    """The refusal of an act that the intent's status does not allow; it carries the intent."""
    return invalid_request(message, code="payment_intent_unexpected_state", extra={"payment_intent": intent.body})
