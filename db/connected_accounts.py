"""The contractors' accounts at Stripe, and how a wallet stands that is to be withdrawn from."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db import users
from db.tables import connected_accounts
from domain.accounts import AccountKind
from domain.connected_accounts import ConnectedAccount
from domain.steps import Step
from domain.withdrawals import Standing


async def record(connection: AsyncConnection, operation_id: str, user_id: str, account: ConnectedAccount) -> None:
    """Keep what Stripe says of an account. Once it is cut off it stays so, whatever somebody saw before."""
    said = account.model_dump(exclude={"id"}) | {
        "currencies": list(account.currencies),
        "due": list(account.due),
        "observed_at": sa.func.app_now(),
    }
    await connection.execute(
        insert(connected_accounts)
        .values(operation_id=operation_id, user_id=user_id, id=account.id, **said)
        .on_conflict_do_update(
            index_elements=["operation_id"], set_=said, where=sa.not_(connected_accounts.c.deauthorized)
        )
    )


async def of_user(connection: AsyncConnection, user_id: str) -> sa.RowMapping | None:
    """The user's account that is not cut off; else the one that was cut off last."""
    query = (
        sa.select(connected_accounts)
        .where(connected_accounts.c.user_id == user_id)
        .order_by(connected_accounts.c.deauthorized, connected_accounts.c.operation_id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def everybodys(connection: AsyncConnection) -> list[str]:
    """Stripe's ids of all accounts, also those that are cut off."""
    return list((await connection.execute(sa.select(connected_accounts.c.id))).scalars())


async def lately_withdrawn_from(connection: AsyncConnection) -> list[str]:
    """Stripe's ids of the accounts whose owners have a withdrawal that is open, or was in the last 30 days."""
    query = sa.text("""
        SELECT DISTINCT account.id
        FROM connected_accounts AS account
        JOIN operations AS operation ON operation.user_id = account.user_id AND operation.kind = 'withdrawal'
        WHERE NOT account.deauthorized
          AND (operation.closed_at IS NULL OR operation.closed_at > app_now() - interval '30 days')
        ORDER BY account.id
    """)
    return list((await connection.execute(query)).scalars())


def account_of(row: sa.RowMapping) -> ConnectedAccount:
    """A row as the domain knows it."""
    return ConnectedAccount.model_validate({name: row[name] for name in ConnectedAccount.model_fields})


async def standing(connection: AsyncConnection, wallet_id: str, *, earnings_hold: float, lock: bool) -> Standing:
    """How things stand for a wallet. With `lock` its flags and its owner's debts stay so until the transaction ends.

    `earnings_hold`: seconds for which what offers released cannot be withdrawn.
    """
    wallet = await users.locked_wallet(connection, wallet_id) if lock else await users.wallet(connection, wallet_id)
    assert wallet is not None, "the wallet is made with the operation"
    if lock:
        await users.lock_debtors(connection, [wallet["user_id"]], owners_of=[])
    figures = sa.text("""
        SELECT
            coalesce((
                SELECT b.balance FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id
                WHERE a.kind = :available AND a.owner = :wallet
            ), 0) AS available,
            coalesce((
                -- What a release has repaid is gone, and holds nothing else back.
                SELECT sum(e.amount + coalesce(r.amount, 0))
                FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id
                JOIN ledger_transactions t ON t.id = e.ltx_id
                LEFT JOIN ledger_transactions rt ON rt.operation_id = t.operation_id
                    AND rt.step = :repayment || t.step AND rt.generation = t.generation
                LEFT JOIN ledger_entries r ON r.ltx_id = rt.id AND r.account_id = a.id
                WHERE a.kind = :available AND a.owner = :wallet AND e.amount > 0
                  AND t.posted_at > app_now() - CAST(:hold AS interval)
                  AND EXISTS (
                      SELECT FROM ledger_entries o JOIN ledger_accounts oa ON oa.id = o.account_id
                      WHERE o.ltx_id = e.ltx_id AND oa.kind = :escrow AND oa.owner <> :wallet
                  )
            ), 0)::bigint AS held_back,
            coalesce((
                SELECT sum(greatest(-b.balance, 0)) FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id
                WHERE a.kind = :receivable AND a.owner = :owner
            ), 0)::bigint AS owed
    """)
    names = {
        "available": AccountKind.WALLET_AVAILABLE.value,
        "escrow": AccountKind.WALLET_ESCROW.value,
        "receivable": AccountKind.RECEIVABLE.value,
        "repayment": Step.REPAYMENT.of(""),
        "wallet": wallet_id,
        "owner": wallet["user_id"],
        "hold": timedelta(seconds=earnings_hold),
    }
    row = (await connection.execute(figures, names)).one()
    account = await of_user(connection, wallet["user_id"])
    return Standing(
        active=wallet["active"],
        frozen=wallet["frozen"],
        available=row.available,
        held_back=row.held_back,
        owed=row.owed,
        account=account_of(account) if account is not None else None,
    )
