"""Stripe's test cards: numbers, tokens, and how each behaves. https://docs.stripe.com/testing"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decline:
    """Why a charge fails: the error's code, its decline_code where it has one, and what the cardholder reads."""

    code: str
    message: str
    decline_code: str | None = None


def _declined(decline_code: str, message: str = "Your card was declined.") -> Decline:
    return Decline("card_declined", message, decline_code)


GENERIC = _declined("generic_decline")
INSUFFICIENT = _declined("insufficient_funds", "Your card has insufficient funds.")
FRAUDULENT = _declined("fraudulent")
NOT_A_TEST_CARD = _declined(
    "test_mode_live_card", "Your card was declined. Your request was in test mode, but used a non test card."
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)


@dataclass(frozen=True)
class Card:
    """A test card.

    decline: of every charge; refuse_attach: whether saving the card to a customer is already declined.
    requires_authentication: every charge asks for 3-D Secure.
    bypass_pending: its funds are available at once.
    """

    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    refuse_attach: bool = False
    requires_authentication: bool = False
    bypass_pending: bool = False


def _refused(number: str, decline: Decline) -> Card:
    return Card(number, decline=decline, refuse_attach=True)


_TOKENS: dict[str, Card] = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556", funding="debit"),
    "mastercard": Card("5555555555554444", brand="mastercard"),
    "mastercard_debit": Card("5200828282828210", brand="mastercard", funding="debit"),
    "mastercard_prepaid": Card("5105105105105100", brand="mastercard", funding="prepaid"),
    "amex": Card("378282246310005", brand="amex"),
    "discover": Card("6011111111111117", brand="discover"),
    "diners": Card("3056930009020004", brand="diners"),
    "jcb": Card("3566002020360505", brand="jcb"),
    "unionpay": Card("6200000000000005", brand="unionpay"),
    "gb": Card("4000008260000000", country="GB"),
    "de": Card("4000002760000016", country="DE"),
    "fr": Card("4000002500000003", country="FR"),
    "visa_chargeDeclined": _refused("4000000000000002", GENERIC),
    "visa_chargeDeclinedInsufficientFunds": _refused("4000000000009995", INSUFFICIENT),
    "visa_chargeDeclinedLostCard": _refused("4000000000009987", _declined("lost_card")),
    "visa_chargeDeclinedStolenCard": _refused("4000000000009979", _declined("stolen_card")),
    "chargeDeclinedExpiredCard": _refused("4000000000000069", Decline("expired_card", "Your card has expired.")),
    "chargeDeclinedIncorrectCvc": _refused(
        "4000000000000127", Decline("incorrect_cvc", "Your card's security code is incorrect.")
    ),
    "chargeDeclinedProcessingError": _refused(
        "4000000000000119",
        Decline("processing_error", "An error occurred while processing your card. Try again in a little bit."),
    ),
    "visa_chargeDeclinedVelocityLimitExceeded": _refused("4000000000006975", _declined("card_velocity_exceeded")),
    "chargeDeclinedFraudulent": _refused("4100000000000019", FRAUDULENT),
    "chargeCustomerFail": Card("4000000000000341", decline=GENERIC),
    "threeDSecure2Required": Card("4000000000003220", requires_authentication=True),
    "threeDSecureRequired": Card("4000000000003063", requires_authentication=True),
    "threeDSecureRequiredChargeDeclined": Card("4000008400001629", requires_authentication=True, decline=GENERIC),
    "authenticationRequired": Card("4000002760003184", country="DE", requires_authentication=True),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "4000008260003178", country="GB", requires_authentication=True, decline=INSUFFICIENT
    ),
    "bypassPending": Card("4000000000000077", bypass_pending=True),
    # How their refunds end is for refunds to say; as payments they succeed.
    "refundFail": Card("4000000000005126"),
    "pendingRefund": Card("4000000000007726"),
}

_ALIASES = {
    "us": "visa",
    "radarBlock": "chargeDeclinedFraudulent",
    "chargeDeclined": "visa_chargeDeclined",
    "chargeDeclinedInsufficientFunds": "visa_chargeDeclinedInsufficientFunds",
    "visa_chargeDeclinedExpiredCard": "chargeDeclinedExpiredCard",
    "visa_chargeDeclinedIncorrectCvc": "chargeDeclinedIncorrectCvc",
    "visa_chargeDeclinedProcessingError": "chargeDeclinedProcessingError",
    "visa_chargeDeclinedFraudulent": "chargeDeclinedFraudulent",
}

UNMODELLED_NUMBERS = frozenset({"4000000000000259", "4000000000001976", "4000000000005423"})
"""Cards that lead to disputes, inquiries and fraud warnings: charging them without those would be faked success."""

_BY_NUMBER = {card.number: card for card in _TOKENS.values()}


def by_token(token: str, prefix: str) -> Card | None:
    """The card of a test token: `pm_card_…` for a payment method, `tok_…` for the legacy kind."""
    if not token.startswith(prefix):
        return None
    name = token.removeprefix(prefix)
    return _TOKENS.get(_ALIASES.get(name, name))


def by_number(number: str) -> Card | None:
    """The test card with this number."""
    return _BY_NUMBER.get(number)


def passes_luhn(number: str) -> bool:
    """The check digit of card numbers, ISO/IEC 7812."""
    if not number.isascii() or not number.isdigit() or not 12 <= len(number) <= 19:
        return False
    digits = [int(digit) for digit in reversed(number)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + doubled) % 10 == 0
