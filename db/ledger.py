"""The ledger: postings in, balances and statements out.

A posting writes its entries, the balances they change, the operation's new status and the event that tells of it in one
transaction. The database keeps the balances (a trigger on each entry) and refuses what must not be; see
`db/migrations/`.

Whoever owes the platform repays it out of whatever they get: `post` follows each credit to a wallet by its repayment,
so that no step can forget to. What a user owes is read and changed under the lock of the user's row.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from db import outbox, users
from db.tables import ledger_accounts, ledger_entries, ledger_transactions, stripe_balance_links
from domain.accounts import Account, AccountKind
from domain.errors import InsufficientFunds, PostingMismatch
from domain.ids import new_id
from domain.postings import Debt, Entry, Posting, made_spendable, repayment
from domain.steps import Step

RECEIVABLE_REPAID = "receivable.repaid"
"""The domain event of a repayment: the wallet, and how much of what came into it was kept."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A ledger transaction that stands. `entry_ids` follow the posting's entries, in their order."""

    id: str
    entry_ids: tuple[int, ...]
    first_time: bool
    """False if the step had been posted before, by an attempt whose answer was lost."""
    repaid: int = 0
    """What of a credit went at once to what the wallet's owner owes the platform, in minor units. Known the first time
    only."""


async def post(
    connection: AsyncConnection,
    operation_id: str,
    step: str,
    posting: Posting,
    *,
    generation: int = 1,
    reverses: str | None = None,
) -> Posted:
    """Write `posting` as the ledger transaction of (operation, step, generation), once.

    What it makes spendable repays first what the wallet's owner owes: a second ledger transaction, the step
    `repayment:<step>`, beside the first. Posting the same again returns the first, and repays nothing: whatever was
    owed then was repaid with it.

    Raises `PostingMismatch` if the step was posted with other content, and `InsufficientFunds` if an account would
    become negative that must never be. Whoever holds locks of wallets or operations took them before: here users are
    locked, and then balances.
    """
    posted = await _post_once(connection, operation_id, step, posting, generation=generation, reverses=reverses)
    if not posted.first_time or not made_spendable(posting):
        return posted
    due = repayment(posting, await _debts(connection, made_spendable(posting)))
    if due is None:
        return posted
    await _post_once(connection, operation_id, Step.REPAYMENT.of(step), due, generation=generation, reverses=None)
    for wallet, amount in ((entry.account, -entry.amount) for entry in due.entries if entry.amount < 0):
        told = {"wallet_id": wallet.owner, "amount": amount, "currency": wallet.currency}
        await outbox.publish(connection, operation_id, RECEIVABLE_REPAID, told)
    return replace(posted, repaid=-sum(entry.amount for entry in due.entries if entry.amount < 0))


async def _post_once(
    connection: AsyncConnection,
    operation_id: str,
    step: str,
    posting: Posting,
    *,
    generation: int,
    reverses: str | None,
) -> Posted:
    content = _content(posting, reverses)
    ltx_id = new_id("ltx")
    inserted = await connection.execute(
        sa.text(
            "INSERT INTO ledger_transactions (id, operation_id, step, generation, content, reverses)"
            " VALUES (:id, :operation, :step, :generation, :content, :reverses)"
            " ON CONFLICT (operation_id, step, generation) DO NOTHING RETURNING id"
        ),
        {
            "id": ltx_id,
            "operation": operation_id,
            "step": step,
            "generation": generation,
            "content": content,
            "reverses": reverses,
        },
    )
    if inserted.scalar() is None:
        return await _posted_before(connection, operation_id, step, generation, posting, content)
    await _lock_debtors(connection, posting)
    accounts = await _account_ids(connection, {entry.account for entry in posting.entries})
    # Entries are inserted in the order of their accounts, since each takes its balance's lock: two postings over the
    # same wallets then wait for each other instead of for ever.
    in_lock_order = sorted(range(len(posting.entries)), key=lambda i: (accounts[posting.entries[i].account], i))
    rows = [
        {
            "ltx_id": ltx_id,
            "account_id": accounts[entry.account],
            "currency": entry.account.currency,
            "amount": entry.amount,
        }
        for entry in (posting.entries[i] for i in in_lock_order)
    ]
    try:
        result = await connection.execute(
            sa.insert(ledger_entries).values(rows).returning(ledger_entries.c.id, sort_by_parameter_order=False)
        )
    except IntegrityError as error:
        if "never_negative" in str(error.orig):
            raise InsufficientFunds(f"Step {step} of {operation_id} would take more than an account holds.") from error
        raise
    ids = sorted(result.scalars())
    entry_ids = [0] * len(ids)
    for entry_id, index in zip(ids, in_lock_order, strict=True):
        entry_ids[index] = entry_id
    return Posted(ltx_id, tuple(entry_ids), first_time=True)


