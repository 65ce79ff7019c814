"""What a withdrawal books: the design's worked example to the cent, and every way back from it."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import CHART, Account, AccountKind
from domain.money import Money
from domain.postings import Posting, paid, payout, reserve, transfer, wallet_transfer

BOB = "wal_bob"
ACCT = "acct_bob"
EIGHTY = Money(8_000, "usd")

AVAILABLE = Account(AccountKind.WALLET_AVAILABLE, "usd", BOB)
STRIPE = Account(AccountKind.STRIPE_BALANCE, "usd")

RESERVE = [("wallet_available", BOB, -8_000), ("wallet_in_transit", BOB, 8_000)]
TRANSFER = [("connected_balance", ACCT, -8_000), ("stripe_balance", "", 8_000)]
PAYOUT = [("payouts_in_flight", ACCT, -8_000), ("connected_balance", ACCT, 8_000)]
PAID = [("wallet_in_transit", BOB, -8_000), ("payouts_in_flight", ACCT, 8_000)]
PAID_MIRROR = [("wallet_in_transit", BOB, 8_000), ("payouts_in_flight", ACCT, -8_000)]
PAYOUT_MIRROR = [("payouts_in_flight", ACCT, 8_000), ("connected_balance", ACCT, -8_000)]
REVERSAL = [("connected_balance", ACCT, 8_000), ("stripe_balance", "", -8_000)]
RESTORE = [("wallet_available", BOB, 8_000), ("wallet_in_transit", BOB, -8_000)]
"""Each entry as (account, its owner, credit or -debit), so that nothing is computed by what is tested."""

SENT = [reserve(BOB, EIGHTY), transfer(ACCT, EIGHTY), payout(ACCT, EIGHTY)]
ARRIVED = paid(BOB, ACCT, EIGHTY)

Balances = Counter[Account]
EARNED: Balances = Counter({AVAILABLE: 8_000, STRIPE: -8_000})
"""What a deposit left at Stripe is the contractor's by now."""


def lines(posting: Posting) -> list[tuple[str, str, int]]:
    """Its entries, in their order."""
    return [(entry.account.kind.value, entry.account.owner, entry.amount) for entry in posting.entries]


def after(postings: list[Posting], before: Balances = EARNED) -> dict[Account, int]:
    """Balances after the last of them that are not 0. None may have a forbidden sign at any time."""
    balances = Counter(before)
    for posting in postings:
        for entry in posting.entries:
            balances[entry.account] += entry.amount
        assert all(CHART[account.kind].guard * balance >= 0 for account, balance in balances.items()), balances
    return {account: balance for account, balance in balances.items() if balance}


# ── The worked example: 80.00 earned, and withdrawn ──


def test_paid() -> None:
    assert [lines(posting) for posting in [*SENT, ARRIVED]] == [RESERVE, TRANSFER, PAYOUT, PAID]

    assert after([*SENT, ARRIVED]) == {}, "nothing is owed and nothing held any more"


def test_failed() -> None:
    back = [posting.mirrored() for posting in reversed(SENT)]

    assert [lines(posting) for posting in back] == [PAYOUT_MIRROR, REVERSAL, RESTORE]
    assert after([*SENT, *back]) == EARNED


def test_failed_late() -> None:
    back = [posting.mirrored() for posting in reversed([*SENT, ARRIVED])]

    assert [lines(posting) for posting in back] == [PAID_MIRROR, PAYOUT_MIRROR, REVERSAL, RESTORE]
    assert after([*SENT, ARRIVED, *back]) == EARNED


def test_refused_before_it_was_paid_out() -> None:
    back = [SENT[1].mirrored(), SENT[0].mirrored()]

    assert [lines(posting) for posting in back] == [REVERSAL, RESTORE]
    assert after([*SENT[:2], *back]) == EARNED
    assert after([SENT[0], SENT[0].mirrored()]) == EARNED, "never transferred"


def test_partly_reversed() -> None:
    """50.00 first, and 30.00 when the account holds them."""
    parts = [
        posting
        for part in (Money(5_000, "usd"), Money(3_000, "usd"))
        for posting in (transfer(ACCT, part).mirrored(), reserve(BOB, part).mirrored())
    ]

    assert [lines(posting) for posting in parts] == [
        [("connected_balance", ACCT, 5_000), ("stripe_balance", "", -5_000)],
        [("wallet_available", BOB, 5_000), ("wallet_in_transit", BOB, -5_000)],
        [("connected_balance", ACCT, 3_000), ("stripe_balance", "", -3_000)],
        [("wallet_available", BOB, 3_000), ("wallet_in_transit", BOB, -3_000)],
    ]
    began = [*SENT, SENT[2].mirrored()]
    assert after([*began, *parts[:2]]) == {
        AVAILABLE: 5_000,
        Account(AccountKind.WALLET_IN_TRANSIT, "usd", BOB): 3_000,
        Account(AccountKind.CONNECTED_BALANCE, "usd", ACCT): -3_000,
        STRIPE: -5_000,
    }, "what Stripe does not give back stays in transit"
    assert after([*began, *parts]) == EARNED


def test_from_wallet_to_wallet() -> None:
    assert lines(wallet_transfer("wal_alice", BOB, EIGHTY)) == [
        ("wallet_available", "wal_alice", -8_000),
        ("wallet_available", BOB, 8_000),
    ]


# ── Every way back ──


@st.composite
def splits(draw: st.DrawFn) -> list[Money]:
    """A transfer's amount in the parts that Stripe gives back."""
    code = draw(st.sampled_from(["usd", "jpy", "kwd"]))
    return [Money(part, code) for part in draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))]


@given(parts=splits(), was_paid=st.booleans(), data=st.data())
def test_whatever_parts_it_comes_back_in_all_of_it_comes_back(
    parts: list[Money], was_paid: bool, data: st.DataObject
) -> None:
    code = parts[0].currency
    whole = sum(parts[1:], start=parts[0])
    earned = Counter(
        {
            Account(AccountKind.WALLET_AVAILABLE, code, BOB): whole.amount,
            Account(AccountKind.STRIPE_BALANCE, code): -whole.amount,
        }
    )
    out = [reserve(BOB, whole), transfer(ACCT, whole), payout(ACCT, whole)]
    came = [paid(BOB, ACCT, whole)] if was_paid else []
    back = [posting.mirrored() for posting in (*came, out[2])]
    # Restored is what was reversed, at once or later: in any order in which no part is restored before it is reversed.
    reversed_yet: set[int] = set()
    for index in data.draw(st.permutations([*range(len(parts)), *range(len(parts))])):
        if index in reversed_yet:
            back.append(reserve(BOB, parts[index]).mirrored())
        else:
            back.append(transfer(ACCT, parts[index]).mirrored())
            reversed_yet.add(index)

    assert after([*out, *came, *back], earned) == earned


@given(st.integers(1, 10**12), st.sampled_from(["usd", "jpy", "kwd"]))
def test_every_posting_and_its_mirror_come_to_nothing(amount: int, code: str) -> None:
    money = Money(amount, code)

    for posting in (
        wallet_transfer("wal_alice", BOB, money),
        reserve(BOB, money),
        transfer(ACCT, money),
        payout(ACCT, money),
        paid(BOB, ACCT, money),
    ):
        sums: Counter[Account] = Counter()
        for entry in (*posting.entries, *posting.mirrored().entries):
            sums[entry.account] += entry.amount
        assert not any(sums.values())
        assert {abs(entry.amount) for entry in posting.entries} == {amount}
