"""All SQL of chaos: a reader of the ledger beside the load, and what is looked up in Postgres while it heals.

As superuser, past every proxy. It only reads. Postgres is killed now and then; then it connects again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import asyncpg

from cli.chaos.evidence import Snapshots

Row = asyncpg.Record

READS_EVERY = 0.2
"""Seconds between two readings of the whole ledger."""

LOOKS_EVERY = 0.1
"""Seconds between two looks at the operations that somebody waits for."""

LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What says that Postgres has gone, for now."""

Found = TypeVar("Found")

_UNEVEN = "SELECT currency, sum(amount)::text AS total FROM ledger_entries GROUP BY currency HAVING sum(amount) <> 0"

_DIFFERING = """
    SELECT a.kind, a.owner, a.currency, coalesce(b.balance::text, 'nothing') AS balance,
           coalesce(e.total, 0)::text AS total
    FROM ledger_accounts a LEFT JOIN ledger_balances b ON b.account_id = a.id
    LEFT JOIN (SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id) e
        ON e.account_id = a.id
    WHERE b.account_id IS NOT NULL AND b.balance <> coalesce(e.total, 0)
"""

_STATES = "SELECT id, status, closed_at IS NOT NULL AS closed FROM operations WHERE id = ANY($1)"

# A connected account lives on: it waits for nothing once its owner has told Stripe who they are.
_UNRESOLVED = """
    SELECT format('%s is %s%s', id, status, CASE WHEN needs_attention THEN ', flagged: ' || (attention->>'code') END)
    FROM operations
    WHERE (closed_at IS NULL OR needs_attention)
      AND NOT (kind = 'connected_account' AND status IN ('onboarding', 'active', 'restricted') AND NOT needs_attention)
    UNION ALL
    SELECT format('event %s (%s) is not processed', id, type) FROM stripe_events WHERE state = 'received'
    UNION ALL
    SELECT format('%s of %s is not answered', verb, operation_id) FROM requests
    WHERE verb IS NOT NULL AND answered_at IS NULL
    ORDER BY 1
"""

_PLATFORM = """
    SELECT a.kind, a.currency, sum(e.amount)::bigint AS total
    FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id GROUP BY a.kind, a.currency
"""

_OPEN = "SELECT id FROM operations WHERE closed_at IS NULL"

_ENDED = "SELECT count(*) FROM operations WHERE closed_at IS NOT NULL"


class Reader:
    """One connection, that comes back by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[Row] | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, *statements: str, about: object = None) -> list[list[Row]]:
        """Every statement's rows, in one snapshot; `about` is $1. Raises one of `LOST`."""
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=5, command_timeout=10)
            given = () if about is None else (about,)
            try:
                async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                    return [await self._connection.fetch(statement, *given) for statement in statements]
            except BaseException:
                # Nobody knows what it would say next.
                self._connection.terminate()
                raise

    async def patiently(self, *statements: str, about: object = None) -> list[list[Row]]:
        """The same, until Postgres is there."""
        while True:
            with suppress(*LOST):
                return await self.fetch(*statements, about=about)
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.terminate()


class Books:
    """What Postgres holds. Two readers, so that neither waits for the other."""

    def __init__(self, url: str) -> None:
        self._ledger, self._others = Reader(url), Reader(url)
        self.snapshots = Snapshots()
        self._waited_for: dict[str, tuple[frozenset[str], asyncio.Future[str]]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Books"]:
        """The books, read again and again while the block runs."""
        books = cls(url)
        tasks = [asyncio.create_task(books._read()), asyncio.create_task(books._look())]
        try:
            yield books
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await books._ledger.close()
            await books._others.close()

    async def reached(self, operation: str, *statuses: str) -> str:
        """Returns when the operation has one of these statuses, or has ended; and which it has."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waited_for[operation] = (frozenset(statuses), future)
        try:
            return await future
        finally:
            self._waited_for.pop(operation, None)

    async def unresolved(self) -> list[str]:
        """What still waits for something."""
        [rows] = await self._others.patiently(_UNRESOLVED)
        return [str(row[0]) for row in rows]

    async def open_operations(self) -> set[str]:
        """Those whose sagas must run."""
        [rows] = await self._others.patiently(_OPEN)
        return {row["id"] for row in rows}

    async def ended(self) -> int:
        """How many sagas have come to their end."""
        [rows] = await self._others.patiently(_ENDED)
        return int(rows[0][0])

    async def platform(self) -> dict[tuple[str, str], int]:
        """The sum of all entries by kind of account and currency."""
        [rows] = await self._others.patiently(_PLATFORM)
        return {(row["kind"], row["currency"]): row["total"] for row in rows}

    async def _read(self) -> None:
        while True:
            with suppress(*LOST):
                uneven, differing = await self._ledger.fetch(_UNEVEN, _DIFFERING)
                self.snapshots.taken += 1
                self._note(f"all entries sum to {row['total']} {row['currency']}" for row in uneven)
                self._note(
                    f"{row['kind']} {row['owner']} {row['currency']} holds {row['balance']}, its entries sum to"
                    f" {row['total']}"
                    for row in differing
                )
            await asyncio.sleep(READS_EVERY)

    def _note(self, wrong: Iterable[str]) -> None:
        self.snapshots.wrong += [f"snapshot {self.snapshots.taken}: {each}" for each in wrong]

    async def _look(self) -> None:
        while True:
            if self._waited_for:
                with suppress(*LOST):
                    [rows] = await self._others.fetch(_STATES, about=list(self._waited_for))
                    for row in rows:
                        statuses, future = self._waited_for.get(row["id"], (frozenset(), None))
                        if future and not future.done() and (row["closed"] or row["status"] in statuses):
                            future.set_result(row["status"])
            await asyncio.sleep(LOOKS_EVERY)
