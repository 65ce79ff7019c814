"""Operations, and the requests that made or changed them."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import offer_actions, offers, operations, operator_actions, requests, users
from domain.errors import IdempotencyKeyReused
from domain.operations import Failure, OperationKind
from domain.statuses import Status, WithdrawalStatus, before, ends_like, is_terminal

_AGE = sa.cast(sa.extract("epoch", sa.func.app_now() - operations.c.created_at), sa.Float).label("age")
"""Seconds since an operation was accepted."""

_ACTIONS = (
    sa.select(
        sa.func.jsonb_agg(aggregate_order_by(sa.func.to_jsonb(offer_actions.table_valued()), offer_actions.c.acted_at))
    )
    .where(offer_actions.c.operation_id == operations.c.id)
    .correlate(operations)
    .scalar_subquery()
)
OFFER = (
    sa.select(sa.func.to_jsonb(offers.table_valued()).op("||")(sa.func.jsonb_build_object("actions", _ACTIONS)))
    .where(offers.c.operation_id == operations.c.id)
    .correlate(operations)
    .scalar_subquery()
    .label("offer")
)
"""What an offer has beyond its operation, with `actions`, as JSON; null for any other kind."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client: who, under which key, and a digest of what."""

    caller: str
    key: str
    fingerprint: str


async def earlier_request(connection: AsyncConnection, asked: Asked) -> sa.RowMapping | None:
    """The request that used this key before, if one did. Raises `IdempotencyKeyReused` if it asked for something else.

    Concurrent requests with one key wait here for the first: the lock ends with the transaction that inserts, or does
    not insert, its row.
    """
    await connection.execute(
        sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{asked.caller}\n{asked.key}", 0)))
    )
    query = sa.select(requests).where(requests.c.caller == asked.caller, requests.c.key == asked.key)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is not None and row["fingerprint"] != asked.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another method, path or body before.")
    return row


