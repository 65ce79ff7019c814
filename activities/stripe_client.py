"""The Stripe SDK, configured once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stripe
from stripe import StripeClient

API_VERSION = "2026-10-28.endive"
"""The version that requests and the shapes we read are written for: the one this SDK release pins."""


@asynccontextmanager
async def open_client(secret_key: str, *, base: str, timeout: float) -> AsyncIterator[StripeClient]:
    """A client of Stripe at `base` that waits at most `timeout` seconds for an answer.

    It never retries: only Temporal does, so that each attempt is seen and none outlives its activity.
    """
    http = stripe.HTTPXClient(timeout=timeout, allow_sync_methods=False)
    try:
        yield StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base},
            max_network_retries=0,
            http_client=http,
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # The SDK leaves it unannotated.
