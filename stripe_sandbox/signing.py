"""Webhook signatures, scheme v1. https://docs.stripe.com/webhooks#verify-manually"""

import hashlib
import hmac
from collections.abc import Iterable

from stripe_sandbox.ids import random_text


def new_secret() -> str:
    """A signing secret, `whsec_…`."""
    return f"whsec_{random_text(32)}"


def signature_header(payload: bytes, secrets: Iterable[str], timestamp: int) -> str:
    """`Stripe-Signature` over the raw body: one `v1=` for each secret, several while one is being rotated.

    timestamp: real Unix seconds of the attempt, never the platform's clock: receivers compare it with their own.
    """
    signed = str(timestamp).encode() + b"." + payload
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])
