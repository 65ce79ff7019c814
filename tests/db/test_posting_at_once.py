"""Many postings over the same wallets: no deadlock, no cent made or lost, nobody below zero."""

import random

import pytest

from db import ledger
from domain.accounts import AccountKind
from domain.errors import InsufficientFunds
from domain.money import Money
from domain.postings import Entry, Posting, reserve
from tests.db.books import STRIPE_BALANCE, Books, at_once, available, with_errors


async def test_a_wallet_debited_a_hundred_times_at_once_gives_what_it_holds(books: Books) -> None:
    alice, bob, operation = await books.wallet(holding=3_050), await books.wallet("bob"), await books.operation()

    outcomes = await with_errors(
        books.transfer(operation, f"pay {n}", 100, debit=alice, credit=bob) for n in range(100)
    )

    assert sum(isinstance(outcome, ledger.Posted) for outcome in outcomes) == 30
    assert sum(isinstance(outcome, InsufficientFunds) for outcome in outcomes) == 70
    assert (await books.holds(alice), await books.holds(bob)) == (50, 3_000)
    await books.check()


async def test_fifty_reserve_at_once_what_the_balance_allows(books: Books) -> None:
    bob = await books.wallet("bob", holding=100_500)
    withdrawals = [await books.withdrawal() for _ in range(50)]

    outcomes = await with_errors(
        books.post(operation, "reserve", reserve(bob, Money(8_000, "usd"))) for operation in withdrawals
    )

    assert sum(isinstance(outcome, ledger.Posted) for outcome in outcomes) == 12
    assert sum(isinstance(outcome, InsufficientFunds) for outcome in outcomes) == 38
    figures = await books.figures(bob)
    assert (figures.available, figures.in_transit) == (100_500 - 96_000, 96_000)
    await books.check()


@pytest.mark.parametrize("seed", range(3))
async def test_transfers_every_which_way_lose_nothing(books: Books, seed: int) -> None:
    chance = random.Random(seed)
    wallets = [await books.wallet(f"user {n}", holding=1_000) for n in range(5)]
    operation = await books.operation()
    moved = dict.fromkeys(wallets, 1_000)

    async def transfers(who: int) -> None:
        for n in range(12):
            debit, credit = chance.sample(wallets, 2)
            amount = chance.randint(1, 700)
            try:
                await books.transfer(operation, f"{who}/{n}", amount, debit=debit, credit=credit)
            except InsufficientFunds:
                continue
            moved[debit] -= amount
            moved[credit] += amount

    await at_once(transfers(who) for who in range(10))

    assert {wallet: await books.holds(wallet) for wallet in wallets} == moved
    assert sum(moved.values()) == 5_000
    assert min(moved.values()) >= 0
    async with books.database.transaction() as connection:
        assert await ledger.platform_balance(connection, STRIPE_BALANCE) == -5_000
    await books.check()


async def test_postings_that_name_the_same_wallets_in_opposite_orders_wait_for_each_other(books: Books) -> None:
    """Each entry takes its balance's lock, so without one order for all this would be a deadlock now and then."""
    wallets = [await books.wallet(f"user {n}", holding=10_000) for n in range(6)]
    operation = await books.operation()
    amounts = (-5, 3, 2, -4, 1, 3)
    round_robin = [Entry(available(wallet), amount) for wallet, amount in zip(wallets, amounts, strict=True)]

    async def post(n: int) -> None:
        entries = random.Random(n).sample(round_robin, len(round_robin))
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, f"round {n}", Posting(tuple(entries)))

    await at_once(post(n) for n in range(60))

    assert [await books.holds(wallet) for wallet in wallets] == [10_000 + 60 * amount for amount in amounts]
    await books.check()


async def test_accounts_made_by_many_at_once_are_made_once_and_in_one_order(books: Books) -> None:
    """Whoever makes an account holds its place until they commit, so two who make the same ones must not cross."""
    operation = await books.operation()
    wallets = [await books.wallet(f"user {n}") for n in range(30)]
    chosen = [random.Random(n).sample(wallets, 2 + n % 29) for n in range(40)]

    async def post(n: int) -> None:
        gifts = [Entry(available(wallet), 1) for wallet in chosen[n]]
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, f"gift {n}", Posting((*gifts, Entry(STRIPE_BALANCE, -len(gifts)))))

    await at_once(post(n) for n in range(40))

    for wallet in wallets:
        assert await books.holds(wallet) == sum(wallet in each for each in chosen)
    made = await books.value("SELECT count(*) FROM ledger_accounts WHERE kind = $1", AccountKind.WALLET_AVAILABLE)
    assert made == len(wallets)
    await books.check()


async def test_deposits_into_one_wallet_all_arrive(books: Books) -> None:
    wallet, operation = await books.wallet(), await books.operation()

    await at_once(books.credit(operation, wallet, Money(n, "usd"), step=f"credit {n}") for n in range(1, 51))

    assert await books.holds(wallet) == sum(range(1, 51))
    await books.check()
