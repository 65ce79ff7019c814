"""Connections to Postgres: one pool a process, in the application's role."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

APP_ROLE = "paysaga_app"
"""The role that the migrations grant rights to. It owns nothing and cannot edit history."""


def create_engine(database_url: str, *, pool_size: int = 10, role: str | None = APP_ROLE) -> AsyncEngine:
    """A pool of at most `pool_size` connections to `database_url` (libpq's form, `sslmode` and all).

    Waiting for a free connection ends after 10 s with `sqlalchemy.exc.TimeoutError`; a connection that died while it
    was idle is replaced before it is used.
    """

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        settings = {"application_name": "paysaga", "idle_in_transaction_session_timeout": "60s"}
        return await asyncpg.connect(
            database_url, timeout=10, command_timeout=30, server_settings=settings | ({"role": role} if role else {})
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        # Errors travel into logs and workflow histories; what was written to a row must not.
        hide_parameters=True,
    )
    _replace_dead_connections(engine)
    return engine


ASKED_AFTER = 30.0
"""Seconds of idleness after which a connection is asked whether it lives before it is used."""


def _replace_dead_connections(engine: AsyncEngine) -> None:
    """No transaction begins on a connection that died while it was idle.

    SQLAlchemy's own `pool_pre_ping` asks before every transaction: BEGIN, a query, ROLLBACK, as many round trips as
    most of ours need altogether. But a server that ends says so, and asyncpg has heard it. Only what is lost in
    silence, by a firewall that forgets, takes asking; and to be forgotten takes time.
    """

    def put_back(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    def take(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        driver = record.driver_connection
        assert isinstance(driver, asyncpg.Connection)
        idle = time.monotonic() - record.info.get("idle_since", time.monotonic())
        try:
            alive = not driver.is_closed() and (idle < ASKED_AFTER or engine.dialect.do_ping(connection))
        except (OSError, TimeoutError, engine.dialect.loaded_dbapi.Error):
            alive = False
        if not alive:
            # The others are as old.
            raise InvalidatePoolError

    sa.event.listen(engine.sync_engine, "checkin", put_back)
    sa.event.listen(engine.sync_engine, "checkout", take)


async def now(connection: AsyncConnection) -> datetime:
    """The time by the database's clock, which tests set forward."""
    found: datetime = (await connection.execute(sa.func.app_now())).scalar_one()
    return found


class WrongDeployment(Exception):
    """Live money and test money must not meet in one database."""


class Database:
    """What activities and routes are given: transactions, committed at the edge."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with self._engine.begin() as connection:
            yield connection

    async def require_mode(self, mode: str) -> None:
        """Raise `WrongDeployment` unless this database belongs to a deployment of `mode`."""
        async with self._engine.connect() as connection:
            kept = (await connection.execute(sa.text("SELECT mode FROM deployment"))).scalar_one()
        if kept != mode:
            raise WrongDeployment(f"The database belongs to a {kept} deployment, but PAYSAGA_MODE is {mode}.")


@asynccontextmanager
async def open_database(database_url: str, *, pool_size: int) -> AsyncIterator[Database]:
    """The application's database, for as long as the block runs."""
    engine = create_engine(database_url, pool_size=pool_size)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()
