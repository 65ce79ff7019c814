"""The activity tier of retries, in one place around every activity.

An attempt that fails is tried again after 1 s, 2 s, 4 s … up to 10 s, each ±25 % so that a thousand sagas which failed
together do not come back together. Temporal's own policy has no such jitter, so the delay rides on the error.
"""

import random
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities import outcomes
from domain.errors import IdempotencyKeyReused, InsufficientFunds, LedgerError, StateRefusal
from domain.operations import Failure
from domain.pacing import Pacing

JITTER = 0.25
"""The share by which a delay may be longer or shorter."""


class RetryTier(Interceptor):
    """Gives each failed attempt its delay, and a refusal by the ledger or by the state of things its meaning."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Around every activity of the worker."""
        return _RetryTierInbound(next, self._pacing)


class _RetryTierInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, pacing: Pacing) -> None:
        super().__init__(next)
        self._pacing = pacing

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except (InsufficientFunds, StateRefusal, IdempotencyKeyReused) as error:
            raise outcomes.refused(Failure(code=error.code, detail=error.detail)) from error
        except LedgerError as error:
            raise outcomes.parked(Failure(code=error.code, detail=error.detail)) from error
        except ApplicationError as error:
            if error.non_retryable:
                raise
            raise self._with_delay(str(error.message), error.type) from error
        except Exception as error:
            # Whatever it is (Postgres away, Stripe unreachable while reading, a bug), nothing says that the step has
            # not happened: it is tried again, and shown to an operator if that does not help.
            raise self._with_delay(f"{type(error).__name__}: {error}"[:500], outcomes.IN_DOUBT) from error

    def _with_delay(self, message: str, type_: str | None) -> ApplicationError:
        delay = self._pacing.activity_retry(activity.info().attempt) * random.uniform(1 - JITTER, 1 + JITTER)
        return ApplicationError(message, type=type_, next_retry_delay=timedelta(seconds=delay))
