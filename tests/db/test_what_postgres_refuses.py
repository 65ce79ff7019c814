"""The rules that the database itself holds, whatever the code above it does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from asyncpg.exceptions import (
    CheckViolationError,
    ForeignKeyViolationError,
    GeneratedAlwaysError,
    InsufficientPrivilegeError,
    RestrictViolationError,
    UniqueViolationError,
)

from db import ledger, offers, operations, outbox, users
from db.operations import Asked
from domain.money import Money
from domain.offers import Party
from tests.db.books import Books, Connection, Copy
from tests.world import Servers

APPEND_ONLY = [
    "ledger_transactions",
    "ledger_entries",
    "stripe_balance_links",
    "events",
    "operator_actions",
    "wallet_actions",
    "offer_actions",
]
A_COLUMN = {"stripe_balance_links": "stripe_account"} | dict.fromkeys(
    ("operator_actions", "wallet_actions", "offer_actions"), "reason"
)
"""Of those that do not say in which transaction they were written."""

ROLES: dict[str, Callable[[Books], AbstractAsyncContextManager[Connection]]] = {
    "owner": Books.as_owner,
    "superuser": Books.as_superuser,
}


@dataclass(frozen=True)
class Full:
    """Books in which every append-only table has a row."""

    books: Books
    operation: str
    ltx: str
    alice: int
    stripe: int
    """Account ids."""


async def fill(books: Books) -> Full:
    """A deposit that was credited, explained, told of and looked after; and an offer that was declined."""
    operation, wallet, offer = await books.operation(), await books.wallet(), await books.offer()
    posted = await books.credit(operation, wallet, Money(500, "usd"))
    async with books.database.transaction() as connection:
        await outbox.publish(connection, operation, "deposit.succeeded", {})
        await operations.record_operator_action(
            connection, operation, "act_1", verb="retry", actor="olga", reason="mended"
        )
        await users.act_on_wallet(connection, Asked("olga", "act_2", "f"), wallet, "activate", "mended")
        await offers.record_action(
            connection,
            offer,
            "act_3",
            verb="decline",
            party=Party.CONTRACTOR,
            actor="carl",
            reason="too busy",
            details={},
        )
        await ledger.link(connection, posted.entry_ids[:1], "txn_1")
    accounts = {row["kind"]: row["id"] for row in await books.sql("SELECT id, kind FROM ledger_accounts")}
    return Full(books, operation, posted.id, accounts["wallet_available"], accounts["stripe_balance"])


@pytest.fixture(scope="module")
async def full(servers: Servers) -> AsyncIterator[Full]:
    """One for all that is refused here, since a refusal leaves nothing behind."""
    async with Copy.made_for(servers) as copy, copy.opened() as books:
        yield await fill(books)
        assert await books.holds(await books.wallet()) == 500
        await books.check()


# ── What was written stays ──


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET xmin = xmin", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_the_application_may_not_touch_what_was_written(full: Full, table: str, statement: str) -> None:
    column = A_COLUMN.get(table, "xid")
    statement = statement.replace("xmin", column).format(table)

    async with full.books.as_app() as app:
        with pytest.raises(InsufficientPrivilegeError):
            await app.execute(statement)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", ROLES)
async def test_not_even_the_owner_edits_what_was_written(full: Full, table: str, role: str) -> None:
    column = A_COLUMN.get(table, "xid")
    before = await full.books.sql(f"SELECT * FROM {table}")

    async with ROLES[role](full.books) as connection:
        for statement in (
            f"UPDATE {table} SET {column} = {column}",
            f"UPDATE {table} SET {column} = {column} WHERE false",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            with pytest.raises(RestrictViolationError, match="is append-only"):
                await connection.execute(statement)

    assert before
    assert await full.books.sql(f"SELECT * FROM {table}") == before


async def test_the_application_may_write_only_what_is_granted(books: Books) -> None:
    """The whole of it: a new table or column is the application's only if somebody says so here."""
    granted = await books.sql(
        "SELECT table_name, privilege_type, string_agg(column_name, ' ' ORDER BY column_name) AS columns"
        " FROM information_schema.column_privileges WHERE grantee = 'paysaga_app' AND privilege_type <> 'SELECT'"
        " GROUP BY 1, 2"
    )
    columns = {(row["table_name"], row["privilege_type"]): row["columns"].split() for row in granted}
    whole = await books.sql(
        "SELECT table_name, privilege_type FROM information_schema.table_privileges"
        " WHERE grantee = 'paysaga_app' AND privilege_type <> 'SELECT'"
    )

    assert {table for table, right in columns if right == "UPDATE"} == set(
        "approvals connected_accounts ledger_snapshots offers operations requests"
        " stripe_calls stripe_events users wallets".split()
    )
    assert {right for _, right in columns} == {"INSERT", "UPDATE"}
    assert {row["privilege_type"] for row in whole} == {"INSERT"}, "never DELETE, TRUNCATE, REFERENCES, TRIGGER"
    assert not {"ledger_entries", "ledger_transactions", "events"} & {row["table_name"] for row in whole}
    for table in ("ledger_entries", "ledger_transactions", "events"):
        assert "xid" not in columns[table, "INSERT"]
    for table in ("operations", "stripe_calls", "requests"):
        assert not {"amount", "currency", "wallet_id", "params", "idempotency_key", "fingerprint"} & set(
            columns[table, "UPDATE"]
        )
    assert not {"operation_id", "user_id", "id"} & set(columns["connected_accounts", "UPDATE"]), "whose it is stays"
    assert set(columns["approvals", "UPDATE"]) == {"approved_by", "approved_at", "used_by", "used_at"}
    assert set(columns["offers", "UPDATE"]) == set(
        "released service_fee returned releases milestones_released payouts"
        " held_at accepted_at delivered_at cancel_asked_at".split()
    ), "what was agreed stays"
    assert set(columns["wallets", "UPDATE"]) == {"active", "frozen"}
    assert ("wallet_actions", "UPDATE") not in columns
    untouched = {"deployment", "ledger_balances", "ledger_account_kinds", "operation_statuses", "operation_moves"}
    assert not untouched & {table for table, _ in columns}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_balances SET balance = 1",
        "INSERT INTO ledger_balances (account_id, guard) VALUES (99, 0)",
        "UPDATE ledger_account_kinds SET guard = 0",
        "UPDATE ledger_accounts SET owner = 'mallory'",
        "UPDATE deployment SET mode = 'live'",
        "UPDATE deployment SET clock_offset = interval '1 day'",
        "INSERT INTO operation_moves VALUES ('deposit', 'failed', 'succeeded')",
        "INSERT INTO operation_statuses VALUES ('withdrawal', 'vanished', true)",
        "UPDATE operations SET amount = 1",
        "UPDATE wallets SET user_id = 'mallory'",
        "UPDATE connected_accounts SET id = 'acct_mallory'",
        "UPDATE connected_accounts SET user_id = 'mallory'",
        "UPDATE offers SET amount = 1",
        "UPDATE offers SET contractor_id = 'mallory'",
        "UPDATE offers SET service_fee_rate = 0",
        "UPDATE stripe_calls SET params = '{}'",
        "UPDATE requests SET operation_id = 'dep_other'",
        "DELETE FROM requests",
        "DELETE FROM stripe_calls",
        "DELETE FROM stripe_events",
        "DELETE FROM connected_accounts",
        "DELETE FROM offers",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON ledger_entries",
        "SET session_replication_role = replica",
        "CREATE TABLE public.ledger_entries_2 ()",
    ],
)
async def test_the_application_may_not(full: Full, statement: str) -> None:
    async with full.books.as_app() as app:
        with pytest.raises(InsufficientPrivilegeError):
            await app.execute(statement)