async def _lock_debtors(connection: AsyncConnection, posting: Posting) -> None:
    """Keep what users owe as it is until the transaction ends: of those whom it changes, and who might repay it."""
    debtors = [entry.account.owner for entry in posting.entries if entry.account.kind is AccountKind.RECEIVABLE]
    credited = [account.owner for account in made_spendable(posting)]
    if debtors or credited:
        await users.lock_debtors(connection, debtors, owners_of=credited)


async def _debts(connection: AsyncConnection, wallets: Iterable[Account]) -> dict[Account, Debt]:
    """What the owners of wallets owe in their currencies, by the wallet's account. Their rows are locked."""
    query = sa.text("""
        SELECT w.id, w.currency, w.user_id, -b.balance AS owed
        FROM wallets w
        JOIN ledger_accounts a ON a.kind = :receivable AND a.owner = w.user_id AND a.currency = w.currency
        JOIN ledger_balances b ON b.account_id = a.id
        WHERE w.id = ANY (:wallets) AND b.balance < 0
    """)
    names = {"receivable": AccountKind.RECEIVABLE.value, "wallets": [account.owner for account in wallets]}
    return {
        Account(AccountKind.WALLET_AVAILABLE, row.currency, row.id): Debt(row.user_id, row.owed)
        for row in await connection.execute(query, names)
    }


