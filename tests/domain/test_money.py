"""Money: what an amount may be, how many decimals a currency has, and splits that always add up."""

import itertools
import operator
import string
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.errors import MoneyError
from domain.money import LARGEST, CurrencyCode, Money, currency, split

ISO_ZERO_DECIMALS = frozenset("bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf".split())
ISO_THREE_DECIMALS = frozenset("bhd iqd jod kwd lyd omr tnd".split())
"""ISO 4217:2015, table A.1. Every other currency that Stripe settles has two."""

STRIPE_DIFFERS = {"isk": 2, "ugx": 2, "mga": 0}
"""Where Stripe counts other decimals than ISO 4217 (https://docs.stripe.com/currencies#special-cases)."""

STRIPE_INCREMENTS = {"huf": 100, "isk": 100, "twd": 100, "ugx": 100} | dict.fromkeys("bhd jod kwd omr tnd".split(), 10)
"""Whole units only, or a last digit that must be zero; the others go in steps of one minor unit."""


def known_codes() -> list[str]:
    """Every code of three letters that has rules."""
    found = []
    for letters in itertools.product(string.ascii_lowercase, repeat=3):
        code = "".join(letters)
        try:
            currency(code)
        except MoneyError:
            continue
        found.append(code)
    return found


def payable(code: str) -> st.SearchStrategy[Money]:
    """Amounts of a currency that Stripe can move."""
    step = currency(code).increment
    return st.integers(0, 10**12).map(lambda units: Money(units * step, code))


currencies = st.sampled_from(["usd", "jpy", "kwd", "huf"])
payables = currencies.flatmap(payable)
weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any)


class Cents(IntEnum):
    """Looks like an int, and is not one."""

    TEN = 10
    """Ten."""


# ── What an amount may be ──


@pytest.mark.parametrize(
    "amount", [True, False, 1.0, 0.1, float("nan"), float("inf"), "10", None, b"1", Cents.TEN, 10j, [1]]
)
def test_an_amount_is_a_whole_number_and_nothing_else(amount: Any) -> None:
    with pytest.raises(MoneyError, match="whole number of minor units"):
        Money(amount, "usd")


@pytest.mark.parametrize("amount", [2**63, -(2**63), 10**400])
def test_an_amount_fits_a_ledger_column(amount: int) -> None:
    assert Money(LARGEST, "usd").amount == 2**63 - 1
    assert Money(-LARGEST, "usd").amount == 1 - 2**63
    with pytest.raises(MoneyError, match="larger than the ledger"):
        Money(amount, "usd")


def test_a_sum_that_no_ledger_column_holds_is_refused_too() -> None:
    with pytest.raises(MoneyError, match="larger than the ledger"):
        Money(LARGEST, "usd") + Money(1, "usd")
    with pytest.raises(MoneyError, match="larger than the ledger"):
        -Money(LARGEST, "usd") - Money(1, "usd")


@pytest.mark.parametrize("code", ["USD", "Usd", "us", "usdd", "", " usd", "usd\n", "xxx", "btc", "xau", "dollar", None])
def test_a_currency_is_one_that_stripe_settles_in_lower_case(code: Any) -> None:
    with pytest.raises(MoneyError, match="not a currency"):
        Money(100, code)


def test_a_models_currency_is_checked_as_money_is() -> None:
    field = TypeAdapter(CurrencyCode)

    assert field.validate_python("kwd") == "kwd"
    with pytest.raises(ValidationError, match="not a currency"):
        field.validate_python("KWD")


# ── Decimals and increments ──


def test_decimals_are_iso_4217s_but_where_stripe_says_otherwise() -> None:
    for code in known_codes():
        iso = 0 if code in ISO_ZERO_DECIMALS else 3 if code in ISO_THREE_DECIMALS else 2
        assert currency(code).exponent == STRIPE_DIFFERS.get(code, iso), code


def test_increments_are_stripes() -> None:
    for code in known_codes():
        assert currency(code).increment == STRIPE_INCREMENTS.get(code, 1), code


def test_the_currencies_of_stripes_list_are_known() -> None:
    codes = known_codes()

    assert len(codes) == len(set(codes)) > 130
    assert {code for code in codes if currency(code).exponent == 0} == (ISO_ZERO_DECIMALS - {"isk", "ugx", "uyi"}) | {
        "mga"
    }
    assert {code for code in codes if currency(code).exponent == 3} == ISO_THREE_DECIMALS - {"iqd", "lyd"}
    assert set("usd eur gbp jpy kwd chf sek huf isk twd ugx mga clp krw bhd inr brl mxn pln".split()) <= set(codes)
    # Not moved by Stripe: obsolete, a fund code, precious metal, and two of ISO's three-decimal currencies.
    assert not set("dem hrk usn xau xts iqd lyd".split()) & set(codes)


@pytest.mark.parametrize(
    ("amount", "code", "fits"),
    [
        (1, "usd", True),
        (1, "jpy", True),
        (1_230, "kwd", True),
        (1_234, "kwd", False),
        (10_000, "huf", True),
        (10_050, "huf", False),
        (500, "isk", True),
        (501, "isk", False),
        (0, "kwd", True),
        (-15, "kwd", False),
    ],
)
def test_stripe_can_move_only_whole_increments(amount: int, code: str, fits: bool) -> None:
    money = Money(amount, code)

    if fits:
        assert money.check_increment() is money
    else:
        with pytest.raises(MoneyError, match="multiple of"):
            money.check_increment()


