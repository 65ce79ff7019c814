"""Pacing: how long each tier waits, for ever if need be."""

import itertools

import pytest
from pydantic import ValidationError

from domain.pacing import Pacing

PACING = Pacing()


def test_the_activity_tier_doubles_to_its_longest_wait() -> None:
    assert [PACING.activity_retry(attempt) for attempt in range(1, 8)] == [1, 2, 4, 8, 10, 10, 10]


@pytest.mark.parametrize("attempt", [1_024, 1_025, 1_026, 100_000])
def test_what_is_tried_for_ever_waits_the_longest_for_ever(attempt: int) -> None:
    """Postgres away for three hours is over a thousand attempts."""
    assert PACING.activity_retry(attempt) == 10


def test_the_saga_tier_ends_in_its_last_wait() -> None:
    assert [PACING.saga_retry(count) for count in range(5)] == [300, 1_800, 7_200, 7_200, 7_200]
    assert PACING.saga_retry(10**6) == 7_200


def test_polls_end_in_their_last_wait() -> None:
    assert [PACING.poll(count) for count in range(7)] == [5, 30, 300, 1_800, 21_600, 21_600, 21_600]


def test_waits_never_get_shorter() -> None:
    for wait in (PACING.saga_retry, PACING.poll, lambda count: PACING.activity_retry(count + 1)):
        assert all(sooner <= later for sooner, later in itertools.pairwise(map(wait, range(50))))


def test_funds_are_awaited_for_14_days_and_what_was_paid_is_watched_for_10() -> None:
    assert (PACING.funds_poll, PACING.funds_wait) == (3_600, 14 * 86_400)
    assert (PACING.paid_poll, PACING.paid_watch) == (86_400, 10 * 86_400)


@pytest.mark.parametrize("name", ["funds_poll", "funds_wait", "paid_poll", "paid_watch"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_withdrawal_waits_for_some_time_and_not_for_ever(name: str, value: float) -> None:
    assert getattr(Pacing.model_validate({name: 0.5}), name) == 0.5
    with pytest.raises(ValidationError, match=name):
        Pacing.model_validate({name: value})


@pytest.mark.parametrize(("apart", "allowed"), [(7_200, True), (7_201, False)])
def test_look_ups_can_be_far_enough_apart(apart: float, allowed: bool) -> None:
    """Each retry sends again, and only what was not sent again for so long counts as undone."""
    if allowed:
        assert Pacing(absent_apart=apart).saga_retries[-1] >= apart
    else:
        with pytest.raises(ValidationError, match="absent_apart must not be longer"):
            Pacing(absent_apart=apart)


def test_an_unanswered_call_is_the_activitys_to_judge() -> None:
    assert PACING.http_timeout < PACING.start_to_close


@pytest.mark.parametrize(
    "wrong",
    [
        {"polls": ()},
        {"saga_retries": ()},
        {"polls": (5.0, 0.0)},
        {"saga_retries": (-1.0,)},
        {"activity_attempts": 0},
        {"activity_first_retry": 0},
        {"payment_expiry": float("inf")},
        {"payment_expiry": float("nan")},
        {"polls": (float("inf"),)},
        {"pols": (5.0,)},
    ],
    ids=str,
)
def test_waits_that_cannot_be_kept_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Pacing.model_validate(wrong)