@pytest.mark.parametrize("table", ["ledger_transactions", "ledger_entries", "events"])
async def test_the_application_may_not_say_in_which_transaction_it_writes(full: Full, table: str) -> None:
    columns, values = {
        "ledger_transactions": ("id, operation_id, step, generation, content", f"'l', '{full.operation}', 's', 1, ''"),
        "ledger_entries": ("ltx_id, account_id, currency, amount", f"'{full.ltx}', {full.alice}, 'usd', 5"),
        "events": ("id, operation_id, type, data", f"'e', '{full.operation}', 't', '{{}}'"),
    }[table]

    async with full.books.as_app() as app:
        with pytest.raises(InsufficientPrivilegeError):
            await app.execute(f"INSERT INTO {table} ({columns}, xid) VALUES ({values}, '3')")
        with pytest.raises((InsufficientPrivilegeError, GeneratedAlwaysError)):
            await app.execute(f"INSERT INTO {table} ({columns}, xid) VALUES ({values}, DEFAULT)")


# ── A ledger transaction balances, whoever writes it and in whatever order ──

INSERT_LTX = "INSERT INTO ledger_transactions (id, operation_id, step, generation, content) VALUES ($1, $2, $1, 1, '')"
INSERT_ENTRY = "INSERT INTO ledger_entries (ltx_id, account_id, currency, amount) VALUES ($1, $2, 'usd', $3)"


