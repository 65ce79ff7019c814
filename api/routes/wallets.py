"""Wallets: what a user holds, and how it came about."""

import sqlalchemy as sa
from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection

from api import operating, pages, problems
from api.auth import AnyCaller, Caller
from api.models import Totals, Wallet, WalletEntry
from api.requests import ClientRoute
from api.services import Held
from db import ledger, users
from domain import errors

router = APIRouter(prefix="/wallets", tags=["wallets"], route_class=ClientRoute)


@router.get(
    "",
    response_model=list[Wallet],
    summary="List wallets",
    response_description="The wallets, by currency.",
    responses=problems.described(errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def list_wallets(
    caller: AnyCaller,
    held: Held,
    user_id: operating.OfUser = None,
) -> list[Wallet]:
    """One's own wallets, one per currency; admins and services say whose."""
    owner = caller.whose(user_id)
    if owner is None:
        raise errors.InvalidField("user_id", "Say whose wallets to list.", remedy="Add ?user_id=… to the URL.")
    async with held.database.transaction() as connection:
        return [await shown_wallet(connection, row) for row in await users.wallets_of(connection, owner)]


@router.get(
    "/{wallet_id}",
    response_model=Wallet,
    summary="Read a wallet",
    response_description="The wallet.",
    responses=problems.described(errors.NotFound, *problems.OF_ANY_CALLER),
)
async def read_wallet(wallet_id: str, caller: AnyCaller, held: Held) -> Wallet:
    """What a wallet holds and what went through it."""
    async with held.database.transaction() as connection:
        return await shown_wallet(connection, await _owned(connection, caller, wallet_id))


@router.get(
    "/{wallet_id}/transactions",
    response_model=pages.Page[WalletEntry],
    summary="Read a wallet's statement",
    response_description="A page, newest first.",
    responses=problems.described(errors.NotFound, errors.InvalidField, *problems.OF_ANY_CALLER),
)
async def read_transactions(
    wallet_id: str, caller: AnyCaller, held: Held, limit: pages.Limit = 20, cursor: pages.Cursor = None
) -> pages.Page[WalletEntry]:
    """A wallet's entries, newest first. A page never misses an entry that was being written meanwhile."""
    position = pages.decode(cursor, int, int)
    before = (int(position[0]), int(position[1])) if position else None
    async with held.database.transaction() as connection:
        await _owned(connection, caller, wallet_id)
        rows = await ledger.statement(connection, wallet_id, limit=limit + 1, before=before)
    shown = rows[:limit]
    return pages.Page(
        data=[
            WalletEntry(
                id=row["id"],
                account=row["kind"],
                amount=row["amount"],
                currency=row["currency"],
                operation_id=row["operation_id"],
                step=row["step"],
                ledger_transaction=row["ltx_id"],
                posted_at=row["posted_at"],
            )
            for row in shown
        ],
        next_cursor=pages.encode([int(shown[-1]["xid"]), shown[-1]["id"]]) if len(rows) > limit else None,
    )


async def _owned(connection: AsyncConnection, caller: Caller, wallet_id: str) -> sa.RowMapping:
    return caller.owned(await users.wallet(connection, wallet_id), "wallet")


async def shown_wallet(connection: AsyncConnection, row: sa.RowMapping) -> Wallet:
    """A wallet's row with what it holds."""
    figures = await ledger.wallet_figures(connection, row["id"])
    return Wallet(
        id=row["id"],
        user_id=row["user_id"],
        currency=row["currency"],
        available=figures.available,
        escrow=figures.escrow,
        in_transit=figures.in_transit,
        totals=Totals(earned=figures.earned, spent=figures.spent, withdrawn=figures.withdrawn),
        active=row["active"],
        frozen=row["frozen"],
    )
