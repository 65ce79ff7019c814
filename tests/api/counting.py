"""What a request left behind, in every table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.world import World

UNRELATED = {"stripe_events", "ledger_snapshots"}
"""Tables that change by themselves while a world runs."""


async def rows(world: World) -> dict[str, int]:
    """How many rows each table has."""
    tables = [row["relname"] for row in await world.sql("SELECT relname FROM pg_stat_user_tables")]
    counts = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) FROM {name}" for name in tables)
    return {row["name"]: row["count"] for row in await world.sql(counts) if row["name"] not in UNRELATED}


@asynccontextmanager
async def nothing_written(world: World) -> AsyncIterator[None]:
    """No table gains or loses a row while the block runs, and Stripe is asked for nothing."""
    before, asked = await rows(world), len(await world.sandbox.requests("*"))
    yield
    assert await rows(world) == before
    assert len(await world.sandbox.requests("*")) == asked
