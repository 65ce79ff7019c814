"""Steps: names that stand for good, in the ledger and in keys at Stripe."""

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import new_id
from domain.operations import idempotency_key
from domain.steps import Step


def test_a_part_is_a_step_of_its_own() -> None:
    assert (Step.REVERSAL.part(1), Step.RESTORE.part(2)) == ("reversal#1", "restore#2")


@given(st.tuples(st.sampled_from(Step), st.integers(1, 99)), st.tuples(st.sampled_from(Step), st.integers(1, 99)))
def test_no_two_parts_share_a_name_nor_one_with_a_whole(one: tuple[Step, int], other: tuple[Step, int]) -> None:
    assert (one[0].part(one[1]) == other[0].part(other[1])) is (one == other)
    assert one[0].part(one[1]) not in set(map(str, Step))


@given(st.tuples(st.sampled_from(Step), st.integers(1, 99)), st.tuples(st.sampled_from(Step), st.integers(1, 99)))
def test_what_follows_a_step_has_a_name_of_its_own(one: tuple[Step, int], other: tuple[Step, int]) -> None:
    follows_one, follows_other = Step.REPAYMENT.of(one[0].part(one[1])), Step.REPAYMENT.of(other[0].part(other[1]))

    assert (follows_one == follows_other) is (one == other)
    assert follows_one not in {*map(str, Step), other[0].part(other[1]), Step.REPAYMENT.of(other[0])}


@given(step=st.sampled_from(Step), number=st.integers(1, 999), generation=st.integers(1, 10**6))
def test_a_parts_key_is_short_enough_for_stripe(step: Step, number: int, generation: int) -> None:
    assert len(idempotency_key(new_id("wd"), step.part(number), generation)) <= 255