async def _posted_before(
    connection: AsyncConnection, operation_id: str, step: str, generation: int, posting: Posting, content: str
) -> Posted:
    found = await find(connection, operation_id, step, generation=generation)
    if found is None or found.content != content:
        raise PostingMismatch(f"Step {step} (generation {generation}) of {operation_id} was posted with other content.")
    # They were written in the order of their locks, perhaps from a posting that named them in another order.
    query = (
        sa.select(
            ledger_entries.c.id,
            ledger_accounts.c.kind,
            ledger_accounts.c.owner,
            ledger_accounts.c.currency,
            ledger_entries.c.amount,
        )
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(ledger_entries.c.ltx_id == found.id)
        .order_by(ledger_entries.c.id.desc())
    )
    ids: dict[tuple[str, str, str, int], list[int]] = {}
    for row in await connection.execute(query):
        ids.setdefault((row.kind, row.owner, row.currency, row.amount), []).append(row.id)
    entry_ids = [ids[_line(entry)].pop() for entry in posting.entries]
    return Posted(found.id, tuple(entry_ids), first_time=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A ledger transaction as it was posted."""

    id: str
    content: str
    entry_ids: tuple[int, ...]


async def find(connection: AsyncConnection, operation_id: str, step: str, *, generation: int = 1) -> Found | None:
    """The ledger transaction of (operation, step, generation), if it was posted."""
    query = (
        sa.select(ledger_transactions.c.id, ledger_transactions.c.content, ledger_entries.c.id.label("entry_id"))
        .join(ledger_entries, ledger_entries.c.ltx_id == ledger_transactions.c.id)
        .where(
            ledger_transactions.c.operation_id == operation_id,
            ledger_transactions.c.step == step,
            ledger_transactions.c.generation == generation,
        )
        .order_by(ledger_entries.c.id)
    )
    rows = (await connection.execute(query)).all()
    if not rows:
        return None
    return Found(rows[0].id, rows[0].content, tuple(row.entry_id for row in rows))


async def age(connection: AsyncConnection, ltx_id: str) -> float:
    """Seconds since a ledger transaction was posted."""
    since = sa.extract("epoch", sa.func.app_now() - ledger_transactions.c.posted_at)
    query = sa.select(sa.cast(since, sa.Float)).where(ledger_transactions.c.id == ltx_id)
    seconds: float = (await connection.execute(query)).scalar_one()
    return seconds


async def link(
    connection: AsyncConnection, entry_ids: Iterable[int], balance_transaction_id: str, *, stripe_account: str = ""
) -> None:
    """Say that these entries explain one of Stripe's balance transactions. Saying it again changes nothing.

    Raises `PostingMismatch` if one was said to explain another.
    """
    for entry_id in entry_ids:
        await connection.execute(
            insert(stripe_balance_links)
            .values(entry_id=entry_id, stripe_account=stripe_account, balance_transaction_id=balance_transaction_id)
            .on_conflict_do_nothing()
        )
        query = sa.select(stripe_balance_links.c.stripe_account, stripe_balance_links.c.balance_transaction_id)
        linked = (await connection.execute(query.where(stripe_balance_links.c.entry_id == entry_id))).one()
        if tuple(linked) != (stripe_account, balance_transaction_id):
            raise PostingMismatch(f"Entry {entry_id} explains {linked.balance_transaction_id} already.")


async def stripe_entry(connection: AsyncConnection, ltx_id: str) -> int:
    """The one entry of a ledger transaction that stands on our balance at Stripe."""
    query = (
        sa.select(ledger_entries.c.id)
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(ledger_entries.c.ltx_id == ltx_id, ledger_accounts.c.kind == AccountKind.STRIPE_BALANCE)
    )
    return int((await connection.execute(query)).scalar_one())


async def of_operation(connection: AsyncConnection, operation_id: str) -> list[dict[str, Any]]:
    """An operation's ledger transactions, oldest first, each with its entries in minor units."""
    query = (
        sa.select(
            ledger_transactions.c.id,
            ledger_transactions.c.step,
            ledger_transactions.c.generation,
            ledger_transactions.c.reverses,
            ledger_transactions.c.posted_at,
            ledger_accounts.c.kind,
            ledger_accounts.c.owner,
            ledger_entries.c.currency,
            ledger_entries.c.amount,
            stripe_balance_links.c.balance_transaction_id,
        )
        .join(ledger_entries, ledger_entries.c.ltx_id == ledger_transactions.c.id)
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .outerjoin(stripe_balance_links, stripe_balance_links.c.entry_id == ledger_entries.c.id)
        .where(ledger_transactions.c.operation_id == operation_id)
        .order_by(ledger_transactions.c.posted_at, ledger_transactions.c.id, ledger_entries.c.id)
    )
    transactions: dict[str, dict[str, Any]] = {}
    for row in (await connection.execute(query)).mappings():
        transaction = transactions.setdefault(
            row["id"], {name: row[name] for name in ("id", "step", "generation", "reverses", "posted_at")}
        )
        transaction.setdefault("entries", []).append(
            {name: row[name] for name in ("kind", "owner", "currency", "amount", "balance_transaction_id")}
        )
    return list(transactions.values())


@dataclass(frozen=True, slots=True)
class WalletFigures:
    """A wallet's balances and totals, in minor units."""

    available: int
    escrow: int
    in_transit: int
    earned: int
    spent: int
    withdrawn: int


_FIGURES = sa.text("""
    WITH mine AS (
        SELECT a.id, a.kind, b.balance FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id
        WHERE a.owner = :wallet AND a.kind LIKE 'wallet\\_%'
    ), moved AS (
        SELECT e.ltx_id,
               sum(e.amount) FILTER (WHERE m.kind = 'wallet_available') AS available,
               sum(e.amount) FILTER (WHERE m.kind = 'wallet_escrow') AS escrow,
               sum(e.amount) FILTER (WHERE m.kind = 'wallet_in_transit') AS in_transit
        FROM ledger_entries e JOIN mine m ON m.id = e.account_id GROUP BY e.ltx_id
    ), sided AS MATERIALIZED (
        SELECT moved.*, (
            SELECT array_agg(a.kind) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.ltx_id = moved.ltx_id AND e.account_id NOT IN (SELECT id FROM mine)
        ) AS other_side FROM moved
    )
    SELECT
        coalesce((SELECT balance FROM mine WHERE kind = 'wallet_available'), 0) AS available,
        coalesce((SELECT balance FROM mine WHERE kind = 'wallet_escrow'), 0) AS escrow,
        coalesce((SELECT balance FROM mine WHERE kind = 'wallet_in_transit'), 0) AS in_transit,
        coalesce(sum(available) FILTER (
            WHERE 'wallet_escrow' = ANY (other_side) OR ('wallet_available' = ANY (other_side) AND available > 0)
        ), 0)::bigint AS earned,
        coalesce(-sum(escrow) FILTER (WHERE other_side IS NOT NULL), 0)::bigint
            + coalesce(-sum(available) FILTER (
                WHERE 'wallet_available' = ANY (other_side) AND available < 0
            ), 0)::bigint AS spent,
        coalesce(-sum(in_transit) FILTER (WHERE 'payouts_in_flight' = ANY (other_side)), 0)::bigint AS withdrawn
    FROM sided
""")


async def wallet_figures(connection: AsyncConnection, wallet_id: str) -> WalletFigures:
    """What a wallet holds and what went through it.

    Earned came out of others' escrow or wallets, spent left this wallet or its escrow for others, withdrawn was paid
    out; what was taken back counts against each.
    """
    row = (await connection.execute(_FIGURES, {"wallet": wallet_id})).one()
    return WalletFigures(*row)


async def statement(
    connection: AsyncConnection, wallet_id: str, *, limit: int, before: tuple[int, int] | None
) -> list[sa.RowMapping]:
    """A wallet's entries, newest first, older than the position `before`.

    Ordered by (database transaction, entry) and cut below every transaction still running: ids are not given in the
    order of commits, so a page by id alone could pass an entry that appears only later.
    """
    query = sa.text("""
        SELECT e.id, e.xid::text AS xid, e.amount, e.currency, a.kind, t.id AS ltx_id, t.operation_id, t.step,
               t.posted_at
        FROM ledger_entries e
        JOIN ledger_accounts a ON a.id = e.account_id
        JOIN ledger_transactions t ON t.id = e.ltx_id
        WHERE a.owner = :wallet AND a.kind LIKE 'wallet\\_%'
          AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
          AND (CAST(:xid AS text) IS NULL OR (e.xid, e.id) < (CAST(CAST(:xid AS text) AS xid8), :id))
        ORDER BY e.xid DESC, e.id DESC LIMIT :limit
    """)
    position = {"xid": str(before[0]), "id": before[1]} if before else {"xid": None, "id": 0}
    return list((await connection.execute(query, {"wallet": wallet_id, "limit": limit, **position})).mappings())


async def platform_balance(connection: AsyncConnection, account: Account) -> int:
    """Credits minus debits of one of the platform's accounts, in minor units: its snapshot and all that came since."""
    query = sa.text("""
        SELECT coalesce(s.balance, 0) + coalesce((
            SELECT sum(e.amount) FROM ledger_entries e
            WHERE e.account_id = a.id AND e.xid >= coalesce(s.cut, '0'::xid8)
        ), 0)
        FROM ledger_accounts a LEFT JOIN ledger_snapshots s ON s.account_id = a.id
        WHERE a.kind = :kind AND a.owner = '' AND a.currency = :currency
    """)
    balance = (await connection.execute(query, {"kind": account.kind, "currency": account.currency})).scalar()
    return int(balance or 0)


async def snapshot_platform_balances(connection: AsyncConnection) -> None:
    """Cut a new snapshot of every platform account, so that reading its balance stays cheap as entries pile up."""
    await connection.execute(
        sa.text("""
            INSERT INTO ledger_snapshots (account_id, cut, balance)
            SELECT a.id, horizon, coalesce(s.balance, 0) + coalesce((
                SELECT sum(e.amount) FROM ledger_entries e
                WHERE e.account_id = a.id AND e.xid >= coalesce(s.cut, '0'::xid8) AND e.xid < horizon
            ), 0)
            FROM pg_snapshot_xmin(pg_current_snapshot()) AS horizon, ledger_accounts a
            JOIN ledger_account_kinds k ON k.kind = a.kind AND NOT k.keeps_balance
            LEFT JOIN ledger_snapshots s ON s.account_id = a.id
            ON CONFLICT (account_id) DO UPDATE
            SET cut = excluded.cut, balance = excluded.balance, taken_at = app_now()
            -- Two at once read the same snapshot and may finish in either order: only the later cut may stay.
            WHERE ledger_snapshots.cut < excluded.cut
        """)
    )


async def _account_ids(connection: AsyncConnection, accounts: set[Account]) -> dict[Account, int]:
    """The rows of `accounts`, made on first use."""
    wanted = sorted(accounts)
    keys = [(account.kind.value, account.owner, account.currency) for account in wanted]
    columns = (ledger_accounts.c.kind, ledger_accounts.c.owner, ledger_accounts.c.currency)
    query = sa.select(ledger_accounts.c.id, *columns).where(sa.tuple_(*columns).in_(keys))
    found = {(row.kind, row.owner, row.currency): int(row.id) for row in await connection.execute(query)}
    missing = [key for key in keys if key not in found]
    if missing:
        await connection.execute(
            sa.text(
                "INSERT INTO ledger_accounts (kind, owner, currency) VALUES (:kind, :owner, :currency)"
                " ON CONFLICT DO NOTHING"
            ),
            [{"kind": kind, "owner": owner, "currency": code} for kind, owner, code in missing],
        )
        found = {(row.kind, row.owner, row.currency): int(row.id) for row in await connection.execute(query)}
    return {account: found[key] for account, key in zip(wanted, keys, strict=True)}


def _content(posting: Posting, reverses: str | None) -> str:
    """A digest of what a posting says, to tell a repetition from a contradiction."""
    lines = sorted(_line(entry) for entry in posting.entries)
    return hashlib.sha256(json.dumps([lines, reverses]).encode()).hexdigest()


def _line(entry: Entry) -> tuple[str, str, str, int]:
    """An entry as it stands in the books, whatever the row of its account."""
    return entry.account.kind.value, entry.account.owner, entry.account.currency, entry.amount