# ── As text ──


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        (20_000, "usd", "200.00 USD"),
        (5, "usd", "0.05 USD"),
        (0, "usd", "0.00 USD"),
        (-5, "usd", "-0.05 USD"),
        (-12_345, "eur", "-123.45 EUR"),
        (500, "jpy", "500 JPY"),
        (0, "jpy", "0 JPY"),
        (-7, "jpy", "-7 JPY"),
        (1_230, "kwd", "1.230 KWD"),
        (10, "kwd", "0.010 KWD"),
        (500, "ugx", "5.00 UGX"),
        (LARGEST, "usd", "92233720368547758.07 USD"),
    ],
)
def test_text_shows_the_currencys_decimals_exactly(amount: int, code: str, text: str) -> None:
    assert str(Money(amount, code)) == text


# ── Arithmetic ──


def test_arithmetic_is_that_of_whole_numbers() -> None:
    assert Money(105, "usd") - Money(5, "usd") == Money(100, "usd")
    assert Money(10, "kwd") + -Money(30, "kwd") == Money(-20, "kwd")
    assert Money(1, "usd") < Money(2, "usd") <= Money(2, "usd") >= Money(2, "usd") > Money(-3, "usd")
    assert max(Money(1, "usd"), Money(3, "usd")) == Money(3, "usd")


@pytest.mark.parametrize("combine", [operator.add, operator.sub, operator.lt, operator.le, operator.gt, operator.ge])
def test_currencies_never_meet(combine: Callable[[Money, Money], object]) -> None:
    with pytest.raises(MoneyError, match="Cannot combine usd with eur"):
        combine(Money(1, "usd"), Money(1, "eur"))


def test_the_same_number_of_another_currency_is_other_money() -> None:
    assert Money(1, "usd") != Money(1, "eur")
    assert len({Money(1, "usd"), Money(1, "eur"), Money(1, "usd")}) == 2


@given(a=st.integers(-(10**15), 10**15), b=st.integers(-(10**15), 10**15))
def test_what_is_added_can_be_taken_away(a: int, b: int) -> None:
    assert Money(a, "usd") + Money(b, "usd") - Money(b, "usd") == Money(a, "usd")
    assert Money(a, "usd") + -Money(a, "usd") == Money(0, "usd")


# ── Splits ──


@given(total=payables, shares=weights)
def test_a_split_adds_up_in_payable_parts_within_one_increment_of_their_share(total: Money, shares: list[int]) -> None:
    step = currency(total.currency).increment

    parts = split(total, shares)

    assert len(parts) == len(shares)
    assert sum(part.amount for part in parts) == total.amount
    for part, share in zip(parts, shares, strict=True):
        assert part.check_increment().amount >= 0
        # |part - total × share / all| < step, in whole numbers.
        assert abs(part.amount * sum(shares) - total.amount * share) < step * sum(shares)


@given(code=currencies, amount=st.integers(0, 10**15), shares=weights)
def test_an_amount_that_no_increment_expresses_is_split_to_the_last_unit_too(
    code: str, amount: int, shares: list[int]
) -> None:
    parts = split(Money(amount, code), shares)

    assert sum(part.amount for part in parts) == amount
    assert all(part.amount >= 0 for part in parts)
    assert sum(part.amount % currency(code).increment > 0 for part in parts) <= 1


@given(total=payables, shares=weights)
def test_who_has_no_share_gets_nothing(total: Money, shares: list[int]) -> None:
    for part, share in zip(split(total, [0, *shares]), [0, *shares], strict=True):
        assert share or part.amount == 0


@given(total=payables, shares=weights)
def test_a_larger_share_never_gets_less(total: Money, shares: list[int]) -> None:
    parts = split(total, shares)

    by_share = sorted(zip(shares, [part.amount for part in parts], strict=True))
    for (smaller, less), (larger, more) in itertools.pairwise(by_share):
        assert smaller == larger or less <= more


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (Money(100, "usd"), [1, 1, 1], [34, 33, 33]),
        (Money(100, "usd"), [2, 1], [67, 33]),
        (Money(1, "usd"), [1, 1], [1, 0]),
        (Money(10, "jpy"), [1, 2, 3], [2, 3, 5]),
        (Money(100, "kwd"), [1, 1, 1], [40, 30, 30]),
        (Money(1_000, "huf"), [1, 2], [300, 700]),
        (Money(103, "kwd"), [0, 1, 1], [0, 53, 50]),
        (Money(0, "usd"), [3, 4], [0, 0]),
        (Money(LARGEST, "usd"), [1], [LARGEST]),
    ],
)
def test_the_rest_goes_to_the_parts_that_lost_most(total: Money, shares: list[int], parts: list[int]) -> None:
    assert [part.amount for part in split(total, shares)] == parts


@pytest.mark.parametrize(
    ("amount", "shares"), [(-1, [1]), (100, []), (100, [0]), (100, [0, 0]), (100, [1, -1]), (100, [-1])]
)
def test_a_split_that_means_nothing_is_refused(amount: int, shares: list[int]) -> None:
    with pytest.raises(MoneyError, match="A split needs"):
        split(Money(amount, "usd"), shares)
