"""An Express account as Stripe writes it, read for what a withdrawal cares about."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.connected_accounts import ConnectedAccount
from domain.statuses import ConnectedAccountStatus

json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=3)


def account(**more: Any) -> dict[str, Any]:
    """As Stripe's API answers once all was told and found in order."""
    return {
        "id": "acct_1",
        "object": "account",
        "details_submitted": True,
        "charges_enabled": False,
        "payouts_enabled": True,
        "capabilities": {"transfers": "active", "card_payments": "inactive"},
        "external_accounts": {
            "object": "list",
            "data": [
                {"id": "ba_1", "object": "bank_account", "currency": "usd", "last4": "6789"},
                {"id": "ba_2", "object": "bank_account", "currency": "eur", "last4": "3000"},
                {"id": "card_1", "object": "card", "currency": "usd", "last4": "4242"},
            ],
        },
        "requirements": {
            "past_due": [],
            "currently_due": [],
            "eventually_due": ["individual.id_number"],
            "current_deadline": None,
            "disabled_reason": None,
        },
        "settings": {"payouts": {"schedule": {"interval": "manual"}, "debit_negative_balances": True}},
        "email": "bob@example.com",
    } | more


def read(**more: Any) -> ConnectedAccount:
    """As it is read."""
    return ConnectedAccount.from_stripe(account(**more))


def test_an_account_is_read_for_what_it_may_do() -> None:
    assert read() == ConnectedAccount(
        id="acct_1",
        details_submitted=True,
        transfers_active=True,
        payouts_enabled=True,
        manual_payouts=True,
        currencies=("eur", "usd"),
    )


def test_who_its_owner_is_is_not_kept() -> None:
    told = read(individual={"first_name": "Bob"}, business_profile={"name": "Bob's"}).model_dump_json()

    assert "bob" not in told.lower()
    assert "6789" not in told


def test_what_is_due_is_told_once_and_past_due_first() -> None:
    asked = {
        "past_due": ["external_account"],
        "currently_due": ["individual.dob.day", "external_account"],
        "eventually_due": ["individual.id_number"],
        "current_deadline": 1_700_000_000,
        "disabled_reason": "requirements.past_due",
    }

    found = read(requirements=asked, payouts_enabled=False)

    assert found.due == ("external_account", "individual.dob.day")
    assert found.due_by == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert found.disabled_reason == "requirements.past_due"
    assert not found.able


# ── What Stripe leaves out counts as not there ──

MISSING = ConnectedAccount(id="acct_1")


@pytest.mark.parametrize("nothing", [None, {}], ids=["null", "empty"])
@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("capabilities", {"transfers_active"}),
        ("external_accounts", {"currencies"}),
        ("settings", {"manual_payouts"}),
        ("requirements", set()),
    ],
)
def test_a_part_that_is_not_told_is_not_there(part: str, lost: set[str], nothing: object) -> None:
    found = read(**{part: nothing})

    assert {name for name in ConnectedAccount.model_fields if getattr(found, name) != getattr(read(), name)} == lost


@pytest.mark.parametrize(
    "partial",
    [
        {"id": "acct_1"},
        {"id": "acct_1", "object": "account", "details_submitted": None, "payouts_enabled": None},
        {"id": "acct_1", "settings": {"payouts": None}},
        {"id": "acct_1", "settings": {"payouts": {"schedule": None}}},
        {"id": "acct_1", "settings": {"payouts": {"schedule": {"interval": "daily"}}}},
        {"id": "acct_1", "capabilities": {"transfers": "pending"}},
        {"id": "acct_1", "capabilities": {"card_payments": "active"}},
        {"id": "acct_1", "external_accounts": {"data": None}},
        {"id": "acct_1", "external_accounts": {"data": [{"id": "ba_1"}, {"id": "ba_2", "currency": None}]}},
        {"id": "acct_1", "requirements": {"past_due": None, "currently_due": None, "current_deadline": None}},
    ],
    ids=str,
)
def test_an_account_of_which_little_is_told_can_do_nothing(partial: dict[str, Any]) -> None:
    found = ConnectedAccount.from_stripe(partial)

    assert found == MISSING
    assert not found.able


parts = st.fixed_dictionaries(
    {"id": st.just("acct_1")},
    optional={
        "details_submitted": st.none() | st.booleans(),
        "payouts_enabled": st.none() | st.booleans(),
        "capabilities": st.none() | st.dictionaries(st.sampled_from(["transfers", "card_payments"]), json_values),
        "external_accounts": st.none()
        | st.fixed_dictionaries({}, optional={"data": st.none() | st.just([{"id": "ba_1", "currency": "usd"}])}),
        "settings": st.none()
        | st.fixed_dictionaries({}, optional={"payouts": st.none() | st.just({"schedule": {"interval": "manual"}})}),
    },
)


@given(parts)
def test_no_account_is_able_unless_stripe_said_so(told: dict[str, Any]) -> None:
    found = ConnectedAccount.from_stripe(told)

    said = (
        (told.get("capabilities") or {}).get("transfers") == "active"
        and told.get("payouts_enabled") is True
        and bool((told.get("settings") or {}).get("payouts"))
    )
    assert found.able is said


# ── Able, and its operation's status ──


@pytest.mark.parametrize(
    ("changed", "able", "status"),
    [
        ({}, True, ConnectedAccountStatus.ACTIVE),
        ({"manual_payouts": False}, False, ConnectedAccountStatus.ACTIVE),
        ({"transfers_active": False}, False, ConnectedAccountStatus.RESTRICTED),
        ({"payouts_enabled": False}, False, ConnectedAccountStatus.RESTRICTED),
        ({"payouts_enabled": False, "details_submitted": False}, False, ConnectedAccountStatus.ONBOARDING),
        ({"details_submitted": False}, True, ConnectedAccountStatus.ACTIVE),
        ({"currencies": ()}, True, ConnectedAccountStatus.ACTIVE),
        ({"deauthorized": True}, False, ConnectedAccountStatus.DEAUTHORIZED),
        ({"deauthorized": True, "payouts_enabled": False}, False, ConnectedAccountStatus.DEAUTHORIZED),
    ],
    ids=str,
)
def test_what_an_account_can_do_and_how_it_stands(
    changed: dict[str, Any], able: bool, status: ConnectedAccountStatus
) -> None:
    found = read().model_copy(update=changed)

    assert (found.able, found.status) == (able, status)


def test_a_kept_account_is_read_as_it_was_written() -> None:
    due = {"currently_due": ["tos_acceptance.date"], "current_deadline": 1_700_000_000}

    found = read(requirements=due)

    assert ConnectedAccount.model_validate(found.model_dump(mode="json")) == found
