"""Circuit breakers: while Stripe does not answer, nobody waits for it here.

    closed ──so many failures in a row──▶ open ──after a pause──▶ half open ──success──▶ closed
                                           ▲                         │
                                           └─────────failure─────────┘

One for each class of endpoints (`payment_intents`, `transfers`, `payouts` …), in each worker process. An attempt that
is not let through ends at once and waits in Temporal, instead of taking a worker's place until its time is out. Half
open, one attempt at a time goes out, to find out.

Only silence counts as a failure: a connection that fails, an answer that does not come, a 5xx. Whatever else Stripe
answers says that it is there, declines too. But two answers come from before the work itself and say nothing either
way: "too many requests", which has its own patience, and "the key is in use", which is what a call that was given up
hears while the first one still hangs.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import stripe
import structlog

from activities.stripe_errors import is_away, not_looked_at

log = structlog.get_logger()

Answer = TypeVar("Answer")


class EndpointAway(Exception):
    """Nothing is sent to these endpoints now: Stripe did not answer there."""


class Breakers:
    """One process's.

    `failures`: in a row, that open a breaker. `pause`: seconds until one attempt may find out whether Stripe answers
    again. `clock`: seconds that only ever rise.
    """

    def __init__(self, *, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._pause = pause
        self._clock = clock
        self._by_endpoint: dict[str, _Breaker] = {}

    @contextmanager
    def attempt(self, endpoint: str) -> Iterator["Attempt"]:
        """An attempt at a class of endpoints, which has to be let through before it asks."""
        breaker = self._by_endpoint.setdefault(endpoint, _Breaker(endpoint, self._failures, self._pause, self._clock))
        attempt = Attempt(breaker)
        try:
            yield attempt
        finally:
            attempt.leave()

    async def ask(self, endpoint: str, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """One question. Raises `EndpointAway` if it is not let through, and what the question raises."""
        with self.attempt(endpoint) as attempt:
            attempt.admit()
            return await attempt.ask(question)


class _Breaker:
    def __init__(self, endpoint: str, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self.failures = failures
        self.pause = pause
        self.clock = clock
        self.in_a_row = 0
        self.opened_at: float | None = None
        self.probe: Attempt | None = None

    def heard(self, attempt: "Attempt", error: stripe.StripeError | None) -> None:
        if error is not None and not_looked_at(error):
            if self.probe is attempt:
                self.opened_at = self.clock()
            return
        if error is None or not is_away(error):
            self.in_a_row = 0
            if self.opened_at is not None:
                log.info("stripe answers again: calls go out", endpoint=self.endpoint)
            self.opened_at = None
            return
        self.in_a_row += 1
        # Those that were on their way when it opened add nothing: only the probe's failure begins another pause.
        if self.opened_at is None and self.in_a_row >= self.failures:
            log.warning("stripe does not answer: calls wait in Temporal", endpoint=self.endpoint, pause=self.pause)
            self.opened_at = self.clock()
        elif self.probe is attempt:
            self.opened_at = self.clock()


class Attempt:
    """One attempt, from being let through to what was heard."""

    def __init__(self, breaker: _Breaker) -> None:
        self._breaker = breaker

    def admit(self) -> None:
        """Raise `EndpointAway` unless this attempt may ask now; perhaps as the one that finds out."""
        breaker = self._breaker
        if breaker.opened_at is None:
            return
        if breaker.probe is not None or breaker.clock() - breaker.opened_at < breaker.pause:
            raise EndpointAway(f"Stripe does not answer for {breaker.endpoint}: nothing is sent there for a while.")
        breaker.probe = self

    async def ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask Stripe, and take note of whether it answers. Raises what the question raises."""
        try:
            answer = await question()
        except stripe.StripeError as error:
            self._breaker.heard(self, error)
            raise
        self._breaker.heard(self, None)
        return answer

    def leave(self) -> None:
        """Nothing more is asked: if it was to find out and did not come to it, the next one may."""
        if self._breaker.probe is self:
            self._breaker.probe = None
