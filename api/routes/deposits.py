"""Deposits: money from a card into a wallet."""

from typing import Annotated, Any

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy.ext.asyncio import AsyncConnection

from api import pages, problems
from api.auth import AnyCaller, AnyUserId, Caller, Payer, Role
from api.idempotency import AskedOnce
from api.models import Deposit, deposit_of
from api.requests import ClientRoute
from api.services import Held, Services
from db import operations, outbox, users
from db.operations import Asked
from domain import errors
from domain.ids import new_id
from domain.money import Money, currency
from domain.operations import Failure, OperationKind
from domain.statuses import DepositStatus

log = structlog.get_logger()
router = APIRouter(prefix="/deposits", tags=["deposits"], route_class=ClientRoute)

CANCEL = "cancel"

_REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` if this key was used before: nothing was done again.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_LOCATION = {"Location": {"description": "Where to read the deposit.", "schema": {"type": "string"}}}


class NewDeposit(BaseModel):
    """What to take from a card. Without `payment_method` the customer's browser confirms with the `client_secret`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"amount": 20000, "currency": "usd", "payment_method": "pm_card_visa"}]},
    )

    amount: StrictInt = Field(
        description="Minor units: 20000 is 200.00 USD, or 20,000 JPY. At least ten units of most currencies, at most"
        " 99999999; in KWD a multiple of 10."
    )
    currency: str = Field(description="Lower-case ISO 4217 code of a currency that wallets are held in.", max_length=3)
    payment_method: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_]{1,100}$", description="A Stripe payment method to charge at once."
    )
    user_id: AnyUserId = Field(
        default=None, description="For a service, which must: whose wallet. Others leave it out."
    )


class Cancellation(BaseModel):
    """Nothing needs to be said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


@router.post(
    "",
    status_code=201,
    response_model=Deposit,
    summary="Make a deposit",
    response_description="Made: it awaits the customer's payment, or Stripe has charged the payment method.",
    responses={
        200: {
            "model": Deposit,
            "description": "Replayed: the deposit that this key made before, as it is now.",
            "headers": _REPLAYED,
        },
        201: {"headers": _LOCATION},
        202: {
            "model": Deposit,
            "description": "Accepted; Stripe has not answered yet. Read it again in a moment.",
            "headers": _LOCATION | _REPLAYED,
        },
        **problems.described(
            errors.CardDeclined,
            errors.PaymentRefused,
            errors.Forbidden,
            errors.WalletDeactivated,
            *problems.OF_ANY_POST,
        ),
    },
)
async def make_deposit(caller: Payer, asked: AskedOnce, wanted: NewDeposit, held: Held) -> Response:
    """Take an amount from a card into the user's wallet in its currency, which is made on first use.

    A refused deposit is an operation too: the problem names it, and asking again with the same key replays it.
    """
    user_id = _owner(caller, wanted)
    async with held.database.transaction() as connection:
        earlier = await operations.earlier_request(connection, asked)
        if earlier is None:
            operation_id = await _accept(connection, asked, user_id, _checked(held, wanted), wanted)
        else:
            operation_id = earlier["operation_id"]
        operation = await operations.require(connection, operation_id)
    if operation["status"] == DepositStatus.REQUESTED:
        await held.dispatcher.first_answer(operation, within=held.settings.answer_within)
        operation = await _as_it_stands(held, operation)
    headers = _replayed(earlier)
    if operation["failure"] is not None:
        return _refusal(operation["failure"], operation["id"], headers)
    shown = deposit_of(operation, client_secret=await _client_secret(held, caller, operation))
    answered = operation["status"] != DepositStatus.REQUESTED
    status = 202 if not answered else 201 if earlier is None else 200
    if status != 200:
        headers["Location"] = f"/v1/deposits/{operation['id']}"
    return JSONResponse(shown.model_dump(mode="json"), status_code=status, headers=headers)


async def _accept(connection: AsyncConnection, asked: Asked, user_id: str, money: Money, wanted: NewDeposit) -> str:
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
    response_description="A page, newest first; without client secrets.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_deposits(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    user_id: Annotated[AnyUserId, Query(description="For admins and services: whose.")] = None,
) -> pages.Page[Deposit]:
    """Deposits, newest first: one's own, or for admins and services everybody's."""
    owner, before = caller.whose(user_id), pages.decode(cursor, str)
    async with held.database.transaction() as connection:
        rows = await operations.page(
            connection,
            user_id=owner,
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
    response_description="The deposit.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_deposit(deposit_id: str, caller: AnyCaller, held: Held) -> Deposit:
    """One deposit; while it awaits payment, with the `client_secret` that the customer's browser needs."""
    async with held.database.transaction() as connection:
        operation = await _owned(connection, caller, deposit_id)
    return deposit_of(operation, client_secret=await _client_secret(held, caller, operation))


@router.post(
    "/{deposit_id}/cancel",
    response_model=Deposit,
    summary="Cancel a deposit",
    response_description="Canceled: nothing was taken, and nothing will be.",
    responses={
        200: {"headers": _REPLAYED},
        202: {
            "model": Deposit,
            "description": "Accepted; how it ends is not certain yet. Read it again in a moment.",
            "headers": _REPLAYED,
        },
        **problems.described(errors.NotFound, errors.NotCancelable, *problems.OF_ANY_POST),
    },
)
async def cancel_deposit(
    deposit_id: str, caller: AnyCaller, asked: AskedOnce, held: Held, nothing: Cancellation | None = None
) -> Response:
    """Call a deposit off. Answers once it is certain that nothing will be taken; a payment that was faster counts."""
    async with held.database.transaction() as connection:
        operation = await _owned(connection, caller, deposit_id)
        request = earlier = await operations.earlier_request(connection, asked)
        if earlier is None:
            await operations.remember_request(connection, asked, deposit_id, verb=CANCEL)
    answered = earlier is not None and earlier["answered_at"] is not None
    if not answered:
        answered, request = await _ask(held, asked, deposit_id)
        operation = await _as_it_stands(held, operation)
    if request is not None and request["refusal"] is not None:
        return _refusal(request["refusal"], deposit_id, _replayed(earlier))
    return JSONResponse(
        deposit_of(operation).model_dump(mode="json"),
        status_code=200 if answered else 202,
        headers=_replayed(earlier),
    )


async def _ask(held: Services, asked: Asked, deposit_id: str) -> tuple[bool, sa.RowMapping | None]:
    """Whether the saga has answered, and the request as it stands.

    The request is written, so whatever happens from here on, the client is not turned away: the sweeper asks again.
    """
    try:
        answered = await held.verbs.ask(
            caller=asked.caller,
            key=asked.key,
            operation_id=deposit_id,
            verb=CANCEL,
            within=held.settings.answer_within,
        )
        async with held.database.transaction() as connection:
            return answered, await operations.earlier_request(connection, asked)
    except problems.DATABASE_LOST as error:
        log.warning("verb not answered yet", operation_id=deposit_id, error=type(error).__name__)
        return False, None


async def _as_it_stands(held: Services, operation: sa.RowMapping) -> sa.RowMapping:
    """The operation by now; or as it was, if Postgres has gone: it is written, so the client is not turned away."""
    try:
        async with held.database.transaction() as connection:
            return await operations.require(connection, operation["id"])
    except problems.DATABASE_LOST as error:
        log.warning("operation not read again", operation_id=operation["id"], error=type(error).__name__)
        return operation


def _replayed(earlier: sa.RowMapping | None) -> dict[str, str]:
    return {} if earlier is None else {"Idempotent-Replayed": "true"}


def _refusal(failure: dict[str, Any], operation_id: str, headers: dict[str, str]) -> Response:
    refused = problems.refusal(failure, operation_id)
    refused.headers.update(headers)
    return refused


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


async def _owned(connection: AsyncConnection, caller: Caller, deposit_id: str) -> sa.RowMapping:
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
