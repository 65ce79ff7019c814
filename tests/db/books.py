"""Paysaga's tables, as a test writes and reads them: through `db`, or past it as one of Postgres's roles."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import asyncpg

from db import ledger, offers, operations, users
from db.engine import APP_ROLE, Database, open_database
from domain.accounts import Account, AccountKind
from domain.ids import new_id
from domain.money import Money
from domain.operations import OperationKind
from domain.postings import Posting, deposit_credit, move
from tests.world import Servers

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Result = TypeVar("Result")

STRIPE_BALANCE = Account(AccountKind.STRIPE_BALANCE, "usd")


@dataclass(frozen=True)
class Books:
    """One test's database. `database` is the application's own way in; the URLs are of its login and two others."""

    database: Database
    app_url: str = field(repr=False)
    owner_url: str = field(repr=False)
    superuser_url: str = field(repr=False)

    # ── Ways in past `db` ──

    @asynccontextmanager
    async def as_app(self) -> AsyncIterator[Connection]:
        """In the application's role, as the engine connects."""
        async with _connected(self.app_url, role=APP_ROLE) as connection:
            yield connection

    @asynccontextmanager
    async def as_owner(self) -> AsyncIterator[Connection]:
        """As who owns the tables."""
        async with _connected(self.owner_url) as connection:
            yield connection

    @asynccontextmanager
    async def as_superuser(self) -> AsyncIterator[Connection]:
        """As who may do anything."""
        async with _connected(self.superuser_url) as connection:
            yield connection

    async def sql(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What a query says, asked as superuser."""
        async with self.as_superuser() as connection:
            return list(await connection.fetch(query, *arguments))

    async def value(self, query: str, *arguments: Any) -> Any:
        """The one value that a query says."""
        [[found]] = await self.sql(query, *arguments)
        return found

    # ── What a test begins with ──

    async def wallet(self, user: str = "alice", currency: str = "usd", *, holding: int = 0) -> str:
        """The id of a user's wallet, which a deposit has put `holding` into."""
        async with self.database.transaction() as connection:
            await users.ensure_user(connection, user)
            wallet_id = str((await users.ensure_wallet(connection, user, currency))["id"])
        if holding:
            await self.credit(await self.operation(user, currency), wallet_id, Money(holding, currency))
        return wallet_id

    async def operation(
        self, user: str = "alice", currency: str = "usd", *, kind: OperationKind = OperationKind.DEPOSIT, **values: Any
    ) -> str:
        """The id of a deposit that was accepted, and no more; or of an operation of another kind."""
        wallet_id = await self.wallet(user, currency)
        operation_id = new_id(kind.id_prefix)
        money = {"wallet_id": wallet_id, "amount": 20_000, "currency": currency}
        who = {"id": operation_id, "kind": kind, "status": "requested", "caller": user, "user_id": user}
        async with self.database.transaction() as connection:
            await operations.insert_operation(
                connection, who | ({} if kind is OperationKind.CONNECTED_ACCOUNT else money) | values
            )
        return operation_id

    async def withdrawal(self, user: str = "bob", currency: str = "usd", **values: Any) -> str:
        """The id of a withdrawal of 80.00 that was accepted, and no more."""
        return await self.operation(user, currency, kind=OperationKind.WITHDRAWAL, **{"amount": 8_000} | values)

    async def offer(self, customer: str = "alice", contractor: str = "carl", currency: str = "usd", **row: Any) -> str:
        """The id of an offer of 100.00 in two milestones that was accepted by us, and no more. `row`: what of its row
        is otherwise."""
        amount = row.get("amount", 10_000)
        operation_id = await self.operation(customer, currency, kind=OperationKind.OFFER, amount=amount)
        made_under = {
            "operation_id": operation_id,
            "customer_id": customer,
            "contractor_id": contractor,
            "contractor_wallet": await self.wallet(contractor, currency),
            "currency": currency,
            "amount": amount,
            "platform_fee": 500,
            "platform_fee_returned": False,
            "service_fee_rate": 2_000,
            "milestones": [4_000, 6_000],
            "auto_payout": False,
            "accept_within": 3_600.0,
            "deliver_within": 7_200.0,
            "complete_within": 3_600.0,
        }
        async with self.database.transaction() as connection:
            await offers.insert(connection, made_under | row)
        return operation_id

    async def credit(self, operation_id: str, wallet_id: str, money: Money, *, step: str = "credit") -> ledger.Posted:
        """Money from outside into a wallet."""
        async with self.database.transaction() as connection:
            return await ledger.post(connection, operation_id, step, deposit_credit(wallet_id, money))

    async def post(self, operation_id: str, step: str, posting: Posting, **more: Any) -> ledger.Posted:
        """One ledger transaction."""
        async with self.database.transaction() as connection:
            return await ledger.post(connection, operation_id, step, posting, **more)

    async def transfer(self, operation_id: str, step: str, amount: int, *, debit: str, credit: str) -> ledger.Posted:
        """Dollars from one wallet to another."""
        posting = move(Money(amount, "usd"), debit=available(debit), credit=available(credit))
        async with self.database.transaction() as connection:
            return await ledger.post(connection, operation_id, step, posting)

    async def advance_clock(self, by: timedelta) -> None:
        """Let every age that the database measures be longer by this."""
        await self.sql("UPDATE deployment SET clock_offset = clock_offset + $1", by)

    # ── What must always hold ──

    async def figures(self, wallet_id: str) -> ledger.WalletFigures:
        """What the wallet holds, and what went through it."""
        async with self.database.transaction() as connection:
            return await ledger.wallet_figures(connection, wallet_id)

    async def holds(self, wallet_id: str) -> int:
        """What the wallet's owner may spend, in minor units."""
        return (await self.figures(wallet_id)).available

    async def until_somebody_waits(self) -> None:
        """Return once a session waits for a lock that another holds."""
        async with self.as_superuser() as superuser:
            for _ in range(500):
                if await superuser.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ):
                    return
                await asyncio.sleep(0.01)
        raise AssertionError("Nobody waits for a lock.")

    async def check(self) -> None:
        """Every transaction balances, stored balances are the sums of their entries, none has a forbidden sign."""
        assert not await self.sql("SELECT ltx_id FROM ledger_entries GROUP BY ltx_id, currency HAVING sum(amount) <> 0")
        assert not await self.sql(
            "SELECT t.id FROM ledger_transactions t LEFT JOIN ledger_entries e ON e.ltx_id = t.id"
            " GROUP BY t.id HAVING count(e.id) < 2"
        )
        assert not await self.sql(
            "SELECT account_id FROM ledger_balances b WHERE guard * balance < 0 OR balance <>"
            " (SELECT coalesce(sum(amount), 0) FROM ledger_entries e WHERE e.account_id = b.account_id)"
        )


