"""Ids: unique, sorted by the time of their making, safe in a URL and in a key."""

import re

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import new_id
from domain.operations import OperationKind, followup_id, idempotency_key
from tests.domain.clock import next_millisecond

SHAPE = re.compile(r"dep_[0-7][0-9a-hjkmnp-tv-z]{25}")


def test_an_id_is_its_prefix_and_26_characters_of_crockfords_base32() -> None:
    assert all(SHAPE.fullmatch(new_id("dep")) for _ in range(1_000))


def test_ids_are_unique() -> None:
    assert len({new_id("dep") for _ in range(20_000)}) == 20_000


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_id("dep"))
        next_millisecond()

    assert ids == sorted(ids)


def test_an_id_cannot_be_guessed_from_another_of_its_millisecond() -> None:
    # 26 characters are 130 bits, the last of them random: of many ids the tail never repeats.
    assert len({new_id("dep")[-9:] for _ in range(20_000)}) == 20_000


def test_every_kind_of_operation_has_its_own_prefix_and_workflow() -> None:
    kinds = list(OperationKind)

    assert len({kind.id_prefix for kind in kinds}) == len({kind.workflow for kind in kinds}) == len(kinds)
    assert followup_id("dep_1") == "dep_1/followup"


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=40)


@given(one=st.tuples(NAMES, NAMES, st.integers(1, 99)), other=st.tuples(NAMES, NAMES, st.integers(1, 99)))
def test_a_key_says_what_it_is_for_and_nothing_else(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    assert idempotency_key(*one) == idempotency_key(*one)
    assert (idempotency_key(*one) == idempotency_key(*other)) is (one == other)
    assert len(idempotency_key(*one)) <= 255, "Stripe takes no longer ones"
