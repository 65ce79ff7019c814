"""Identifiers in Stripe's manner: a prefix that names the kind, then chance.

Ids are never seeded: two accounts with one seed must not mint the same PaymentIntent.
"""

import hashlib
import secrets
import string

_ALPHABET = (string.ascii_letters + string.digits).encode()
_LETTER_OF_BYTE = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))


def random_text(length: int) -> str:
    """`length` unguessable characters of [A-Za-z0-9]."""
    return secrets.token_bytes(length).translate(_LETTER_OF_BYTE).decode()


def new_id(prefix: str) -> str:
    """For example `pi_3Qx…`: prefix and 24 random characters."""
    return f"{prefix}_{random_text(24)}"


def derived_id(prefix: str, *parts: str) -> str:
    """An id that is always the same for the same parts (a platform's account id, a card's fingerprint)."""
    return f"{prefix}_{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:16]}"
