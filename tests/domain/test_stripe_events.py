"""Reading an event: where it belongs, or that it cannot be read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.stripe_events import Reading, Unreadable, read

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
