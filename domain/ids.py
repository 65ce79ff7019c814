"""Prefixed, time-ordered ids: `dep_06gk…`. What a customer quotes is what an engineer searches for.

The part after the prefix is a UUIDv7 in Crockford's base32, lower case: 26 characters that sort by the
millisecond of their making and cannot be guessed.
"""

from typing import NewType

import uuid_utils

OperationId = NewType("OperationId", str)
"""`dep_…`; also the id of the operation's Temporal workflow."""
UserId = NewType("UserId", str)
"""The marketplace's own id of a user: the `sub` of its tokens."""
WalletId = NewType("WalletId", str)
"""`wal_…`"""
EventId = NewType("EventId", str)
"""`evt_…` of the outbox. (Stripe's own event ids begin alike; they live in the inbox and are never mixed.)"""
LedgerTransactionId = NewType("LedgerTransactionId", str)
"""`ltx_…`"""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A fresh id `<prefix>_<26 characters>`."""
    number = uuid_utils.uuid7().int
    digits = []
    for _ in range(26):
        number, low = divmod(number, 32)
        digits.append(_CROCKFORD[low])
    return f"{prefix}_{''.join(reversed(digits))}"
