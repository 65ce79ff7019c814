"""Doing wrong to the books, as only a superuser can."""

import asyncpg

from activities.audit import Audit, Report
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from db.invariants import Invariant
from domain.accounts import CHART, AccountKind, Owner
from tests.auditing import audited
from tests.world import World

Entry = tuple[AccountKind, int]
"""An account's kind, in usd, and a signed amount in minor units: credits positive."""


async def behind_the_triggers(world: World, *statements: str) -> None:
    """Run statements on one connection with every trigger and foreign key off."""
    connection = await asyncpg.connect(world.superuser_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def post(
    world: World,
    operation_id: str,
    *entries: Entry,
    step: str = "planted",
    account: str = "acct_planted",
    link: str | None = None,
    checked: bool = True,
    repaid: int = 0,
) -> str:
    """Plant a ledger transaction, its entries on balances at Stripe linked to the balance transaction `link`.

    `account`: the Stripe account whose connected balance and payouts are meant, or the user who owes. The balances are
    kept as ever; with `checked` False the rules on transactions are off. `repaid`: what another ledger transaction
    takes out of the wallet again for what the user owes.
    """
    connection = await asyncpg.connect(world.superuser_url)
    try:
        async with connection.transaction():
            wallet = await connection.fetchval("SELECT wallet_id FROM operations WHERE id = $1", operation_id)
            if not checked:
                await connection.execute("ALTER TABLE ledger_transactions DISABLE TRIGGER balanced")
                await connection.execute("ALTER TABLE ledger_entries DISABLE TRIGGER balanced")
            owners = {Owner.PLATFORM: "", Owner.WALLET: wallet}
            parts = [(step, entries)]
            if repaid:
                back = ((AccountKind.WALLET_AVAILABLE, -repaid), (AccountKind.RECEIVABLE, repaid))
                parts.append((f"repayment:{step}", back))
            for part, its_entries in parts:
                await connection.execute(
                    "INSERT INTO ledger_transactions (id, operation_id, step, generation, content)"
                    " VALUES ($1, $2, $3, 1, '')",
                    f"ltx_planted_{part}",
                    operation_id,
                    part,
                )
                for kind, amount in its_entries:
                    owner = owners.get(CHART[kind].owner, account)
                    entry = await connection.fetchval(
                        "INSERT INTO ledger_entries (ltx_id, account_id, currency, amount) VALUES ($1, $2, 'usd', $3)"
                        " RETURNING id",
                        f"ltx_planted_{part}",
                        await _account(connection, kind, owner),
                        amount,
                    )
                    if link is not None and kind in (AccountKind.STRIPE_BALANCE, AccountKind.CONNECTED_BALANCE):
                        linked = "INSERT INTO stripe_balance_links VALUES ($1, $2, $3)"
                        await connection.execute(linked, entry, owner, link)
    finally:
        await connection.close()
    return f"ltx_planted_{step}"


async def _account(connection: "asyncpg.Connection[asyncpg.Record]", kind: AccountKind, owner: str) -> int:
    await connection.execute(
        "INSERT INTO ledger_accounts (kind, owner, currency) VALUES ($1, $2, 'usd') ON CONFLICT DO NOTHING", kind, owner
    )
    return int(
        await connection.fetchval(
            "SELECT id FROM ledger_accounts WHERE kind = $1 AND owner = $2 AND currency = 'usd'", kind, owner
        )
    )


async def sees_only(world: World, invariant: Invariant, *, times: int = 1) -> Report:
    """The audit's report, which must say that this invariant, and no other, is violated this often."""
    report = await audited(world)
    assert {name: count for name, count in report.counts.items() if count} == {invariant: times}, report.violations
    assert {found.invariant for found in report.violations} == {invariant}
    return report


async def audited_through(world: World, reads: type[StripeReads]) -> Report:
    """An audit that sees Stripe through `reads`."""
    async with open_client(world.sandbox.key, base=world.sandbox.url, timeout=5) as client:
        return await Audit(world.settings, reads(client), world.temporal).run()
