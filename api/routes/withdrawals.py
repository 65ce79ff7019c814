"""Withdrawals: money from a contractor's wallet to their bank."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api import forms, operating, pages, problems
from api.auth import AnyCaller, AnyUserId, Earner
from api.idempotency import AskedOnce
from api.models import Withdrawal, arrival_after, withdrawal_of
from api.requests import ClientRoute
from api.services import Held, Services
from db import acceptance, connected_accounts, users
from db.engine import now
from domain import errors
from domain.money import Money
from domain.operations import OperationKind
from domain.withdrawals import Standing, refusals

KIND = OperationKind.WITHDRAWAL

BY_STATE = (
    errors.WalletDeactivated,
    errors.WalletFrozen,
    errors.ReceivableOpen,
    errors.NoConnectedAccount,
    errors.AccountNotAble,
    errors.CurrencyNotHeld,
    errors.NotWithdrawable,
)
"""What the state of things may have against a withdrawal, gravest first."""

BY_STRIPE = (errors.ActionRequired, errors.AwaitingFunds, errors.PaymentRefused)
"""Why it may fail later: a replay of its request then says so."""

router = APIRouter(prefix="/withdrawals", tags=["withdrawals"], route_class=ClientRoute)


class NewWithdrawal(BaseModel):
    """What to take out of a wallet."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"amount": 8000, "currency": "usd"}]})

    amount: forms.Amount = Field(
        description="Minor units: 8000 is 80.00 USD. From ten units to ten thousand of most currencies; in KWD a"
        " multiple of 10."
    )
    currency: forms.Currency
    user_id: AnyUserId = Field(
        default=None, description="For a service, which must: whose wallet. Others leave it out."
    )


class Against(BaseModel):
    """One thing that speaks against a withdrawal: the problem that its POST would be answered with."""

    type: str = Field(description="As in a problem.")
    code: str = Field(description="The end of `type`, and the `failure.code` of an operation.")
    title: str
    detail: str
    remedy: str


