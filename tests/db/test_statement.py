"""A wallet's statement and figures: every entry once, while others are being written."""

import asyncio
import random

from db import ledger
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.postings import Entry, Posting, deposit_credit, move, paid, payout, reserve, transfer, wallet_transfer
from tests.db.books import STRIPE_BALANCE, Books, at_once, available

Position = tuple[int, int]


async def page(books: Books, wallet: str, *, limit: int, before: Position | None = None) -> list[tuple[Position, int]]:
    """One page: each entry's position and amount."""
    async with books.database.transaction() as connection:
        rows = await ledger.statement(connection, wallet, limit=limit, before=before)
    return [((int(row["xid"]), row["id"]), row["amount"]) for row in rows]


async def whole(books: Books, wallet: str, *, limit: int = 100) -> list[int]:
    """The amounts of all pages, newest first."""
    amounts: list[int] = []
    before: Position | None = None
    while found := await page(books, wallet, limit=limit, before=before):
        amounts += [amount for _, amount in found]
        before = found[-1][0]
    return amounts


async def whole_of(books: Books, wallet: str, count: int, *, limit: int = 100) -> list[int]:
    """The same, once nobody on this server is writing what began before them."""
    for _ in range(200):
        amounts = await whole(books, wallet, limit=limit)
        if len(amounts) >= count:
            return amounts
        await asyncio.sleep(0.02)
    raise AssertionError(f"{count} entries were written, {len(amounts)} are told")


async def test_a_statement_is_a_wallets_entries_newest_first(books: Books) -> None:
    alice, bob, operation = await books.wallet(holding=500), await books.wallet("bob"), await books.operation()
    await books.transfer(operation, "pay", 120, debit=alice, credit=bob)
    await books.transfer(operation, "pay_back", 20, debit=bob, credit=alice)

    for limit in (1, 2, 3):
        assert await whole_of(books, alice, 3, limit=limit) == [20, -120, 500]
    assert await whole_of(books, bob, 2) == [-20, 120]
    assert await whole(books, "wal_nobody") == []


async def test_two_entries_of_one_transaction_are_both_told(books: Books) -> None:
    alice, operation = await books.wallet(holding=500), await books.operation()
    hold = move(Money(105, "usd"), debit=available(alice), credit=Account(AccountKind.WALLET_ESCROW, "usd", alice))
    async with books.database.transaction() as connection:
        await ledger.post(connection, operation, "hold", hold)

    assert sorted(await whole_of(books, alice, 3, limit=1)) == [-105, 105, 500]


async def test_an_entry_written_slowly_is_told_later_but_never_passed(books: Books) -> None:
    """The slow writer's entry has the lowest id. A reader who had seen the quick ones first would never come back."""
    alice, operation = await books.wallet(holding=100), await books.operation()
    assert await whole_of(books, alice, 1) == [100]

    async with books.database.transaction() as slow:
        # Another wallet's entry first, so that the slow writer holds no lock that the quick ones need.
        bob = await books.wallet("bob")
        await ledger.post(slow, operation, "for_bob", deposit_credit(bob, Money(1, "usd")))
        quick = [await books.credit(operation, alice, Money(n, "usd"), step=f"quick {n}") for n in (11, 12, 13)]
        shown = await whole(books, alice)
        assert shown == [100], "nothing is told above what is still being written"
        late = await ledger.post(slow, operation, "slow", deposit_credit(alice, Money(7, "usd")))
        assert min(late.entry_ids) > max(quick[-1].entry_ids), "and yet its transaction is the oldest"

    assert sorted(await whole_of(books, alice, 5, limit=2)) == [7, 11, 12, 13, 100]


async def test_pages_read_while_others_write_miss_and_repeat_nothing(books: Books) -> None:
    alice, operation = await books.wallet(), await books.operation()
    writing = True
    read: dict[Position, int] = {}

    async def write(who: int) -> None:
        chance = random.Random(who)
        for n in range(10):
            async with books.database.transaction() as connection:
                amount = who * 100 + n + 1
                await ledger.post(connection, operation, f"{who}/{n}", deposit_credit(alice, Money(amount, "usd")))
                await asyncio.sleep(chance.random() / 200)

    async def follow() -> None:
        """Read from the top down to what was read before, over and over, as somebody does who syncs."""
        while writing or len(read) < 60:
            top = max(read, default=(0, 0))
            fresh: dict[Position, int] = {}
            before: Position | None = None
            while found := await page(books, alice, limit=3, before=before):
                for position, amount in found:
                    assert position not in fresh, "told twice"
                    if position > top:
                        fresh[position] = amount
                before = found[-1][0]
                if before <= top:
                    break
            read.update(fresh)
            await asyncio.sleep(0.005)

    async def all_written() -> None:
        nonlocal writing
        try:
            await at_once(write(who) for who in range(6))
        finally:
            writing = False

    await asyncio.wait_for(asyncio.gather(all_written(), follow()), timeout=20)

    assert sorted(read.values()) == sorted(who * 100 + n + 1 for who in range(6) for n in range(10))


