"""Deposits: money from a card into a wallet."""

from typing import Annotated, Any

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from api import pages, problems
from api.auth import AnyCaller, Caller, Payer, Role
from api.idempotency import AskedOnce
from api.models import Deposit, deposit_of
from api.services import Services, services
from db import operations, outbox, users
from db.operations import Asked
from domain import errors
from domain.ids import new_id
from domain.money import Money, currency
from domain.operations import Failure, OperationKind
from domain.statuses import DepositStatus

log = structlog.get_logger()
router = APIRouter(prefix="/deposits", tags=["deposits"])
Held = Annotated[Services, Depends(services)]

CANCEL = "cancel"


class NewDeposit(BaseModel):
    """What to take from a card. Without `payment_method` the customer's browser confirms with the `client_secret`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"amount": 20000, "currency": "usd", "payment_method": "pm_card_visa"}},
    )

    amount: StrictInt = Field(description="Minor units: 20000 is 200.00 USD.")
    currency: str = Field(description="Lower-case ISO 4217 code.", max_length=3)
    payment_method: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_]{1,100}$", description="A Stripe payment method to charge at once."
    )
    user_id: str | None = Field(
        default=None, min_length=1, max_length=255, pattern=r"^[ -~]*$", description="For a service: whose wallet."
    )


@router.post(
    "",
    status_code=201,
    response_model=Deposit,
    summary="Make a deposit",
    responses={
        200: {"model": Deposit, "description": "The deposit that this key made before (`Idempotent-Replayed: true`)."},
        202: {"model": Deposit, "description": "Accepted; Stripe has not answered yet. Read it again in a moment."},
        **problems.described(
            errors.MalformedRequest,
            errors.IdempotencyKeyMissing,
            errors.IdempotencyKeyMalformed,
            errors.Unauthenticated,
            errors.CardDeclined,
            errors.PaymentRefused,
            errors.Forbidden,
            errors.WalletDeactivated,
            errors.BodyTooLarge,
            errors.IdempotencyKeyReused,
            errors.InvalidField,
            errors.Unavailable,
        ),
    },
)
async def make_deposit(asked: AskedOnce, caller: Payer, wanted: NewDeposit, held: Held) -> Response:
    """Take an amount from a card into the user's wallet in its currency, which is made on first use.

    A refused deposit is an operation too: the problem names it, and asking again with the same key replays it.
    """
    user_id = _owner(caller, wanted)
    money = _checked(held, wanted)
    async with held.database.transaction() as connection:
        earlier = await operations.earlier_request(connection, asked)
        operation_id = (
            earlier["operation_id"] if earlier is not None else await _accept(connection, asked, user_id, money, wanted)
        )
        operation = await operations.require(connection, operation_id)
    answered = operation["closed_at"] is not None or operation["status"] != DepositStatus.REQUESTED
    if not answered:
        answered = await held.dispatcher.first_answer(operation, within=held.settings.answer_within)
        async with held.database.transaction() as connection:
            operation = await operations.require(connection, operation_id)
    return await _answer(held, caller, operation, answered=answered, replayed=earlier is not None)


async def _accept(connection: Any, asked: Asked, user_id: str, money: Money, wanted: NewDeposit) -> str:
    """Insert the operation: accepted, or refused by the state of its wallet."""
    await users.ensure_user(connection, user_id)
    wallet = await users.ensure_wallet(connection, user_id, money.currency)
    values: dict[str, Any] = {
        "id": new_id(OperationKind.DEPOSIT.id_prefix),
        "kind": OperationKind.DEPOSIT,
        "status": DepositStatus.REQUESTED,
        "caller": asked.caller,
        "user_id": user_id,
        "wallet_id": wallet["id"],
        "amount": money.amount,
        "currency": money.currency,
        "request": {"payment_method": wanted.payment_method} if wanted.payment_method else {},
    }
    told: dict[str, Any] = {"wallet_id": wallet["id"], "amount": money.amount, "currency": money.currency}
    if not wallet["active"]:
        failure = Failure(code=errors.WalletDeactivated.code, detail=f"The wallet {wallet['id']} takes no deposits.")
        values |= {"status": DepositStatus.FAILED, "failure": failure.model_dump(), "closed_at": sa.func.app_now()}
        told["failure"] = failure.code
    await operations.insert_operation(connection, values)
    await operations.remember_request(connection, asked, values["id"])
    await outbox.publish(connection, values["id"], f"{OperationKind.DEPOSIT}.{values['status']}", told)
    return str(values["id"])


@router.get(
    "",
    response_model=pages.Page[Deposit],
    summary="List deposits",
    responses=problems.described(errors.Unauthenticated, errors.InvalidField, errors.Unavailable),
)
async def list_deposits(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    user_id: Annotated[str | None, Query(max_length=255, description="For admins and services: whose.")] = None,
) -> pages.Page[Deposit]:
    """Deposits, newest first: one's own, or for admins and services everybody's."""
    before = pages.decode(cursor, str)
    async with held.database.transaction() as connection:
        rows = await operations.page(
            connection,
            user_id=user_id if caller.sees_all else caller.id,
            kind=OperationKind.DEPOSIT,
            limit=limit + 1,
            before_id=str(before[0]) if before else None,
        )
    shown = rows[:limit]
    return pages.Page(
        data=[deposit_of(row) for row in shown],
        next_cursor=pages.encode([shown[-1]["id"]]) if len(rows) > limit else None,
    )


@router.get(
    "/{deposit_id}",
    response_model=Deposit,
    summary="Read a deposit",
    responses=problems.described(errors.Unauthenticated, errors.NotFound, errors.Unavailable),
)
async def read_deposit(deposit_id: str, caller: AnyCaller, held: Held) -> Deposit:
    """One deposit; while it awaits payment, with the `client_secret` that the customer's browser needs."""
    operation = await _owned(held, caller, deposit_id)
    return deposit_of(operation, client_secret=await _client_secret(held, caller, operation))


