"""Operations of every kind, with all that is recorded of them: failed ones too."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query

from api import pages, problems
from api.auth import AnyCaller
from api.models import Entry, LedgerTransaction, Operation, OperationDetail, Step, operation_of
from api.services import Services, services
from db import inbox, ledger, operations, outbox, stripe_calls
from domain import errors
from domain.operations import OperationKind

router = APIRouter(prefix="/operations", tags=["operations"])
Held = Annotated[Services, Depends(services)]


@router.get(
    "",
    response_model=pages.Page[Operation],
    summary="List operations",
    responses=problems.described(errors.Unauthenticated, errors.InvalidField, errors.Unavailable),
)
async def list_operations(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    kind: OperationKind | None = None,
    user_id: Annotated[str | None, Query(max_length=255, description="For admins and services: whose.")] = None,
) -> pages.Page[Operation]:
    """Operations, newest first: one's own, or for admins and services everybody's."""
    before = pages.decode(cursor, str)
    async with held.database.transaction() as connection:
        rows = await operations.page(
            connection,
            user_id=user_id if caller.sees_all else caller.id,
            kind=kind,
            limit=limit + 1,
            before_id=str(before[0]) if before else None,
        )
    shown = rows[:limit]
    return pages.Page(
        data=[operation_of(row) for row in shown],
        next_cursor=pages.encode([shown[-1]["id"]]) if len(rows) > limit else None,
    )


@router.get(
    "/{operation_id}",
    response_model=OperationDetail,
    summary="Read an operation",
    responses=problems.described(errors.Unauthenticated, errors.NotFound, errors.Unavailable),
)
async def read_operation(operation_id: str, caller: AnyCaller, held: Held) -> OperationDetail:
    """One operation: its steps, its calls to Stripe, its ledger transactions, and the events in and out."""
    async with held.database.transaction() as connection:
        row = caller.owned(await operations.get(connection, operation_id), "operation")
        calls = await stripe_calls.of_operation(connection, operation_id)
        transactions = await ledger.of_operation(connection, operation_id)
        received = await inbox.of_operation(connection, operation_id)
        published = await outbox.of_operation(connection, operation_id)
    return OperationDetail.model_validate(
        dict(row)
        | {
            "steps": _steps(calls, transactions),
            "calls": [dict(call) for call in calls],
            "postings": [_posting(transaction) for transaction in transactions],
            "stripe_events": [dict(event) for event in received],
            "events": [dict(event) for event in published],
        }
    )


def _steps(calls: list[sa.RowMapping], transactions: list[dict[str, Any]]) -> list[Step]:
    taken = [
        Step(
            step=call["step"],
            generation=call["generation"],
            act="stripe_call",
            outcome=call["outcome"],
            at=call["first_sent_at"],
        )
        for call in calls
    ]
    taken += [
        Step(
            step=transaction["step"],
            generation=transaction["generation"],
            act="ledger",
            outcome="done",
            at=transaction["posted_at"],
        )
        for transaction in transactions
    ]
    return sorted(taken, key=lambda step: step.at)


def _posting(transaction: dict[str, Any]) -> LedgerTransaction:
    return LedgerTransaction(
        id=transaction["id"],
        step=transaction["step"],
        generation=transaction["generation"],
        reverses=transaction["reverses"],
        posted_at=transaction["posted_at"],
        entries=[
            Entry(
                account=entry["kind"],
                owner=entry["owner"],
                amount=entry["amount"],
                currency=entry["currency"],
                balance_transaction=entry["balance_transaction_id"],
            )
            for entry in transaction["entries"]
        ],
    )
