"""Offers: who may do what and when, what speaks against one, and splits that add up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.errors import NotTheParty, SplitMismatch
from domain.fees import BASIS_POINTS, FeeSchedule
from domain.money import Money, currency
from domain.offers import (
    LONGEST_WAIT,
    RULES,
    Escrow,
    OfferTerms,
    OfferVerb,
    OfferWish,
    Party,
    against_holding,
    refusal,
    split,
)
from domain.operations import OperationKind
from domain.statuses import LIFECYCLES, OfferStatus, is_terminal
from domain.withdrawals import Standing

MAY = {
    ("accept", "contractor"): "held",
    ("decline", "contractor"): "held",
    ("cancel", "customer"): "held accepted delivered",
    ("cancel", "operator"): "held accepted delivered",
    ("agree_cancel", "contractor"): "accepted delivered",
    ("deliver", "contractor"): "accepted",
    ("complete", "customer"): "accepted delivered",
    ("release", "customer"): "accepted delivered",
    ("contest", "customer"): "accepted delivered",
    ("contest", "contractor"): "accepted delivered",
    ("resolve", "operator"): "contested",
    ("expire", "clock"): "held",
    ("auto_complete", "clock"): "delivered",
}
"""All that is allowed, written down a second time: whatever is not here is refused."""

LEADS_TO = {
    "accept": "accepted",
    "decline": "declined",
    "cancel": "canceled",
    "agree_cancel": "canceled",
    "deliver": "delivered",
    "complete": "completed",
    "release": "completed",
    "contest": "contested",
    "resolve": "resolved",
    "expire": "expired",
    "auto_complete": "completed",
}
"""Where each verb leads, if it leads anywhere."""


def standing(**more: Any) -> Standing:
    """A wallet with 105.00 that may give them."""
    fine = {"active": True, "frozen": False, "available": 10_500, "held_back": 0, "owed": 0, "account": None}
    return Standing(**fine | more)


# ── Who may do what, and when ──


@pytest.mark.parametrize("verb", OfferVerb)
@pytest.mark.parametrize("party", Party)
def test_each_verb_is_its_parties_in_its_statuses(verb: OfferVerb, party: Party) -> None:
    allowed = MAY.get((verb.value, party.value))
    for status in OfferStatus:
        if allowed is None:
            with pytest.raises(NotTheParty, match=f"^Only the .* can {verb.replace('_', '-')} an offer"):
                refusal(verb, party, status)
        elif status in allowed.split():
            assert refusal(verb, party, status) is None
        else:
            against = refusal(verb, party, status)
            assert against is not None
            assert against.code == "wrong-state"
            assert against.detail.startswith(f"The offer is {status}; to {verb.replace('_', '-')} it, ")


def test_a_refusal_says_who_or_when() -> None:
    with pytest.raises(NotTheParty) as refused:
        refusal(OfferVerb.CONTEST, Party.CLOCK, OfferStatus.ACCEPTED)
    assert refused.value.detail == "Only the contractor or the customer can contest an offer."
    against = refusal(OfferVerb.AGREE_CANCEL, Party.CONTRACTOR, OfferStatus.HELD)
    assert against is not None
    assert against.detail == "The offer is held; to agree-cancel it, it must be accepted or delivered."


def test_every_verb_leads_where_the_lifecycle_goes_and_every_move_has_a_verb() -> None:
    """But for what the saga itself does: hold, or refuse."""
    life = LIFECYCLES[OperationKind.OFFER]
    by_verbs = {(status, OfferStatus(LEADS_TO[verb])) for verb, rule in RULES.items() for status in rule.statuses}
    moves = {(earlier, later) for earlier, laters in life.next.items() for later in laters}

    assert set(RULES) == set(OfferVerb)
    assert by_verbs == {move for move in moves if move[0] is not OfferStatus.REQUESTED}
    assert not any(is_terminal(status) for rule in RULES.values() for status in rule.statuses), "what is over is over"


# ── What is asked ──


@pytest.mark.parametrize(
    "wrong",
    [
        {"party": "operator"},
        {"party": "operator", "actor": " "},
        {"party": "somebody"},
        {"party": "customer", "milestone": 0},
        {"party": "customer", "milestone": -1},
        {"party": "operator", "actor": "olga", "to_contractor": -1, "to_customer": 2},
        {"party": "operator", "actor": "olga", "to_contractor": 2, "to_customer": -1},
        {"party": "customer", "amount": 5},
        {},
    ],
)
def test_a_wish_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    assert OfferWish.model_validate({"party": "operator", "actor": "olga", "to_contractor": 0, "to_customer": 0})
    with pytest.raises(ValidationError):
        OfferWish.model_validate(wrong)


# ── What every new offer is made under ──


def test_an_offer_waits_for_days_and_costs_five_and_twenty_percent_unless_somebody_says_otherwise() -> None:
    terms = OfferTerms()

    assert (terms.accept_within, terms.deliver_within, terms.complete_within) == (604_800, 1_209_600, 604_800)
    assert (terms.platform_fee.rate("usd"), terms.service_fee.rate("usd")) == (500, 2_000)
    assert not terms.platform_fee_returned


@pytest.mark.parametrize("wait", ["accept_within", "deliver_within", "complete_within"])
@pytest.mark.parametrize("seconds", [0, -1, LONGEST_WAIT + 1, float("inf"), float("nan")])
def test_nobody_waits_for_ever_or_not_at_all(wait: str, seconds: float) -> None:
    assert getattr(OfferTerms.model_validate({wait: LONGEST_WAIT}), wait) == 90 * 86_400
    with pytest.raises(ValidationError):
        OfferTerms.model_validate({wait: seconds})


def test_terms_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ValidationError):
        OfferTerms.model_validate({"grace": 5})


# ── Whether one may begin ──


def test_what_speaks_against_an_offer_gravest_first() -> None:
    whole = Money(10_500, "usd")
    wrong = standing(active=False, frozen=True, owed=1, available=10_499)

    assert against_holding(standing(), whole, taker_active=True) == []
    assert [one.code for one in against_holding(wrong, whole, taker_active=False)] == [
        "wallet-deactivated",
        "wallet-deactivated",
        "wallet-frozen",
        "receivable-open",
        "not-withdrawable",
    ]


@pytest.mark.parametrize(
    ("wrong", "taker_active", "code", "says"),
    [
        ({"active": False}, True, "wallet-deactivated", "The customer's wallet gives no money."),
        ({}, False, "wallet-deactivated", "The contractor's wallet takes no money."),
        ({"frozen": True}, True, "wallet-frozen", "Nothing leaves the customer's wallet."),
        ({"owed": 1}, True, "receivable-open", "The customer owes the platform money."),
        (
            {"available": 10_499},
            True,
            "not-withdrawable",
            "The wallet holds 104.99 USD; the offer and the platform's fee are 105.00 USD.",
        ),
    ],
)
def test_each_alone_is_enough(wrong: dict[str, Any], taker_active: bool, code: str, says: str) -> None:
    [against] = against_holding(standing(**wrong), Money(10_500, "usd"), taker_active=taker_active)
    assert (against.code, against.detail) == (code, says)


def test_what_was_earned_lately_can_be_spent_on_an_offer() -> None:
    """Only withdrawals wait for it."""
    assert against_holding(standing(held_back=10_500), Money(10_500, "usd"), taker_active=True) == []


# ── Splits ──


@st.composite
def offers(draw: st.DrawFn) -> tuple[Money, list[Money], FeeSchedule]:
    """An offer's amount, the parts it is released in, and the rate of its service fee."""
    code = draw(st.sampled_from(["jpy", "usd", "kwd"]))
    step = currency(code).increment
    parts = draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=10))
    rate = draw(st.one_of(st.sampled_from([0, 1, 2_000, BASIS_POINTS]), st.integers(0, BASIS_POINTS)))
    schedule = FeeSchedule(default=rate)
    return Money(sum(parts) * step, code), [Money(part * step, code) for part in parts], schedule


