"""The platform's balances: a snapshot and all that came since, while both are being written."""

import asyncio
import random

import sqlalchemy as sa

from db import ledger
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.postings import deposit_credit, stripe_fee
from tests.db.books import STRIPE_BALANCE, Books, at_once


async def balance(books: Books, account: Account = STRIPE_BALANCE) -> int:
    """As it is read."""
    async with books.database.transaction() as connection:
        return await ledger.platform_balance(connection, account)


async def snapshot(books: Books) -> None:
    """Cut one now."""
    async with books.database.transaction() as connection:
        await ledger.snapshot_platform_balances(connection)


async def snapped(books: Books) -> int:
    """What the newest snapshot of our Stripe balance holds."""
    return int(
        await books.value(
            "SELECT s.balance FROM ledger_snapshots s JOIN ledger_accounts a ON a.id = s.account_id"
            " WHERE a.kind = 'stripe_balance' AND a.currency = 'usd'"
        )
    )


async def settled(books: Books) -> None:
    """Cut snapshots until one holds everything: others on this server may have held the horizon back."""
    for _ in range(200):
        await snapshot(books)
        if await snapped(books) == await balance(books):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no snapshot ever caught up")


async def test_an_account_without_entries_has_nothing(books: Books) -> None:
    await snapshot(books)

    assert await balance(books) == 0


async def test_a_snapshot_changes_no_balance(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    await books.credit(operation, wallet, Money(500, "usd"))
    assert await balance(books) == -500

    await settled(books)

    assert (await balance(books), await snapped(books)) == (-500, -500)
    await books.credit(operation, wallet, Money(70, "usd"), step="more")
    assert (await balance(books), await snapped(books)) == (-570, -500)
    await settled(books)
    assert (await balance(books), await snapped(books)) == (-570, -570)


async def test_each_account_and_currency_has_its_own(books: Books) -> None:
    operation, euros = await books.operation(), await books.wallet(currency="eur")
    await books.credit(operation, await books.wallet(), Money(500, "usd"))
    await books.credit(operation, euros, Money(90, "eur"), step="euros")
    async with books.database.transaction() as connection:
        await ledger.post(connection, operation, "fee", stripe_fee(Money(17, "usd")))

    for _ in range(2):
        assert await balance(books) == -483
        assert await balance(books, Account(AccountKind.STRIPE_BALANCE, "eur")) == -90
        assert await balance(books, Account(AccountKind.STRIPE_FEES, "usd")) == -17
        assert await balance(books, Account(AccountKind.STRIPE_FEES, "eur")) == 0
        await settled(books)
    assert await books.value("SELECT count(*) FROM ledger_snapshots") == 3, "wallets keep balances of their own"


async def test_what_commits_after_a_snapshot_is_not_lost_though_it_began_before(books: Books) -> None:
    """Commit order is not id order: the slow writer's entries have the lower ids, and appear last."""
    operation, alice, bob = await books.operation(), await books.wallet(), await books.wallet("bob")
    await books.credit(operation, alice, Money(1_000, "usd"), step="first")
    await settled(books)

    async with books.database.transaction() as slow:
        late = await ledger.post(slow, operation, "slow", deposit_credit(alice, Money(300, "usd")))
        quick = await books.credit(operation, bob, Money(20, "usd"), step="quick")
        assert max(late.entry_ids) < min(quick.entry_ids)

        await snapshot(books)
        # What a snapshot cut by id would hold now, and count from.
        newest, by_id = (
            await books.sql(
                "SELECT max(e.id), sum(e.amount)::bigint FROM ledger_entries e JOIN ledger_accounts a"
                " ON a.id = e.account_id WHERE a.kind = 'stripe_balance'"
            )
        )[0]
        assert await balance(books) == -1_020

    assert await balance(books) == -1_320
    await snapshot(books)
    assert await balance(books) == -1_320

    tail = await books.value(
        "SELECT coalesce(sum(e.amount), 0)::bigint FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id"
        " WHERE a.kind = 'stripe_balance' AND e.id > $1",
        newest,
    )
    assert by_id + tail == -1_020, "by id, the slow writer's 3.00 would be gone for good"


async def test_balances_are_right_at_every_moment_while_snapshots_are_cut(books: Books) -> None:
    operation = await books.operation()
    wallets = [await books.wallet(f"user {n}") for n in range(5)]
    writing = True

    async def write(who: int) -> None:
        chance = random.Random(who)
        for n in range(12):
            async with books.database.transaction() as connection:
                money = Money(chance.randint(1, 999), "usd")
                await ledger.post(connection, operation, f"{who}/{n}", deposit_credit(chance.choice(wallets), money))
                if chance.random() < 0.3:
                    # Commits after others that began later.
                    await asyncio.sleep(chance.random() / 50)

    async def cut() -> int:
        cuts = 0
        while writing:
            await snapshot(books)
            cuts += 1
        return cuts

    async def read() -> int:
        reads = 0
        while writing:
            async with books.database.transaction() as connection:
                await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
                told = await ledger.platform_balance(connection, STRIPE_BALANCE)
                owed = (await connection.execute(sa.text("SELECT sum(balance) FROM ledger_balances"))).scalar_one()
            assert told == -(owed or 0)
            reads += 1
        return reads

    async def all_written() -> None:
        nonlocal writing
        try:
            await at_once(write(who) for who in range(8))
        finally:
            writing = False

    _, cuts, reads, _ = await asyncio.gather(all_written(), cut(), read(), cut())

    assert min(cuts, reads) > 3, "they did meet"
    await settled(books)
    assert await balance(books) == await books.value(
        "SELECT sum(e.amount)::bigint FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id"
        " WHERE a.kind = 'stripe_balance'"
    )
