"""Approvals: who agreed to what an operator would do, each good for that one act.

asked ──▶ approved, by the same person or (four eyes) by another ──▶ used, once
"""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import approvals
from domain.errors import ApprovalRefused
from domain.ids import new_id

LIFE = timedelta(hours=24)
"""How long after it was asked for an approval may be given and used: what somebody has looked at changes."""

_EXPIRED = (approvals.c.created_at < sa.func.app_now() - LIFE).label("expired")


async def ask(
    connection: AsyncConnection,
    *,
    operation_id: str,
    verb: str,
    what: dict[str, str],
    by: str,
    reason: str,
    four_eyes: bool,
) -> sa.RowMapping:
    """A new approval: given at once by whoever asks, unless that takes four eyes."""
    approval_id = new_id("apr")
    await connection.execute(
        sa.insert(approvals).values(
            id=approval_id,
            operation_id=operation_id,
            verb=verb,
            what=what,
            asked_by=by,
            reason=reason,
            four_eyes=four_eyes,
            **({} if four_eyes else {"approved_by": by, "approved_at": sa.func.app_now()}),
        )
    )
    return await require(connection, approval_id)


async def require(connection: AsyncConnection, approval_id: str) -> sa.RowMapping:
    """One approval that must exist."""
    row = await get(connection, approval_id)
    assert row is not None, "approvals are never deleted"
    return row


async def get(connection: AsyncConnection, approval_id: str, *, lock: bool = False) -> sa.RowMapping | None:
    """One approval, with `expired`; locked until this transaction ends, if that is wanted."""
    query = sa.select(approvals, _EXPIRED).where(approvals.c.id == approval_id)
    if lock:
        query = query.with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


async def at_hand(
    connection: AsyncConnection, *, operation_id: str, verb: str, what: dict[str, str], by: str, action_id: str
) -> sa.RowMapping | None:
    """An approval of this very act that `by` has asked for: the one that the act `action_id` has used, else one that is
    neither used nor too old."""
    unused = approvals.c.used_by.is_(None)
    query = (
        sa.select(approvals, _EXPIRED)
        .where(approvals.c.operation_id == operation_id, approvals.c.verb == verb, approvals.c.what == what)
        .where(approvals.c.asked_by == by)
        .where(sa.or_(approvals.c.used_by == action_id, sa.and_(unused, sa.not_(_EXPIRED.element))))
        .order_by(unused, approvals.c.id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def awaited(connection: AsyncConnection, *, limit: int, before_id: str | None) -> list[sa.RowMapping]:
    """What still needs somebody's approval, newest first."""
    query = sa.select(approvals, _EXPIRED).where(approvals.c.approved_by.is_(None), sa.not_(_EXPIRED.element))
    if before_id is not None:
        query = query.where(approvals.c.id < before_id)
    return list((await connection.execute(query.order_by(approvals.c.id.desc()).limit(limit))).mappings())


async def approve(connection: AsyncConnection, approval_id: str, *, by: str) -> sa.RowMapping | None:
    """Agree to what another asks for, and return it as it then stands; None if there is no such approval.

    Agreeing twice changes nothing. Raises `ApprovalRefused` to whoever asked for it, and when another was faster or it
    is too old.
    """
    row = await get(connection, approval_id, lock=True)
    if row is None or row["approved_by"] == by:
        return row
    if row["approved_by"] is not None:
        raise ApprovalRefused(f"{row['approved_by']} has approved it already.")
    if row["asked_by"] == by:
        raise ApprovalRefused("Whoever asks for it cannot approve it: it takes two people.")
    if row["expired"]:
        raise ApprovalRefused(f"It was asked for more than {LIFE} ago.")
    await connection.execute(
        sa.update(approvals).where(approvals.c.id == approval_id).values(approved_by=by, approved_at=sa.func.app_now())
    )
    return await get(connection, approval_id)


async def use(
    connection: AsyncConnection,
    approval_id: str,
    *,
    operation_id: str,
    verb: str,
    what: dict[str, str],
    action_id: str,
) -> sa.RowMapping:
    """Use an approval up for the act `action_id`. Raises `ApprovalRefused` unless it is given, and for exactly this."""
    row = await get(connection, approval_id, lock=True)
    if row is None:
        raise ApprovalRefused(f"There is no approval {approval_id}.")
    if (row["operation_id"], row["verb"], row["what"]) != (operation_id, verb, what):
        raise ApprovalRefused(f"{approval_id} is for another act: {row['verb']} of {row['operation_id']}.")
    if row["approved_by"] is None:
        raise ApprovalRefused(f"{approval_id} awaits another admin's approval.")
    if row["used_by"] is not None:
        raise ApprovalRefused(f"{approval_id} was used at {row['used_at']:%Y-%m-%d %H:%M:%S %Z}.")
    if row["expired"]:
        raise ApprovalRefused(f"{approval_id} was asked for more than {LIFE} ago.")
    await connection.execute(
        sa.update(approvals).where(approvals.c.id == approval_id).values(used_by=action_id, used_at=sa.func.app_now())
    )
    return row