def test_what_is_left_is_neither_released_nor_returned() -> None:
    assert Escrow(Money(10_000, "usd"), released=4_000, service_fee=800, returned=1_000).left == Money(5_000, "usd")


@given(offers())
def test_released_in_parts_an_offer_costs_what_it_costs_at_once(
    offer: tuple[Money, list[Money], FeeSchedule],
) -> None:
    amount, parts, fees = offer
    at_once, _ = Escrow(amount).release(amount, fees)
    escrow, earned = Escrow(amount), Money(0, amount.currency)

    for part in parts:
        fee, share = escrow.release(part, fees)
        assert fee + share == part
        assert fee.check_increment().amount >= 0
        assert share.check_increment().amount >= 0
        assert escrow.left.amount >= part.amount
        earned += share
        escrow = Escrow(amount, released=escrow.released + part.amount, service_fee=escrow.service_fee + fee.amount)

    assert escrow.left.amount == 0
    assert escrow.service_fee == at_once.amount == fees.fee(amount).amount
    assert earned + at_once == amount


@given(offer=offers(), share=st.floats(0, 1))
def test_a_contested_rest_is_split_to_the_last_unit(
    offer: tuple[Money, list[Money], FeeSchedule], share: float
) -> None:
    """The fee is that of all that was ever released, and none is taken from what goes back."""
    amount, parts, fees = offer
    first = parts[0] if len(parts) > 1 else Money(0, amount.currency)
    booked = fees.fee(first).amount
    escrow = Escrow(amount, released=first.amount, service_fee=booked)
    step = currency(amount.currency).increment
    theirs = int(escrow.left.amount // step * share) * step

    to_contractor, to_customer = split(escrow.left, theirs, escrow.left.amount - theirs)
    fee, earned = escrow.release(to_contractor, fees)

    assert to_contractor + to_customer == escrow.left
    assert min(to_customer.amount, earned.amount, fee.amount) >= 0
    assert booked + fee.amount == fees.fee(first + to_contractor).amount
    assert first.amount - booked + earned.amount + booked + fee.amount + to_customer.amount == amount.amount


@given(
    left=st.integers(1, 10**6),
    code=st.sampled_from(["jpy", "usd", "kwd"]),
    one=st.integers(-(10**6), 10**6),
    off_by=st.integers(-(10**6), 10**6).filter(bool),
)
def test_shares_that_are_not_all_of_it_are_refused(left: int, code: str, one: int, off_by: int) -> None:
    step = currency(code).increment
    rest = Money(left * step, code)

    with pytest.raises(SplitMismatch):
        split(rest, one * step, rest.amount - one * step + off_by)
    for shares in ((None, rest.amount), (rest.amount, None), (None, None)):
        with pytest.raises(SplitMismatch):
            split(rest, *shares)


@pytest.mark.parametrize(
    ("code", "to_contractor", "to_customer", "says"),
    [
        ("usd", -1, 10_001, "of which 0 is the least"),
        ("usd", 10_001, -1, "of which 0 is the least"),
        ("kwd", -10, 10_010, "of which 0 is the least"),
        ("kwd", 5_005, 4_995, "a multiple of 10"),
        ("kwd", 9_999, 1, "a multiple of 10"),
        ("usd", 10_000, 1, "add up to 10000 minor units, which are 100.00 USD"),
    ],
)
def test_shares_that_cannot_be_paid_are_refused(code: str, to_contractor: int, to_customer: int, says: str) -> None:
    left = Money(10_000, code)
    assert split(left, 10_000, 0) == (left, Money(0, code))
    assert split(left, 0, 10_000) == (Money(0, code), left)
    with pytest.raises(SplitMismatch, match=says):
        split(left, to_contractor, to_customer)
