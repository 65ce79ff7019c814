"""Offers, and who did what to them. An offer's operation is locked before its row here is changed."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import offer_actions, offers, operations, wallets
from domain.offers import Party
from domain.statuses import OfferStatus


async def insert(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Insert what was offered, beside its operation."""
    await connection.execute(sa.insert(offers).values(**values))


async def require(connection: AsyncConnection, operation_id: str) -> sa.RowMapping:
    """One offer that must exist, with how long it may go on as it is, in seconds.

    `waits`: until it expires or completes by itself; null where nothing does. `overdue`: accepted, and not delivered
    in time.
    """
    status, o = operations.c.status, offers.c
    since = sa.case(
        (status == OfferStatus.HELD, o.held_at + _seconds(o.accept_within)),
        (status == OfferStatus.DELIVERED, o.delivered_at + _seconds(o.complete_within)),
    )
    late = sa.and_(status == OfferStatus.ACCEPTED, sa.func.app_now() >= o.accepted_at + _seconds(o.deliver_within))
    query = (
        sa.select(
            offers,
            sa.cast(sa.extract("epoch", since - sa.func.app_now()), sa.Float).label("waits"),
            sa.func.coalesce(late, sa.false()).label("overdue"),
        )
        .join(operations, operations.c.id == o.operation_id)
        .where(o.operation_id == operation_id)
    )
    return (await connection.execute(query)).mappings().one()


async def locked_wallets(connection: AsyncConnection, operation_id: str) -> dict[str, sa.RowMapping]:
    """The wallets of an offer's customer and contractor by id, locked as `users.locked_wallet` does it.

    In one order, whichever of the two has made the other the offer. Whoever locks its operation too, does that after.
    """
    query = (
        sa.select(wallets)
        .select_from(offers)
        .join(operations, operations.c.id == offers.c.operation_id)
        .join(wallets, wallets.c.id.in_([operations.c.wallet_id, offers.c.contractor_wallet]))
        .where(offers.c.operation_id == operation_id)
        .order_by(wallets.c.id)
        .with_for_update(key_share=True, of=wallets)
    )
    return {row["id"]: row for row in (await connection.execute(query)).mappings()}


async def change(connection: AsyncConnection, operation_id: str, **values: Any) -> None:
    """Keep what has become of the offer."""
    await connection.execute(sa.update(offers).where(offers.c.operation_id == operation_id).values(**values))


async def acted(connection: AsyncConnection, operation_id: str, action_id: str) -> bool:
    """Whether this very act was done before."""
    query = sa.select(sa.true()).where(
        offer_actions.c.operation_id == operation_id, offer_actions.c.action_id == action_id
    )
    return bool((await connection.execute(query)).scalar())


async def record_action(
    connection: AsyncConnection,
    operation_id: str,
    action_id: str,
    *,
    verb: str,
    party: Party,
    actor: str,
    reason: str | None,
    details: dict[str, Any],
) -> None:
    """Keep who did what, in the transaction that does it."""
    await connection.execute(
        sa.insert(offer_actions).values(
            operation_id=operation_id,
            action_id=action_id,
            verb=verb,
            party=party,
            actor=actor,
            reason=reason,
            details=details,
        )
    )


async def page(
    connection: AsyncConnection,
    *,
    customer_id: str | None,
    contractor_id: str | None,
    either_id: str | None,
    status: OfferStatus | None,
    job: str | None,
    limit: int,
    before_id: str | None,
) -> list[str]:
    """Ids of offers, newest first; `either_id` is a party of them."""
    query = sa.select(offers.c.operation_id).order_by(offers.c.operation_id.desc()).limit(limit)
    if customer_id is not None:
        query = query.where(offers.c.customer_id == customer_id)
    if contractor_id is not None:
        query = query.where(offers.c.contractor_id == contractor_id)
    if either_id is not None:
        query = query.where(sa.or_(offers.c.customer_id == either_id, offers.c.contractor_id == either_id))
    if status is not None:
        query = query.join(operations, operations.c.id == offers.c.operation_id).where(operations.c.status == status)
    if job is not None:
        query = query.where(offers.c.job == job)
    if before_id is not None:
        query = query.where(offers.c.operation_id < before_id)
    return list((await connection.execute(query)).scalars())


def _seconds(column: sa.Column[float]) -> sa.ColumnElement[Any]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, column)
