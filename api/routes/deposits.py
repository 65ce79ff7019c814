"""Deposits: money from a card into a wallet."""

import sqlalchemy as sa
import stripe
import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api import forms, operating, pages, problems
from api.auth import AnyCaller, AnyUserId, Caller, Payer, Role
from api.idempotency import AskedOnce
from api.models import Deposit, deposit_of
from api.requests import ClientRoute
from api.services import Held, Services
from db import acceptance, users
from domain import errors
from domain.operations import OperationKind
from domain.statuses import DepositStatus

KIND = OperationKind.DEPOSIT

log = structlog.get_logger()
router = APIRouter(prefix="/deposits", tags=["deposits"], route_class=ClientRoute)


class NewDeposit(BaseModel):
    """What to take from a card. Without `payment_method` the customer's browser confirms with the `client_secret`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"amount": 20000, "currency": "usd", "payment_method": "pm_card_visa"}]},
    )

    amount: forms.Amount = Field(
        description="Minor units: 20000 is 200.00 USD, or 20,000 JPY. At least ten units of most currencies, at most"
        " 99999999; in KWD a multiple of 10."
    )
    currency: forms.Currency
    payment_method: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_]{1,100}$", description="A Stripe payment method to charge at once."
    )
    user_id: AnyUserId = Field(
        default=None, description="For a service, which must: whose wallet. Others leave it out."
    )


@router.post(
    "",
    status_code=201,
    response_model=Deposit,
    summary="Make a deposit",
    response_description="Made: it awaits the customer's payment, or Stripe has charged the payment method.",
    responses=operating.made(
        Deposit, KIND, errors.CardDeclined, errors.PaymentRefused, errors.WalletDeactivated, errors.Compensated
    ),
)
async def make_deposit(caller: Payer, asked: AskedOnce, wanted: NewDeposit, held: Held) -> Response:
    """Take an amount from a card into the user's wallet in its currency, which is made on first use.

    A refused deposit is an operation too: the problem names it, and asking again with the same key replays it.
    """
    user_id = caller.acts_for(wanted.user_id)

    async def accept(connection: AsyncConnection) -> str:
        money = forms.money(wanted.amount, wanted.currency, held.settings.deposit_bounds, verb="Deposit")
        await users.ensure_user(connection, user_id)
        wallet = await users.ensure_wallet(connection, user_id, money.currency)
        refused = None
        if not wallet["active"]:
            refused = errors.WalletDeactivated(f"The wallet {wallet['id']} takes no deposits.")
        request = {"payment_method": wanted.payment_method} if wanted.payment_method else {}
        return await acceptance.accept(
            connection, asked, KIND, user_id, wallet_id=wallet["id"], money=money, request=request, refused=refused
        )

    async def show(operation: sa.RowMapping) -> Deposit:
        return deposit_of(operation, client_secret=await _client_secret(held, caller, operation))

    return await operating.make(held, asked, accept, show=show, at=lambda made: f"/v1/deposits/{made}")


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
    user_id: operating.OfUser = None,
) -> pages.Page[Deposit]:
    """Deposits, newest first: one's own, or for admins and services everybody's."""
    return await operating.listed(held, caller, deposit_of, kind=KIND, user_id=user_id, limit=limit, cursor=cursor)


@router.get(
    "/{deposit_id}",
    response_model=Deposit,
    summary="Read a deposit",
    response_description="The deposit.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_deposit(deposit_id: str, caller: AnyCaller, held: Held) -> Deposit:
    """One deposit; while it awaits payment, with the `client_secret` that the customer's browser needs."""
    operation = await operating.read(held, caller, KIND, deposit_id)
    return deposit_of(operation, client_secret=await _client_secret(held, caller, operation))


@router.post(
    "/{deposit_id}/cancel",
    response_model=Deposit,
    summary="Cancel a deposit",
    response_description="Canceled: nothing was taken, and nothing will be.",
    responses=operating.canceled(Deposit),
)
async def cancel_deposit(
    deposit_id: str, caller: AnyCaller, asked: AskedOnce, held: Held, nothing: operating.Nothing | None = None
) -> Response:
    """Call a deposit off. Answers once it is certain that nothing will be taken; a payment that was faster counts."""
    return await operating.cancel(held, caller, asked, KIND, deposit_id, show=deposit_of)


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
