"""Users and their wallets, both made on first use."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import users, wallets
from domain.ids import new_id


async def ensure_user(connection: AsyncConnection, user_id: str) -> sa.RowMapping:
    """The user's row; an empty profile the first time."""
    await connection.execute(
        insert(users)
        .values(user_id=user_id, reference=new_id("usr"), channels=[])
        .on_conflict_do_nothing(index_elements=["user_id"])
    )
    result = await connection.execute(sa.select(users).where(users.c.user_id == user_id))
    return result.mappings().one()


async def update_profile(connection: AsyncConnection, user_id: str, profile: dict[str, Any]) -> sa.RowMapping:
    """Replace the user's profile (e-mail, name, country, locale, channels)."""
    await ensure_user(connection, user_id)
    query = sa.update(users).where(users.c.user_id == user_id).values(**profile, updated_at=sa.func.app_now())
    await connection.execute(query)
    return await ensure_user(connection, user_id)


async def ensure_wallet(connection: AsyncConnection, user_id: str, currency: str) -> sa.RowMapping:
    """The user's wallet in `currency`; the user's row must exist."""
    await connection.execute(
        insert(wallets)
        .values(id=new_id("wal"), user_id=user_id, currency=currency, active=True, frozen=False)
        .on_conflict_do_nothing(index_elements=["user_id", "currency"])
    )
    query = sa.select(wallets).where(wallets.c.user_id == user_id, wallets.c.currency == currency)
    return (await connection.execute(query)).mappings().one()


async def wallets_of(connection: AsyncConnection, user_id: str) -> list[sa.RowMapping]:
    """A user's wallets, by currency."""
    query = sa.select(wallets).where(wallets.c.user_id == user_id).order_by(wallets.c.currency)
    return list((await connection.execute(query)).mappings())


async def wallet(connection: AsyncConnection, wallet_id: str) -> sa.RowMapping | None:
    """One wallet."""
    return (await connection.execute(sa.select(wallets).where(wallets.c.id == wallet_id))).mappings().one_or_none()