async def remember_request(
    connection: AsyncConnection,
    asked: Asked,
    operation_id: str,
    *,
    verb: str | None = None,
    wish: dict[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Keep the key for good. `wish`: what the verb's saga is told."""
    await connection.execute(
        sa.insert(requests).values(
            caller=asked.caller,
            key=asked.key,
            fingerprint=asked.fingerprint,
            operation_id=operation_id,
            verb=verb,
            wish=wish,
            reason=reason,
        )
    )


async def request_behind(
    connection: AsyncConnection, operation_id: str, verb: str, action_id: str
) -> sa.RowMapping | None:
    """The request that a saga knows as `action_id` (see `update_id`), if it came through the API."""
    query = sa.select(requests).where(requests.c.operation_id == operation_id, requests.c.verb == verb)
    rows = (await connection.execute(query)).mappings()
    return next((row for row in rows if update_id(row["caller"], row["key"]) == action_id), None)


async def answer_request(connection: AsyncConnection, caller: str, key: str, refusal: dict[str, Any] | None) -> None:
    """Keep how a verb ended, so that asking again is answered the same. The first answer stays."""
    await connection.execute(
        sa.update(requests)
        .where(requests.c.caller == caller, requests.c.key == key, requests.c.answered_at.is_(None))
        .values(refusal=refusal, answered_at=sa.func.app_now())
    )


async def unanswered_verbs(connection: AsyncConnection, *, older_than: float, limit: int) -> list[sa.RowMapping]:
    """Verbs accepted more than `older_than` seconds ago that no saga has answered, oldest first."""
    query = (
        sa.select(requests)
        .where(requests.c.verb.is_not(None), requests.c.answered_at.is_(None))
        .where(requests.c.created_at < sa.func.app_now() - timedelta(seconds=older_than))
        .order_by(requests.c.created_at)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def insert_operation(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Insert an operation as it was accepted (or refused: then `failure` says why)."""
    row = {"request": {}, "details": {}, "needs_attention": False, "retries": 0} | values
    await connection.execute(sa.insert(operations).values(**row))


async def get(connection: AsyncConnection, operation_id: str) -> sa.RowMapping | None:
    """One operation, with its owner's reference, its `age` in seconds, and `offer` if it is one."""
    query = sa.select(operations, users.c.reference, _AGE, OFFER).join(users).where(operations.c.id == operation_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def locked(connection: AsyncConnection, operation_id: str) -> sa.RowMapping:
    """One operation that must exist, and that nobody moves until this transaction ends.

    Whoever locks its wallet too, locks that first.
    """
    query = sa.select(operations.c.id).where(operations.c.id == operation_id).with_for_update(key_share=True)
    await connection.execute(query)
    return await require(connection, operation_id)


async def require(connection: AsyncConnection, operation_id: str) -> sa.RowMapping:
    """One operation that must exist: its saga is running."""
    row = await get(connection, operation_id)
    if row is None:
        raise LookupError(f"Operation {operation_id} is not in this database.")
    return row


async def page(
    connection: AsyncConnection,
    *,
    user_id: str | None,
    kind: OperationKind | None,
    limit: int,
    before_id: str | None,
) -> list[sa.RowMapping]:
    """Operations, newest first: of one user, or of all (`user_id` None)."""
    query = sa.select(operations).order_by(operations.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(operations.c.user_id == user_id)
    if kind is not None:
        query = query.where(operations.c.kind == kind)
    if before_id is not None:
        query = query.where(operations.c.id < before_id)
    return list((await connection.execute(query)).mappings())


async def of_ids(connection: AsyncConnection, ids: list[str]) -> list[sa.RowMapping]:
    """These operations, newest first, each with `offer` if it is one."""
    query = sa.select(operations, OFFER).where(operations.c.id.in_(ids)).order_by(operations.c.id.desc())
    return list((await connection.execute(query)).mappings())


async def unstarted(connection: AsyncConnection, *, older_than: float, limit: int) -> list[sa.RowMapping]:
    """Operations whose saga has done nothing yet, accepted more than `older_than` seconds ago, oldest first."""
    query = (
        sa.select(operations, _AGE)
        .where(operations.c.started_at.is_(None), operations.c.closed_at.is_(None))
        .where(operations.c.created_at < sa.func.app_now() - timedelta(seconds=older_than))
        .order_by(operations.c.created_at)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())


async def note_started(connection: AsyncConnection, operation_id: str) -> None:
    """The saga is at work: the sweeper need not start it."""
    await connection.execute(
        sa.update(operations)
        .where(operations.c.id == operation_id, operations.c.started_at.is_(None))
        .values(started_at=sa.func.app_now())
    )


async def advance(
    connection: AsyncConnection,
    operation_id: str,
    status: Status,
    *,
    details: dict[str, Any] | None = None,
    failure: Failure | None = None,
    close: bool = False,
) -> bool:
    """Move the operation to `status`, and say whether that was news.

    An operation that is there already, or cannot come there from where it is, stays as it is: a saga that was reset
    records its steps again. `details` are merged. `close` says that the saga ends with this. An operation that was
    closed is open again if it moves to a status that is no end: a follow-up has taken it on.
    """
    values: dict[str, Any] = {
        "updated_at": sa.func.app_now(),
        "started_at": sa.func.coalesce(operations.c.started_at, sa.func.app_now()),
    }
    if details:
        values["details"] = operations.c.details.op("||")(sa.cast(details, operations.c.details.type))
    moved = await connection.execute(
        sa.update(operations)
        .where(operations.c.id == operation_id, operations.c.status.in_(before(status)))
        .values(
            status=status,
            failure=failure.model_dump() if failure else None,
            **values,
            **({} if is_terminal(status) else {"closed_at": None}),
        )
    )
    if not moved.rowcount and details:
        news = sa.not_(operations.c.details.contains(details))
        await connection.execute(sa.update(operations).where(operations.c.id == operation_id, news).values(**values))
    if close and is_terminal(status):
        # Not if it has moved on to a status that is no end: then somebody else brings it to one.
        ended = operations.c.status.in_(ends_like(status))
        await connection.execute(
            sa.update(operations)
            .where(operations.c.id == operation_id, operations.c.closed_at.is_(None), ended)
            .values(closed_at=sa.func.app_now())
        )
    return bool(moved.rowcount)


async def note_trouble(
    connection: AsyncConnection, operation_id: str, trouble: Failure, *, needs_attention: bool, retries: int
) -> None:
    """The saga waits before it tries a step again, for the `retries`-th time; or for an operator."""
    await connection.execute(
        sa.update(operations)
        .where(operations.c.id == operation_id)
        .values(
            needs_attention=needs_attention,
            attention=trouble.model_dump(),
            retries=retries,
            last_retry_at=sa.func.app_now(),
            updated_at=sa.func.app_now(),
        )
    )


async def clear_trouble(connection: AsyncConnection, operation_id: str) -> None:
    """The step went through: nothing needs attention any more. How often it was tried stays."""
    await connection.execute(
        sa.update(operations)
        .where(operations.c.id == operation_id)
        .values(needs_attention=False, attention=None, updated_at=sa.func.app_now())
    )


async def record_operator_action(
    connection: AsyncConnection,
    operation_id: str,
    action_id: str,
    *,
    verb: str,
    actor: str,
    reason: str,
    evidence: dict[str, Any] | None = None,
    refusal: Failure | None = None,
) -> bool:
    """Keep who did what to an operation, or was refused, why, and what it looked like then; it may not even exist.

    `evidence` is what else they saw. False if the same is kept already. Raises `IdempotencyKeyReused` if the id stands
    for another act.
    """
    row = await get(connection, operation_id)
    seen = {name: row[name] for name in ("status", "needs_attention", "attention", "retries", "details")} if row else {}
    inserted = await connection.execute(
        insert(operator_actions)
        .values(
            operation_id=operation_id,
            action_id=action_id,
            verb=verb,
            actor=actor,
            reason=reason,
            seen=seen | ({"evidence": evidence} if evidence else {}),
            refusal=refusal.model_dump() if refusal is not None else None,
        )
        .on_conflict_do_nothing()
    )
    if inserted.rowcount:
        return True
    kept = await operator_action(connection, operation_id, action_id)
    assert kept is not None, "that is what was in the way"
    if (kept["verb"], kept["actor"], kept["reason"]) != (verb, actor, reason):
        raise IdempotencyKeyReused("This Idempotency-Key stands for another act on the operation.")
    return False


async def operator_action(connection: AsyncConnection, operation_id: str, action_id: str) -> sa.RowMapping | None:
    """One act of an operator's, done or refused."""
    query = sa.select(operator_actions).where(
        operator_actions.c.operation_id == operation_id, operator_actions.c.action_id == action_id
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def operator_actions_on(connection: AsyncConnection, operation_id: str) -> list[sa.RowMapping]:
    """What operators did to an operation, or were refused, oldest first."""
    query = (
        sa.select(operator_actions)
        .where(operator_actions.c.operation_id == operation_id)
        .order_by(operator_actions.c.created_at, operator_actions.c.action_id)
    )
    return list((await connection.execute(query)).mappings())


def update_id(caller: str, key: str) -> str:
    """The id under which a verb reaches its saga: the client's key, told apart from other callers'.

    A digest, since the saga's history keeps it: a caller's id may be an e-mail address.
    """
    return hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()


async def awaiting_funds(connection: AsyncConnection) -> list[sa.RowMapping]:
    """The operations that wait for the platform's balance at Stripe."""
    query = sa.select(operations).where(operations.c.status == WithdrawalStatus.AWAITING_FUNDS)
    return list((await connection.execute(query)).mappings())
