"""What each of Stripe's errors means for a write: the one table.

Failure means certainty. Only `REFUSED` says that Stripe has certainly not done it; what is in doubt is asked again with
the same key, never given up and never compensated. Rules: https://docs.stripe.com/error-low-level and
https://docs.stripe.com/api/idempotent_requests.
"""

from enum import StrEnum

import stripe

from domain.errors import ActionRequired, AwaitingFunds, CardDeclined, PaymentRefused
from domain.operations import Failure


class Verdict(StrEnum):
    """What to do about an error."""

    REFUSED = "refused"
    """Certainly not done, and asking again would not change that."""
    IN_DOUBT = "in_doubt"
    """Perhaps done: ask again with the same key."""
    WAIT = "wait"
    """Certainly not done yet, and nothing wrong with the request: ask again with the same key, later."""
    AWAITING_FUNDS = "awaiting_funds"
    """Refused for now: the platform's balance is short or still pending."""
    ACTION_REQUIRED = "action_required"
    """Refused until the connected account's owner does something."""
    MISUSE = "misuse"
    """The same key came with other parameters: a bug of ours. Never retried, never sent under a fresh key."""


_AWAITING_FUNDS = frozenset({"balance_insufficient", "insufficient_funds"})
_ACTION_REQUIRED = frozenset(
    {
        "account_closed",
        "bank_account_unusable",
        "no_external_account_in_currency",
        "account_invalid",
        "account_number_invalid",
        "insufficient_capabilities_for_transfer",
        "payouts_not_allowed",
        "transfers_not_allowed",
    }
)


def verdict(error: stripe.StripeError) -> Verdict:
    """What `error` means for the write that it answered."""
    status = error.http_status
    if isinstance(error, stripe.CardError):
        return Verdict.REFUSED
    if isinstance(error, stripe.IdempotencyError):
        return Verdict.MISUSE
    code = error_code(error)
    if status == 403 and code in _ACTION_REQUIRED:
        # Of a connected account that is cut off, Stripe says that our key may not act for it.
        return Verdict.ACTION_REQUIRED
    if status in (401, 403, 409, 429):
        # A wrong key or a missing permission (401, 403) is the deployment's fault, not the customer's: what was asked
        # for can still be done once it is mended. 409 is a key in use; 429 was not even looked at.
        return Verdict.WAIT
    if isinstance(error, stripe.InvalidRequestError):
        if code in _AWAITING_FUNDS:
            return Verdict.AWAITING_FUNDS
        return Verdict.ACTION_REQUIRED if code in _ACTION_REQUIRED else Verdict.REFUSED
    return Verdict.IN_DOUBT


def answered_in_doubt(error: stripe.StripeError) -> bool:
    """Whether Stripe itself answered that it does not know (a 5xx): the key may replay that answer for ever."""
    return error.http_status is not None and error.http_status >= 500


def is_away(error: stripe.StripeError) -> bool:
    """Whether it says that Stripe does not answer at all there, rather than what it thinks of the request."""
    return isinstance(error, stripe.APIConnectionError) or answered_in_doubt(error)


def not_looked_at(error: stripe.StripeError) -> bool:
    """Whether Stripe turned the request away before its work began (409, 429): that says nothing of the work."""
    return error.http_status in (409, 429)


def error_code(error: stripe.StripeError) -> str | None:
    """Stripe's code: on the exception for some classes, only in the body for others."""
    return error.code or (error.error.code if error.error is not None else None)


_REFUSALS: dict[Verdict, type[PaymentRefused]] = {
    Verdict.REFUSED: PaymentRefused,
    Verdict.AWAITING_FUNDS: AwaitingFunds,
    Verdict.ACTION_REQUIRED: ActionRequired,
}


def failure(error: stripe.StripeError, ruling: Verdict) -> Failure:
    """What to tell about `error`. Stripe's message is shown: it is written for the card's holder."""
    detail = error.user_message or "Stripe did not say why."
    if isinstance(error, stripe.CardError):
        decline_code = error.error.decline_code if error.error is not None else None
        return Failure(code=CardDeclined.code, detail=detail, decline_code=decline_code or error_code(error))
    return Failure(code=_REFUSALS[ruling].code, detail=f"{detail} ({error_code(error) or error.http_status})")