async def together(connection: Connection, *statements: tuple[Any, ...]) -> None:
    """All of them, with their arguments, in one transaction."""
    async with connection.transaction():
        for statement, *arguments in statements:
            await connection.execute(statement, *arguments)


Write = Callable[[Connection, Full], Awaitable[object]]


async def _no_entries(connection: Connection, full: Full) -> None:
    await connection.execute(INSERT_LTX, "ltx_bad", full.operation)


async def _one_entry(connection: Connection, full: Full) -> None:
    await connection.execute(INSERT_LTX, "ltx_bad", full.operation)
    await connection.execute(INSERT_ENTRY, "ltx_bad", full.alice, 5)


async def _a_cent_more(connection: Connection, full: Full) -> None:
    await connection.execute(INSERT_LTX, "ltx_bad", full.operation)
    await connection.execute(INSERT_ENTRY, "ltx_bad", full.alice, 6)
    await connection.execute(INSERT_ENTRY, "ltx_bad", full.stripe, -5)


async def _balanced(connection: Connection, full: Full) -> None:
    await connection.execute(INSERT_LTX, "ltx_bad", full.operation)
    rows = [("ltx_bad", full.alice, 5), ("ltx_bad", full.stripe, -5)]
    await connection.executemany(INSERT_ENTRY, rows)


async def _a_third_after_the_check(connection: Connection, full: Full) -> None:
    await _balanced(connection, full)
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await connection.execute(INSERT_ENTRY, "ltx_bad", full.alice, 5)


async def _a_third_after_the_check_was_put_off_again(connection: Connection, full: Full) -> None:
    await _balanced(connection, full)
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await connection.execute("SET CONSTRAINTS ALL DEFERRED")
    await connection.execute(INSERT_ENTRY, "ltx_bad", full.alice, 5)


async def _in_the_shadow_of_a_table_of_the_same_name(connection: Connection, full: Full) -> None:
    """A temporary table comes before all others in the search path; the check must not be taken in by it."""
    await connection.execute("CREATE TEMP TABLE ledger_entries (ltx_id text, currency text, amount bigint)")
    await connection.execute("INSERT INTO pg_temp.ledger_entries VALUES ('ltx_bad', 'usd', 5), ('ltx_bad', 'usd', -5)")
    await connection.execute(INSERT_LTX, "ltx_bad", full.operation)
    await connection.execute(INSERT_ENTRY.replace("ledger_entries", "public.ledger_entries"), "ltx_bad", full.alice, 5)


@pytest.mark.parametrize(
    "write",
    [
        _no_entries,
        _one_entry,
        _a_cent_more,
        _a_third_after_the_check,
        _a_third_after_the_check_was_put_off_again,
        _in_the_shadow_of_a_table_of_the_same_name,
    ],
)
@pytest.mark.parametrize("way_in", [Books.as_app, Books.as_owner], ids=["application", "owner"])
async def test_what_does_not_balance_is_not_committed(
    full: Full, write: Write, way_in: Callable[[Books], AbstractAsyncContextManager[Connection]]
) -> None:
    async with way_in(full.books) as connection:
        with pytest.raises(CheckViolationError, match=r"fewer than two entries|does not sum to zero"):
            async with connection.transaction():
                await write(connection, full)

    assert await full.books.value("SELECT count(*) FROM ledger_transactions") == 1
    await full.books.check()


async def test_what_balances_is_committed_by_whatever_way(books: Books) -> None:
    """So that the test above refuses for its reason, not for the way it writes."""
    full = await fill(books)

    async with full.books.as_app() as app, app.transaction():
        await app.execute("SET CONSTRAINTS ALL DEFERRED")
        await _balanced(app, full)
        await app.execute("SET CONSTRAINTS ALL IMMEDIATE")

    assert await full.books.value("SELECT balance FROM ledger_balances") == 505


async def test_currencies_balance_each_on_their_own(books: Books) -> None:
    full = await fill(books)
    euros = await full.books.wallet(currency="eur", holding=500)
    [[account]] = await full.books.sql("SELECT id FROM ledger_accounts WHERE owner = $1", euros)

    async with full.books.as_app() as app:
        with pytest.raises(CheckViolationError, match="does not sum to zero"):
            await together(
                app,
                (INSERT_LTX, "ltx_bad", full.operation),
                (INSERT_ENTRY, "ltx_bad", full.alice, -5),
                (INSERT_ENTRY.replace("usd", "eur"), "ltx_bad", account, 5),
            )


