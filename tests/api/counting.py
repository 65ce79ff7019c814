"""What a request left behind, in every table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.world import World, until

UNRELATED = {"stripe_events", "ledger_snapshots"}
"""Tables that change by themselves while a world runs."""


async def rows(world: World) -> dict[str, int]:
    """How many rows each table has."""
    connection = await asyncpg.connect(world.superuser_url)
    try:
        tables = [row["relname"] for row in await connection.fetch("SELECT relname FROM pg_stat_user_tables")]
        counts = [f"SELECT '{name}' AS name, count(*) FROM {name}" for name in tables if name not in UNRELATED]
        return {row["name"]: row["count"] for row in await connection.fetch(" UNION ALL ".join(counts))}
    finally:
        await connection.close()


async def quiet(world: World) -> None:
    """Wait until no saga of an earlier test is at work: all have ended, or only wait and watch."""
    busy = """
        SELECT FROM operations WHERE closed_at IS NULL AND kind <> 'connected_account'
        AND status NOT IN ('awaiting_payment', 'awaiting_funds', 'paid', 'held', 'accepted', 'delivered', 'contested')
    """

    async def none_is_busy() -> bool:
        return not await world.sql(busy)

    await until(none_is_busy)


@asynccontextmanager
async def nothing_written(world: World, *, asking: int = 0) -> AsyncIterator[None]:
    """No table gains or loses a row while the block runs, and Stripe is sent nothing, or `asking` requests."""
    await quiet(world)
    before, asked = await rows(world), len(await world.sandbox.requests("*"))
    yield
    assert await rows(world) == before
    assert len(await world.sandbox.requests("*")) == asked + asking
