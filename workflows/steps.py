"""How patient each step is: every timeout, retry policy and name of a wait, in one place.

The numbers come from the saga's own pacing (`domain.pacing`), which its history carries.
"""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy

from domain.pacing import Pacing


class StepPolicy(TypedDict):
    """What `execute_activity` is told of patience."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


def activity_tier(pacing: Pacing) -> StepPolicy:
    """For every step: some quick attempts. What then still fails is the saga tier's.

    The delays here are for attempts that end without an error of ours (a worker that died); the others bring their
    own, with jitter.
    """
    return StepPolicy(
        start_to_close_timeout=timedelta(seconds=pacing.start_to_close),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=pacing.activity_first_retry),
            backoff_coefficient=2.0,
            maximum_interval=timedelta(seconds=pacing.activity_longest_retry),
            maximum_attempts=pacing.activity_attempts,
        ),
    )


def until_postgres_answers(pacing: Pacing) -> StepPolicy:
    """For notes about a saga's own state: patient with Postgres for ever, since nothing can go on without it."""
    tier = activity_tier(pacing)
    tier["retry_policy"].maximum_attempts = 0
    return tier
