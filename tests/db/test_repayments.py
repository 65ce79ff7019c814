"""What a user owes the platform is repaid first, out of whatever they get: once, whoever comes at the same time."""

import asyncio
from datetime import timedelta

import pytest

from activities.offer_ledger import OfferLedger
from activities.withdrawal_ledger import WithdrawalLedger
from db import connected_accounts, ledger
from db.ledger import Posted
from domain.accounts import Account, AccountKind
from domain.errors import ReceivableOpen
from domain.money import Money
from domain.operations import OperationRef
from domain.postings import Posting, deposit_credit, give_back, hold, move, release, reserve, wallet_transfer
from domain.withdrawals import refusals
from tests.db.books import Books, at_once, available, meanwhile, with_errors
from tests.db.test_connected_accounts import ABLE, onboard, record

pytestmark = pytest.mark.long


def debt(amount: int, currency: str = "usd", *, user: str = "bob") -> Posting:
    """A dispute that was lost, and that the user has to make good."""
    return move(
        Money(amount, currency),
        debit=Account(AccountKind.RECEIVABLE, currency, user),
        credit=Account(AccountKind.DISPUTE_LOSSES, currency),
    )


async def owe(books: Books, amount: int, currency: str = "usd", *, user: str = "bob") -> None:
    await books.post(await books.operation(user), "owed", debt(amount, currency, user=user))


async def owed(books: Books, currency: str = "usd", *, user: str = "bob") -> int:
    """What the user owes by their entries; less than 0 is what they have repaid too much."""
    found = await books.value(
        "SELECT coalesce(-sum(e.amount), 0) FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id"
        " WHERE a.kind = 'receivable' AND a.owner = $1 AND a.currency = $2",
        user,
        currency,
    )
    return int(found)


async def credit(books: Books, wallet_id: str, amount: int) -> Posted:
    return await books.credit(await books.operation("bob"), wallet_id, Money(amount, "usd"))


async def test_a_credit_repays_first(books: Books) -> None:
    wallet = await books.wallet("bob")
    await owe(books, 3_000)

    parts = [(await credit(books, wallet, amount)).repaid for amount in (1_000, 5_000, 400)]

    assert parts == [1_000, 2_000, 0]
    assert (await owed(books), await books.holds(wallet)) == (0, 3_400)
    steps = await books.sql("SELECT DISTINCT step FROM ledger_transactions WHERE step LIKE 'repayment%'")
    assert [row["step"] for row in steps] == ["repayment:credit"]
    told = await books.sql("SELECT data->>'amount' AS amount FROM events WHERE type = 'receivable.repaid' ORDER BY id")
    assert [row["amount"] for row in told] == ["1000", "2000"]
    await books.check()


async def test_whatever_comes_into_a_wallet_repays(books: Books) -> None:
    """What another gave, what an offer released or gave back, what a withdrawal restored."""
    alice, bob = await books.wallet("alice", holding=9_000), await books.wallet("bob", holding=2_000)
    operation, own = await books.operation("alice"), await books.operation("bob")
    two, fee = Money(200, "usd"), Money(50, "usd")
    await books.post(operation, "hold", hold(alice, Money(250, "usd")))
    await books.post(own, "hold", hold(bob, two))
    reserved = await books.post(own, "reserve", reserve(bob, two))
    await owe(books, 700)

    repaid = [
        (await books.post(operation, "move", wallet_transfer(alice, bob, two))).repaid,
        (await books.post(operation, "release#1", release(alice, bob, fee=fee, earned=two))).repaid,
        (await books.post(own, "return", give_back(bob, two))).repaid,
        (await books.post(own, "restore", reserve(bob, two).mirrored(), reverses=reserved.id)).repaid,
    ]

    assert repaid == [200, 200, 200, 100]
    assert (await owed(books), await books.holds(bob)) == (0, 1_700)
    await books.check()


async def test_debts_of_others_and_of_other_currencies_stay(books: Books) -> None:
    wallet = await books.wallet("bob")
    await owe(books, 300, "eur")
    await owe(books, 300, user="alice")

    assert (await credit(books, wallet, 1_000)).repaid == 0

    assert (await owed(books, "eur"), await owed(books, user="alice"), await books.holds(wallet)) == (300, 300, 1_000)


async def test_a_step_that_is_posted_again_repays_nothing_more(books: Books) -> None:
    """Neither of the debt it has repaid a part of, nor of one that came later."""
    wallet, operation = await books.wallet("bob"), await books.operation("bob")
    await owe(books, 300)
    first = await books.credit(operation, wallet, Money(100, "usd"))
    await owe(books, 50)

    again = await books.credit(operation, wallet, Money(100, "usd"))

    assert (again.id, again.first_time, again.repaid) == (first.id, False, 0)
    assert (await owed(books), await books.holds(wallet)) == (250, 0)


async def test_who_has_repaid_too_much_gets_it_back_whole(books: Books) -> None:
    """A debt that was none is mirrored; what was repaid of it is owed to them, and giving it back repays nothing."""
    wallet, operation = await books.wallet("bob"), await books.operation("bob")
    await owe(books, 300)
    await credit(books, wallet, 1_000)
    await books.post(operation, "owed no more", debt(300).mirrored())
    receivable = Account(AccountKind.RECEIVABLE, "usd", "bob")

    back = await books.post(operation, "made good", move(Money(300, "usd"), debit=receivable, credit=available(wallet)))

    assert (back.repaid, await owed(books), await books.holds(wallet)) == (0, 0, 1_000)


