"""Stripe's test bank accounts: numbers, tokens, and how a payout to each ends.

Source: https://docs.stripe.com/connect/testing#account-numbers and https://docs.stripe.com/api/payouts/failures.
"""

from typing import NamedTuple

FAILURE_MESSAGES = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "bank_account_restricted": "The bank account has restrictions on either the type, or the number, of payouts "
    "allowed. This normally indicates that the bank account is a savings or other non-checking account.",
    "bank_ownership_changed": "The destination bank account is no longer valid because its branch has changed "
    "ownership.",
    "could_not_process": "The bank could not process this payout.",
    "debit_not_authorized": "Debit transactions are not approved on the bank account.",
    "declined": "The bank has declined this transfer.",
    "incorrect_account_holder_name": "Your bank notified us that the bank account holder name on file is incorrect.",
    "insufficient_funds": "Your Stripe account has insufficient funds to cover the payout.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "invalid_currency": "The bank was unable to process this payout because of its currency. This is probably because "
    "the bank account cannot accept payments in that currency.",
    "no_account": "The bank account details on file are probably incorrect. No bank account could be located with "
    "those details.",
    "unsupported_card": "The bank no longer supports payouts to this card.",
}
"""What Stripe tells of a payout that failed, by `failure_code`."""


class Bank(NamedTuple):
    """A test bank account. failure: the code with which every payout to it fails; None, it arrives."""

    number: str
    country: str = "US"
    routing_number: str | None = "110000000"
    failure: str | None = None


_FAILURES = {
    None: ("000123456789", "000123456", "00012345"),
    "no_account": ("000111111116", "111111116", "11111116"),
    "account_closed": ("000111111113", "111111113", "11111113"),
    "insufficient_funds": ("000222222227", "222222227", "22222227"),
    "debit_not_authorized": ("000333333335", "333333335", "33333335"),
    "invalid_currency": ("000444444440", "444444440", "44444440"),
}
"""The same numbers at twelve digits (US, CA and others), nine (AU) and eight (GB)."""

_IBANS = {
    "DE89370400440532013000": None,
    "DE62370400440532013001": "no_account",
    "DE89370400440532013002": "account_closed",
    "DE89370400440532013003": "insufficient_funds",
    "DE89370400440532013004": "debit_not_authorized",
    "DE89370400440532013005": "invalid_currency",
}

_BY_NUMBER = {
    **{number: Bank(number, failure=failure) for failure, numbers in _FAILURES.items() for number in numbers},
    **{iban: Bank(iban, "DE", None, failure) for iban, failure in _IBANS.items()},
}

_TOKENS = {
    "btok_us": "000123456789",
    "btok_us_verified": "000123456789",
    "btok_us_noAccount": "000111111116",
    "btok_us_accountClosed": "000111111113",
    "btok_us_insufficientFunds": "000222222227",
    "btok_us_debitNotAuthorized": "000333333335",
    "btok_us_invalidCurrency": "000444444440",
}


def by_number(number: str) -> Bank | None:
    """The test bank account with this number or IBAN."""
    return _BY_NUMBER.get(number)


def by_token(token: str) -> Bank | None:
    """The bank account of a test token, `btok_us…`."""
    return _BY_NUMBER.get(_TOKENS.get(token, ""))
