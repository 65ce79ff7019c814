"""Users and their wallets, both made on first use."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.operations import Asked
from db.tables import users, wallet_actions, wallets
from domain.errors import IdempotencyKeyReused
from domain.ids import new_id

WALLET_VERBS: dict[str, dict[str, bool]] = {
    "freeze": {"frozen": True},
    "unfreeze": {"frozen": False},
    "activate": {"active": True},
    "deactivate": {"active": False},
}
"""What an admin can do to a wallet, and what it sets."""


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


async def locked_wallet(connection: AsyncConnection, wallet_id: str) -> sa.RowMapping:
    """One wallet that must exist, and whose flags nobody changes until this transaction ends.

    Operations on it may be accepted meanwhile: they only need it to stay there.
    """
    query = sa.select(wallets).where(wallets.c.id == wallet_id).with_for_update(key_share=True)
    return (await connection.execute(query)).mappings().one()


async def lock_debtors(connection: AsyncConnection, user_ids: list[str], *, owners_of: list[str]) -> None:
    """Let nobody change what these users, and the owners of these wallets, owe until this transaction ends.

    The lock is the user's row: a balance that is not there yet has none, and Postgres lets the application lock only
    what it may update. Whoever locks wallets or operations too, locks those first.
    """
    query = sa.text("""
        SELECT FROM users
        WHERE user_id = ANY (CAST(:users AS text[]) || ARRAY(SELECT user_id FROM wallets WHERE id = ANY (:wallets)))
        ORDER BY user_id FOR NO KEY UPDATE
    """)
    await connection.execute(query, {"users": user_ids, "wallets": owners_of})


async def earlier_wallet_action(connection: AsyncConnection, asked: Asked) -> bool:
    """Whether this key was used for the same act before. Raises `IdempotencyKeyReused` if it was for another.

    The caller holds the wallet's lock.
    """
    query = sa.select(wallet_actions.c.fingerprint).where(
        wallet_actions.c.actor == asked.caller, wallet_actions.c.key == asked.key
    )
    fingerprint = (await connection.execute(query)).scalar()
    if fingerprint is not None and fingerprint != asked.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another method, path or body before.")
    return fingerprint is not None


async def act_on_wallet(connection: AsyncConnection, asked: Asked, wallet_id: str, verb: str, reason: str) -> None:
    """Freeze, unfreeze, activate or deactivate a wallet, and keep who did it, why, and what they saw."""
    seen = await locked_wallet(connection, wallet_id)
    await connection.execute(sa.update(wallets).where(wallets.c.id == wallet_id).values(**WALLET_VERBS[verb]))
    await connection.execute(
        sa.insert(wallet_actions).values(
            actor=asked.caller,
            key=asked.key,
            fingerprint=asked.fingerprint,
            wallet_id=wallet_id,
            verb=verb,
            reason=reason,
            seen={name: seen[name] for name in ("active", "frozen")},
        )
    )
