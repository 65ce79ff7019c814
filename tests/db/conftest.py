"""A database for one test: a copy of the migrated template, and the roles that reach it.

Copying it takes ten times as long as most of these tests, so they share one copy, and each leaves it as it was.
"""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.db.books import Books, Copy
from tests.world import Servers


@pytest.fixture(scope="session")
async def copy(servers: Servers) -> AsyncIterator[Copy]:
    """The copy that tests share."""
    async with Copy.made_for(servers) as made:
        yield made


@pytest.fixture
async def books(copy: Copy) -> AsyncIterator[Books]:
    """Paysaga's database with nothing in it."""
    try:
        async with copy.opened() as opened:
            yield opened
    finally:
        await copy.empty()


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
