"""Contractors' accounts as Stripe last told them, and how a wallet stands that is to be withdrawn from."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from db import connected_accounts, ledger, users
from db.operations import Asked
from domain.accounts import Account, AccountKind
from domain.connected_accounts import ConnectedAccount
from domain.errors import NotWithdrawable, StateRefusal
from domain.money import Money
from domain.operations import OperationKind
from domain.postings import Entry, Posting, move, reserve, wallet_transfer
from domain.statuses import ConnectedAccountStatus
from domain.withdrawals import Standing, refusals
from tests.db.books import Books, at_once, available, meanwhile, with_errors

HOUR = 3_600.0

ABLE = ConnectedAccount(
    id="acct_1",
    details_submitted=True,
    transfers_active=True,
    payouts_enabled=True,
    manual_payouts=True,
    currencies=("eur", "usd"),
)
DEAUTHORIZED = ConnectedAccount(id="acct_1", details_submitted=True, deauthorized=True)


async def onboard(books: Books, user: str = "bob", *, status: str = "requested", **values: Any) -> str:
    """The operation that stands for a user's account."""
    return await books.operation(user, kind=OperationKind.CONNECTED_ACCOUNT, status=status, **values)


async def record(books: Books, operation: str, account: ConnectedAccount, user: str = "bob") -> None:
    async with books.database.transaction() as connection:
        await connected_accounts.record(connection, operation, user, account)


async def of_user(books: Books, user: str = "bob") -> ConnectedAccount | None:
    async with books.database.transaction() as connection:
        row = await connected_accounts.of_user(connection, user)
    return None if row is None else connected_accounts.account_of(row)


async def deauthorize(books: Books, operation: str, account: ConnectedAccount = DEAUTHORIZED) -> None:
    """As its saga does it: what Stripe says, and the end of the operation."""
    await record(books, operation, account)
    await books.sql("UPDATE operations SET status = 'onboarding' WHERE id = $1", operation)
    await books.sql("UPDATE operations SET status = 'deauthorized', closed_at = now() WHERE id = $1", operation)


# ── As Stripe last told it ──


async def test_an_account_is_kept_as_stripe_last_told_it(books: Books) -> None:
    operation = await onboard(books)
    asked = ABLE.model_copy(
        update={
            "payouts_enabled": False,
            "due": ("external_account", "individual.dob.day"),
            "due_by": datetime(2026, 1, 1, tzinfo=UTC),
            "disabled_reason": "requirements.past_due",
        }
    )
    assert await of_user(books) is None

    await record(books, operation, asked)
    assert await of_user(books) == asked
    [[first]] = await books.sql("SELECT observed_at FROM connected_accounts")
    await record(books, operation, ABLE)

    assert await of_user(books) == ABLE, "also what is not due any more"
    assert await books.value("SELECT observed_at > $1 FROM connected_accounts", first)
    assert await of_user(books, "alice") is None


async def test_an_account_that_is_cut_off_is_still_its_owners(books: Books) -> None:
    operation = await onboard(books)
    await record(books, operation, ABLE)

    await record(books, operation, DEAUTHORIZED)

    assert await of_user(books) == DEAUTHORIZED


async def test_what_is_cut_off_stays_so_whoever_looked_before(books: Books) -> None:
    """A worker that was frozen comes back with what it saw before the account was cut off."""
    operation = await onboard(books)
    await record(books, operation, ABLE)
    await deauthorize(books, operation)

    await record(books, operation, ABLE)

    assert await of_user(books) == DEAUTHORIZED


async def test_after_one_that_was_cut_off_comes_another(books: Books) -> None:
    first = await onboard(books)
    await record(books, first, ABLE)
    await deauthorize(books, first)
    another = ABLE.model_copy(update={"id": "acct_2"})

    second = await onboard(books)
    await record(books, second, another)
    assert await of_user(books) == another

    gone = DEAUTHORIZED.model_copy(update={"id": "acct_2"})
    await deauthorize(books, second, gone)
    assert await of_user(books) == gone, "the one that was cut off last"
    async with books.database.transaction() as connection:
        assert sorted(await connected_accounts.everybodys(connection)) == ["acct_1", "acct_2"]


async def test_a_live_account_comes_before_a_later_one_that_was_cut_off(books: Books) -> None:
    earlier, later = (
        await onboard(books, status="failed", failure={}, closed_at=datetime.now(UTC)),
        await onboard(books),
    )
    await record(books, earlier, ABLE)
    await record(books, later, DEAUTHORIZED.model_copy(update={"id": "acct_2"}))

    assert await of_user(books) == ABLE


# ── One each ──


