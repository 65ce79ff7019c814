"""Migrations, forward and back."""

import asyncio
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from db.engine import Database, create_engine

HEAD = "head"
BASE = "base"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


async def _run(database_url: str, move: str, revision: str) -> None:
    engine = create_engine(database_url, pool_size=1, role=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: getattr(command, move)(_config(sync), revision))
            await connection.commit()
    finally:
        await engine.dispose()


def upgrade(database_url: str, revision: str = HEAD) -> None:
    """Bring the database at `database_url` forward to `revision`. Runs as the role that owns the tables."""
    asyncio.run(_run(database_url, "upgrade", revision))


def claim(database_url: str, mode: str) -> None:
    """Make the database one of `mode`. Raises `WrongDeployment` if it has served another."""
    asyncio.run(_claim(database_url, mode))


async def _claim(database_url: str, mode: str) -> None:
    engine = create_engine(database_url, pool_size=1, role=None)
    try:
        async with engine.begin() as connection:
            await connection.execute(
                sa.text("UPDATE deployment SET mode = :mode WHERE NOT EXISTS (SELECT FROM operations)"), {"mode": mode}
            )
        await Database(engine).require_mode(mode)
    finally:
        await engine.dispose()


def downgrade(database_url: str, revision: str = BASE) -> None:
    """Take the database back to `revision`."""
    asyncio.run(_run(database_url, "downgrade", revision))
