"""Whose clock is wrong, when Stripe's and ours disagree.

The database's clock does not tell: it is often this machine's own.
"""

import time
from email.utils import parsedate_to_datetime

import stripe
from stripe import StripeClient

ASKED_EVERY = 60.0
"""Seconds, at least, between two questions: an event sent again and again must not have Stripe asked as often."""


class StripeClock:
    """Stripe's, as its answers show it."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client
        self._asked_at = -ASKED_EVERY
        self._ahead: float | None = None

    async def ahead(self) -> float | None:
        """Seconds that our clock is ahead of Stripe's, give or take an answer's time; None if Stripe did not say."""
        if time.monotonic() - self._asked_at >= ASKED_EVERY:
            self._asked_at = time.monotonic()
            self._ahead = await self._look()
        return self._ahead

    async def _look(self) -> float | None:
        try:
            answer = (await self._client.v1.balance.retrieve_async()).last_response
            headers = answer.headers if answer else None
        except stripe.StripeError as error:
            # A refusal is an answer too, for a key that may not read the balance.
            headers = error.headers
        date = (headers or {}).get("date")
        return time.time() - parsedate_to_datetime(date).timestamp() if date else None
