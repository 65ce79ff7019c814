"""How long a step waits, by design, after the worker that was at it has been killed."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.pacing import Pacing
from workflows.steps import StepPolicy, activity_tier, until_postgres_answers

LONGEST = timedelta(seconds=12)
"""Between the moment when Temporal gives the dead attempt up and the next one."""


@pytest.mark.parametrize("tier", [activity_tier, until_postgres_answers])
def test_f34_killed_step_runs_again_within_its_timeout_and_twelve_seconds(tier: Callable[[Pacing], StepPolicy]) -> None:
    """An attempt whose worker died ends by its timeout, so without an error of ours: the next one waits as Temporal's
    own policy says, without jitter. Only what was its last attempt anyhow goes on to the saga tier."""
    pacing = Pacing()
    policy = tier(pacing)["retry_policy"]
    assert tier(pacing)["start_to_close_timeout"] == timedelta(seconds=pacing.start_to_close)
    assert policy.maximum_attempts != 1, "to be killed once is not to have failed"
    assert policy.maximum_interval is not None
    # Attempts that wait for Postgres are without number; by the tenth, their waits grow no more.
    waits = [
        min(policy.initial_interval * policy.backoff_coefficient ** (attempt - 1), policy.maximum_interval)
        for attempt in range(1, policy.maximum_attempts or 10)
    ]

    assert max(waits) <= LONGEST
