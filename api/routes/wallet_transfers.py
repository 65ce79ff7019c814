"""Transfers between wallets: by the marketplace's own word, inside our books alone."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api import forms, operating, pages, problems
from api.auth import AnyCaller, Marketplace, UserId
from api.idempotency import AskedOnce
from api.models import WalletTransfer, wallet_transfer_of
from api.requests import ClientRoute
from api.services import Held
from db import acceptance, users
from domain import errors
from domain.operations import OperationKind
from domain.settings import Bounds

KIND = OperationKind.WALLET_TRANSFER

router = APIRouter(prefix="/wallet-transfers", tags=["wallet transfers"], route_class=ClientRoute)


class NewWalletTransfer(BaseModel):
    """What to move, from whose wallet to whose."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "from_user_id": "alice",
                    "to_user_id": "carl",
                    "amount": 8000,
                    "currency": "usd",
                    "reference": "job 4711",
                }
            ]
        },
    )

    from_user_id: UserId
    to_user_id: UserId = Field(description="Whose wallet in this currency gets it; made on first use.")
    amount: forms.Amount = Field(description="Minor units, 1 to 99999999: 8000 is 80.00 USD. In KWD a multiple of 10.")
    currency: forms.Currency
    reference: str | None = Field(
        default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="Your own name for it."
    )


@router.post(
    "",
    status_code=201,
    response_model=WalletTransfer,
    summary="Move money between wallets",
    response_description="Moved.",
    responses=operating.made(
        WalletTransfer, KIND, errors.WalletDeactivated, errors.WalletFrozen, errors.NotWithdrawable
    ),
)
async def make_wallet_transfer(
    caller: Marketplace, asked: AskedOnce, wanted: NewWalletTransfer, held: Held
) -> Response:
    """For services alone: move an amount from one user's wallet to another's. It is done at once, or refused."""
    if wanted.from_user_id == wanted.to_user_id:
        raise errors.InvalidField(
            "to_user_id", "The giver and the receiver are the same.", remedy="Name two different users."
        )

    async def accept(connection: AsyncConnection) -> str:
        bounds = dict.fromkeys(held.settings.deposit_bounds, Bounds(smallest=1))
        money = forms.money(wanted.amount, wanted.currency, bounds, verb="Move")
        wallets = {}
        # In one order, whichever way money goes between the two: else two first transfers could wait for each other.
        for user_id in sorted((wanted.from_user_id, wanted.to_user_id)):
            await users.ensure_user(connection, user_id)
            wallets[user_id] = (await users.ensure_wallet(connection, user_id, money.currency))["id"]
        request = {
            "to_wallet_id": wallets[wanted.to_user_id],
            "to_user_id": wanted.to_user_id,
            "reference": wanted.reference,
        }
        giver = wanted.from_user_id
        return await acceptance.accept(
            connection, asked, KIND, giver, wallet_id=wallets[giver], money=money, request=request
        )

    return await operating.make(
        held, asked, accept, show=wallet_transfer_of, at=lambda made: f"/v1/wallet-transfers/{made}"
    )


@router.get(
    "",
    response_model=pages.Page[WalletTransfer],
    summary="List transfers between wallets",
    response_description="A page, newest first.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_wallet_transfers(
    caller: AnyCaller,
    held: Held,
    limit: pages.Limit = 20,
    cursor: pages.Cursor = None,
    user_id: operating.OfUser = None,
) -> pages.Page[WalletTransfer]:
    """Transfers between wallets, newest first: what one gave, or for admins and services everybody's."""
    return await operating.listed(
        held, caller, wallet_transfer_of, kind=KIND, user_id=user_id, limit=limit, cursor=cursor
    )


@router.get(
    "/{wallet_transfer_id}",
    response_model=WalletTransfer,
    summary="Read a transfer between wallets",
    response_description="The transfer.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_wallet_transfer(wallet_transfer_id: str, caller: AnyCaller, held: Held) -> WalletTransfer:
    """One transfer, for its giver, an admin or a service. The receiver finds it in their wallet's statement."""
    return wallet_transfer_of(await operating.read(held, caller, KIND, wallet_transfer_id))
