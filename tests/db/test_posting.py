"""Posting: once per step, whole or not at all, and the balances with it."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import NoResultFound

from db import ledger
from domain.accounts import Account, AccountKind
from domain.errors import InsufficientFunds, PostingMismatch
from domain.money import Money
from domain.postings import Entry, Posting, deposit_credit, move
from tests.db.books import STRIPE_BALANCE, Books, at_once, available

ESCROW = AccountKind.WALLET_ESCROW


async def test_a_posting_writes_its_entries_and_the_balances_they_change(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()

    posted = await books.credit(operation, wallet, Money(20_000, "usd"))

    entries = await books.sql(
        "SELECT e.id, a.kind, a.owner, e.amount, e.currency FROM ledger_entries e"
        " JOIN ledger_accounts a ON a.id = e.account_id WHERE e.ltx_id = $1 ORDER BY e.amount",
        posted.id,
    )
    assert [tuple(entry)[1:] for entry in entries] == [
        ("stripe_balance", "", -20_000, "usd"),
        ("wallet_available", wallet, 20_000, "usd"),
    ]
    assert posted.first_time
    assert posted.entry_ids == tuple(entry["id"] for entry in entries)
    assert await books.holds(wallet) == 20_000
    assert await books.value("SELECT count(*) FROM ledger_balances") == 1, "the platform's accounts have no balance row"
    await books.check()


async def test_posting_again_returns_the_first(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    first = await books.credit(operation, wallet, Money(20_000, "usd"))

    again = await books.credit(operation, wallet, Money(20_000, "usd"))

    assert (again.id, again.entry_ids, again.first_time) == (first.id, first.entry_ids, False)
    assert await books.holds(wallet) == 20_000


@pytest.mark.parametrize("rising", [True, False], ids=["accounts rising", "accounts falling"])
async def test_entry_ids_follow_the_posting_however_often_it_is_posted(books: Books, rising: bool) -> None:
    """Entries are written in the order of their locks; whoever links one to a Stripe id must get that very one."""
    operation, *wallets = await books.operation(), *[await books.wallet(f"user {n}", holding=500) for n in range(3)]
    steps = [Entry(available(wallets[0]), -300), Entry(available(wallets[1]), 100), Entry(available(wallets[2]), 200)]
    posting = Posting(tuple(steps if rising else reversed(steps)))

    for _ in range(2):
        async with books.database.transaction() as connection:
            posted = await ledger.post(connection, operation, "share", posting)
        amounts = {entry["id"]: entry["amount"] for entry in await books.sql("SELECT id, amount FROM ledger_entries")}
        assert [amounts[entry] for entry in posted.entry_ids] == [entry.amount for entry in posting.entries]


async def test_the_order_of_entries_is_no_content(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    posting = deposit_credit(wallet, Money(500, "usd"))

    async with books.database.transaction() as connection:
        first = await ledger.post(connection, operation, "credit", posting)
        again = await ledger.post(connection, operation, "credit", Posting(posting.entries[::-1]))

    assert again.id == first.id
    assert again.entry_ids == first.entry_ids[::-1]


@pytest.mark.parametrize("what", ["amount", "owner", "currency", "account", "direction", "reverses"])
async def test_a_step_posted_with_other_content_is_a_bug(books: Books, what: str) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    euros, bobs = await books.wallet(currency="eur"), await books.wallet("bob")
    money = Money(500, "usd")
    first = await books.credit(operation, wallet, money)
    other = {
        "amount": deposit_credit(wallet, Money(501, "usd")),
        "owner": deposit_credit(bobs, money),
        "currency": deposit_credit(euros, Money(500, "eur")),
        "account": move(money, debit=STRIPE_BALANCE, credit=Account(ESCROW, "usd", wallet)),
        "direction": deposit_credit(wallet, money).mirrored(),
        "reverses": deposit_credit(wallet, money),
    }[what]

    with pytest.raises(PostingMismatch, match=f"Step credit .generation 1. of {operation}"):
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, "credit", other, reverses=first.id if what == "reverses" else None)

    assert await books.holds(wallet) == 500
    assert await books.value("SELECT count(*) FROM ledger_transactions") == 1


async def test_the_next_generation_of_a_step_is_another_transaction(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()

    async with books.database.transaction() as connection:
        for generation in (1, 2):
            await ledger.post(
                connection, operation, "credit", deposit_credit(wallet, Money(500, "usd")), generation=generation
            )

    assert await books.holds(wallet) == 1_000


async def test_a_mirror_names_what_it_takes_back_and_only_one_may(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    posting = deposit_credit(wallet, Money(500, "usd"))
    first = await books.credit(operation, wallet, Money(500, "usd"))

    async with books.database.transaction() as connection:
        await ledger.post(connection, operation, "take_back", posting.mirrored(), reverses=first.id)
    with pytest.raises(Exception, match="ledger_transactions_reverses_key"):
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, "take_back_again", posting.mirrored(), reverses=first.id)

    assert await books.holds(wallet) == 0
    await books.check()


async def test_what_an_account_does_not_hold_cannot_be_posted(books: Books) -> None:
    operation, alice, bob = await books.operation(), await books.wallet(holding=100), await books.wallet("bob")

    with pytest.raises(InsufficientFunds, match=f"Step pay of {operation}"):
        await books.transfer(operation, "pay", 101, debit=alice, credit=bob)

    assert await books.sql("SELECT FROM ledger_transactions WHERE operation_id = $1", operation) == []
    assert await books.sql("SELECT FROM ledger_accounts WHERE owner = $1", bob) == []
    assert await books.holds(alice) == 100
    await books.transfer(operation, "pay", 100, debit=alice, credit=bob)
    assert (await books.holds(alice), await books.holds(bob)) == (0, 100)


async def test_a_refused_posting_takes_back_all_that_was_written_with_it(books: Books) -> None:
    operation, alice, bob = await books.operation(), await books.wallet(holding=100), await books.wallet("bob")

    credit = deposit_credit(bob, Money(50, "usd"))
    pay = move(Money(101, "usd"), debit=available(alice), credit=available(bob))

    with pytest.raises(InsufficientFunds):  # noqa: PT012 - both are one transaction.
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, "credit", credit)
            await ledger.post(connection, operation, "pay", pay)

    assert (await books.holds(alice), await books.holds(bob)) == (100, 0)
    await books.check()


@pytest.mark.parametrize(
    ("kind", "amount", "allowed"),
    [
        (AccountKind.WALLET_ESCROW, 5, True),
        (AccountKind.WALLET_ESCROW, -5, False),
        (AccountKind.WALLET_IN_TRANSIT, -5, False),
        (AccountKind.VENDOR_PAYABLE, -5, False),
        (AccountKind.RECOVERIES_PAYABLE, -5, False),
        (AccountKind.RECEIVABLE, 5, True),
        (AccountKind.RECEIVABLE, -5, True),
        (AccountKind.CONNECTED_BALANCE, -5, True),
        (AccountKind.CONNECTED_BALANCE, 5, False),
        (AccountKind.PAYOUTS_IN_FLIGHT, 5, False),
    ],
)
async def test_never_negative_is_meant_in_the_accounts_direction(
    books: Books, kind: AccountKind, amount: int, allowed: bool
) -> None:
    operation = await books.operation()
    posting = Posting((Entry(Account(kind, "usd", "owner"), amount), Entry(STRIPE_BALANCE, -amount)))

    if not allowed:
        with pytest.raises(InsufficientFunds):
            async with books.database.transaction() as connection:
                await ledger.post(connection, operation, "step", posting)
    else:
        async with books.database.transaction() as connection:
            await ledger.post(connection, operation, "step", posting)
        assert await books.value("SELECT balance FROM ledger_balances") == amount


async def test_a_transactions_age_is_counted_from_its_first_posting(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    first = await books.credit(operation, wallet, Money(500, "usd"))
    await books.advance_clock(timedelta(days=10))

    again = await books.credit(operation, wallet, Money(500, "usd"))

    async with books.database.transaction() as connection:
        age = await ledger.age(connection, again.id)
        assert again.id == first.id
        assert timedelta(days=10).total_seconds() <= age < timedelta(days=10, minutes=1).total_seconds()
        with pytest.raises(NoResultFound):
            await ledger.age(connection, "ltx_none")


# ── At the same time ──


async def test_the_same_step_posted_by_twenty_is_one_transaction(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()

    posted = await at_once(books.credit(operation, wallet, Money(500, "usd")) for _ in range(20))

    assert len({each.id for each in posted}) == 1
    assert sum(each.first_time for each in posted) == 1
    assert len({each.entry_ids for each in posted}) == 1
    assert await books.holds(wallet) == 500
    assert await books.value("SELECT count(*) FROM ledger_entries") == 2


# ── What explains Stripe's balance ──


async def test_an_entry_explains_one_balance_transaction_for_good(books: Books) -> None:
    operation, wallet = await books.operation(), await books.wallet()
    posted = await books.credit(operation, wallet, Money(500, "usd"))

    async def link(transaction: str, *, account: str = "") -> None:
        async with books.database.transaction() as connection:
            entry = await ledger.stripe_entry(connection, posted.id)
            await ledger.link(connection, [entry], transaction, stripe_account=account)

    await at_once(link("txn_1") for _ in range(5))
    with pytest.raises(PostingMismatch, match="explains txn_1 already"):
        await link("txn_other")
    with pytest.raises(PostingMismatch, match="explains txn_1 already"):
        await link("txn_1", account="acct_other")

    async with books.database.transaction() as connection:
        [transaction] = await ledger.of_operation(connection, operation)
    linked = {line["kind"]: line["balance_transaction_id"] for line in transaction["entries"]}
    assert linked == {"stripe_balance": "txn_1", "wallet_available": None}
