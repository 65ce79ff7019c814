"""Migrations: forward, back, forward again; and the schema they make is the one that the code believes in."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

import db
from db.migrate import downgrade, upgrade
from db.tables import metadata
from domain.accounts import CHART
from domain.statuses import LIFECYCLES
from tests.db.books import Books

# What somebody would compare by reading two dumps.
SCHEMA = {
    # The order of columns, not their numbers: what is dropped and added again gets a new one.
    "columns": "SELECT table_name, column_name, row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position),"
    " data_type, udt_name, is_nullable, column_default,"
    " is_identity, identity_generation FROM information_schema.columns WHERE table_schema = 'public'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text FROM pg_trigger"
    " WHERE NOT tgisinternal",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "types": "SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'public'::regnamespace",
    "sequences": "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'",
    "grants": "SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges"
    " WHERE grantee = 'paysaga_app'",
    "whole grants": "SELECT table_name, privilege_type FROM information_schema.table_privileges"
    " WHERE grantee = 'paysaga_app'",
    "kinds": "SELECT * FROM ledger_account_kinds",
    "statuses": "SELECT * FROM operation_statuses",
    "moves": "SELECT * FROM operation_moves",
    "deployment": "SELECT * FROM deployment",
}
LEFT_BEHIND = ("alembic_version", "alembic_version_pkc", "_alembic_version")
"""Alembic's own note of where a database is."""

DIALECT = sa.create_mock_engine("postgresql://", lambda _: None).dialect

Schema = dict[str, list[tuple[object, ...]]]


def revisions() -> list[str]:
    """Every revision, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__ or "db/__init__.py").parent / "migrations"))
    return [script.revision for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions()))]


async def read_schema(url: str) -> Schema:
    """All that the migrations made in the database at `url`."""
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for name, query in SCHEMA.items():
            table = query.rpartition(" FROM ")[2].split()[0]
            if query.startswith("SELECT *") and await connection.fetchval("SELECT to_regclass($1)", table) is None:
                continue
            rows = [tuple(row) for row in await connection.fetch(query)]
            found[name] = sorted((row for row in rows if not set(row) & set(LEFT_BEHIND)), key=repr)
        return found
    finally:
        await connection.close()


def test_there_is_one_line_of_revisions() -> None:
    assert revisions() == [f"{n:04}" for n in range(1, len(revisions()) + 1)]


async def test_forward_back_and_forward_again_is_the_same_schema(empty_url: str) -> None:
    empty = await read_schema(empty_url)

    await asyncio.to_thread(upgrade, empty_url)
    first = await read_schema(empty_url)
    await asyncio.to_thread(downgrade, empty_url)
    nothing = await read_schema(empty_url)
    await asyncio.to_thread(upgrade, empty_url)
    again = await read_schema(empty_url)

    assert len(first["functions"]) > 5, "the schema was read"
    assert nothing == empty
    assert again == first


async def test_each_revision_can_be_taken_back_on_its_own(empty_url: str) -> None:
    reached: dict[str, Schema] = {"base": await read_schema(empty_url)}
    for revision in revisions():
        await asyncio.to_thread(upgrade, empty_url, revision)
        reached[revision] = await read_schema(empty_url)

    for revision, earlier in zip(reversed(revisions()), [*reversed(revisions()[:-1]), "base"], strict=True):
        await asyncio.to_thread(downgrade, empty_url, earlier)
        assert await read_schema(empty_url) == reached[earlier], f"{revision} leaves something behind"
        await asyncio.to_thread(upgrade, empty_url, revision)
        assert await read_schema(empty_url) == reached[revision]
        await asyncio.to_thread(downgrade, empty_url, earlier)


async def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url)
    first = await read_schema(empty_url)

    await asyncio.to_thread(upgrade, empty_url)

    assert await read_schema(empty_url) == first


async def test_the_role_is_what_stays(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url)
    await asyncio.to_thread(downgrade, empty_url)

    connection = await asyncpg.connect(empty_url)
    try:
        role = await connection.fetchrow(
            "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls"
            " FROM pg_roles WHERE rolname = 'paysaga_app'"
        )
        usage = await connection.fetchval(
            "SELECT count(*) FROM aclexplode((SELECT nspacl FROM pg_namespace"
            " WHERE nspname = 'public')) WHERE grantee = 'paysaga_app'::regrole"
        )
    finally:
        await connection.close()
    assert role is not None
    assert (tuple(role), usage) == ((False,) * 5, 0)


# ── With something in the database ──

DEPOSIT = """
    INSERT INTO users (user_id, reference) VALUES ('bob', 'usr_bob');
    INSERT INTO wallets (id, user_id, currency) VALUES ('wal_bob', 'bob', 'usd');
    INSERT INTO operations (id, kind, status, caller, user_id, wallet_id, amount, currency)
    VALUES ('dep_1', 'deposit', 'succeeded', 'bob', 'bob', 'wal_bob', 8000, 'usd');
