"""What we ask Stripe without changing anything."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import stripe
from stripe import RequestOptions, StripeClient

from db.audit import BalanceTransaction, LiveObject
from domain.connected_accounts import ConnectedAccount
from domain.payments import Payment
from domain.payouts import Payout

Json = dict[str, Any]

_LARGEST_PAGE = 100
"""Objects; Stripe's own limit."""

_IN_A_LONG_LIST: RequestOptions = {"max_network_retries": 3}
"""Pages alone are tried again at once: no saga is behind them that would, and a thousand may have gone before."""


class StripeReads:
    """Reads, from the one client. They raise `stripe.StripeError`."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    async def payment(self, payment_intent_id: str) -> Payment:
        """A PaymentIntent with its charge and, once there is one, the charge's balance transaction."""
        intent = await self._client.v1.payment_intents.retrieve_async(
            payment_intent_id, {"expand": ["latest_charge.balance_transaction"]}
        )
        return Payment.from_stripe(intent.to_dict())

    async def client_secret(self, payment_intent_id: str) -> str | None:
        """What the customer's browser needs to pay. Never stored: whoever may see it asks each time."""
        return (await self._client.v1.payment_intents.retrieve_async(payment_intent_id)).client_secret

    async def connected_account(self, stripe_account: str) -> ConnectedAccount:
        """A connected account; `stripe.PermissionError` if it is no longer ours to ask after."""
        return ConnectedAccount.from_stripe((await self._client.v1.accounts.retrieve_async(stripe_account)).to_dict())

    async def payout(self, payout_id: str, *, stripe_account: str) -> Payout:
        """A payout of a connected account."""
        found = await self._client.v1.payouts.retrieve_async(payout_id, None, {"stripe_account": stripe_account})
        return Payout.from_stripe(found.to_dict())

    async def available(self, currency: str, *, stripe_account: str) -> int:
        """What a connected account can give now, in minor units."""
        found = (await self._client.v1.balance.retrieve_async(None, {"stripe_account": stripe_account})).to_dict()
        return sum(amount["amount"] for amount in found["available"] if amount["currency"] == currency)

    async def balance(self) -> dict[str, int]:
        """What we have at Stripe, pending and available together: minor units per currency."""
        found = (await self._client.v1.balance.retrieve_async()).to_dict()
        totals: Counter[str] = Counter()
        for amount in (*found["available"], *found["pending"]):
            totals[amount["currency"]] += amount["amount"]
        return dict(totals)

    async def balance_transactions(self) -> AsyncIterator[BalanceTransaction]:
        """Every movement of our balance, newest first."""
        async for found in _all(self._client.v1.balance_transactions.list_async, {"expand": ["data.source"]}):
            yield _balance_transaction(found)

    async def balance_transactions_since(self, newest: str | None) -> list[BalanceTransaction]:
        """The movements after the one with the id `newest` (all, if that is None), oldest first."""
        params: Json = {"expand": ["data.source"]} | ({"ending_before": newest} if newest else {})
        pages = _all(self._client.v1.balance_transactions.list_async, params)
        found = [_balance_transaction(one) async for one in pages]
        return found if newest else found[::-1]

    async def live_objects(self) -> AsyncIterator[LiveObject]:
        """The PaymentIntents that are not canceled, and the customers, that an intent of ours has made."""
        for fetch in (self._client.v1.payment_intents.list_async, self._client.v1.customers.list_async):
            async for found in _all(fetch, {}):
                tags = found.get("metadata") or {}
                if "subject" in tags and "step" in tags and found.get("status") != "canceled":
                    yield LiveObject(found["id"], tags["subject"], tags["step"])


async def _all(fetch: Callable[[Any, RequestOptions], Awaitable[Any]], params: Json) -> AsyncIterator[Json]:
    """All objects of a list, page by page: newest first; with `ending_before`, from there on and oldest first."""
    forward = "ending_before" in params
    while True:
        page: stripe.ListObject[stripe.StripeObject] = await fetch({**params, "limit": _LARGEST_PAGE}, _IN_A_LONG_LIST)
        found = [one.to_dict() for one in page.data]
        for one in reversed(found) if forward else found:
            yield one
        if not page.has_more:
            return
        params = params | ({"ending_before": found[0]["id"]} if forward else {"starting_after": found[-1]["id"]})


def _balance_transaction(found: Json) -> BalanceTransaction:
    source = found["source"]
    about = source if isinstance(source, dict) else {"id": source}
    return BalanceTransaction(
        id=found["id"],
        currency=found["currency"],
        net=found["net"],
        created=datetime.fromtimestamp(found["created"], UTC),
        source=about["id"],
        operation_id=(about.get("metadata") or {}).get("operation_id"),
    )
