"""What we ask Stripe without changing anything.

Whose objects are asked for is said by an account's id; `PLATFORM`, the empty string, is our own.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any, TypeVar

import stripe
from stripe import RequestOptions, StripeClient

from activities import outcomes
from activities.breakers import Breakers, EndpointAway
from activities.stripe_errors import error_code
from db.audit import BalanceTransaction, LiveObject
from domain.connected_accounts import ConnectedAccount
from domain.payments import Payment
from domain.payouts import Payout

Json = dict[str, Any]

Answer = TypeVar("Answer")

PLATFORM = ""

_LARGEST_PAGE = 100
"""Objects; Stripe's own limit."""


def is_cut_off(error: stripe.StripeError) -> bool:
    """Whether Stripe says that an account is no longer connected to us, rather than that our key lacks a right."""
    return isinstance(error, stripe.PermissionError) and error_code(error) == "account_invalid"


class StripeReads:
    """Reads, from the one client. They raise `stripe.StripeError`; and what a saga asks, `not_now` of
    `activities.outcomes` while its breaker is open.

    Without `breakers` every question goes out: where a person waits for the answer, and in the audit.
    """

    def __init__(self, client: StripeClient, breakers: Breakers | None = None) -> None:
        self._client = client
        self._breakers = breakers

    async def payment(self, payment_intent_id: str) -> Payment:
        """A PaymentIntent with its charge and, once there is one, the charge's balance transaction."""
        intent = await self._ask(
            "payment_intents",
            lambda: self._client.v1.payment_intents.retrieve_async(
                payment_intent_id, {"expand": ["latest_charge.balance_transaction"]}
            ),
        )
        return Payment.from_stripe(intent.to_dict())

    async def client_secret(self, payment_intent_id: str) -> str | None:
        """What the customer's browser needs to pay. Never stored: whoever may see it asks each time."""
        return (await self._client.v1.payment_intents.retrieve_async(payment_intent_id)).client_secret

    async def connected_account(self, stripe_account: str) -> ConnectedAccount:
        """A connected account; `stripe.PermissionError` if it is no longer ours to ask after."""
        found = await self._ask("accounts", lambda: self._client.v1.accounts.retrieve_async(stripe_account))
        return ConnectedAccount.from_stripe(found.to_dict())

    async def payout(self, payout_id: str, *, stripe_account: str) -> Payout:
        """A payout of a connected account."""
        options: RequestOptions = {"stripe_account": stripe_account}
        found = await self._ask("payouts", lambda: self._client.v1.payouts.retrieve_async(payout_id, None, options))
        return Payout.from_stripe(found.to_dict())

    async def available(self, currency: str, *, stripe_account: str) -> int:
        """What a connected account can give now, in minor units."""
        options: RequestOptions = {"stripe_account": stripe_account}
        found = await self._ask("balance", lambda: self._client.v1.balance.retrieve_async(None, options))
        return sum(amount["amount"] for amount in found.to_dict()["available"] if amount["currency"] == currency)

    async def _ask(self, endpoint: str, question: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._breakers is None:
            return await question()
        try:
            return await self._breakers.ask(endpoint, question)
        except EndpointAway as error:
            raise outcomes.not_now(str(error)) from error

    async def undelivered_events(
        self, types: Collection[str], *, account: str, until: datetime, after: str | None
    ) -> tuple[list[Json], str | None]:
        """A page of the events of the last 30 days, up to `until`, that one of our endpoints has not acknowledged.

        Newest first, and after which event the next page begins (https://docs.stripe.com/api/events/list).
        """
        params: Json = {"delivery_success": False, "types": sorted(types), "limit": _LARGEST_PAGE}
        params |= {"created": {"lte": int(until.timestamp())}} | ({"starting_after": after} if after else {})
        page = await self._client.v1.events.list_async(params, _patiently(account))  # type: ignore[arg-type] # a plain dict
        found = [one.to_dict() for one in page.data]
        return found, found[-1]["id"] if page.has_more else None

    # ── For the audit, which looks at everything: a thousand requests may have gone before one of these ──

    async def balance(self, account: str = PLATFORM) -> dict[str, int]:
        """What an account has at Stripe, pending and available together: minor units per currency."""
        found = (await self._client.v1.balance.retrieve_async(None, _patiently(account))).to_dict()
        totals: Counter[str] = Counter()
        for amount in (*found["available"], *found["pending"]):
            totals[amount["currency"]] += amount["amount"]
        return dict(totals)

    async def balance_transactions(self, account: str = PLATFORM) -> AsyncIterator[BalanceTransaction]:
        """Every movement of an account's balance, newest first."""
        async for found in _all(self._client.v1.balance_transactions.list_async, {"expand": ["data.source"]}, account):
            yield _balance_transaction(found, account)

    async def balance_transactions_since(self, newest: str | None, account: str = PLATFORM) -> list[BalanceTransaction]:
        """The movements after the one with the id `newest` (all, if that is None), oldest first."""
        params: Json = {"expand": ["data.source"]} | ({"ending_before": newest} if newest else {})
        pages = _all(self._client.v1.balance_transactions.list_async, params, account)
        found = [_balance_transaction(one, account) async for one in pages]
        return found if newest else found[::-1]

    async def live_objects(self, *, with_accounts: bool) -> AsyncIterator[LiveObject]:
        """The PaymentIntents that are not canceled, the customers and the connected accounts that we have made.

        Transfers, reversals and payouts need no lists: each is the source of a balance transaction. `with_accounts`
        False: for a platform that has none, and whose key may therefore not be allowed to ask.
        """
        v1 = self._client.v1
        lists: list[Callable[[Any, RequestOptions], Awaitable[Any]]]
        lists = [v1.payment_intents.list_async, v1.customers.list_async]
        if with_accounts:
            lists.append(v1.accounts.list_async)
        for fetch in lists:
            async for found in _all(fetch, {}, PLATFORM):
                tags = found.get("metadata") or {}
                if "subject" in tags and "step" in tags and found.get("status") != "canceled":
                    yield LiveObject(found["id"], tags["subject"], tags["step"])


def _patiently(account: str) -> RequestOptions:
    """Tried again at once, as nothing else is: no saga is behind it that would."""
    options: RequestOptions = {"max_network_retries": 3}
    return options | {"stripe_account": account} if account else options


async def _all(
    fetch: Callable[[Any, RequestOptions], Awaitable[Any]], params: Json, account: str
) -> AsyncIterator[Json]:
    """All objects of a list, page by page: newest first; with `ending_before`, from there on and oldest first."""
    forward = "ending_before" in params
    while True:
        page: stripe.ListObject[stripe.StripeObject] = await fetch(
            {**params, "limit": _LARGEST_PAGE}, _patiently(account)
        )
        found = [one.to_dict() for one in page.data]
        for one in reversed(found) if forward else found:
            yield one
        if not page.has_more:
            return
        params = params | ({"ending_before": found[0]["id"]} if forward else {"starting_after": found[-1]["id"]})


def _balance_transaction(found: Json, account: str) -> BalanceTransaction:
    source = found["source"]
    about = source if isinstance(source, dict) else {"id": source}
    tags = about.get("metadata") or {}
    alive = _lives(about)
    return BalanceTransaction(
        account=account,
        id=found["id"],
        currency=found["currency"],
        net=found["net"],
        created=datetime.fromtimestamp(found["created"], UTC),
        # A transfer arrives as a payment of the account's, and a reversal leaves as a refund of that.
        source=about.get("source_transfer") or about.get("source_transfer_reversal") or about["id"],
        operation_id=tags.get("operation_id"),
        subject=tags.get("subject") if alive else None,
        step=tags.get("step") if alive else None,
    )


def _lives(source: Json) -> bool:
    """Whether it is what an intent of ours makes at most one of. (A charge is not: its PaymentIntent is, and shares its
    metadata with it.)"""
    match source.get("object"):
        case "transfer":
            return not source["reversed"]
        case "transfer_reversal":
            return True
        case "payout":
            return source["status"] not in ("failed", "canceled")
        case _:
            return False
