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
