"""Every kind of write we send to Stripe: how it is sent, what is kept of the answer, how it is found again.

Nothing but `StripeCaller` may import this module; an import contract holds it. Results that are kept hold ids, statuses
and amounts, no personal data and no client secrets.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import stripe
from stripe import RequestOptions, StripeClient

from db.stripe_calls import Call
from domain.connected_accounts import ConnectedAccount
from domain.payments import Payment
from domain.payouts import Payout, Reversal, Transfer

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One kind of write."""

    send: Callable[[StripeClient, Json, RequestOptions], Awaitable[stripe.StripeObject]]
    find: Callable[[StripeClient, Call], Awaitable[Json | None]]
    """Stripe's object, if this very call was carried out: what a look-up asks when an answer left that open."""
    fetch: Callable[[StripeClient, Call, str], Awaitable[stripe.StripeObject]]
    """The object of this id, which somebody says that the call has made. Raises `stripe.InvalidRequestError`."""
    alike: Mapping[str, str]
    """What the object must say to be that, and the parameter that says it too."""
    result: Callable[[Json], Json]
    """What is kept of the object."""
    tagged: bool = True
    """Whether the object carries our metadata, by which it is found and its events are routed."""

    def against(self, call: Call, found: Json) -> list[str]:
        """What speaks against that `call` has made `found`, a phrase each."""
        differing = [
            f"its {field} is {found.get(field)!r}, not {call.params[name]!r}"
            for field, name in self.alike.items()
            if name in call.params and found.get(field) != call.params[name]
        ]
        tags = found.get("metadata") or {}
        if self.tagged and tags.keys() >= {"subject", "step"} and (tags["subject"], tags["step"]) != _whose(call):
            differing.append(f"its metadata name step {tags['step']} of {tags['subject']}")
        if found.get("deleted") or found.get("reversed"):
            differing.append("it was taken back")
        if not self.tagged and found.get("status") != "canceled":
            differing.append(f"its status is {found.get('status')}")
        return differing


def _whose(call: Call) -> tuple[str, str]:
    return call.subject, call.step


def metadata(call: Call) -> dict[str, str]:
    """How an object says whose it is. Compared by us: none of Stripe's lists filters by metadata."""
    tags = {"subject": call.subject, "step": call.step, "generation": str(call.generation)}
    return tags | ({"operation_id": call.operation_id} if call.subject == call.operation_id else {})


async def _newest_tagged(objects: AsyncIterator[stripe.StripeObject], call: Call) -> Json | None:
    async for candidate in objects:
        found = candidate.to_dict()
        tags = found.get("metadata") or {}
        if all(tags.get(name) == value for name, value in metadata(call).items()):
            return found
    return None


def _since(call: Call) -> Json:
    # An hour before we sent it: clocks differ, but the window has to be short enough to page through.
    return {"gte": int((call.first_sent_at - timedelta(hours=1)).timestamp())}


