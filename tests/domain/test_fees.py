"""Fees: rates by currency, rounding, and milestones that cost what their sum costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.errors import MoneyError
from domain.fees import BASIS_POINTS, PLATFORM_FEE, SERVICE_FEE, FeeSchedule
from domain.money import Money, currency

schedules = st.builds(FeeSchedule, default=st.integers(0, BASIS_POINTS))


@st.composite
def milestones(draw: st.DrawFn) -> list[Money]:
    """Releases of one offer, each payable."""
    code = draw(st.sampled_from(["usd", "jpy", "kwd"]))
    units = draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=10))
    return [Money(unit * currency(code).increment, code) for unit in units]


def test_the_platform_takes_five_percent_and_the_service_twenty() -> None:
    assert PLATFORM_FEE.fee(Money(10_000, "usd")) == Money(500, "usd")
    assert SERVICE_FEE.fee(Money(10_000, "usd")) == Money(2_000, "usd")


def test_a_currency_can_have_its_own_rate() -> None:
    schedule = FeeSchedule(default=500, by_currency={"jpy": 300, "kwd": 0})

    assert schedule.fee(Money(10_000, "jpy")) == Money(300, "jpy")
    assert schedule.fee(Money(10_000, "kwd")) == Money(0, "kwd")
    assert schedule.fee(Money(10_000, "usd")) == Money(500, "usd")


@pytest.mark.parametrize(
    ("rate", "amount", "fee"),
    [
        (500, Money(10, "usd"), 1),  # 0.5 of a cent: half goes up
        (500, Money(9, "usd"), 0),
        (500, Money(1_009, "usd"), 50),
        (500, Money(1_010, "usd"), 51),
        (2_000, Money(2, "jpy"), 0),
        (2_000, Money(3, "jpy"), 1),
        (500, Money(1_000, "kwd"), 50),
        (500, Money(900, "kwd"), 50),  # 45 fils: half of its step of 10
        (500, Money(890, "kwd"), 40),
        (500, Money(1_000, "huf"), 100),  # 50 fillér: half of its step of 100
        (10_000, Money(777, "usd"), 777),
        (10_000, Money(5, "kwd"), 5),  # a whole step of 10 would be more than there is
        (9_999, Money(5, "kwd"), 0),
        (0, Money(777, "usd"), 0),
        (500, Money(0, "usd"), 0),
    ],
)
def test_a_fee_is_rounded_half_up_to_what_can_be_paid(rate: int, amount: Money, fee: int) -> None:
    assert FeeSchedule(default=rate).fee(amount) == Money(fee, amount.currency)


@given(schedule=schedules, code=st.sampled_from(["usd", "jpy", "kwd", "huf"]), amount=st.integers(0, 10**15))
def test_a_fee_is_never_more_than_what_it_is_taken_from(schedule: FeeSchedule, code: str, amount: int) -> None:
    assert 0 <= schedule.fee(Money(amount, code)).amount <= amount


@given(schedule=schedules, releases=milestones())
def test_milestones_cost_what_one_release_of_their_sum_costs(schedule: FeeSchedule, releases: list[Money]) -> None:
    nothing = Money(0, releases[0].currency)

    released, booked = nothing, nothing
    for release in releases:
        released += release
        fee = schedule.cumulative_fee(released, booked)
        assert nothing <= fee.check_increment() <= release, "what is left of a milestone is the contractor's"
        booked += fee

    assert booked == schedule.fee(sum(releases[1:], start=releases[0]))


def test_a_fee_booked_in_another_currency_is_refused() -> None:
    with pytest.raises(MoneyError, match="Cannot combine"):
        SERVICE_FEE.cumulative_fee(Money(100, "usd"), Money(10, "eur"))


def test_nothing_is_taken_from_less_than_nothing() -> None:
    with pytest.raises(MoneyError, match="at least 0"):
        PLATFORM_FEE.fee(Money(-100, "usd"))


@pytest.mark.parametrize(
    "rates",
    [
        {"default": -1},
        {"default": 10_001},
        {"default": 500, "by_currency": {"usd": -5}},
        {"default": 500, "by_currency": {"usd": 10_001}},
        {"default": 500, "by_currency": {"USD": 300}},
        {"default": 500, "by_currency": {"xxx": 300}},
        {"default": 500, "flat": 30},
        {"default": 0.5},
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused(rates: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FeeSchedule.model_validate(rates)
