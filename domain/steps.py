"""The steps of every saga: the names that ledger transactions and Stripe calls carry, for good."""

from enum import StrEnum


class Step(StrEnum):
    """One named act: one Stripe call, or one ledger transaction."""

    CREATE_CUSTOMER = "create_customer"
    """Stripe call, once per user: who pays."""
    CREATE_PAYMENT_INTENT = "create_payment_intent"
    """Stripe call: ask for the money."""
    CANCEL_PAYMENT_INTENT = "cancel_payment_intent"
    """Stripe call: make sure that it is never taken."""
    CREDIT = "credit"
    """Ledger: the paid amount into the wallet."""
    STRIPE_FEE = "stripe_fee"
    """Ledger: what Stripe kept of the charge."""