def available(wallet_id: str, currency: str = "usd") -> Account:
    """What a wallet's owner may spend."""
    return Account(AccountKind.WALLET_AVAILABLE, currency, wallet_id)


@dataclass(frozen=True)
class Copy:
    """A database made from the migrated template. `unseeded` are the tables that the migrations leave empty."""

    servers: Servers
    name: str
    unseeded: list[str]

    @classmethod
    @asynccontextmanager
    async def made_for(cls, servers: Servers) -> AsyncIterator["Copy"]:
        """A fresh one, for as long as the block runs."""
        name = f"b_{secrets.token_hex(6)}"
        async with _connected(servers.superuser_url("postgres")) as admin:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE paysaga_template")
            async with _connected(servers.superuser_url(name)) as fresh:
                tables = await fresh.fetch("SELECT relname FROM pg_stat_user_tables ORDER BY 1")
                unseeded = [row[0] for row in tables if not await fresh.fetch(f"SELECT FROM {row[0]} LIMIT 1")]
            yield cls(servers, name, unseeded)
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Books]:
        """As a test uses it."""
        async with open_database(self.servers.database_url(self.name), pool_size=20) as database:
            yield Books(
                database=database,
                app_url=self.servers.database_url(self.name),
                owner_url=self.servers.owner_url(self.name),
                superuser_url=self.servers.superuser_url(self.name),
            )

    async def empty(self) -> None:
        """Take everything out that tests put in, past every trigger that would refuse it."""
        async with _connected(self.servers.superuser_url(self.name)) as superuser:
            await superuser.execute("SET session_replication_role = replica")
            await superuser.execute(";".join(f"DELETE FROM {table}" for table in self.unseeded))
            await superuser.execute("UPDATE deployment SET mode = 'development', clock_offset = interval '0'")


async def at_once(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """The results of all, done at the same time; the first error that one of them raises."""
    return list(await asyncio.gather(*work))


@asynccontextmanager
async def meanwhile(work: Awaitable[Result]) -> AsyncIterator["asyncio.Future[Result]"]:
    """Something that goes on while the block runs, and has ended, well or not, when that ends."""
    going_on = asyncio.ensure_future(work)
    try:
        yield going_on
    except BaseException:
        going_on.cancel()
        raise
    finally:
        await asyncio.wait([going_on])


async def with_errors(work: Iterable[Awaitable[Result]]) -> list[Result | BaseException]:
    """The results or errors of all, done at the same time."""
    return list(await asyncio.gather(*work, return_exceptions=True))


@asynccontextmanager
async def _connected(url: str, *, role: str | None = None) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url, server_settings={"role": role} if role else None)
    try:
        yield connection
    finally:
        await connection.close()
