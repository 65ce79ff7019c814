"""What every saga writes to Postgres beside its postings: statuses, troubles, what operators did."""

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from db import operations, outbox
from db.engine import Database
from domain.operations import Failure, OperationKind, OperationRef
from domain.statuses import Status, status_of


class StatusChange(BaseModel):
    """An operation's new status. `close`: the saga ends with it."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    status: str
    details: dict[str, str] = {}
    failure: Failure | None = None
    close: bool = False


class Trouble(BaseModel):
    """Why a step is not through yet, and how often it was put off."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    failure: Failure
    needs_attention: bool
    retries: int


class OperatorAction(BaseModel):
    """What an operator did. `action_id` is the update's id, so that it is kept once."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    action_id: str
    verb: str
    actor: str
    reason: str


class RecordActivities:
    """Each is one transaction, and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn
    async def record_status(self, change: StatusChange) -> None:
        """Move the operation to a status and tell of it, once; recording it again changes nothing."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, change.operation_id)
            await advance_and_tell(
                connection,
                operation,
                status_of(operation["kind"], change.status),
                details=dict(change.details),
                failure=change.failure,
                close=change.close,
            )

    @activity.defn
    async def note_trouble(self, trouble: Trouble) -> None:
        """Show on the operation what its saga waits for."""
        async with self._database.transaction() as connection:
            await operations.note_trouble(
                connection,
                trouble.operation_id,
                trouble.failure,
                needs_attention=trouble.needs_attention,
                retries=trouble.retries,
            )

    @activity.defn
    async def clear_trouble(self, ref: OperationRef) -> None:
        """The step went through after all."""
        async with self._database.transaction() as connection:
            await operations.clear_trouble(connection, ref.operation_id)

    @activity.defn
    async def record_operator_action(self, action: OperatorAction) -> None:
        """Keep who did what to the operation, why, and what they saw."""
        async with self._database.transaction() as connection:
            await operations.record_operator_action(
                connection,
                action.operation_id,
                action.action_id,
                verb=action.verb,
                actor=action.actor,
                reason=action.reason,
            )


async def advance_and_tell(
    connection: AsyncConnection,
    operation: sa.RowMapping,
    status: Status,
    *,
    details: dict[str, Any] | None = None,
    failure: Failure | None = None,
    close: bool = False,
) -> bool:
    """`operations.advance`, and if that was news the domain event that says so, in the same transaction."""
    news = await operations.advance(connection, operation["id"], status, details=details, failure=failure, close=close)
    if news:
        told = {name: operation[name] for name in ("wallet_id", "amount", "currency") if operation[name] is not None}
        told |= {"failure": failure.code} if failure is not None else {}
        await outbox.publish(connection, operation["id"], f"{OperationKind(operation['kind'])}.{status}", told)
    return news
