"""Postings: balanced by construction, and taken back by their mirror."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import CHART, Account, AccountKind, Owner
from domain.errors import UnbalancedPosting
from domain.money import Money
from domain.postings import Debt, Entry, Posting, deposit_credit, made_spendable, move, repayment, stripe_fee

ALICE = Account(AccountKind.WALLET_AVAILABLE, "usd", "wal_alice")
BOB = Account(AccountKind.WALLET_AVAILABLE, "usd", "wal_bob")
STRIPE = Account(AccountKind.STRIPE_BALANCE, "usd")
STRIPE_EUR = Account(AccountKind.STRIPE_BALANCE, "eur")


@st.composite
def accounts(draw: st.DrawFn, code: str) -> Account:
    """Any account of one currency."""
    kind = draw(st.sampled_from(AccountKind))
    platform = CHART[kind].owner is Owner.PLATFORM
    return Account(kind, code, "" if platform else draw(st.sampled_from(["one", "two", "three"])))


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Entries that balance in every currency: all but one drawn, the last one is what is missing."""
    found: list[Entry] = []
    for code in draw(st.sets(st.sampled_from(["usd", "jpy", "kwd"]), min_size=1)):
        amounts = draw(st.lists(st.integers(-(10**12), 10**12).filter(bool), min_size=1, max_size=5).filter(sum))
        found += [Entry(draw(accounts(code)), amount) for amount in [*amounts, -sum(amounts)]]
    return tuple(draw(st.permutations(found)))


def sums(posting: Posting) -> Counter[str]:
    """Of each currency."""
    found: Counter[str] = Counter()
    for entry in posting.entries:
        found[entry.account.currency] += entry.amount
    return found


@given(entries())
def test_what_balances_in_every_currency_is_a_posting(balanced: tuple[Entry, ...]) -> None:
    assert not any(sums(Posting(balanced)).values())


@given(balanced=entries(), which=st.integers(0), by=st.integers(-(10**6), 10**6).filter(bool))
def test_one_entry_off_by_anything_is_refused(balanced: tuple[Entry, ...], which: int, by: int) -> None:
    off = which % len(balanced)
    tilted = [Entry(each.account, each.amount + by * (i == off)) for i, each in enumerate(balanced)]

    with pytest.raises(UnbalancedPosting):
        Posting(tuple(tilted))


@given(entries())
def test_a_mirror_takes_back_everything_and_mirrors_back(balanced: tuple[Entry, ...]) -> None:
    posting = Posting(balanced)
    mirrored = posting.mirrored()

    moved: Counter[Account] = Counter()
    for entry in (*posting.entries, *mirrored.entries):
        moved[entry.account] += entry.amount

    assert not any(moved.values())
    assert mirrored.mirrored() == posting


@pytest.mark.parametrize(
    "unbalanced",
    [
        (),
        (Entry(ALICE, 5),),
        (Entry(ALICE, 5), Entry(BOB, -4)),
        (Entry(ALICE, 5), Entry(STRIPE_EUR, -5)),
        (Entry(ALICE, 0), Entry(BOB, 0)),
        (Entry(ALICE, 5), Entry(BOB, -5), Entry(STRIPE, 0)),
        (Entry(ALICE, 5), Entry(BOB, -5), Entry(STRIPE_EUR, 1)),
    ],
    ids=["nothing", "one entry", "a cent short", "two currencies", "zeros", "a zero more", "a stray currency"],
)
def test_what_does_not_balance_is_no_posting(unbalanced: tuple[Entry, ...]) -> None:
    with pytest.raises(UnbalancedPosting):
        Posting(unbalanced)


def test_a_move_debits_one_account_and_credits_the_other() -> None:
    posting = move(Money(80, "usd"), debit=ALICE, credit=BOB)

    assert posting.entries == (Entry(ALICE, -80), Entry(BOB, 80))


def test_nothing_cannot_be_moved() -> None:
    with pytest.raises(UnbalancedPosting):
        move(Money(0, "usd"), debit=ALICE, credit=BOB)


def test_money_cannot_be_moved_into_an_account_of_another_currency() -> None:
    with pytest.raises(UnbalancedPosting):
        move(Money(80, "usd"), debit=STRIPE_EUR, credit=ALICE)


def test_a_deposit_grows_what_we_hold_and_what_we_owe() -> None:
    assert deposit_credit("wal_alice", Money(20_000, "usd")).entries == (Entry(STRIPE, -20_000), Entry(ALICE, 20_000))


def test_stripes_fee_is_our_expense_and_touches_no_wallet() -> None:
    assert stripe_fee(Money(610, "usd")).entries == (
        Entry(Account(AccountKind.STRIPE_FEES, "usd"), -610),
        Entry(STRIPE, 610),
    )


# ── Repayments ──

OWED_BY_ALICE = Account(AccountKind.RECEIVABLE, "usd", "alice")


@pytest.mark.parametrize(
    ("owed", "repaid"), [(30, 30), (100, 100), (101, 100), (1, 1)], ids=["less", "as much", "more", "a cent"]
)
def test_the_lesser_of_the_credit_and_the_debt_is_repaid(owed: int, repaid: int) -> None:
    posting = repayment(deposit_credit("wal_alice", Money(100, "usd")), {ALICE: Debt("alice", owed)})

    assert posting == move(Money(repaid, "usd"), debit=ALICE, credit=OWED_BY_ALICE)


@pytest.mark.parametrize("debts", [{}, {BOB: Debt("bob", 5)}, {ALICE: Debt("alice", 0)}, {ALICE: Debt("alice", -5)}])
def test_nothing_is_repaid_where_nothing_is_owed(debts: dict[Account, Debt]) -> None:
    assert repayment(deposit_credit("wal_alice", Money(100, "usd")), debts) is None


def test_what_leaves_a_wallet_repays_nothing() -> None:
    gone = move(Money(100, "usd"), debit=ALICE, credit=BOB)

    assert made_spendable(gone) == {BOB: 100}
    assert repayment(gone, {ALICE: Debt("alice", 5)}) is None


@given(entries(), st.integers(1, 10**13))
def test_no_repayment_takes_more_than_came(balanced: tuple[Entry, ...], owed: int) -> None:
    credit = Posting(balanced)
    gained = made_spendable(credit)

    posting = repayment(credit, {account: Debt(f"owner of {account.owner}", owed) for account in gained})

    taken = {entry.account: -entry.amount for entry in posting.entries if entry.amount < 0} if posting else {}
    assert taken == {account: min(amount, owed) for account, amount in gained.items()}
