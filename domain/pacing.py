"""How patient Paysaga is: every retry tier, poll schedule and expiry, in seconds.

A saga carries its pacing in its workflow input, so that a replay waits exactly as the first run did, whatever
the settings say by then. Tests and chaos runs scale these numbers; nothing else may.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator


class Pacing(BaseModel):
    """Waiting times in seconds. The defaults are production's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    http_timeout: PositiveFloat = 20.0
    """Longest wait for one answer of Stripe. Must stay below `start_to_close`, so that the activity and not the
    server decides what an unanswered call means."""

    start_to_close: PositiveFloat = 30.0
    """Longest run of one activity attempt. After a worker dies, its step runs again after at most this long."""

    activity_first_retry: PositiveFloat = 1.0
    activity_longest_retry: PositiveFloat = 10.0
    activity_attempts: PositiveInt = 4
    """The activity tier: quick retries for a hiccup, doubling from the first to the longest."""

    saga_retries: tuple[PositiveFloat, ...] = Field(default=(300.0, 1800.0, 7200.0), min_length=1)
    """The saga tier: durable timers after the activity tier gave up. The last one repeats for ever, flagged."""

    polls: tuple[PositiveFloat, ...] = Field(default=(5.0, 30.0, 300.0, 1800.0, 21600.0), min_length=1)
    """How long to wait for Stripe's signal before asking Stripe. The last one repeats."""

    absent_apart: PositiveFloat = 1800.0
    """Two look-ups must find nothing, the second this long after the last sending, before a call counts as undone."""

    payment_expiry: PositiveFloat = 86400.0
    """How long a deposit waits for the customer to pay."""

    funds_poll: PositiveFloat = 3600.0
    """How long a withdrawal waits for word of the platform's funds before it tries its transfer again."""

    funds_wait: PositiveFloat = 1_209_600.0
    """How long a withdrawal waits for the platform's funds altogether: 14 days."""

    paid_poll: PositiveFloat = 86400.0
    """How long to wait for Stripe's signal about a payout that was paid before asking Stripe."""

    paid_watch: PositiveFloat = 864_000.0
    """How long a payout that was paid is watched for the bank sending it back: 10 days; Stripe says 5 business days."""

    @model_validator(mode="after")
    def _look_ups_can_be_far_enough_apart(self) -> Self:
        # Each time the saga tries again it sends again, so a shorter wait would never let a call count as undone.
        if self.absent_apart > self.saga_retries[-1]:
            raise ValueError("absent_apart must not be longer than the last of saga_retries")
        return self

    def activity_retry(self, attempt: int) -> float:
        """The wait after an activity's `attempt`-th attempt (from 1), before jitter."""
        # What waits for Postgres is tried for ever, and a float holds no power of two beyond the 1023rd.
        return min(self.activity_first_retry * 2.0 ** min(attempt - 1, 60), self.activity_longest_retry)

    def saga_retry(self, count: int) -> float:
        """The wait before the saga tier's `count`-th retry (from 0)."""
        return self.saga_retries[min(count, len(self.saga_retries) - 1)]

    def poll(self, count: int) -> float:
        """The wait before the `count`-th poll (from 0)."""
        return self.polls[min(count, len(self.polls) - 1)]
