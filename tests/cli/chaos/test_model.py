"""The judge's arithmetic: what everybody must hold, by how everything ended. All figures here are made by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.chaos.evidence import Operations
from cli.chaos.model import Holding, OfferShares, expected, share, shares_of
from tests.cli.chaos.planting import evidence

pytestmark = pytest.mark.long


def offer(status: str, *verbs: str, amount: int = 10_000, parts: tuple[tuple[int, bool], ...] = ()) -> dict[str, Any]:
    """An offer of 100.00, to which this was done."""
    return {
        "id": "off",
        "user_id": "ann",
        "contractor_id": "cat",
        "currency": "usd",
        "amount": amount,
        "status": status,
        "milestones": [{"amount": part, "released": released} for part, released in parts],
        "actions": [{"verb": verb, "party": "customer", "details": {}} for verb in verbs],
    }


def test_the_example_of_the_documentation() -> None:
    """Deposited 200.00, offered 100.00, completed, withdrawn 80.00."""
    common = {"currency": "usd"}
    books = expected(
        Operations(
            deposits={"d": {**common, "user_id": "ann", "amount": 20_000, "status": "succeeded"}},
            offers={"o": offer("completed", "accept", "complete")},
            withdrawals={"w": {**common, "user_id": "cat", "amount": 8_000, "status": "paid"}},
        )
    )

    assert books.wallets["ann", "usd"] == Holding(available=9_500, spent=10_500)
    assert books.wallets["cat", "usd"] == Holding(available=0, earned=8_000, withdrawn=8_000)
    assert (books.platform_fees["usd"], books.service_fees["usd"]) == (500, 2_000)
    assert (books.paid_in["usd"], books.paid_out["usd"]) == (20_000, 8_000)


@pytest.mark.parametrize(
    ("made", "shares"),
    [
        (offer("requested"), None),
        (offer("failed"), None),
        (offer("held"), OfferShares(0, 0, 0, 0, 0, escrow=10_500)),
        (offer("accepted", "accept"), OfferShares(0, 0, 0, 500, 0, escrow=10_000)),
        (offer("delivered", "accept", parts=((3_000, True),)), OfferShares(3_000, 600, 0, 500, 0, escrow=7_000)),
        (offer("declined", "decline"), OfferShares(0, 0, 10_000, 0, 500, escrow=0)),
        (offer("expired", "expire"), OfferShares(0, 0, 10_000, 0, 500, escrow=0)),
        (offer("canceled", "cancel"), OfferShares(0, 0, 10_000, 0, 500, escrow=0)),
        (offer("canceled", "accept", "agree_cancel"), OfferShares(0, 0, 10_000, 500, 0, escrow=0)),
        (
            offer("canceled", "accept", "agree_cancel", parts=((2_500, True), (2_500, False))),
            OfferShares(2_500, 500, 7_500, 500, 0, escrow=0),
        ),
        (offer("completed", "accept", parts=((2_500, True),)), OfferShares(10_000, 2_000, 0, 500, 0, escrow=0)),
    ],
    ids=lambda each: each["status"] if isinstance(each, dict) else "",
)
def test_where_an_offers_money_is(made: dict[str, Any], shares: OfferShares | None) -> None:
    assert shares_of(made) == shares


def test_a_split_is_of_what_is_left() -> None:
    made = offer("resolved", "accept", "contest", parts=((1_000, True), (500, False)))
    made["actions"].append(
        {"verb": "resolve", "party": "operator", "details": {"to_contractor": 6_003, "to_customer": 2_997}}
    )

    # 20 % of 70.03 is 14.006, so 14.01.
    assert shares_of(made) == OfferShares(7_003, 1_401, 2_997, 500, 0, escrow=0)


@pytest.mark.parametrize(
    ("amount", "fee"), [(0, 0), (2, 0), (3, 1), (7, 1), (8, 2), (1_013, 203), (1_012, 202), (10_000, 2_000)]
)
def test_a_share_is_rounded_half_up(amount: int, fee: int) -> None:
    assert share(amount, 2_000) == fee


def test_half_a_minor_unit_is_rounded_up() -> None:
    assert share(10, 500) == 1


@pytest.mark.parametrize(
    ("status", "holding"),
    [
        ("requested", Holding()),
        ("reserved", Holding(available=-700, in_transit=700)),
        ("reversing", Holding(available=-700, in_transit=700)),
        ("paid", Holding(available=-700, withdrawn=700)),
        ("reversed", Holding()),
        ("canceled", Holding()),
        ("failed", Holding()),
    ],
)
def test_where_a_withdrawals_money_is(status: str, holding: Holding) -> None:
    withdrawal = {"user_id": "cat", "currency": "usd", "amount": 700, "status": status}

    assert expected(Operations(withdrawals={"w": withdrawal})).wallets["cat", "usd"] == holding


def test_wallets_of_two_currencies_are_two() -> None:
    paid = {"user_id": "ann", "amount": 700, "status": "succeeded"}
    books = expected(Operations(deposits={"a": {**paid, "currency": "usd"}, "b": {**paid, "currency": "eur"}}))

    assert books.wallets["ann", "usd"].available == books.wallets["ann", "eur"].available == 700


@given(
    amount=st.integers(1_000, 10_000_000),
    ending=st.sampled_from(
        [("held",), ("accepted", "accept"), ("declined",), ("canceled", "accept"), ("completed", "accept")]
    ),
    cut=st.integers(1, 99),
)
def test_nothing_is_lost_or_made(amount: int, ending: tuple[str, ...], cut: int) -> None:
    """Whatever becomes of an offer, all of it is somewhere."""
    released = ending[0] in ("accepted", "canceled", "completed") and "accept" in ending
    made = offer(*ending, amount=amount, parts=((amount * cut // 100 or 1, released),))

    books = expected(Operations(offers={"o": made}))

    everybody = sum(each.available + each.escrow + each.in_transit for each in books.wallets.values())
    assert everybody + books.platform_fees["usd"] + books.service_fees["usd"] == 0


def test_the_planted_run_adds_up() -> None:
    """What the judge's tests begin with was computed by hand, and by the model alike."""
    books, planted = expected(evidence().operations), evidence()

    for wallet in planted.wallets:
        assert books.wallets[wallet["user_id"], wallet["currency"]].available == wallet["available"]