"""
OF_0002 = {
    "wallet_transfer": "('wtr_1', 'wallet_transfer', 'requested', 'bob', 'bob', 'wal_bob', 8000, 'usd')",
    "connected_account": "('acc_1', 'connected_account', 'active', 'bob', 'bob', NULL, NULL, NULL)",
    "withdrawal": "('wd_1', 'withdrawal', 'paid', 'bob', 'bob', 'wal_bob', 8000, 'usd')",
}
OFFER = """
    INSERT INTO users (user_id, reference) VALUES ('carl', 'usr_carl');
    INSERT INTO wallets (id, user_id, currency) VALUES ('wal_carl', 'carl', 'usd');
    INSERT INTO operations (id, kind, status, caller, user_id, wallet_id, amount, currency)
    VALUES ('off_1', 'offer', 'requested', 'bob', 'bob', 'wal_bob', 8000, 'usd');
    INSERT INTO offers (operation_id, customer_id, contractor_id, contractor_wallet, currency, amount, platform_fee,
        platform_fee_returned, service_fee_rate, milestones, auto_payout,
        accept_within, deliver_within, complete_within)
    VALUES ('off_1', 'bob', 'carl', 'wal_carl', 'usd', 8000, 400, false, 2000, '{}', false, 1, 1, 1);
"""
ACCOUNT = """
    INSERT INTO connected_accounts VALUES
        ('acc_1', 'bob', 'acct_1', true, true, true, true, '{usd}', '{}', NULL, NULL, false)
"""


async def run(url: str, statement: str) -> None:
    """As the owner of the tables."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def operations_of(url: str) -> list[tuple[object, ...]]:
    """All that is kept of them."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT id, kind, status, wallet_id, amount, currency FROM operations ORDER BY id"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def test_what_was_there_before_stays_forward_and_back(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url, "0001")
    await run(empty_url, DEPOSIT)
    before, schema = await operations_of(empty_url), await read_schema(empty_url)

    await asyncio.to_thread(upgrade, empty_url)
    assert await operations_of(empty_url) == before
    await asyncio.to_thread(downgrade, empty_url, "0001")

    assert await operations_of(empty_url) == before == [("dep_1", "deposit", "succeeded", "wal_bob", 8_000, "usd")]
    assert await read_schema(empty_url) == schema


@pytest.mark.parametrize("kind", OF_0002)
async def test_there_is_no_way_back_for_what_would_be_lost(empty_url: str, kind: str) -> None:
    await asyncio.to_thread(upgrade, empty_url, "0002")
    await run(empty_url, DEPOSIT)
    columns = "id, kind, status, caller, user_id, wallet_id, amount, currency"
    await run(empty_url, f"INSERT INTO operations ({columns}) VALUES {OF_0002[kind]}")
    if kind == "connected_account":
        await run(empty_url, ACCOUNT)
    before, schema = await operations_of(empty_url), await read_schema(empty_url)

    with pytest.raises(sa.exc.IntegrityError):
        await asyncio.to_thread(downgrade, empty_url, "0001")

    assert await operations_of(empty_url) == before
    assert len(before) == 2
    assert await read_schema(empty_url) == schema, "and nothing was changed on the way"
    await asyncio.to_thread(upgrade, empty_url)
    assert await operations_of(empty_url) == before


async def test_there_is_no_way_back_for_an_offer(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url, "0003")
    await run(empty_url, DEPOSIT)
    await run(empty_url, OFFER)
    before, schema = await operations_of(empty_url), await read_schema(empty_url)

    with pytest.raises(sa.exc.IntegrityError):
        await asyncio.to_thread(downgrade, empty_url, "0002")

    assert await operations_of(empty_url) == before
    assert len(before) == 2
    assert await read_schema(empty_url) == schema, "and nothing was changed on the way"


# ── What the code believes ──


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: str(table.name))
async def test_every_column_is_there_as_the_queries_see_it(books: Books, table: sa.Table) -> None:
    rows = await books.sql(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable,"
        " atthasdef OR attidentity <> '' AS made FROM pg_attribute"
        " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        table.name,
    )
    real = {row["attname"]: (row["type"], row["nullable"]) for row in rows}
    believed = {column.name: (column.type.compile(DIALECT).lower(), column.nullable) for column in table.columns}

    assert believed.items() <= real.items()
    key = await books.sql(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indrelid = to_regclass($1) AND indisprimary",
        table.name,
    )
    assert {row["attname"] for row in key} == {column.name for column in table.primary_key}
    # What a query leaves out, the database fills in.
    made = {row["attname"] for row in rows if row["made"]}
    assert {name for name, (_, nullable) in real.items() if not nullable} - set(believed) <= made | {"guard", "cut"}


async def test_the_chart_in_the_database_is_the_domains(books: Books) -> None:
    rows = await books.sql("SELECT kind, nature, guard, keeps_balance FROM ledger_account_kinds")

    assert {tuple(row) for row in rows} == {
        (kind.value, rule.nature.value, rule.guard, rule.keeps_balance) for kind, rule in CHART.items()
    }


async def test_the_statuses_and_moves_in_the_database_are_the_domains(books: Books) -> None:
    statuses = await books.sql("SELECT kind, status, terminal FROM operation_statuses")
    moves = await books.sql("SELECT kind, earlier, later FROM operation_moves")

    assert {tuple(row) for row in statuses} == {
        (kind.value, status.value, status in life.terminal) for kind, life in LIFECYCLES.items() for status in life.next
    }
    assert {tuple(row) for row in moves} == {
        (kind.value, earlier.value, later.value)
        for kind, life in LIFECYCLES.items()
        for earlier, laters in life.next.items()
        for later in laters
    }
