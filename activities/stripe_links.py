"""Links into Stripe's own pages, for a connected account's owner.

They are made anew each time, work once or for minutes, and let whoever holds them act as the owner: so they are handed
to the request that asked and kept nowhere, and no saga and no Idempotency-Key has a part in them. They move nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from stripe import StripeClient


@dataclass(frozen=True, slots=True)
class Link:
    """Where to send the owner; `expires` is None for a link that Stripe gives no time."""

    url: str
    expires: datetime | None


class StripeLinks:
    """Raises `stripe.StripeError`."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    async def onboarding(self, stripe_account: str, *, return_url: str, refresh_url: str) -> Link:
        """To the form that asks what Stripe must know. Used or too old, it leads to `refresh_url`."""
        link = await self._client.v1.account_links.create_async(
            {
                "account": stripe_account,
                "return_url": return_url,
                "refresh_url": refresh_url,
                "type": "account_onboarding",
            }
        )
        return Link(link.url, datetime.fromtimestamp(link.expires_at, UTC))

    async def dashboard(self, stripe_account: str) -> Link:
        """To the Express dashboard: payouts, bank accounts."""
        return Link((await self._client.v1.accounts.login_links.create_async(stripe_account)).url, None)
