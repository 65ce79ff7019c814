"""Second chances, by a Schedule: what was written but never reached its saga is handed over again.

A process that dies between two steps of the ordinary path (insert and start, store and signal) leaves a row behind;
these find it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
import structlog
from temporalio import activity
from temporalio.service import RPCError

from activities.dispatch import NoSaga, SagaDispatcher
from activities.verbs import Verbs
from db import inbox, ledger, operations, stripe_calls
from db.engine import Database
from db.inbox import InboxState
from domain.operations import StripeHint
from domain.stripe_events import read

BATCH = 500
"""Rows that one sweep takes; the next one goes on."""

AT_ONCE = 10
"""Rows that are handed over at the same time: each mostly waits for Temporal."""

GIVE_UP_ROUTING_AFTER = 120.0
"""Seconds after which an event that names no operation of ours counts as somebody else's."""

SIGNAL_WITHIN = 3.0
"""Seconds that a sweep gives Temporal to take a signal; one that it does not take keeps no other waiting."""

VERB_WITHIN = 3.0
"""Seconds that a sweep waits for a saga's answer to a verb; the next sweep asks again."""

log = structlog.get_logger()


class SweepActivities:
    """`older_than`: seconds that the ordinary path has before a sweep steps in.

    `lasts`: seconds after which one of these leaves the rest to the next sweep; fewer than its activity may take.
    """

    def __init__(self, database: Database, dispatcher: SagaDispatcher, *, older_than: float, lasts: float) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._verbs = Verbs(database, dispatcher)
        self._older_than = older_than
        self._lasts = lasts

    @activity.defn
    async def start_accepted_operations(self) -> int:
        """Start the sagas of operations that were accepted and then forgotten; how many."""
        async with self._database.transaction() as connection:
            rows = await operations.unstarted(connection, older_than=self._older_than, limit=BATCH)
        return await self._each(rows, self._dispatcher.start)

    @activity.defn
    async def deliver_unprocessed_events(self) -> int:
        """Tell sagas again of events that none has recorded; how many."""
        async with self._database.transaction() as connection:
            rows = await inbox.unprocessed(connection, older_than=self._older_than, limit=BATCH)
        return await self._each(rows, self._deliver)

    async def _each(self, rows: list[sa.RowMapping], hand_over: Callable[[sa.RowMapping], Awaitable[None]]) -> int:
        """Hand over as many of these as there is time for; how many."""
        ends = time.monotonic() + self._lasts
        for first in range(0, len(rows), AT_ONCE):
            if time.monotonic() > ends:
                return first
            await asyncio.gather(*(hand_over(row) for row in rows[first : first + AT_ONCE]))
        return len(rows)

    async def _deliver(self, event: sa.RowMapping) -> None:
        event_id = event["id"]
        async with self._database.transaction() as connection:
            now = await inbox.now(connection)
            reading = read(event["payload"])
            owner = event["operation_id"] or await stripe_calls.owner_of(connection, list(reading.related))
            operation = await operations.get(connection, owner) if owner else None
            if operation is None:
                await inbox.give_up(
                    connection, event_id, after=GIVE_UP_ROUTING_AFTER, reason="belongs to no operation of ours"
                )
                return
        try:
            async with asyncio.timeout(SIGNAL_WITHIN):
                told = await self._dispatcher.deliver(operation, StripeHint(event_id=event_id, type=event["type"]))
        except NoSaga:
            log.info("event waits for its saga", event_id=event_id, operation_id=operation["id"])
            told = True
        except (RPCError, TimeoutError) as error:
            # Not noted, so it is due at the next sweep, and not only after as long a time as it has waited by now.
            log.warning("event waits for Temporal", event_id=event_id, error=type(error).__name__)
            return
        async with self._database.transaction() as connection:
            if told:
                await inbox.note_signaled(connection, event_id, operation["id"], at=now)
            else:
                await inbox.settle(connection, [event_id], InboxState.IGNORED, reason="its operation is over")

    @activity.defn
    async def deliver_unanswered_verbs(self) -> int:
        """Ask sagas for the verbs that clients were told are accepted; how many."""
        async with self._database.transaction() as connection:
            rows = await operations.unanswered_verbs(connection, older_than=self._older_than, limit=BATCH)
        # At once: a saga that cannot answer yet must not keep the others waiting.
        await asyncio.gather(*(self._verbs.ask(row, within=VERB_WITHIN) for row in rows))
        return len(rows)

    @activity.defn
    async def snapshot_platform_balances(self) -> None:
        """Keep the platform's balances cheap to read."""
        async with self._database.transaction() as connection:
            await ledger.snapshot_platform_balances(connection)