async def _create_customer(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    return await client.v1.customers.create_async(cast(Any, params), options)


async def _find_customer(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.customers.list_async({"created": cast(Any, _since(call)), "limit": 100})
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_customer(client: StripeClient, _: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.customers.retrieve_async(stripe_id)


async def _create_payment_intent(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    return await client.v1.payment_intents.create_async(cast(Any, params), options)


async def _find_payment_intent(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.payment_intents.list_async(
        {"customer": call.params["customer"], "created": cast(Any, _since(call)), "limit": 100}
    )
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_payment_intent(client: StripeClient, _: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.payment_intents.retrieve_async(stripe_id)


async def _cancel_payment_intent(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    rest = {name: value for name, value in params.items() if name != "id"}
    return await client.v1.payment_intents.cancel_async(params["id"], cast(Any, rest), options)


async def _find_canceled(client: StripeClient, call: Call) -> Json | None:
    intent = await client.v1.payment_intents.retrieve_async(call.params["id"])
    return intent.to_dict() if intent.status == "canceled" else None


async def _create_account(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    return await client.v1.accounts.create_async(cast(Any, params), options)


async def _find_account(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.accounts.list_async({"created": cast(Any, _since(call)), "limit": 100})
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_account(client: StripeClient, _: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.accounts.retrieve_async(stripe_id)


_OF_TRANSFER = {"expand": ["destination_payment"]}
_OF_TRANSFERS = {"expand": ["data.destination_payment"]}


async def _create_transfer(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    return await client.v1.transfers.create_async(cast(Any, params | _OF_TRANSFER), options)


async def _find_transfer(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.transfers.list_async(
        cast(Any, {"transfer_group": call.params["transfer_group"], "limit": 100, **_OF_TRANSFERS})
    )
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_transfer(client: StripeClient, _: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.transfers.retrieve_async(stripe_id, cast(Any, _OF_TRANSFER))


_OF_REVERSAL = {"expand": ["destination_payment_refund"]}
_OF_REVERSALS = {"expand": ["data.destination_payment_refund"]}


async def _create_reversal(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    rest = {name: value for name, value in params.items() if name != "id"}
    return await client.v1.transfers.reversals.create_async(params["id"], cast(Any, rest | _OF_REVERSAL), options)


async def _find_reversal(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.transfers.reversals.list_async(call.params["id"], cast(Any, {"limit": 100, **_OF_REVERSALS}))
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_reversal(client: StripeClient, call: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.transfers.reversals.retrieve_async(call.params["id"], stripe_id, cast(Any, _OF_REVERSAL))


async def _create_payout(client: StripeClient, params: Json, options: RequestOptions) -> stripe.StripeObject:
    return await client.v1.payouts.create_async(cast(Any, params), options)


async def _find_payout(client: StripeClient, call: Call) -> Json | None:
    page = await client.v1.payouts.list_async(
        {"created": cast(Any, _since(call)), "limit": 100}, {"stripe_account": call.stripe_account}
    )
    return await _newest_tagged(page.auto_paging_iter(), call)


async def _fetch_payout(client: StripeClient, call: Call, stripe_id: str) -> stripe.StripeObject:
    return await client.v1.payouts.retrieve_async(stripe_id, None, {"stripe_account": call.stripe_account})


def _payment(intent: Json) -> Json:
    return Payment.from_stripe(intent).model_dump()


def _account(account: Json) -> Json:
    return ConnectedAccount.from_stripe(account).model_dump(mode="json")


def _transfer(transfer: Json) -> Json:
    return Transfer.from_stripe(transfer).model_dump()


def _reversal(reversal: Json) -> Json:
    return Reversal.from_stripe(reversal).model_dump()


def _payout(payout: Json) -> Json:
    return Payout.from_stripe(payout).model_dump(mode="json")


WRITES: Mapping[str, Write] = {
    "customers.create": Write(
        _create_customer, _find_customer, _fetch_customer, {"email": "email", "name": "name"}, lambda _: {}
    ),
    "payment_intents.create": Write(
        _create_payment_intent,
        _find_payment_intent,
        _fetch_payment_intent,
        {"amount": "amount", "currency": "currency", "customer": "customer"},
        _payment,
    ),
    "payment_intents.cancel": Write(
        _cancel_payment_intent, _find_canceled, _fetch_payment_intent, {"id": "id"}, _payment, tagged=False
    ),
    "accounts.create": Write(_create_account, _find_account, _fetch_account, {"country": "country"}, _account),
    "transfers.create": Write(
        _create_transfer,
        _find_transfer,
        _fetch_transfer,
        {"amount": "amount", "currency": "currency", "destination": "destination", "transfer_group": "transfer_group"},
        _transfer,
    ),
    "transfers.create_reversal": Write(
        _create_reversal, _find_reversal, _fetch_reversal, {"amount": "amount", "transfer": "id"}, _reversal
    ),
    "payouts.create": Write(
        _create_payout, _find_payout, _fetch_payout, {"amount": "amount", "currency": "currency"}, _payout
    ),
}
