"""A ledger of any size: filled by COPY, as superuser, with triggers off, so that every invariant holds.

Ten wallets make a group. In each of ten rounds, either each of them is given an opening balance (debit
`opening_balances`, credit the wallet), or each gives as much to the next and the last to the first. So a group is 100
operations with two entries each, a quarter of all entries are on one account of the platform, and every wallet ends
with what its openings brought.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg

from domain.ids import new_id
from domain.operations import OperationKind
from domain.statuses import WalletTransferStatus
from domain.steps import Step

WALLETS_OF_A_GROUP = 10
ROUNDS = 10
ENTRIES_OF_A_GROUP = 2 * WALLETS_OF_A_GROUP * ROUNDS

AMOUNT = 10_000
"""Minor units that each operation moves."""

CURRENCY = "usd"

GROUPS_AT_ONCE = 250
"""In one transaction of the filling."""


@dataclass(frozen=True)
class FilledWallet:
    """A wallet that has entries; its user is whom a token must name."""

    id: str
    user_id: str


@dataclass
class Filling:
    """What was filled in so far."""

    wallets: list[FilledWallet] = field(default_factory=list)

    async def grow(self, connection: "asyncpg.Connection[asyncpg.Record]", entries: int) -> None:
        """Fills groups in until the ledger holds about as many entries."""
        missing = entries - int(await connection.fetchval("SELECT count(*) FROM ledger_entries"))
        groups = max(0, round(missing / ENTRIES_OF_A_GROUP))
        platform = await _platform_account(connection)
        while groups > 0:
            now = min(groups, GROUPS_AT_ONCE)
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica")
                await self._fill(connection, now, platform)
            groups -= now
        await connection.execute("VACUUM ANALYZE")

    async def _fill(self, connection: "asyncpg.Connection[asyncpg.Record]", groups: int, platform: int) -> None:
        made = [
            FilledWallet(new_id("wal"), f"filled-{len(self.wallets) + index}")
            for index in range(groups * WALLETS_OF_A_GROUP)
        ]
        await connection.copy_records_to_table(
            "users", columns=["user_id", "reference"], records=[(each.user_id, new_id("usr")) for each in made]
        )
        await connection.copy_records_to_table(
            "wallets",
            columns=["id", "user_id", "currency"],
            records=[(each.id, each.user_id, CURRENCY) for each in made],
        )
        accounts = await _wallet_accounts(connection, made)
        operations, transactions, entries = [], [], []
        for giver, taker in _movements(made):
            operation, ltx = new_id(OperationKind.WALLET_TRANSFER.id_prefix), new_id("ltx")
            operations.append((operation, taker.user_id, taker.id))
            transactions.append((ltx, operation, hashlib.sha256(ltx.encode()).hexdigest()))
            entries.append((ltx, platform if giver is None else accounts[giver.id], -AMOUNT))
            entries.append((ltx, accounts[taker.id], AMOUNT))
        await _copy_operations(connection, operations)
        await connection.copy_records_to_table(
            "ledger_transactions",
            columns=["id", "operation_id", "step", "generation", "content"],
            records=[(ltx, operation, Step.MOVE, 1, content) for ltx, operation, content in transactions],
        )
        await connection.copy_records_to_table(
            "ledger_entries",
            columns=["ltx_id", "account_id", "currency", "amount"],
            records=[(ltx, account, CURRENCY, amount) for ltx, account, amount in entries],
        )
        await connection.execute(
            """
            INSERT INTO ledger_balances (account_id, guard, balance)
            SELECT e.account_id, k.guard, sum(e.amount) FROM ledger_entries e
            JOIN ledger_accounts a ON a.id = e.account_id JOIN ledger_account_kinds k ON k.kind = a.kind
            WHERE e.account_id = ANY($1) GROUP BY e.account_id, k.guard
            """,
            list(accounts.values()),
        )
        self.wallets += made


async def operations_to_post_on(
    connection: "asyncpg.Connection[asyncpg.Record]", wallets: list[FilledWallet]
) -> list[str]:
    """An ended operation for each wallet, on which any number of generations can be posted."""
    made = [(new_id(OperationKind.WALLET_TRANSFER.id_prefix), wallet.user_id, wallet.id) for wallet in wallets]
    async with connection.transaction():
        await _copy_operations(connection, made)
    return [operation for operation, _, _ in made]


def _movements(wallets: list[FilledWallet]) -> Iterator[tuple[FilledWallet | None, FilledWallet]]:
    """Who gives and who takes; None gives an opening balance."""
    for start in range(0, len(wallets), WALLETS_OF_A_GROUP):
        group = wallets[start : start + WALLETS_OF_A_GROUP]
        for turn in range(ROUNDS):
            for index, wallet in enumerate(group):
                yield (None if turn % 2 == 0 else wallet), group[(index + turn % 2) % len(group)]


async def _platform_account(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    await connection.execute(
        "INSERT INTO ledger_accounts (kind, owner, currency) VALUES ('opening_balances', '', $1)"
        " ON CONFLICT DO NOTHING",
        CURRENCY,
    )
    found = await connection.fetchval(
        "SELECT id FROM ledger_accounts WHERE kind = 'opening_balances' AND currency = $1", CURRENCY
    )
    return int(found)


async def _wallet_accounts(
    connection: "asyncpg.Connection[asyncpg.Record]", wallets: list[FilledWallet]
) -> dict[str, int]:
    rows = await connection.fetch(
        """
        INSERT INTO ledger_accounts (kind, owner, currency)
        SELECT 'wallet_available', owner, $2 FROM unnest($1::text[]) AS owner RETURNING id, owner
        """,
        [wallet.id for wallet in wallets],
        CURRENCY,
    )
    return {row["owner"]: int(row["id"]) for row in rows}


async def _copy_operations(
    connection: "asyncpg.Connection[asyncpg.Record]", operations: list[tuple[str, str, str]]
) -> None:
    """Ended wallet transfers, each (id, user, wallet)."""
    now = await connection.fetchval("SELECT app_now()")
    await connection.copy_records_to_table(
        "operations",
        columns=[
            *("id", "kind", "status", "caller", "user_id", "wallet_id", "amount", "currency"),
            *("started_at", "closed_at"),
        ],
        records=[
            (
                *(id, OperationKind.WALLET_TRANSFER, WalletTransferStatus.SUCCEEDED, "bench", user, wallet),
                *(AMOUNT, CURRENCY, now, now),
            )
            for id, user, wallet in operations
        ],
    )
