"""Which deployment a database belongs to, its clock, and the connections to it."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
import sqlalchemy as sa
from asyncpg.exceptions import CheckViolationError, UniqueViolationError

from db import engine
from db.engine import WrongDeployment, open_database
from db.migrate import claim
from tests.db.books import Books, at_once


async def claim_for(books: Books, mode: str) -> None:
    """As `paysaga migrate` does it."""
    await asyncio.to_thread(claim, books.owner_url, mode)


@pytest.mark.parametrize("mode", ["development", "staging", "live"])
async def test_an_unused_database_can_be_claimed_and_then_serves_that_mode(books: Books, mode: str) -> None:
    await claim_for(books, mode)
    await claim_for(books, mode)

    for other in {"development", "staging", "live"} - {mode}:
        with pytest.raises(WrongDeployment, match=f"belongs to a {mode} deployment, but PAYSAGA_MODE is {other}"):
            await books.database.require_mode(other)
    await books.database.require_mode(mode)


async def test_a_used_database_stays_what_it_is(books: Books) -> None:
    await books.operation()

    for mode in ("live", "staging"):
        with pytest.raises(WrongDeployment):
            await claim_for(books, mode)

    await claim_for(books, "development")
    await books.database.require_mode("development")


async def test_live_keeps_real_time(books: Books) -> None:
    await claim_for(books, "live")

    for way_in in (books.as_owner(), books.as_superuser()):
        async with way_in as connection:
            with pytest.raises(CheckViolationError, match="live_keeps_real_time"):
                await connection.execute("UPDATE deployment SET clock_offset = interval '1 second'")


async def test_a_database_whose_clock_was_moved_cannot_go_live(books: Books) -> None:
    await books.advance_clock(timedelta(days=1))

    with pytest.raises(Exception, match="live_keeps_real_time"):
        await claim_for(books, "live")
    await books.database.require_mode("development")


async def test_every_age_is_measured_on_the_clock_that_can_be_moved(books: Books) -> None:
    operation_id = await books.operation()
    age = f"SELECT app_now() - created_at FROM operations WHERE id = '{operation_id}'"
    assert await books.value(age) < timedelta(minutes=1)

    await books.advance_clock(timedelta(days=30))

    assert timedelta(days=30) <= await books.value(age) < timedelta(days=30, minutes=1)
    async with books.as_app() as app, app.transaction():
        first = await app.fetchval("SELECT app_now()")
        assert await app.fetchval("SELECT app_now()") > first, "it does not stand still in a transaction"


async def test_a_database_is_one_deployment(books: Books) -> None:
    async with books.as_owner() as owner:
        with pytest.raises(UniqueViolationError):
            await owner.execute("INSERT INTO deployment (mode) VALUES ('live')")
        with pytest.raises(CheckViolationError):
            await owner.execute("INSERT INTO deployment (only_row, mode) VALUES (false, 'live')")
        with pytest.raises(CheckViolationError):
            await owner.execute("UPDATE deployment SET mode = 'production'")


# ── Connections ──


async def test_the_application_is_in_its_role(books: Books) -> None:
    async with books.database.transaction() as connection:
        role = (await connection.execute(sa.text("SELECT current_user"))).scalar_one()
        owns = (
            await connection.execute(sa.text("SELECT count(*) FROM pg_tables WHERE tableowner = current_user"))
        ).scalar()

    assert (role, owns) == ("paysaga_app", 0)


async def test_a_block_that_raises_wrote_nothing(books: Books) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - both are one transaction.
        async with books.database.transaction() as connection:
            await connection.execute(sa.text("INSERT INTO users (user_id, reference) VALUES ('bob', 'usr_bob')"))
            _ = 1 / 0

    assert await books.sql("SELECT FROM users") == []


async def test_an_error_does_not_tell_what_was_written(books: Books) -> None:
    insert = sa.text("INSERT INTO users (user_id, reference, country) VALUES ('bob', 'usr_bob', :country)")

    with pytest.raises(Exception, match="users_country_check") as refused:
        async with books.database.transaction() as connection:
            await connection.execute(insert, {"country": "bob@example.com"})

    assert "[SQL parameters hidden" in str(refused.value)


async def test_a_pool_is_never_larger_than_it_was_told(books: Books) -> None:
    async with open_database(books.app_url, pool_size=3) as small:

        async def look() -> int:
            async with small.transaction() as connection:
                count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'paysaga'")
                mine = sa.text("SELECT pg_backend_pid()")
                await connection.execute(count)
                return int((await connection.execute(mine)).scalar_one())

        assert len(set(await at_once(look() for _ in range(20)))) <= 3


async def test_a_connection_that_died_idle_is_replaced(books: Books) -> None:
    async with open_database(books.app_url, pool_size=1) as small:
        pid = sa.text("SELECT pg_backend_pid()")
        async with small.transaction() as connection:
            first = (await connection.execute(pid)).scalar_one()
        await books.sql("SELECT pg_terminate_backend($1, 5000)", first)

        async with small.transaction() as connection:
            assert (await connection.execute(pid)).scalar_one() != first


async def test_a_connection_that_was_lost_in_silence_is_replaced(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a firewall that forgets a connection on which nothing is said: neither side has heard of its end."""
    async with open_database(books.app_url, pool_size=1) as small:
        pid = sa.text("SELECT pg_backend_pid()")
        async with small.transaction() as connection:
            first = (await connection.execute(pid)).scalar_one()
        await books.sql("SELECT pg_terminate_backend($1, 5000)", first)
        is_closed, unheard = asyncpg.Connection.is_closed, iter([False])
        monkeypatch.setattr(asyncpg.Connection, "is_closed", lambda self: next(unheard, is_closed(self)))
        monkeypatch.setattr(engine, "ASKED_AFTER", 0.0)

        async with small.transaction() as connection:
            assert (await connection.execute(pid)).scalar_one() != first


async def test_a_connection_in_use_is_not_asked_whether_it_lives(books: Books) -> None:
    async with open_database(books.app_url, pool_size=1) as small:
        rolled_back = sa.text("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        counts = []
        for _ in range(2):
            async with small.transaction() as connection:
                await connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
            async with small.transaction() as connection:
                counts.append((await connection.execute(rolled_back)).scalar_one())

    assert counts[0] == counts[1]
