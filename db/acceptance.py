"""Taking an operation in: its row, the key it came under, and the event that tells of it, in one transaction."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db import operations, outbox
from db.operations import Asked
from domain.errors import StateRefusal
from domain.ids import new_id
from domain.money import Money
from domain.operations import Failure, OperationKind
from domain.statuses import FAILED, REQUESTED, status_of


async def accept(
    connection: AsyncConnection,
    asked: Asked,
    kind: OperationKind,
    user_id: str,
    *,
    wallet_id: str | None = None,
    money: Money | None = None,
    request: dict[str, Any] | None = None,
    refused: StateRefusal | None = None,
) -> str:
    """Insert an operation and the event that tells of it; its id. `refused`: it has failed already, and is over."""
    told = {"wallet_id": wallet_id, "amount": money and money.amount, "currency": money and money.currency}
    values: dict[str, Any] = told | {
        "id": new_id(kind.id_prefix),
        "kind": kind,
        "status": status_of(kind, REQUESTED),
        "caller": asked.caller,
        "user_id": user_id,
        "request": request or {},
    }
    if refused is not None:
        failure = Failure(code=refused.code, detail=refused.detail)
        values |= {"failure": failure.model_dump(), "status": status_of(kind, FAILED), "closed_at": sa.func.app_now()}
        told["failure"] = refused.code
    await operations.insert_operation(connection, values)
    await operations.remember_request(connection, asked, values["id"])
    data = {name: value for name, value in told.items() if value is not None}
    await outbox.publish(connection, values["id"], f"{kind}.{values['status']}", data)
    return str(values["id"])