async def test_thirty_credits_at_once_repay_what_is_owed_and_no_more(books: Books) -> None:
    wallet = await books.wallet("bob")
    await owe(books, 1_050)
    operations = [await books.operation("bob") for _ in range(30)]

    posted = await at_once(books.credit(operation, wallet, Money(100, "usd")) for operation in operations)

    assert sorted(one.repaid for one in posted) == [*[0] * 19, 50, *[100] * 10]
    assert (await owed(books), await books.holds(wallet)) == (0, 1_950)
    await books.check()


async def test_credits_and_debts_at_once(books: Books) -> None:
    """In whichever order they come, and whichever of the accounts was there first, none waits for ever."""
    wallets = {user: await books.wallet(user, holding=1_000) for user in ("alice", "bob")}
    both = [("alice", "bob"), ("bob", "alice")] * 10
    work = [
        (await books.operation(giver), "move", wallet_transfer(wallets[giver], wallets[taker], Money(10, "usd")))
        for giver, taker in both
    ]
    work += [(await books.operation(user), "owed", debt(7, user=user)) for user, _ in both]

    await at_once(books.post(*each) for each in work[::2] + work[1::2])

    left = [await owed(books, user=user) for user in wallets]
    held = sum([await books.holds(wallet) for wallet in wallets.values()])
    assert held == 2_000 - (140 - sum(left))
    assert min(left) >= 0
    await books.check()


async def test_a_repaid_release_holds_back_what_is_left_of_it(books: Books) -> None:
    alice, bob = await books.wallet("alice", holding=9_000), await books.wallet("bob", holding=400)
    operation = await books.operation("alice")
    await books.post(operation, "hold", hold(alice, Money(1_000, "usd")))
    await owe(books, 300)

    earned = release(alice, bob, fee=Money(200, "usd"), earned=Money(800, "usd"))
    await books.post(operation, "release#1", earned)

    async with books.database.transaction() as connection:
        hour = timedelta(hours=1).total_seconds()
        stands = await connected_accounts.standing(connection, bob, earnings_hold=hour, lock=False)
    assert (stands.available, stands.held_back, stands.withdrawable) == (900, 500, 400)


# ── At once with a debt ──


async def test_a_debt_that_comes_first_keeps_a_reservation_waiting_and_refuses_it(books: Books) -> None:
    await books.wallet("bob", holding=8_000)
    await record(books, await onboard(books), ABLE)
    withdrawal, operation = await books.withdrawal(), await books.operation("bob")
    reserve_it = WithdrawalLedger(books.database, earnings_hold=0).reserve(OperationRef(operation_id=withdrawal))

    async with books.database.transaction() as dispute:
        await ledger.post(dispute, operation, "owed", debt(100))
        async with meanwhile(with_errors([reserve_it])) as reserving:
            await books.until_somebody_waits()
            await dispute.commit()

    assert [type(error) for error in reserving.result()] == [ReceivableOpen]


async def test_a_debt_that_comes_first_keeps_an_offer_waiting_and_refuses_it(books: Books) -> None:
    await books.wallet("alice", holding=50_000)
    offer, operation = await books.offer(), await books.operation("alice")
    offers = OfferLedger(books.database, payout_bounds={}, earnings_hold=0)

    async with books.database.transaction() as dispute:
        await ledger.post(dispute, operation, "owed", debt(100, user="alice"))
        async with meanwhile(with_errors([offers.hold(OperationRef(operation_id=offer))])) as holding:
            await books.until_somebody_waits()
            await dispute.commit()

    assert [type(error) for error in holding.result()] == [ReceivableOpen]


async def test_a_debt_waits_for_a_reservation_that_came_first(books: Books) -> None:
    wallet = await books.wallet("bob", holding=8_000)
    await record(books, await onboard(books), ABLE)

    async with books.database.transaction() as withdrawing:
        stands = await connected_accounts.standing(withdrawing, wallet, earnings_hold=0, lock=True)
        async with meanwhile(owe(books, 100)) as owing:
            await books.until_somebody_waits()
            assert not owing.done()
            await withdrawing.commit()

    assert refusals(stands, Money(8_000, "usd")) == []
    assert await owed(books) == 100


@pytest.mark.parametrize("credit_first", [True, False])
async def test_a_debt_and_a_credit_at_once_are_one_after_the_other(books: Books, credit_first: bool) -> None:
    wallet, operation, other = await books.wallet("bob"), await books.operation("bob"), await books.operation("bob")
    deposit = (operation, "credit", deposit_credit(wallet, Money(1_000, "usd")))
    dispute = (other, "owed", debt(100))
    earlier, later = (deposit, dispute) if credit_first else (dispute, deposit)

    async with books.database.transaction() as first:
        await ledger.post(first, *earlier)
        async with meanwhile(books.post(*later)) as second:
            await books.until_somebody_waits()
            await asyncio.sleep(0.1)
            assert not second.done()
            await first.commit()

    assert second.exception() is None
    assert (await owed(books), await books.holds(wallet)) == ((100, 1_000) if credit_first else (0, 900))
