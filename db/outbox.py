"""The outbox: what became true, written in the transaction that made it true."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import events
from domain.ids import new_id


async def publish(connection: AsyncConnection, operation_id: str, event_type: str, data: dict[str, Any]) -> None:
    """Write the domain event `event_type` (`deposit.succeeded`, …) of an operation. `data` holds ids and amounts."""
    await connection.execute(
        sa.insert(events).values(id=new_id("evt"), operation_id=operation_id, type=event_type, data=data)
    )


async def of_operation(connection: AsyncConnection, operation_id: str) -> list[sa.RowMapping]:
    """An operation's events, oldest first."""
    query = sa.select(events).where(events.c.operation_id == operation_id).order_by(events.c.created_at, events.c.id)
    return list((await connection.execute(query)).mappings())
