"""`Idempotency-Key`, as Stripe's v1 API treats it. https://docs.stripe.com/api/idempotent_requests

The first answer is kept once execution began, 500s included, and given again for the same key, endpoint and parameters.
"""

import hashlib
from typing import NamedTuple

from stripe_sandbox.errors import StripeError, invalid_param
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.store import Scope, Store

LIFETIME_SECONDS = 86_400
"""How long a key is remembered, on the platform's clock."""

MAX_KEY_LENGTH = 255


class Kept(NamedTuple):
    """An answer that a key keeps."""

    status: int
    body: str
    request_id: str


def check_key(key: str) -> None:
    """Refuse a key that Stripe would not take."""
    if not key or len(key) > MAX_KEY_LENGTH:
        raise invalid_param(
            f"Invalid Idempotency-Key: it must have between 1 and {MAX_KEY_LENGTH} characters.", "Idempotency-Key"
        )


def fingerprint(params: Json) -> str:
    """The same for the same parameters, in whichever order they were sent."""
    return hashlib.sha256(repr(_sorted(params)).encode()).hexdigest()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value)]
    return value


def find(store: Store, scope: Scope, key: str, endpoint: str, params: Json) -> Kept | None:
    """The answer kept for this key. Raises idempotency_error when the key was used for another request."""
    row = store.db.execute(
        "SELECT * FROM idempotency WHERE platform = ? AND account = ? AND key = ?", (*scope, key)
    ).fetchone()
    if row is None or row["created"] <= store.clock(scope.platform) - LIFETIME_SECONDS:
        return None
    if row["endpoint"] != endpoint:
        raise _mismatch(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for "
            f"('{endpoint}' vs '{row['endpoint']}'). Try using a key other than '{key}' if you meant to execute a "
            "different request."
        )
    if row["fingerprint"] != fingerprint(params):
        raise _mismatch(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
            f"using a key other than '{key}' if you meant to execute a different request."
        )
    return Kept(row["status"], row["body"], row["request_id"])


def keep(store: Store, scope: Scope, key: str, endpoint: str, params: Json, kept: Kept) -> None:
    """Keep an answer, in the transaction of what it reports. Replaces one that has expired."""
    store.db.execute(
        "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*scope, key, endpoint, fingerprint(params), *kept[:2], kept.request_id, store.clock(scope.platform)),
    )


def in_use(key: str) -> StripeError:
    """Another request with this key is executing."""
    return StripeError(
        409,
        "idempotency_error",
        f"There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later.",
        code="idempotency_key_in_use",
        storable=False,
    )


def _mismatch(message: str) -> StripeError:
    return StripeError(400, "idempotency_error", message, storable=False)