async def test_a_user_has_one_open_operation_for_an_account(books: Books) -> None:
    first = await onboard(books)

    with pytest.raises(IntegrityError, match="operations_one_connected_account"):
        await onboard(books)
    await onboard(books, "alice")
    await books.withdrawal()
    await deauthorize(books, first)

    assert await onboard(books) > first


@pytest.mark.parametrize("status", ["onboarding", "active", "restricted"])
async def test_an_account_that_stripe_holds_back_is_still_the_one(books: Books, status: str) -> None:
    await onboard(books, status=status)

    with pytest.raises(IntegrityError, match="operations_one_connected_account"):
        await onboard(books)


async def test_of_twenty_who_ask_for_an_account_at_once_one_gets_it(books: Books) -> None:
    await books.wallet("bob")

    outcomes = await with_errors(onboard(books) for _ in range(20))

    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, IntegrityError) for outcome in outcomes) == 19


async def test_a_refused_account_leaves_room_for_another(books: Books) -> None:
    await onboard(books, status=ConnectedAccountStatus.FAILED, failure={}, closed_at=datetime.now(UTC))

    await onboard(books)


async def test_a_user_has_one_live_account_and_an_account_one_user(books: Books) -> None:
    first, alices = await onboard(books), await onboard(books, "alice")
    second = await onboard(books, status="failed", failure={}, closed_at=datetime.now(UTC))
    await record(books, first, ABLE)

    with pytest.raises(IntegrityError, match="connected_accounts_one_each"):
        await record(books, second, ABLE.model_copy(update={"id": "acct_2"}))
    with pytest.raises(IntegrityError, match="connected_accounts_id_key"):
        await record(books, alices, ABLE, "alice")
    await record(books, second, DEAUTHORIZED.model_copy(update={"id": "acct_2"}))
    await record(books, alices, ABLE.model_copy(update={"id": "acct_3"}), "alice")

    assert await of_user(books) == ABLE


# ── How a wallet stands ──


async def standing(books: Books, wallet: str, *, hold: float = 0.0, lock: bool = False) -> Standing:
    async with books.database.transaction() as connection:
        return await connected_accounts.standing(connection, wallet, earnings_hold=hold, lock=lock)


async def release(books: Books, customer: str, contractor: str, amount: int, *, step: str = "release") -> None:
    """What an offer pays out of the customer's escrow, with a fifth of it for the service."""
    operation = await books.operation("alice")
    escrow = Account(AccountKind.WALLET_ESCROW, "usd", customer)
    whole = amount * 5 // 4
    await books.post(operation, f"hold {step}", move(Money(whole, "usd"), debit=available(customer), credit=escrow))
    fee = Entry(Account(AccountKind.SERVICE_FEES, "usd"), whole - amount)
    posting = Posting((Entry(escrow, -whole), fee, Entry(available(contractor), amount)))
    await books.post(operation, step, posting)


async def test_a_wallet_stands_as_it_is(books: Books) -> None:
    bob = await books.wallet("bob")
    nothing = Standing(active=True, frozen=False, available=0, held_back=0, owed=0, account=None)
    assert await standing(books, bob) == nothing

    await books.credit(await books.operation("bob"), bob, Money(8_000, "usd"))
    await books.wallet("bob", "eur", holding=555)
    await books.wallet("alice", holding=777)
    await record(books, await onboard(books), ABLE)
    await books.post(await books.withdrawal(), "reserve", reserve(bob, Money(500, "usd")))
    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, Asked("olga", "1", "f"), bob, "freeze", "looks odd")
        await users.act_on_wallet(connection, Asked("olga", "2", "f"), bob, "deactivate", "looks odd")

    for lock in (False, True):
        assert await standing(books, bob, lock=lock) == Standing(
            active=False, frozen=True, available=7_500, held_back=0, owed=0, account=ABLE
        )


async def test_what_an_offer_released_is_held_back_until_the_hold_is_over(books: Books) -> None:
    alice, bob = await books.wallet(holding=50_000), await books.wallet("bob")
    await release(books, alice, bob, 8_000)
    await books.advance_clock(timedelta(seconds=HOUR - 60))
    await release(books, alice, bob, 1_000, step="second")

    stands = await standing(books, bob, hold=HOUR)
    assert (stands.available, stands.held_back, stands.withdrawable) == (9_000, 9_000, 0)
    assert (await standing(books, bob)).held_back == 0, "by default all of it may go"

    await books.advance_clock(timedelta(seconds=61))
    assert (await standing(books, bob, hold=HOUR)).held_back == 1_000
    await books.advance_clock(timedelta(seconds=HOUR))
    assert (await standing(books, bob, hold=HOUR)).withdrawable == 9_000


