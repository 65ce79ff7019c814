"""Ledger postings by the code that sagas use, and single rows updated beside them.

Each client posts on an operation of its own: a thousand sagas never share one either.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cli.bench.filling import FilledWallet
from db import ledger
from db.engine import Database
from domain import postings
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.postings import Posting
from domain.steps import Step

ONE = Money(1, "usd")


@dataclass
class Postings:
    """What clients post: wallet to wallet, or (`hot`) all from one account of the platform to a wallet."""

    database: Database
    wallets: Sequence[FilledWallet]
    operations: Sequence[str]
    """One a client."""
    hot: bool
    generation: int = 1
    """The last that was used: going on from it, further runs may share the operations."""

    async def live(self, _: int, client: int) -> dict[str, float]:
        """One posting, committed."""
        self.generation += 1
        giver, taker = random.sample(self.wallets, 2)
        posting = _from_the_platform(taker.id) if self.hot else postings.wallet_transfer(giver.id, taker.id, ONE)
        began = time.perf_counter()
        async with self.database.transaction() as connection:
            await ledger.post(connection, self.operations[client], Step.MOVE, posting, generation=self.generation)
        return {"posted": time.perf_counter() - began}


@dataclass
class Updates:
    """What clients update: each a row of its own, or (`hot`) all the same one."""

    database: Database
    hot: bool

    async def live(self, _: int, client: int) -> dict[str, float]:
        """One row, committed."""
        query = sa.text("UPDATE bench.counters SET n = n + 1 WHERE id = :id")
        began = time.perf_counter()
        async with self.database.transaction() as connection:
            await connection.execute(query, {"id": 0 if self.hot else client})
        return {"updated": time.perf_counter() - began}


async def platform_balance(database: Database) -> float:
    """Seconds that it takes to read the balance of the account that every hot posting was on."""
    began = time.perf_counter()
    async with database.transaction() as connection:
        await ledger.platform_balance(connection, _OPENING)
    return time.perf_counter() - began


async def snapshot(database: Database) -> float:
    """Seconds that it takes to cut a snapshot of every platform account's balance."""
    began = time.perf_counter()
    async with database.transaction() as connection:
        await ledger.snapshot_platform_balances(connection)
    return time.perf_counter() - began


_OPENING = Account(AccountKind.OPENING_BALANCES, ONE.currency)


def _from_the_platform(wallet_id: str) -> Posting:
    return postings.move(ONE, debit=_OPENING, credit=Account(AccountKind.WALLET_AVAILABLE, ONE.currency, wallet_id))
