"""The chart of accounts: whose each account is, and what it must never be."""

import pytest

from domain.accounts import CHART, Account, AccountKind, AccountRule, Nature, Owner

NEVER_NEGATIVE = {
    AccountKind.WALLET_AVAILABLE: 1,
    AccountKind.WALLET_ESCROW: 1,
    AccountKind.WALLET_IN_TRANSIT: 1,
    AccountKind.RECOVERIES_PAYABLE: 1,
    AccountKind.VENDOR_PAYABLE: 1,
    AccountKind.CONNECTED_BALANCE: -1,
    AccountKind.PAYOUTS_IN_FLIGHT: -1,
}
"""The sign that credits minus debits must keep."""


@pytest.mark.parametrize("kind", AccountKind)
def test_every_kind_has_its_guard(kind: AccountKind) -> None:
    assert CHART[kind].guard == NEVER_NEGATIVE.get(kind, 0)


@pytest.mark.parametrize("kind", AccountKind)
def test_all_but_the_platforms_accounts_keep_a_balance(kind: AccountKind) -> None:
    assert CHART[kind].keeps_balance is (CHART[kind].owner is not Owner.PLATFORM)
    assert CHART[kind].keeps_balance or CHART[kind].guard == 0, "without a balance row nothing can be guarded"


@pytest.mark.parametrize(
    ("nature", "guard"), [(Nature.LIABILITY, 1), (Nature.INCOME, 1), (Nature.ASSET, -1), (Nature.EXPENSE, -1)]
)
def test_negative_is_meant_in_the_normal_direction(nature: Nature, guard: int) -> None:
    assert AccountRule(Owner.WALLET, nature, may_be_negative=False).guard == guard
    assert AccountRule(Owner.WALLET, nature, may_be_negative=True).guard == 0


@pytest.mark.parametrize("kind", AccountKind)
def test_an_account_has_an_owner_unless_it_is_the_platforms(kind: AccountKind) -> None:
    mine, not_mine = ("", "wal_1") if CHART[kind].owner is Owner.PLATFORM else ("wal_1", "")

    assert Account(kind, "usd", mine).owner == mine
    with pytest.raises(ValueError, match="belongs to a"):
        Account(kind, "usd", not_mine)