@router.post(
    "/{deposit_id}/cancel",
    response_model=Deposit,
    summary="Cancel a deposit",
    responses={
        202: {"model": Deposit, "description": "Accepted; how it ends is not certain yet. Read it again in a moment."},
        **problems.described(
            errors.IdempotencyKeyMissing,
            errors.IdempotencyKeyMalformed,
            errors.Unauthenticated,
            errors.NotFound,
            errors.NotCancelable,
            errors.IdempotencyKeyReused,
            errors.Unavailable,
        ),
    },
)
async def cancel_deposit(deposit_id: str, asked: AskedOnce, caller: AnyCaller, held: Held) -> Response:
    """Call a deposit off. Answers once it is certain that nothing will be taken; a payment that was faster counts."""
    await _owned(held, caller, deposit_id)
    async with held.database.transaction() as connection:
        earlier = await operations.earlier_request(connection, asked)
        if earlier is None:
            await operations.remember_request(connection, asked, deposit_id, verb=CANCEL)
    answered = earlier is not None and earlier["answered_at"] is not None
    if not answered:
        answered = await held.verbs.ask(
            caller=asked.caller,
            key=asked.key,
            operation_id=deposit_id,
            verb=CANCEL,
            within=held.settings.answer_within,
        )
    async with held.database.transaction() as connection:
        request = await operations.earlier_request(connection, asked)
        operation = await operations.require(connection, deposit_id)
    headers = {"Idempotent-Replayed": "true"} if earlier is not None else {}
    if request is not None and request["refusal"] is not None:
        refused = problems.refusal(request["refusal"], deposit_id)
        refused.headers.update(headers)
        return refused
    return JSONResponse(
        deposit_of(operation).model_dump(mode="json"), status_code=200 if answered else 202, headers=headers
    )


async def _answer(
    held: Services, caller: Caller, operation: sa.RowMapping, *, answered: bool, replayed: bool
) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    if operation["failure"] is not None:
        refused = problems.refusal(operation["failure"], operation["id"])
        refused.headers.update(headers)
        return refused
    shown = deposit_of(operation, client_secret=await _client_secret(held, caller, operation))
    status = 202 if not answered else 200 if replayed else 201
    return JSONResponse(shown.model_dump(mode="json"), status_code=status, headers=headers)


async def _client_secret(held: Services, caller: Caller, operation: sa.RowMapping) -> str | None:
    """Fetched from Stripe each time it may be needed, and never kept; null if Stripe does not answer."""
    payment_intent = operation["details"].get("payment_intent")
    if operation["status"] != DepositStatus.AWAITING_PAYMENT or payment_intent is None or caller.role is Role.ADMIN:
        return None
    try:
        return await held.stripe.client_secret(payment_intent)
    except stripe.StripeError as error:
        log.warning("no client secret", operation_id=operation["id"], error=type(error).__name__)
        return None


async def _owned(held: Services, caller: Caller, deposit_id: str) -> sa.RowMapping:
    async with held.database.transaction() as connection:
        row = await operations.get(connection, deposit_id)
    return caller.owned(row if row is not None and row["kind"] == OperationKind.DEPOSIT else None, "deposit")


def _owner(caller: Caller, wanted: NewDeposit) -> str:
    if caller.role is Role.SERVICE:
        if wanted.user_id is None:
            raise errors.InvalidField("user_id", "A service must say whose deposit it is.")
        return wanted.user_id
    if wanted.user_id is not None and wanted.user_id != caller.id:
        raise errors.InvalidField("user_id", "Only a service may name a user.", remedy="Leave user_id out.")
    return caller.id


def _checked(held: Services, wanted: NewDeposit) -> Money:
    bounds = held.settings.deposit_bounds.get(wanted.currency)
    if bounds is None:
        raise errors.InvalidField(
            "currency",
            f"{wanted.currency!r} is not a currency that wallets are held in.",
            remedy=f"Use one of: {', '.join(sorted(held.settings.deposit_bounds))}.",
        )
    if not bounds.smallest <= wanted.amount <= bounds.largest:
        raise errors.InvalidField(
            "amount",
            f"{wanted.amount} is not between {bounds.smallest} and {bounds.largest} minor units.",
            remedy="Deposit at least "
            f"{Money(bounds.smallest, wanted.currency)} and at most {Money(bounds.largest, wanted.currency)}.",
        )
    step = currency(wanted.currency).increment
    if wanted.amount % step:
        raise errors.InvalidField("amount", f"An amount in {wanted.currency} must be a multiple of {step} minor units.")
    return Money(wanted.amount, wanted.currency)