async def test_figures_tell_earned_spent_and_withdrawn_from_moves_within_a_wallet(books: Books) -> None:
    """A deposit of 200.00, an offer of 100.00 with 5.00 on top, 20.00 out of it, and 80.00 withdrawn."""
    customer, contractor = await books.wallet(), await books.wallet("bob")
    escrow = Account(AccountKind.WALLET_ESCROW, "usd", customer)
    in_transit = Account(AccountKind.WALLET_IN_TRANSIT, "usd", contractor)
    in_flight = Account(AccountKind.PAYOUTS_IN_FLIGHT, "usd", "acct_bob")
    operation = await books.operation()
    fees = [Account(kind, "usd") for kind in (AccountKind.PLATFORM_FEES, AccountKind.SERVICE_FEES)]
    arrived = move(Money(8_000, "usd"), debit=in_transit, credit=in_flight)
    steps = [
        deposit_credit(customer, Money(20_000, "usd")),
        move(Money(10_500, "usd"), debit=available(customer), credit=escrow),
        move(Money(500, "usd"), debit=escrow, credit=fees[0]),
        Posting((Entry(escrow, -10_000), Entry(fees[1], 2_000), Entry(available(contractor), 8_000))),
        move(Money(8_000, "usd"), debit=available(contractor), credit=in_transit),
        move(Money(8_000, "usd"), debit=in_flight, credit=Account(AccountKind.STRIPE_BALANCE, "usd")),
        arrived,
    ]

    assert await books.figures(customer) == ledger.WalletFigures(0, 0, 0, 0, 0, 0)
    for n, step in enumerate(steps):
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, f"step {n}", step)

    assert await books.figures(customer) == ledger.WalletFigures(9_500, 0, 0, earned=0, spent=10_500, withdrawn=0)
    assert await books.figures(contractor) == ledger.WalletFigures(0, 0, 0, earned=8_000, spent=0, withdrawn=8_000)

    async with books.database.transaction() as connection:
        await ledger.post(connection, operation, "failed_late", arrived.mirrored())
    assert await books.figures(contractor) == ledger.WalletFigures(0, 0, 8_000, earned=8_000, spent=0, withdrawn=0)
    await books.check()


async def test_what_goes_from_wallet_to_wallet_is_spent_by_one_and_earned_by_the_other(books: Books) -> None:
    alice, bob, operation = await books.wallet(holding=500), await books.wallet("bob"), await books.operation()

    await books.post(operation, "move", wallet_transfer(alice, bob, Money(120, "usd")))
    await books.post(operation, "another", wallet_transfer(bob, alice, Money(20, "usd")))

    assert await books.figures(alice) == ledger.WalletFigures(400, 0, 0, earned=20, spent=120, withdrawn=0)
    assert await books.figures(bob) == ledger.WalletFigures(100, 0, 0, earned=120, spent=20, withdrawn=0)


async def test_a_withdrawal_is_withdrawn_once_it_has_arrived_and_until_it_has_not(books: Books) -> None:
    """80.00 out, back ten days later, and from the connected account in two parts: nothing of it spent or earned."""
    bob, operation = await books.wallet("bob", holding=10_000), await books.withdrawal()
    eighty, acct = Money(8_000, "usd"), "acct_bob"
    told = []

    async def step(name: str, posting: Posting, *, reverses: str | None = None) -> str:
        posted = await books.post(operation, name, posting, reverses=reverses)
        figures = await books.figures(bob)
        told.append((name, figures.available, figures.in_transit, figures.withdrawn))
        assert (figures.escrow, figures.earned, figures.spent) == (0, 0, 0)
        return posted.id

    await step("reserve", reserve(bob, eighty))
    await step("transfer", transfer(acct, eighty))
    sent = await step("payout", payout(acct, eighty))
    arrived = await step("paid", paid(bob, acct, eighty))
    await step("paid_mirror", paid(bob, acct, eighty).mirrored(), reverses=arrived)
    await step("payout_mirror", payout(acct, eighty).mirrored(), reverses=sent)
    for number, part in enumerate([Money(5_000, "usd"), Money(3_000, "usd")], start=1):
        await step(f"reversal#{number}", transfer(acct, part).mirrored())
        await step(f"restore#{number}", reserve(bob, part).mirrored())

    assert told == [
        ("reserve", 2_000, 8_000, 0),
        ("transfer", 2_000, 8_000, 0),
        ("payout", 2_000, 8_000, 0),
        ("paid", 2_000, 0, 8_000),
        ("paid_mirror", 2_000, 8_000, 0),
        ("payout_mirror", 2_000, 8_000, 0),
        ("reversal#1", 2_000, 8_000, 0),
        ("restore#1", 7_000, 3_000, 0),
        ("reversal#2", 7_000, 3_000, 0),
        ("restore#2", 10_000, 0, 0),
    ]
    assert not await books.sql("SELECT FROM ledger_balances WHERE balance <> 0 AND guard = -1"), "none left at Stripe"
    async with books.database.transaction() as connection:
        assert await ledger.platform_balance(connection, STRIPE_BALANCE) == -10_000
    await books.check()
