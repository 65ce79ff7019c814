"""What speaks against a withdrawal: everything at once, gravest first, and nothing if nothing does."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.connected_accounts import ConnectedAccount
from domain.errors import StateRefusal
from domain.money import Money
from domain.withdrawals import Standing, refusals

ABLE = ConnectedAccount(
    id="acct_1",
    details_submitted=True,
    transfers_active=True,
    payouts_enabled=True,
    manual_payouts=True,
    currencies=("eur", "usd"),
)
GOOD = Standing(active=True, frozen=False, available=8_000, held_back=0, owed=0, account=ABLE)
EIGHTY = Money(8_000, "usd")

GRAVEST_FIRST = [
    "wallet-deactivated",
    "wallet-frozen",
    "receivable-open",
    "no-connected-account",
    "account-not-able",
    "currency-not-held",
    "not-withdrawable",
]

accounts = st.none() | st.builds(
    ConnectedAccount,
    id=st.just("acct_1"),
    transfers_active=st.booleans(),
    payouts_enabled=st.booleans(),
    manual_payouts=st.booleans(),
    currencies=st.sampled_from([(), ("eur",), ("eur", "usd")]),
    due=st.sampled_from([(), ("external_account",)]),
    deauthorized=st.booleans(),
)
standings = st.builds(
    Standing,
    active=st.booleans(),
    frozen=st.booleans(),
    available=st.integers(0, 10_000),
    held_back=st.integers(0, 10_000),
    owed=st.integers(0, 100),
    account=accounts,
)


def account(**changed: Any) -> Standing:
    """All is well, but for the account at Stripe."""
    return replace(GOOD, account=ABLE.model_copy(update=changed))


def codes(standing: Standing, money: Money = EIGHTY) -> list[str]:
    """What each refusal is called."""
    return [refusal.code for refusal in refusals(standing, money)]


def only(standing: Standing, money: Money = EIGHTY) -> StateRefusal:
    """The one thing that speaks against it."""
    [refusal] = refusals(standing, money)
    return refusal


def test_where_nothing_speaks_against_it_all_of_it_may_go() -> None:
    assert refusals(GOOD, EIGHTY) == []
    assert refusals(GOOD, Money(8_000, "eur")) == []


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (replace(GOOD, active=False), "wallet-deactivated"),
        (replace(GOOD, frozen=True), "wallet-frozen"),
        (replace(GOOD, owed=1), "receivable-open"),
        (replace(GOOD, account=None), "no-connected-account"),
        (account(deauthorized=True), "no-connected-account"),
        (account(transfers_active=False), "account-not-able"),
        (account(payouts_enabled=False), "account-not-able"),
        (account(manual_payouts=False), "account-not-able"),
        (account(currencies=("eur",)), "currency-not-held"),
        (account(currencies=()), "currency-not-held"),
        (replace(GOOD, available=7_999), "not-withdrawable"),
        (replace(GOOD, held_back=1), "not-withdrawable"),
    ],
)
def test_each_thing_speaks_against_it_on_its_own(standing: Standing, code: str) -> None:
    refusal = only(standing)

    assert refusal.code == code
    assert refusal.remedy != StateRefusal.remedy, "it says what to do"


def test_everything_is_said_at_once_and_the_gravest_first() -> None:
    worst = Standing(active=False, frozen=True, available=0, held_back=0, owed=5, account=None)

    assert codes(worst) == [
        "wallet-deactivated",
        "wallet-frozen",
        "receivable-open",
        "no-connected-account",
        "not-withdrawable",
    ]


@given(standing=standings, amount=st.integers(1, 10_000))
def test_a_withdrawal_may_begin_if_all_is_well_and_only_then(standing: Standing, amount: int) -> None:
    found = codes(standing, Money(amount, "usd"))

    through = standing.account
    well = (
        standing.active
        and not standing.frozen
        and standing.owed == 0
        and through is not None
        and through.transfers_active
        and through.payouts_enabled
        and through.manual_payouts
        and not through.deauthorized
        and "usd" in through.currencies
        and amount <= standing.available - standing.held_back
    )
    assert (found == []) is well
    assert found == [code for code in GRAVEST_FIRST if code in found], "each once, and in one order"
    assert len({"no-connected-account", "account-not-able", "currency-not-held"} & set(found)) <= 1
    assert 0 <= standing.withdrawable <= standing.available


# ── What the refusals tell ──


def test_what_was_earned_too_lately_is_told() -> None:
    assert only(replace(GOOD, held_back=2_000)).detail == (
        "60.00 USD can be withdrawn now, not 80.00 USD. 20.00 USD was earned too lately."
    )
    assert only(replace(GOOD, available=6_000)).detail == "60.00 USD can be withdrawn now, not 80.00 USD."
    assert refusals(replace(GOOD, held_back=2_000), Money(6_000, "usd")) == []


def test_more_held_back_than_there_is_leaves_nothing_and_no_less() -> None:
    spent = replace(GOOD, available=1_000, held_back=5_000)

    assert spent.withdrawable == 0
    assert only(spent, Money(1, "usd")).detail.startswith("0.00 USD can be withdrawn now, not 0.01 USD.")


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"transfers_active": False}, "The account at Stripe does not receive transfers."),
        (
            {"payouts_enabled": False, "due": ("external_account", "tos_acceptance.date")},
            "The account at Stripe does not pay out. Stripe asks for: external_account, tos_acceptance.date.",
        ),
        (
            {"transfers_active": False, "payouts_enabled": False, "manual_payouts": False},
            "The account at Stripe does not receive transfers or pay out or wait for our word before it pays out.",
        ),
    ],
    ids=["transfers", "payouts, and what is due", "everything"],
)
def test_an_account_that_is_not_able_says_what_it_lacks(changed: dict[str, Any], detail: str) -> None:
    assert only(account(**changed)).detail == detail


def test_a_currency_without_a_bank_is_told_with_those_that_have_one() -> None:
    assert only(GOOD, Money(8_000, "gbp")).detail == "The account at Stripe has no bank for gbp, only for eur, usd."
    assert only(account(currencies=())).detail == "The account at Stripe has no bank for usd."
