"""A database for one test: a copy of the migrated template, and the roles that reach it."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.db.books import Books, open_books
from tests.world import Servers


@pytest.fixture
async def books(servers: Servers) -> AsyncIterator[Books]:
    """Paysaga's database with nothing in it."""
    async with open_books(servers) as opened:
        yield opened


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """A database that no migration has touched, as its owner reaches it."""
    name = f"e_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(servers.superuser_url("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER paysaga_owner")
        yield servers.owner_url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
