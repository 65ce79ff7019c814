"""`stripe_calls`: every write to Stripe, from the intent to its outcome.

    (none) ──begin──▶ open ──settle──▶ done | refused
      │                │
      │                └──twice absent──▶ absent ──begin──▶ open (next generation)
      └──close──▶ closed: absent for good

An open generation that is doubted, or old, is looked for before anything is sent; an old one is never sent again.

The intent is committed before the call and the outcome after it, so whatever dies between them, the next attempt finds
here what was sent, sends the same again, and never something else. This table, not a workflow's memory, decides the
generation: a recorded outcome is returned without calling, a closed generation refuses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db import operations, users
from db.tables import stripe_calls, stripe_objects
from domain.errors import WalletFrozen
from domain.operations import Failure, idempotency_key

KEY_LIFE = timedelta(hours=23)
"""How long after its first sending an idempotency key is counted on: Stripe may forget it after 24 hours
(https://docs.stripe.com/api/idempotent_requests). An hour is left for clocks that differ, and what is on its way."""

_OLD = (stripe_calls.c.first_sent_at < sa.func.app_now() - KEY_LIFE).label("old")

_SENT_NOW = {"attempts": stripe_calls.c.attempts + 1, "last_sent_at": sa.func.app_now()}
"""Committed before each sending."""


class Outcome(StrEnum):
    """How a generation ended."""

    DONE = "done"
    """Stripe did it."""
    REFUSED = "refused"
    """Stripe has certainly not done it, and said why."""
    ABSENT = "absent"
    """Looked for twice and not there: never done. The next generation may be sent, unless this one is closed."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a step wants of Stripe. `subject` is the operation, or the user's reference for what belongs to a user."""

    subject: str
    step: str
    operation_id: str
    write: str
    params: dict[str, Any]
    stripe_account: str = ""
    again_after_refusal: bool = False
    """Whether a refusal may be followed by another try, as the next generation: what was refused for a state that
    passes (a payment that is just being processed cannot be canceled)."""
    out_of_wallet: str | None = None
    """The wallet whose money this moves: once that is frozen, no such intent begins."""
    closes: tuple[tuple[str, str], ...] = ()
    """Steps, each with its write, that must never be done once this one has begun: what compensates a movement leaves
    no way to the movements that would have followed it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One generation of an intent, as stored: what is, or was, sent."""

    subject: str
    step: str
    generation: int
    operation_id: str
    key: str
    write: str
    stripe_account: str
    params: dict[str, Any]
    attempts: int
    """How often it had been sent before it was read here."""
    first_sent_at: datetime
    doubted_at: datetime | None
    last_sent_at: datetime
    absent_at: datetime | None
    outcome: Outcome | None
    stripe_id: str | None
    result: dict[str, Any] | None
    closed_at: datetime | None
    old: bool
    """Whether it was first sent so long ago that Stripe may have forgotten its key: sent again, it could be done
    again."""

    @property
    def refusal(self) -> Failure | None:
        """Why Stripe refused, if it did."""
        return Failure.model_validate(self.result) if self.outcome is Outcome.REFUSED else None


async def begin(connection: AsyncConnection, intent: Intent) -> Call:
    """The generation of `intent` to send now, or the one whose outcome is known.

    Inserts the first generation, or the one that follows an absent (or, if the intent allows, a refused) one. An open
    one comes back as it was stored, whatever `intent.params` say by now. Raises `WalletFrozen` instead of beginning
    one, and `StillOpen` if one that it closes is still open.
    """
    # Whoever freezes the wallet waits for this lock: an intent is either there before the freeze, or never.
    wallet = await users.locked_wallet(connection, intent.out_of_wallet) if intent.out_of_wallet else None
    newest = await latest(connection, intent.subject, intent.step)
    reopen = (
        newest is not None
        and newest.closed_at is None
        and (newest.outcome is Outcome.ABSENT or (newest.outcome is Outcome.REFUSED and intent.again_after_refusal))
    )
    if newest is None or reopen:
        if wallet is not None and wallet["frozen"]:
            raise WalletFrozen("The wallet was frozen before Stripe was asked.")
        # First, in every intent: two that lock an operation and a closed step in opposite orders would deadlock.
        await operations.note_started(connection, intent.operation_id)
        for step, write in intent.closes:
            await close(connection, intent.operation_id, step, write=write)
        generation = newest.generation + 1 if newest else 1
        await connection.execute(
            insert(stripe_calls)
            .values(
                subject=intent.subject,
                step=intent.step,
                generation=generation,
                operation_id=intent.operation_id,
                idempotency_key=idempotency_key(intent.subject, intent.step, generation),
                write=intent.write,
                stripe_account=intent.stripe_account,
                params=intent.params,
                attempts=0,
            )
            # Another worker may have begun the same intent just now: then its row, and its parameters, stand.
            .on_conflict_do_nothing()
        )
        newest = await latest(connection, intent.subject, intent.step)
        assert newest is not None
    if newest.outcome is None and newest.doubted_at is None:
        if newest.old:
            await doubt(connection, newest)
            return await _reload(connection, newest)
        # Only while it is open: another may have found out, or declared it undone, since it was read here.
        still_open = sa.update(stripe_calls).where(*_is(newest), stripe_calls.c.outcome.is_(None))
        if not (await connection.execute(still_open.values(**_SENT_NOW))).rowcount:
            return await _reload(connection, newest)
    return newest


class StillOpen(Exception):
    """A step that is to be closed may be done at this very moment: it is to be asked after first."""


async def close(connection: AsyncConnection, operation_id: str, step: str, *, write: str) -> bool:
    """See to it that a step of the operation is never done from now on. False if it was done already.

    Closing is a generation of its own that is never sent. The next one to be sent would need its number: so of two that
    would close and begin at once, one finds the other. Raises `StillOpen`.
    """
    newest = await latest(connection, operation_id, step)
    if newest is not None and newest.outcome is Outcome.DONE:
        return False
    if newest is not None and newest.closed_at is not None:
        return True
    if newest is not None and newest.outcome is None:
        raise StillOpen(f"{newest.key} has no outcome yet.")
    generation = newest.generation + 1 if newest else 1
    closed = await connection.execute(
        insert(stripe_calls)
        .values(
            subject=operation_id,
            step=step,
            generation=generation,
            operation_id=operation_id,
            idempotency_key=idempotency_key(operation_id, step, generation),
            write=write,
            params={},
            attempts=0,
            outcome=Outcome.ABSENT.value,
            closed_at=sa.func.app_now(),
        )
        .on_conflict_do_nothing()
    )
    # Another took the number just now, and has committed: what it did with it is to be seen.
    return True if closed.rowcount else await close(connection, operation_id, step, write=write)


async def settle(
    connection: AsyncConnection,
    call: Call,
    outcome: Outcome,
    *,
    stripe_id: str | None,
    result: dict[str, Any],
    objects: Iterable[str] = (),
) -> Call:
    """Record how `call` ended and return it as it stands.

    The first recorded outcome stays: a worker that was frozen may come back with an answer long after another has
    recorded its own. `objects` are the Stripe ids that are the operation's from now on.
    """
    await connection.execute(
        sa.update(stripe_calls)
        .where(*_is(call), stripe_calls.c.outcome.is_(None))
        .values(outcome=outcome, stripe_id=stripe_id, result=result)
    )
    await claim_objects(connection, call.operation_id, objects)
    return await _reload(connection, call)


async def doubt(connection: AsyncConnection, call: Call) -> None:
    """Stripe answered, but not whether it was done (a 5xx), or its key is old: from now on look before sending."""
    await connection.execute(
        sa.update(stripe_calls)
        .where(*_is(call), stripe_calls.c.outcome.is_(None))
        .values(doubted_at=sa.func.coalesce(stripe_calls.c.doubted_at, sa.func.app_now()))
    )


async def note_absent(connection: AsyncConnection, call: Call, *, apart: float, sends: bool = True) -> Call:
    """A look-up found nothing: the generation closes as absent, or comes back open, to be sent again now.

    It closes if an earlier look-up found nothing either and the last sending was at least `apart` seconds ago: what was
    sent more lately may still come to light. An old one is not sent again: so the two look-ups must be as far apart.
    `sends` False: whoever asks only wants to know, and does not send it again.
    """
    since = sa.func.app_now() - timedelta(seconds=apart)
    quiet = sa.and_(
        stripe_calls.c.absent_at.is_not(None),
        stripe_calls.c.last_sent_at <= since,
        sa.or_(sa.not_(_OLD), stripe_calls.c.absent_at <= since),
    )
    closed = await connection.execute(
        sa.update(stripe_calls)
        .where(*_is(call), stripe_calls.c.outcome.is_(None), quiet)
        .values(outcome=Outcome.ABSENT.value)
    )
    if not closed.rowcount:
        sent = {name: sa.case((_OLD, stripe_calls.c[name]), else_=value) for name, value in _SENT_NOW.items()}
        await connection.execute(
            sa.update(stripe_calls)
            .where(*_is(call), stripe_calls.c.outcome.is_(None))
            .values(absent_at=sa.func.coalesce(stripe_calls.c.absent_at, sa.func.app_now()), **(sent if sends else {}))
        )
    return await _reload(connection, call)


async def quiet(connection: AsyncConnection, call: Call, *, apart: float) -> bool:
    """Whether a call was sent neither since it was read nor in the last `apart` seconds; nobody sends it before this
    transaction ends."""
    held = await connection.execute(
        sa.select(stripe_calls.c.last_sent_at <= sa.func.app_now() - timedelta(seconds=apart))
        .where(*_is(call), stripe_calls.c.attempts == call.attempts)
        .with_for_update()
    )
    return held.scalar_one_or_none() is True


async def of_operation(connection: AsyncConnection, operation_id: str) -> list[sa.RowMapping]:
    """The calls an operation made, oldest first, without their parameters: those may hold personal data."""
    shown = [column for column in stripe_calls.c if column.name not in {"params", "operation_id"}]
    query = (
        sa.select(*shown)
        .where(stripe_calls.c.operation_id == operation_id)
        .order_by(stripe_calls.c.first_sent_at, stripe_calls.c.generation)
    )
    return list((await connection.execute(query)).mappings())


async def done(connection: AsyncConnection, subject: str, step: str) -> Call | None:
    """The generation of a step that Stripe did, if one was done."""
    newest = await latest(connection, subject, step)
    return newest if newest is not None and newest.outcome is Outcome.DONE else None


async def maker_of(connection: AsyncConnection, stripe_id: str) -> Call | None:
    """The call that is known to have made, or changed, a Stripe object."""
    query = (
        sa.select(stripe_calls, _OLD)
        .where(stripe_calls.c.stripe_id == stripe_id, stripe_calls.c.outcome == Outcome.DONE.value)
        .order_by(stripe_calls.c.first_sent_at)
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _call(row)


async def owner_of(connection: AsyncConnection, stripe_ids: list[str]) -> str | None:
    """The operation that one of these Stripe objects belongs to."""
    query = sa.select(stripe_objects.c.operation_id).where(stripe_objects.c.stripe_id.in_(stripe_ids)).limit(1)
    return (await connection.execute(query)).scalar()


async def claim_objects(connection: AsyncConnection, operation_id: str, stripe_ids: Iterable[str]) -> None:
    """Remember that these Stripe objects are the operation's."""
    for stripe_id in stripe_ids:
        await connection.execute(
            insert(stripe_objects).values(stripe_id=stripe_id, operation_id=operation_id).on_conflict_do_nothing()
        )


def _is(call: Call) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        stripe_calls.c.subject == call.subject,
        stripe_calls.c.step == call.step,
        stripe_calls.c.generation == call.generation,
    )


async def latest(connection: AsyncConnection, subject: str, step: str) -> Call | None:
    """The newest generation of a step."""
    query = (
        sa.select(stripe_calls, _OLD)
        .where(stripe_calls.c.subject == subject, stripe_calls.c.step == step)
        .order_by(stripe_calls.c.generation.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _call(row)


async def _reload(connection: AsyncConnection, call: Call) -> Call:
    return _call((await connection.execute(sa.select(stripe_calls, _OLD).where(*_is(call)))).mappings().one())


def _call(row: sa.RowMapping) -> Call:
    return Call(
        subject=row["subject"],
        step=row["step"],
        generation=row["generation"],
        operation_id=row["operation_id"],
        key=row["idempotency_key"],
        write=row["write"],
        stripe_account=row["stripe_account"],
        params=row["params"],
        attempts=row["attempts"],
        first_sent_at=row["first_sent_at"],
        doubted_at=row["doubted_at"],
        last_sent_at=row["last_sent_at"],
        absent_at=row["absent_at"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        stripe_id=row["stripe_id"],
        result=row["result"],
        closed_at=row["closed_at"],
        old=row["old"],
    )
