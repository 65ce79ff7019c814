"""What there is in the end, at Stripe and with us: the same, whether or not somebody died on the way."""

import asyncio
import difflib
import re
from typing import Any

from domain.statuses import ConnectedAccountStatus, DepositStatus, OfferStatus
from tests.auditing import assert_clean
from tests.world import World, until

AT_REST = [
    DepositStatus.AWAITING_PAYMENT,
    ConnectedAccountStatus.ONBOARDING,
    ConnectedAccountStatus.ACTIVE,
    ConnectedAccountStatus.RESTRICTED,
    OfferStatus.HELD,
    OfferStatus.ACCEPTED,
    OfferStatus.DELIVERED,
    OfferStatus.CONTESTED,
]
"""Statuses of sagas that have not ended and wait for somebody else."""

_OURS = {
    "operation": """
        SELECT kind, status, amount, currency, needs_attention, failure ->> 'code', closed_at IS NULL
        FROM operations""",
    "ledger": """
        SELECT o.kind, t.step, t.generation, array_agg((a.kind, e.amount)::text ORDER BY a.kind, e.amount)
        FROM ledger_transactions t JOIN operations o ON o.id = t.operation_id
        JOIN ledger_entries e ON e.ltx_id = t.id JOIN ledger_accounts a ON a.id = e.account_id
        GROUP BY o.kind, t.id""",
    "call": "SELECT step, generation, write, outcome, closed_at IS NULL FROM stripe_calls",
    "told": "SELECT type FROM events",
    "request": "SELECT verb, wish, refusal ->> 'code', verb IS NOT NULL AND answered_at IS NULL FROM requests",
    "offer": "SELECT verb, party FROM offer_actions",
    "operator": "SELECT verb, actor, reason, refusal ->> 'code' FROM operator_actions",
    "approval": "SELECT verb, what ->> 'step', asked_by, approved_by, used_by IS NULL FROM approvals",
    "wallet": "SELECT user_id, currency, active, frozen FROM wallets",
    "act": "SELECT actor, verb, reason FROM wallet_actions",
    "user": "SELECT user_id, email, name, country FROM users",
    "event": "SELECT type FROM stripe_events",
}
"""What we have written, without times, and without ids, but for those that `_IDS` finds."""

_IDS = re.compile(r"\b(apr)_\w+")

STILL = 0.7
"""Seconds for which nothing must have changed."""


async def books(world: World) -> list[str]:
    """Everything, a line each."""
    found = []
    for name, query in _OURS.items():
        rows = [", ".join(map(str, row.values())) for row in await world.sql(query)]
        found += [f"{name}: {_IDS.sub('…', row)}" for row in rows]
    for name, things in (await _at_stripe(world)).items():
        found += [f"Stripe's {name}: {thing}" for thing in things]
    return sorted(found)


async def _at_stripe(world: World) -> dict[str, list[Any]]:
    stripe = world.sandbox
    accounts = [account["id"] for account in await stripe.listed("accounts")]
    payouts = [payout for account in accounts for payout in await stripe.of_account(account, "payouts")]
    return {
        "customer": [customer["email"] for customer in await stripe.listed("customers")],
        "payment": [(one["amount_received"], one["status"]) for one in await stripe.listed("payment_intents")],
        "transfer": [(one["amount"], one["amount_reversed"]) for one in await stripe.listed("transfers")],
        "account": [len(accounts)],
        "payout": [(one["amount"], one["status"]) for one in payouts],
        "balance": [(one["type"], one["net"]) for one in await stripe.listed("balance_transactions")],
    }


async def until_settled(world: World, wanted: list[str] | None = None) -> list[str]:
    """Everything, once nothing is under way any more, and as `wanted` if it ever comes to that; the audit is clean."""
    seen: list[str] = []

    async def is_settled() -> bool:
        await world.settled_events()
        if await world.sql("SELECT FROM operations WHERE closed_at IS NULL AND NOT status = ANY($1)", AT_REST):
            return False
        # What nobody was there to take, Stripe sends again.
        deliveries = (await world.sandbox.control("GET", "deliveries"))["deliveries"]
        if any(delivery["state"] == "pending" for delivery in deliveries):
            return False
        before, seen[:] = [*seen], await books(world)
        if seen == wanted:
            return True
        if wanted is not None:
            # A verb whose answer died with its worker is left to the next sweep.
            await world.sweep()
        # What Stripe tells comes when it comes.
        await asyncio.sleep(STILL)
        return seen == before

    await until(is_settled)
    await assert_clean(world)
    return seen


def difference(there: list[str], wanted: list[str]) -> str:
    """What is there too much (+) or is missing (-)."""
    return "\n".join(line for line in difflib.ndiff(wanted, there) if line[0] in "+-")