@pytest.mark.parametrize("way_in", [Books.as_app, Books.as_owner], ids=["application", "owner"])
async def test_an_entry_cannot_join_a_transaction_of_before(
    full: Full, way_in: Callable[[Books], AbstractAsyncContextManager[Connection]]
) -> None:
    async with way_in(full.books) as connection:
        with pytest.raises(ForeignKeyViolationError, match="ledger_entries_ltx_id_xid_fkey"):
            await together(
                connection,
                (INSERT_ENTRY, full.ltx, full.alice, 5),
                (INSERT_ENTRY, full.ltx, full.stripe, -5),
            )

    await full.books.check()


async def test_an_entry_is_in_its_accounts_currency(full: Full) -> None:
    async with full.books.as_app() as app:
        with pytest.raises(ForeignKeyViolationError, match="ledger_entries_account_id_currency_fkey"):
            await together(
                app,
                (INSERT_LTX, "ltx_bad", full.operation),
                (INSERT_ENTRY.replace("usd", "eur"), "ltx_bad", full.alice, 5),
                (INSERT_ENTRY.replace("usd", "eur"), "ltx_bad", full.stripe, -5),
            )


async def test_an_entry_of_nothing_is_none(full: Full) -> None:
    async with full.books.as_app() as app:
        with pytest.raises(CheckViolationError, match="ledger_entries_amount_check"):
            await together(
                app,
                (INSERT_LTX, "ltx_bad", full.operation),
                (INSERT_ENTRY, "ltx_bad", full.alice, 0),
            )


async def test_a_step_has_one_transaction(full: Full) -> None:
    async with full.books.as_app() as app:
        with pytest.raises(UniqueViolationError):
            await app.execute(
                "INSERT INTO ledger_transactions (id, operation_id, step, generation, content)"
                " SELECT 'ltx_bad', operation_id, step, generation, content FROM ledger_transactions"
            )


async def test_a_guarded_balance_keeps_its_sign_against_the_owner_too(full: Full) -> None:
    async with full.books.as_owner() as owner:
        with pytest.raises(CheckViolationError, match="never_negative"):
            await together(
                owner,
                (INSERT_LTX, "ltx_bad", full.operation),
                (INSERT_ENTRY, "ltx_bad", full.alice, -501),
            )


# ── The chart and the machine, seen from below ──


@pytest.mark.parametrize("code", ["USD", "us", "usdd", "usd\n", ""])
async def test_a_currency_is_three_small_letters(books: Books, code: str) -> None:
    async with books.as_app() as app:
        with pytest.raises(CheckViolationError):
            await app.execute(
                "INSERT INTO ledger_accounts (kind, owner, currency) VALUES ('fx_clearing', '', $1)", code
            )


async def test_an_account_is_of_a_kind_in_the_chart(books: Books) -> None:
    async with books.as_app() as app:
        with pytest.raises(ForeignKeyViolationError):
            await app.execute("INSERT INTO ledger_accounts (kind, owner, currency) VALUES ('slush_fund', '', 'usd')")


async def test_an_operation_is_in_a_wallet_of_its_user_and_currency(books: Books) -> None:
    alices = await books.wallet("alice")

    with pytest.raises(Exception, match="operations_wallet_id_user_id_currency_fkey"):
        await books.operation("bob", wallet_id=alices)
    with pytest.raises(Exception, match="operations_wallet_id_user_id_currency_fkey"):
        await books.operation("alice", "eur", wallet_id=alices)


async def test_a_temporary_table_moves_neither_the_clock_nor_a_status(books: Books) -> None:
    """The functions that the rules are made of read the tables that they mean, whatever a session's search path."""
    full = await fill(books)

    async with full.books.as_app() as app:
        await app.execute("CREATE TEMP TABLE deployment AS SELECT interval '100 days' AS clock_offset")
        await app.execute(
            "CREATE TEMP TABLE operation_moves AS SELECT 'deposit' kind, 'failed' earlier, 'succeeded' later"
        )

        assert await app.fetchval("SELECT app_now() < clock_timestamp() + interval '1 minute'")
        await app.execute("UPDATE operations SET status = 'failed', failure = '{}'")
        with pytest.raises(CheckViolationError, match="cannot go from failed to succeeded"):
            await app.execute("UPDATE operations SET status = 'succeeded'")
