"""Operations of every kind, with all that is recorded of them: failed ones too."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query

from api import operating, pages, problems
from api.auth import AnyCaller
from api.detail import Entry, LedgerTransaction, OperationDetail, Step
from api.models import Operation, operation_of
from api.requests import ClientRoute
from api.services import Held
from db import inbox, ledger, operations, outbox, stripe_calls
from domain import errors
from domain.accounts import AccountKind
from domain.operations import OperationKind

router = APIRouter(prefix="/operations", tags=["operations"], route_class=ClientRoute)


@router.get(
    "",
    response_model=pages.Page[Operation],
    summary="List operations",
    response_description="A page, newest first.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_operations(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    kind: Annotated[OperationKind | None, Query(description="Only of this kind.")] = None,
    user_id: operating.OfUser = None,
) -> pages.Page[Operation]:
    """Operations, newest first: one's own, or for admins and services everybody's."""
    return await operating.listed(held, caller, operation_of, kind=kind, user_id=user_id, limit=limit, cursor=cursor)


@router.get(
    "/{operation_id}",
    response_model=OperationDetail,
    summary="Read an operation",
    response_description="The operation.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_operation(operation_id: str, caller: AnyCaller, held: Held) -> OperationDetail:
    """One operation: its steps, its calls to Stripe, its ledger transactions, and the events in and out."""
    async with held.database.transaction() as connection:
        row = caller.owned(await operations.get(connection, operation_id), "operation")
        calls = await stripe_calls.of_operation(connection, operation_id)
        transactions = await ledger.of_operation(connection, operation_id)
        received = await inbox.of_operation(connection, operation_id)
        published = await outbox.of_operation(connection, operation_id)
    if not caller.sees_all:
        # What came to the other side of an offer or a transfer may have repaid a debt, and that is theirs to know.
        transactions = [one for one in transactions if _debtor(one) in (None, caller.id)]
        published = [
            one
            for one in published
            if one["type"] != ledger.RECEIVABLE_REPAID or one["data"]["wallet_id"] == row["wallet_id"]
        ]
    return OperationDetail.model_validate(
        dict(row)
        | {
            "steps": _steps(calls, transactions),
            "calls": [dict(call) | {"outcome": _outcome(call)} for call in calls],
            "postings": [_posting(transaction) for transaction in transactions],
            "stripe_events": [dict(event) for event in received],
            "events": [dict(event) for event in published],
        }
    )


def _debtor(transaction: dict[str, Any]) -> str | None:
    """Who owes the platform what the transaction is about, if it is about that."""
    owed = (entry["owner"] for entry in transaction["entries"] if entry["kind"] == AccountKind.RECEIVABLE)
    return next(owed, None)


def _outcome(call: sa.RowMapping) -> str | None:
    """A generation that is closed was never sent, and keeps every later one from being sent."""
    return "closed" if call["closed_at"] is not None else call["outcome"]


def _steps(calls: list[sa.RowMapping], transactions: list[dict[str, Any]]) -> list[Step]:
    taken = [
        Step(
            step=call["step"],
            generation=call["generation"],
            act="stripe_call",
            outcome=_outcome(call),
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