class Preview(BaseModel):
    """What would become of a withdrawal now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "allowed": False,
                    "refusals": [
                        {
                            "type": f"{problems.TYPE_BASE}{errors.NotWithdrawable.code}",
                            "code": errors.NotWithdrawable.code,
                            "title": errors.NotWithdrawable.title,
                            "detail": "50.00 USD can be withdrawn now, not 80.00 USD.",
                            "remedy": errors.NotWithdrawable.remedy,
                        }
                    ],
                    "withdrawable": 5000,
                    "amount": 8000,
                    "currency": "usd",
                    "estimated_arrival": "2026-11-24",
                }
            ]
        }
    )

    allowed: bool
    refusals: list[Against] = Field(description="Everything that speaks against it, gravest first.")
    withdrawable: int = Field(description="What may leave the wallet now, in minor units of `currency`.")
    amount: int = Field(description="As it was asked for, in minor units of `currency`.")
    currency: str
    estimated_arrival: date = Field(description="When the bank should have it, if it began now.")


def _shown_by(held: Services) -> Callable[[sa.RowMapping], Withdrawal]:
    def show(operation: sa.RowMapping) -> Withdrawal:
        return withdrawal_of(operation, payout_days=held.settings.payout_days)

    return show


@router.post(
    "",
    status_code=201,
    response_model=Withdrawal,
    summary="Make a withdrawal",
    response_description="Made: the amount is reserved, and on its way.",
    responses=operating.made(Withdrawal, KIND, *BY_STATE, *BY_STRIPE, errors.Compensated),
)
async def make_withdrawal(caller: Earner, asked: AskedOnce, wanted: NewWithdrawal, held: Held) -> Response:
    """Pay an amount out of the user's wallet to the bank of their connected account.

    Whether that can be is decided where the amount is reserved. A refused withdrawal is an operation too: the problem
    names it, and asking again with the same key replays it. One that the bank sends back ends as `reversed`, with the
    bank's reason as its `failure`.
    """
    user_id = caller.acts_for(wanted.user_id)

    async def accept(connection: AsyncConnection) -> str:
        money = _money(held, wanted)
        await users.ensure_user(connection, user_id)
        wallet = await users.ensure_wallet(connection, user_id, money.currency)
        return await acceptance.accept(connection, asked, KIND, user_id, wallet_id=wallet["id"], money=money)

    return await operating.make(held, asked, accept, show=_shown_by(held), at=lambda made: f"/v1/withdrawals/{made}")


@router.post(
    "/preview",
    response_model=Preview,
    summary="Preview a withdrawal",
    response_description="What would become of it now.",
    responses=problems.described(errors.Forbidden, *problems.OF_ANY_BODY, *problems.OF_ANY_CALLER),
)
async def preview_withdrawal(caller: Earner, wanted: NewWithdrawal, held: Held) -> Preview:
    """Say whether a withdrawal would be refused, and why, without making one: nothing is written, nothing reserved.

    So no Idempotency-Key is needed. What is allowed here may still be refused a moment later.
    """
    user_id, money = caller.acts_for(wanted.user_id), _money(held, wanted)
    async with held.database.transaction() as connection:
        standing = await _standing(held, connection, user_id, money.currency)
        today = await now(connection)
    against = refusals(standing, money)
    return Preview(
        allowed=not against,
        refusals=[
            Against(
                type=f"{problems.TYPE_BASE}{one.code}",
                code=one.code,
                title=one.title,
                detail=one.detail,
                remedy=one.remedy,
            )
            for one in against
        ],
        withdrawable=standing.withdrawable,
        amount=money.amount,
        currency=money.currency,
        estimated_arrival=arrival_after(today, held.settings.payout_days),
    )


@router.get(
    "",
    response_model=pages.Page[Withdrawal],
    summary="List withdrawals",
    response_description="A page, newest first.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_withdrawals(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    user_id: operating.OfUser = None,
) -> pages.Page[Withdrawal]:
    """Withdrawals, newest first: one's own, or for admins and services everybody's."""
    return await operating.listed(held, caller, _shown_by(held), kind=KIND, user_id=user_id, limit=limit, cursor=cursor)


@router.get(
    "/{withdrawal_id}",
    response_model=Withdrawal,
    summary="Read a withdrawal",
    response_description="The withdrawal.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_withdrawal(withdrawal_id: str, caller: AnyCaller, held: Held) -> Withdrawal:
    """One withdrawal, as far as it has come."""
    return _shown_by(held)(await operating.read(held, caller, KIND, withdrawal_id))


@router.post(
    "/{withdrawal_id}/cancel",
    response_model=Withdrawal,
    summary="Cancel a withdrawal",
    response_description="Canceled: all of it is in the wallet again.",
    responses=operating.canceled(Withdrawal),
)
async def cancel_withdrawal(
    withdrawal_id: str, caller: AnyCaller, asked: AskedOnce, held: Held, nothing: operating.Nothing | None = None
) -> Response:
    """Call a withdrawal off. Refused once the payout to the bank is made; answers once it is certain how it ends."""
    return await operating.cancel(held, caller, asked, KIND, withdrawal_id, show=_shown_by(held))


def _money(held: Services, wanted: NewWithdrawal) -> Money:
    return forms.money(wanted.amount, wanted.currency, held.settings.withdrawal_bounds, verb="Withdraw")


async def _standing(held: Services, connection: AsyncConnection, user_id: str, code: str) -> Standing:
    """How things stand for the user's wallet in a currency, which need not exist."""
    wallets = {wallet["currency"]: wallet["id"] for wallet in await users.wallets_of(connection, user_id)}
    account = await connected_accounts.of_user(connection, user_id)
    of_none = Standing(
        active=True,
        frozen=False,
        available=0,
        held_back=0,
        owed=0,
        account=connected_accounts.account_of(account) if account is not None else None,
    )
    if not wallets:
        return of_none
    standing = await connected_accounts.standing(
        connection,
        # What its owner owes is the same for each.
        wallets.get(code, next(iter(wallets.values()))),
        earnings_hold=held.settings.earnings_hold,
        lock=False,
    )
    return standing if code in wallets else replace(of_none, owed=standing.owed)
