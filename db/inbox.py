"""The inbox: every verified Stripe event, stored before anything reacts to it.

    received ──a saga has recorded it──▶ processed
       ├──no saga waits for its type──▶ ignored
       └──known type, cannot be read──▶ quarantined

"Received" also means: its saga was told, and has not said yet that it took it in. The sweeper tells it again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import operations, stripe_events


class InboxState(StrEnum):
    """What became of an event."""

    RECEIVED = "received"
    """Stored; no saga has recorded it yet."""
    PROCESSED = "processed"
    """A saga, or the follow-up of one, has recorded it."""
    IGNORED = "ignored"
    """Nothing waits for it; `reason` says why."""
    QUARANTINED = "quarantined"
    """Of a type we act on, but it cannot be read or does not belong here; `reason` says why."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it came, and where it belongs."""

    id: str
    account: str
    type: str
    object_id: str | None
    operation_id: str | None
    payload: dict[str, Any]
    state: InboxState
    reason: str | None = None

    def routed_to(self, operation_id: str | None) -> "Arrival":
        """The same event, for an operation that exists."""
        return replace(self, operation_id=operation_id)


async def store(connection: AsyncConnection, arrival: Arrival) -> bool:
    """Keep the event and say whether it is new. Stripe delivers at least once, so most repetitions end here."""
    settled = arrival.state is not InboxState.RECEIVED
    result = await connection.execute(
        insert(stripe_events)
        .values(
            id=arrival.id,
            account=arrival.account,
            type=arrival.type,
            object_id=arrival.object_id,
            operation_id=arrival.operation_id,
            payload=arrival.payload,
            state=arrival.state,
            reason=arrival.reason,
            settled_at=sa.func.app_now() if settled else None,
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )
    return bool(result.rowcount)


async def state_of(connection: AsyncConnection, event_id: str) -> InboxState:
    """What became of an event that was stored."""
    query = sa.select(stripe_events.c.state).where(stripe_events.c.id == event_id)
    return InboxState((await connection.execute(query)).scalar_one())


async def unprocessed(connection: AsyncConnection, *, older_than: float, limit: int) -> list[sa.RowMapping]:
    """Events received more than `older_than` seconds ago that are due to be signaled, oldest first.

    Each is due again once it has waited as long as it had when it was last signaled: a saga that cannot take it in
    (Stripe is away) is told ever more rarely, since each time stays in its history. What a saga was told as it ended,
    and did not look at, is due at once: another looks after what comes late.
    """
    since = sa.func.app_now() - timedelta(seconds=older_than)
    waited_before = stripe_events.c.signaled_at - stripe_events.c.received_at
    query = (
        sa.select(stripe_events)
        .outerjoin(operations, operations.c.id == stripe_events.c.operation_id)
        .where(stripe_events.c.state == InboxState.RECEIVED, stripe_events.c.received_at < since)
        .where(
            sa.or_(
                stripe_events.c.signaled_at.is_(None),
                operations.c.closed_at >= stripe_events.c.signaled_at,
                sa.and_(
                    stripe_events.c.signaled_at < since,
                    sa.func.app_now() - stripe_events.c.signaled_at > waited_before,
                ),
            )
        )
        .order_by(stripe_events.c.received_at)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def now(connection: AsyncConnection) -> datetime:
    """The time by the database's clock."""
    found: datetime = (await connection.execute(sa.select(sa.func.app_now()))).scalar_one()
    return found


async def note_signaled(connection: AsyncConnection, event_id: str, operation_id: str, *, at: datetime) -> None:
    """The event's saga was told again at that time, by the database's clock, or a little later: leave it some time."""
    await connection.execute(
        sa.update(stripe_events).where(stripe_events.c.id == event_id).values(signaled_at=at, operation_id=operation_id)
    )


async def settle(
    connection: AsyncConnection, event_ids: list[str], state: InboxState, *, reason: str | None = None
) -> None:
    """What became of these events. What was settled before stays as it was."""
    if event_ids:
        await connection.execute(
            sa.update(stripe_events)
            .where(stripe_events.c.id.in_(event_ids), stripe_events.c.state == InboxState.RECEIVED)
            .values(state=state, reason=reason, settled_at=sa.func.app_now())
        )


async def of_operation(connection: AsyncConnection, operation_id: str) -> list[sa.RowMapping]:
    """The events that were routed to an operation, oldest first, without their payloads."""
    shown = [column for column in stripe_events.c if column.name != "payload"]
    query = sa.select(*shown).where(stripe_events.c.operation_id == operation_id).order_by(stripe_events.c.received_at)
    return list((await connection.execute(query)).mappings())


async def give_up(connection: AsyncConnection, event_id: str, *, after: float, reason: str) -> None:
    """Ignore an event that found no operation for `after` seconds. Earlier it may just be faster than our commit."""
    await connection.execute(
        sa.update(stripe_events)
        .where(stripe_events.c.id == event_id, stripe_events.c.state == InboxState.RECEIVED)
        .where(stripe_events.c.received_at < sa.func.app_now() - timedelta(seconds=after))
        .values(state=InboxState.IGNORED, reason=reason, settled_at=sa.func.app_now())
    )