async def test_only_what_came_out_of_anothers_escrow_is_held_back(books: Books) -> None:
    """Deposits, transfers between wallets, what one's own offer gave back, and what a withdrawal restored are not."""
    alice, bob = await books.wallet(holding=50_000), await books.wallet("bob", holding=3_000)
    operation = await books.operation("bob")
    escrow = Account(AccountKind.WALLET_ESCROW, "usd", bob)
    hold = move(Money(1_000, "usd"), debit=available(bob), credit=escrow)
    away = reserve(bob, Money(500, "usd"))
    for step, posting in [
        ("move", wallet_transfer(alice, bob, Money(700, "usd"))),
        ("hold", hold),
        ("give_back", hold.mirrored()),
        ("reserve", away),
        ("restore", away.mirrored()),
    ]:
        await books.post(operation, step, posting)
    assert (await standing(books, bob, hold=HOUR)).held_back == 0

    await release(books, alice, bob, 80)

    assert (await standing(books, bob, hold=HOUR)).held_back == 80
    assert (await standing(books, alice, hold=HOUR)).held_back == 0


async def test_what_is_owed_in_any_currency_counts_and_what_is_owed_back_does_not(books: Books) -> None:
    bob, euros = await books.wallet("bob", holding=100), await books.wallet("bob", "eur")
    alice = await books.wallet("alice")
    operation = await books.operation("bob")

    async def owe(amount: int, currency: str, *, step: str, user: str = "bob") -> None:
        """What a dispute took from us is the user's to repay; less than nothing is what we owe them."""
        receivable = Account(AccountKind.RECEIVABLE, currency, user)
        entries = (Entry(receivable, -amount), Entry(Account(AccountKind.STRIPE_BALANCE, currency), amount))
        await books.post(operation, step, Posting(entries))

    await owe(-40, "usd", step="overpaid")
    assert (await standing(books, bob)).owed == 0
    await owe(25, "eur", step="dispute")
    assert (await standing(books, bob)).owed == (await standing(books, euros)).owed == 25
    assert (await standing(books, alice)).owed == 0
    await owe(-25, "eur", step="repaid")
    await owe(7, "usd", step="alices", user="alice")

    assert (await standing(books, bob)).owed == 0
    assert (await standing(books, alice)).owed == 7


async def test_who_stands_locked_keeps_a_freeze_waiting(books: Books) -> None:
    bob, operation = await books.wallet("bob", holding=8_000), await books.withdrawal()

    async def freeze() -> None:
        async with books.database.transaction() as connection:
            await users.act_on_wallet(connection, Asked("olga", "1", "f"), bob, "freeze", "looks odd")

    async with books.database.transaction() as connection:
        stands = await connected_accounts.standing(connection, bob, earnings_hold=0, lock=True)
        async with meanwhile(freeze()) as freezing:
            await books.until_somebody_waits()
            assert not (await standing(books, bob)).frozen, "who only looks does not wait"
            assert not freezing.done()
            await ledger.post(connection, operation, "reserve", reserve(bob, Money(8_000, "usd")))
            await connection.commit()

    assert not stands.frozen
    assert freezing.exception() is None
    assert (await standing(books, bob)).frozen


async def test_a_locked_wallet_takes_operations_all_the_same(books: Books) -> None:
    """They are accepted while another is being reserved: what waited would keep a request waiting."""
    bob = await books.wallet("bob")

    async with books.database.transaction() as connection:
        await connected_accounts.standing(connection, bob, earnings_hold=0, lock=True)

        await asyncio.wait_for(books.withdrawal(), timeout=5)


async def test_who_stands_locked_behind_a_freeze_sees_it(books: Books) -> None:
    bob = await books.wallet("bob", holding=8_000)

    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, Asked("olga", "1", "f"), bob, "freeze", "looks odd")
        async with meanwhile(standing(books, bob, lock=True)) as looking:
            await books.until_somebody_waits()
            await connection.commit()

    assert looking.result().frozen


async def test_fifty_withdrawals_at_once_are_reserved_or_refused_by_the_rules(books: Books) -> None:
    """As the step that reserves does it: no posting ever fails, since each sees what those before it left."""
    bob = await books.wallet("bob", holding=100_500)
    await record(books, await onboard(books), ABLE)
    withdrawals = [await books.withdrawal() for _ in range(50)]
    money = Money(8_000, "usd")

    async def withdraw(operation: str) -> list[StateRefusal]:
        async with books.database.transaction() as connection:
            stands = await connected_accounts.standing(connection, bob, earnings_hold=HOUR, lock=True)
            found = refusals(stands, money)
            if not found:
                await ledger.post(connection, operation, "reserve", reserve(bob, money))
            return found

    found = await at_once(withdraw(operation) for operation in withdrawals)

    assert found.count([]) == 12
    assert all(isinstance(refusal, NotWithdrawable) for each in found for refusal in each)
    figures = await books.figures(bob)
    assert (figures.available, figures.in_transit) == (4_500, 96_000)
    await books.check()
