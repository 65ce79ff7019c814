"""The bench's own way into Postgres, as superuser: what no client and no part of Paysaga may, or would, ask.

Statements are counted by `pg_stat_statements`, of the application's role alone and while something is counted.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import asyncpg

from cli.stack.errors import StackError
from db.engine import APP_ROLE

LOOK_EVERY = 0.01
"""Seconds between two looks at the operations that are waited for: one query, however many there are."""

_ENDINGS = frozenset({"succeeded", "paid", "failed", "canceled", "expired", "reversed", "declined", "completed"})


class EndedOtherwise(Exception):
    """An operation has come to another end than the one that must come."""


@dataclass(frozen=True)
class Statements:
    """What the application asked of Postgres."""

    queries: float
    transactions: float
    """Those that were begun; each is two more round trips, BEGIN and COMMIT."""


@dataclass(frozen=True)
class _State:
    status: str
    closed: bool


class Backdoor:
    """One connection. `async with Backdoor.open(superuser_url) as backdoor`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection
        self._lock = asyncio.Lock()
        self._watched: dict[str, asyncio.Future[None]] = {}
        self._wanted: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, superuser_url: str) -> AsyncIterator[Self]:
        """The connection, and the watching of operations."""
        connection = await asyncpg.connect(superuser_url)
        backdoor = cls(connection)
        watcher = asyncio.create_task(backdoor._watch())
        try:
            yield backdoor
        finally:
            watcher.cancel()
            await connection.close()

    @property
    def pid(self) -> int:
        """The backend that serves this connection."""
        return int(self.connection.get_server_pid())

    # ── Operations that are under way ──

    async def reached(self, operation_id: str, status: str) -> None:
        """Returns when the operation has `status`. Raises `EndedOtherwise`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched[operation_id], self._wanted[operation_id] = future, status
        try:
            await future
        finally:
            self._watched.pop(operation_id, None)
            self._wanted.pop(operation_id, None)

    async def closed(self, operations: Collection[str]) -> None:
        """Returns when the sagas of all have ended."""
        left = set(operations)
        while left:
            states = await self._states(left)
            left -= {id for id, state in states.items() if state.closed}
            await asyncio.sleep(LOOK_EVERY)

    async def _watch(self) -> None:
        while True:
            if self._watched:
                states = await self._states(list(self._watched))
                for id, state in states.items():
                    future, wanted = self._watched.get(id), self._wanted.get(id)
                    if future is None or future.done():
                        continue
                    if state.status == wanted:
                        future.set_result(None)
                    elif state.status in _ENDINGS:
                        future.set_exception(EndedOtherwise(f"{id} is {state.status}, not {wanted}"))
            await asyncio.sleep(LOOK_EVERY)

    async def _states(self, ids: Collection[str]) -> dict[str, _State]:
        async with self._lock:
            rows = await self.connection.fetch(
                "SELECT id, status, closed_at IS NOT NULL AS closed FROM operations WHERE id = ANY($1)", list(ids)
            )
        return {row["id"]: _State(row["status"], row["closed"]) for row in rows}

    # ── Statements ──

    async def make_ready_to_count(self) -> None:
        """Before a restart of Postgres: from then on statements can be counted. Nothing is, until asked for."""
        await self.connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        await self.connection.execute("ALTER SYSTEM SET pg_stat_statements.track = 'none'")

    @asynccontextmanager
    async def counting_statements(self) -> AsyncIterator[None]:
        """While this lasts, statements are counted."""
        async with self._lock:
            await self.connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            await self._track("top")
            await self.connection.execute("SELECT pg_stat_statements_reset()")
        try:
            yield
        finally:
            async with self._lock:
                await self._track("none")

    async def counted(self) -> Statements:
        """What the application asked since counting began."""
        async with self._lock:
            row = await self.connection.fetchrow(
                """
                SELECT coalesce(sum(calls) FILTER (WHERE query !~* '^(BEGIN|COMMIT|ROLLBACK)'), 0)::float8 AS queries,
                       coalesce(sum(calls) FILTER (WHERE query ~* '^BEGIN'), 0)::float8 AS transactions
                FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = $1
                """,
                APP_ROLE,
            )
        assert row is not None
        return Statements(row["queries"], row["transactions"])

    async def _track(self, what: str) -> None:
        await self.connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{what}'")
        await self.connection.execute("SELECT pg_reload_conf()")
        for _ in range(200):
            # Each backend takes the new setting up when it next has something to do; the application's, too.
            if await self.connection.fetchval("SHOW pg_stat_statements.track") == what:
                return
            await asyncio.sleep(0.01)
        raise StackError("Postgres did not take the bench's settings up: see its log.")

    # ── What stands in the books ──

    async def entries(self) -> int:
        """How many ledger entries there are."""
        async with self._lock:
            return int(await self.connection.fetchval("SELECT count(*) FROM ledger_entries"))

    # ── Rows to compare a posting with ──

    async def make_counters(self, count: int) -> None:
        """A table of single rows that the application may update."""
        async with self._lock:
            await self.connection.execute(
                f"""
                CREATE SCHEMA bench;
                CREATE TABLE bench.counters (id integer PRIMARY KEY, n bigint NOT NULL DEFAULT 0) WITH (fillfactor=50);
                GRANT USAGE ON SCHEMA bench TO {APP_ROLE};
                GRANT SELECT, UPDATE ON bench.counters TO {APP_ROLE};
                """
            )
            await self.connection.execute("INSERT INTO bench.counters SELECT generate_series(0, $1 - 1)", count)

    async def drop_counters(self) -> None:
        """Leaves nothing of it behind."""
        async with self._lock:
            await self.connection.execute("DROP SCHEMA bench CASCADE")
