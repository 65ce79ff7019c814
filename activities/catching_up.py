"""Catching up with Stripe: events that no webhook brought us, from its Events API.

Stripe tries a delivery for three days; its Events API tells for thirty what happened, and what was never acknowledged.
What is found goes into the inbox like any other event, and the sweep tells its saga.
"""

import json
from datetime import timedelta

import stripe
import structlog
from temporalio import activity

from activities.arrivals import arrival_of, keep, parse
from activities.stripe_reads import PLATFORM, StripeReads, is_cut_off
from db import connected_accounts
from db.engine import Database, now
from domain.stripe_events import WAITED_FOR, EventPage, PageRead

log = structlog.get_logger()


class CatchUpActivities:
    """`older_than`: seconds that an event has to come by itself."""

    def __init__(self, database: Database, reads: StripeReads, *, livemode: bool, older_than: float) -> None:
        self._database = database
        self._reads = reads
        self._livemode = livemode
        self._older_than = older_than

    @activity.defn
    async def accounts_to_catch_up_with(self) -> list[str]:
        """Our own account, and each connected one that a payout may be on its way from, or come back to."""
        async with self._database.transaction() as connection:
            return [PLATFORM, *await connected_accounts.lately_withdrawn_from(connection)]

    @activity.defn
    async def catch_up(self, page: EventPage) -> PageRead:
        """Keep what is new to us on one page of undelivered events. Raises `stripe.StripeError`."""
        async with self._database.transaction() as connection:
            until = await now(connection) - timedelta(seconds=self._older_than)
        try:
            found, following = await self._reads.undelivered_events(
                WAITED_FOR, account=page.account, until=until, after=page.after
            )
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
            log.info("account is cut off: its events cannot be read", account=page.account)
            return PageRead(new=0)
        new = 0
        for event in found:
            arrival = arrival_of(parse(json.dumps(event)), connect=page.account != PLATFORM, livemode=self._livemode)
            async with self._database.transaction() as connection:
                new += (await keep(connection, arrival)).is_new
        if new:
            log.warning("events that no webhook brought", account=page.account, events=new)
        return PageRead(new=new, next=following)
