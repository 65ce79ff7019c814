"""Reading an event: where it belongs, or that it cannot be read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.stripe_events import FUNDS, WAITED_FOR, Reading, Unreadable, read

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "pi_1", "dep_1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "metadata", "operation_id", "object"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def event(thing: object) -> dict[str, Any]:
    """An event about `thing`."""
    return {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": thing}}


@pytest.mark.parametrize(
    ("thing", "reading"),
    [
        (
            {"id": "pi_1", "metadata": {"operation_id": "dep_1", "step": "create_payment_intent"}},
            Reading("pi_1", "dep_1", ("pi_1",)),
        ),
        ({"id": "ch_1", "payment_intent": "pi_1", "metadata": {}}, Reading("ch_1", None, ("ch_1", "pi_1"))),
        ({"id": "ch_1", "payment_intent": None, "metadata": None}, Reading("ch_1", None, ("ch_1",))),
        ({"id": "ch_1", "payment_intent": {"id": "pi_1"}}, Reading("ch_1", None, ("ch_1",))),
        ({"id": "pi_1", "metadata": {"operation_id": 7}}, Reading("pi_1", None, ("pi_1",))),
    ],
    ids=["ours", "through its payment", "nobody's", "an expanded payment", "an id that is none"],
)
def test_an_event_is_read_for_whose_it_is(thing: object, reading: Reading) -> None:
    assert read(event(thing)) == reading


ACCOUNT_EVENTS: dict[str, dict[str, Any]] = {
    "account.updated": {"id": "acct_1", "object": "account", "metadata": {}},
    "account.application.deauthorized": {"id": "ca_1", "object": "application"},
    "account.external_account.created": {"id": "ba_1", "object": "bank_account", "metadata": {}},
    "account.external_account.updated": {"id": "ba_1", "object": "bank_account", "metadata": {}},
    "account.external_account.deleted": {"id": "ba_1", "object": "bank_account", "metadata": {}},
    "capability.updated": {"id": "transfers", "object": "capability", "account": "acct_1"},
}
"""What Stripe tells of a connected account as a whole: each with the object that it is about."""


def connect_event(kind: str, thing: dict[str, Any], account: object = "acct_1") -> dict[str, Any]:
    """An event of `kind` at the endpoint that hears of connected accounts."""
    return {"id": "evt_1", "type": kind, "account": account, "data": {"object": thing}}


@pytest.mark.parametrize("kind", ACCOUNT_EVENTS)
def test_what_an_account_is_told_of_finds_its_saga_by_the_account(kind: str) -> None:
    thing = ACCOUNT_EVENTS[kind]

    assert read(connect_event(kind, thing)) == Reading(thing["id"], None, (thing["id"], "acct_1"))


def test_every_event_of_accounts_is_waited_for_and_tried_here() -> None:
    assert {kind for kind in WAITED_FOR if kind.startswith(("account.", "capability."))} == set(ACCOUNT_EVENTS)
    assert FUNDS not in WAITED_FOR, "it is nobody's, and wakes all who wait for funds"


@pytest.mark.parametrize("kind", sorted(WAITED_FOR - set(ACCOUNT_EVENTS)))
def test_no_other_event_is_an_accounts(kind: str) -> None:
    """A payout that its owner made on the account is none of ours, whoever's the account is."""
    assert read(connect_event(kind, {"id": "po_1"})) == Reading("po_1", None, ("po_1",))


def test_a_payout_of_ours_says_so_itself() -> None:
    ours = {"id": "po_1", "metadata": {"operation_id": "wd_1", "step": "create_payout"}}

    assert read(connect_event("payout.failed", ours)) == Reading("po_1", "wd_1", ("po_1",))


@pytest.mark.parametrize("account", [None, "", 7, {"id": "acct_1"}], ids=str)
def test_an_account_that_is_not_named_is_none(account: object) -> None:
    related = read(connect_event("account.application.deauthorized", {"id": "ca_1"}, account)).related

    assert related == (("ca_1", "") if account == "" else ("ca_1",))


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": "object"},
        {"data": {}},
        {"data": {"object": None}},
        {"data": {"object": []}},
        {"data": {"object": "pi_1"}},
        event({}),
        event({"id": None}),
        event({"id": 7}),
        event({"id": {"id": "pi_1"}}),
        event({"id": "pi_1", "metadata": "operation_id"}),
        event({"id": "pi_1", "metadata": ["operation_id"]}),
        event({"id": "pi_1", "metadata": 1}),
    ],
    ids=str,
)
def test_what_has_no_shape_of_ours_is_unreadable(payload: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(payload)


@given(st.dictionaries(st.sampled_from(["id", "metadata", "payment_intent", "object"]), json_values))
def test_nothing_else_can_come_of_reading(thing: dict[str, Any]) -> None:
    for payload in (event(thing), {"data": thing}, thing):
        try:
            reading = read(payload)
        except Unreadable:
            continue
        assert reading.object_id in reading.related
