"""What an offer books: the design's worked example to the cent, and any life of one, which ends balanced."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import CHART, Account, AccountKind
from domain.fees import BASIS_POINTS, FeeSchedule
from domain.money import Money, currency
from domain.offers import Escrow
from domain.postings import Posting, accept_fee, give_back, hold, release

ALICE, CARL = "wal_alice", "wal_carl"

Balances = Counter[Account]


def lines(posting: Posting) -> list[tuple[str, str, int]]:
    """Its entries, in their order."""
    return [(entry.account.kind.value, entry.account.owner, entry.amount) for entry in posting.entries]


def after(postings: list[Posting], before: Balances) -> dict[Account, int]:
    """Balances after the last of them that are not 0. None may have a forbidden sign at any time."""
    balances = Counter(before)
    for posting in postings:
        assert sum(entry.amount for entry in posting.entries) == 0
        assert all(entry.amount for entry in posting.entries)
        for entry in posting.entries:
            balances[entry.account] += entry.amount
        assert all(CHART[account.kind].guard * balance >= 0 for account, balance in balances.items()), balances
    return {account: balance for account, balance in balances.items() if balance}


def usd(amount: int) -> Money:
    """Minor units."""
    return Money(amount, "usd")


# ── The worked example: 100.00 offered and earned ──


def test_held_accepted_and_released() -> None:
    postings = [
        hold(ALICE, usd(10_500)),
        accept_fee(ALICE, usd(500)),
        release(ALICE, CARL, fee=usd(2_000), earned=usd(8_000)),
    ]

    assert [lines(posting) for posting in postings] == [
        [("wallet_available", ALICE, -10_500), ("wallet_escrow", ALICE, 10_500)],
        [("wallet_escrow", ALICE, -500), ("platform_fees", "", 500)],
        [("wallet_escrow", ALICE, -10_000), ("service_fees", "", 2_000), ("wallet_available", CARL, 8_000)],
    ]


def test_given_back_with_the_platforms_fee() -> None:
    assert lines(give_back(ALICE, usd(10_500))) == [
        ("wallet_available", ALICE, 10_500),
        ("wallet_escrow", ALICE, -10_500),
    ]
    assert lines(accept_fee(ALICE, usd(500)).mirrored()) == [
        ("wallet_escrow", ALICE, 500),
        ("platform_fees", "", -500),
    ]


@pytest.mark.parametrize(
    ("fee", "earned", "there"),
    [
        (0, 10_000, [("wallet_escrow", ALICE, -10_000), ("wallet_available", CARL, 10_000)]),
        (10_000, 0, [("wallet_escrow", ALICE, -10_000), ("service_fees", "", 10_000)]),
    ],
)
def test_a_share_of_nothing_has_no_entry(fee: int, earned: int, there: list[tuple[str, str, int]]) -> None:
    assert lines(release(ALICE, CARL, fee=usd(fee), earned=usd(earned))) == there


# ── Any life ──


@given(data=st.data(), code=st.sampled_from(["jpy", "usd", "kwd"]))
def test_whatever_becomes_of_an_offer_its_escrow_ends_empty(data: st.DataObject, code: str) -> None:
    """Accepted or not, released in parts or not, split or given back, with its fee or without."""
    step = currency(code).increment
    rates = st.one_of(st.sampled_from([0, BASIS_POINTS]), st.integers(0, BASIS_POINTS))
    amount = Money(data.draw(st.integers(1, 10**7)) * step, code)
    platform_fee = FeeSchedule(default=data.draw(rates)).fee(amount)
    service = FeeSchedule(default=data.draw(rates))
    nothing = Money(0, code)
    available, escrow_account = (
        Account(kind, code, ALICE) for kind in (AccountKind.WALLET_AVAILABLE, AccountKind.WALLET_ESCROW)
    )
    before: Balances = Counter({available: (amount + platform_fee).amount})
    escrow, postings = Escrow(amount), [hold(ALICE, amount + platform_fee)]

    def released(part: Money) -> None:
        nonlocal escrow
        fee, earned = escrow.release(part, service)
        postings.append(release(ALICE, CARL, fee=fee, earned=earned))
        escrow = Escrow(amount, escrow.released + part.amount, escrow.service_fee + fee.amount, escrow.returned)

    earned_fee = nothing
    if data.draw(st.booleans(), "accepted"):
        if platform_fee.amount:
            postings.append(accept_fee(ALICE, platform_fee))
            earned_fee = platform_fee
        while escrow.left.amount > step and data.draw(st.booleans(), "one more milestone"):
            released(Money(data.draw(st.integers(1, escrow.left.amount // step)) * step, code))
            if not escrow.left.amount:
                break
        to_contractor = data.draw(st.integers(0, escrow.left.amount // step), "split") * step
        back = escrow.left - Money(to_contractor, code)
        if to_contractor:
            released(Money(to_contractor, code))
        if earned_fee.amount and back == amount and data.draw(st.booleans(), "its fee is returned"):
            postings.append(accept_fee(ALICE, platform_fee).mirrored())
            back, earned_fee = back + platform_fee, nothing
    else:
        back = amount + platform_fee
    if back.amount:
        postings.append(give_back(ALICE, back))

    there = after(postings, before)

    assert escrow_account not in there
    assert there.get(available, 0) == back.amount
    assert there.get(Account(AccountKind.PLATFORM_FEES, code), 0) == earned_fee.amount
    charged = service.fee(Money(escrow.released, code)).amount
    assert there.get(Account(AccountKind.SERVICE_FEES, code), 0) == charged
    assert there.get(Account(AccountKind.WALLET_AVAILABLE, code, CARL), 0) == escrow.released - charged
    assert sum(there.values()) == (amount + platform_fee).amount
