"""Judging the books by their invariants (`db.invariants`).

    what Stripe and Temporal have ──▶ temporary tables ──▶ one snapshot ──▶ violations, suspects, solvency

What Stripe and Temporal have is noted first, page by page, into temporary tables: memory stays small, no transaction is
open while they are asked, and the comparison is a join. All reading then happens in one REPEATABLE READ transaction, so
that the invariants are judged against each other at one moment.

The books are therefore younger than what they are compared with. That cannot make a balance transaction look
unexplained; what it can make look wrong, because it came between, is returned as a suspect for the caller to check.

A Stripe account is named by its id, the platform's own by the empty string.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from db.engine import APP_ROLE, WrongDeployment
from db.invariants import (
    LINKED_TO_NOTHING_NOTED,
    NOTES,
    SOLVENCY,
    STRIPE_TOTALS,
    VIOLATIONS,
    WITHOUT_NOTED_WORKFLOW,
    Invariant,
)

UNREADABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What reading the books raises when Postgres is away, or is not what it must be."""

SHOWN = 100
"""Violations of one invariant that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding: which row or object it is about, what is wrong, and what to look at next."""

    invariant: Invariant
    where: str
    what: str
    look_at: str


@dataclass(frozen=True, slots=True)
class Solvency:
    """What is held for others and what is owed to them in one currency, in minor units."""

    currency: str
    held: int
    """At Stripe, at our bank, on connected accounts and on the way from there."""
    owed: int
    """All liabilities."""

    @property
    def surplus(self) -> int:
        """Negative: a shortfall. That is no violation; Stripe's fees and open receivables make one."""
        return self.held - self.owed


class BalanceTransaction(NamedTuple):
    """One movement of a balance at Stripe: `net` in minor units, positive when it grew."""

    account: str
    id: str
    currency: str
    net: int
    created: datetime
    source: str | None
    """What moved it: on both accounts of a transfer or a reversal, the transfer or reversal."""
    operation_id: str | None
    """The operation that its source's metadata names."""
    subject: str | None
    step: str | None
    """The intent of ours that has made its source, by the source's metadata. Both None if that is not the object of an
    intent, or lives no more: a payout that came back, a transfer that was reversed."""


class LiveObject(NamedTuple):
    """A PaymentIntent that is not canceled, a customer or a connected account, and the intent in its metadata."""

    id: str
    subject: str
    step: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What one snapshot says."""

    at: datetime
    """By `app_now()`."""
    counts: Counter[Invariant]
    violations: list[Violation]
    """At most `SHOWN` of each invariant."""
    solvency: list[Solvency]
    stripe_totals: dict[str, dict[str, int]]
    """The sum of the noted balance transactions per account and currency, in minor units."""
    not_noted_at_stripe: dict[str, list[Violation]]
    """Suspects, by account: links to balance transactions (`where`) that were not noted. They may be younger, or their
    account may be."""
    without_noted_workflow: list[Violation]
    """Suspects: open operations (`where`) whose workflow was not noted. It may be younger, or have ended since."""


@asynccontextmanager
async def open_books(database_url: str, *, mode: str) -> AsyncIterator["Books"]:
    """A connection for one audit, in the application's role. Raises `UNREADABLE`, and `WrongDeployment`.

    Not one of the application's pool: their statements are cut off after 30 s, and an audit of a large ledger reads
    every entry.
    """
    connection = await asyncpg.connect(
        database_url,
        timeout=10,
        # jit: what it compiles here would take longer than it saves on any but the largest ledger.
        server_settings={"application_name": "paysaga audit", "role": APP_ROLE, "jit": "off"},
    )
    try:
        kept = await connection.fetchval("SELECT mode FROM deployment")
        if kept != mode:
            raise WrongDeployment(f"The database belongs to a {kept} deployment, but PAYSAGA_MODE is {mode}.")
        await connection.execute(NOTES)
        yield Books(connection)
    finally:
        await connection.close()


class Books:
    """The notes of one audit, and the snapshot that they are compared with. Several tasks may take notes at once."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._noting = asyncio.Lock()

    async def connected_accounts(self) -> set[str]:
        """The connected accounts that we know now, outside the snapshot."""
        return {row["id"] for row in await self._connection.fetch("SELECT id FROM connected_accounts")}

    async def note_balance_transactions(self, noted: Sequence[BalanceTransaction]) -> None:
        """Balance transactions, as Stripe lists them."""
        await self._note("noted_balance_transactions", noted)

    async def note_unreadable(self, account: str) -> None:
        """A connected account that Stripe does not let us read any more: what was noted of it does not count."""
        await self._note("noted_unreadable_accounts", [(account,)])
        async with self._noting:
            await self._connection.execute("DELETE FROM noted_balance_transactions WHERE account = $1", account)

    async def note_live_objects(self, noted: Sequence[LiveObject]) -> None:
        """Objects at Stripe that an intent of ours must have made at most one of."""
        await self._note("noted_live_objects", noted)

    async def note_open_workflows(self, ids: Sequence[str]) -> None:
        """Workflows that Temporal lists as running."""
        await self._note("noted_workflows", [(name,) for name in ids])

    async def _note(self, table: str, records: Sequence[tuple[Any, ...]]) -> None:
        async with self._noting:
            await self._connection.copy_records_to_table(table, records=records)

    async def examine(self) -> Examined:
        """Judge every invariant on one snapshot."""
        await self._connection.execute(
            "ANALYZE noted_balance_transactions, noted_unreadable_accounts, noted_live_objects, noted_workflows"
        )
        counts: Counter[Invariant] = Counter()
        violations: list[Violation] = []
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            at = await self._connection.fetchval("SELECT app_now()")
            for invariant, query in VIOLATIONS:
                rows = await self._connection.fetch(_FIRST_OF.format(query=query, shown=SHOWN))
                counts[invariant] += rows[0]["found"] if rows else 0
                violations += _read(invariant, rows)
            return Examined(
                at=at,
                counts=counts,
                violations=violations,
                solvency=[
                    Solvency(row["currency"], int(row["held"]), int(row["owed"]))
                    for row in await self._connection.fetch(SOLVENCY)
                ],
                stripe_totals=await self._stripe_totals(),
                not_noted_at_stripe=await self._not_noted_at_stripe(),
                without_noted_workflow=_read(
                    Invariant.OPERATION_WITHOUT_WORKFLOW, await self._connection.fetch(WITHOUT_NOTED_WORKFLOW)
                ),
            )

    async def _stripe_totals(self) -> dict[str, dict[str, int]]:
        totals: dict[str, dict[str, int]] = defaultdict(dict)
        for row in await self._connection.fetch(STRIPE_TOTALS):
            totals[row["account"]][row["currency"]] = int(row["total"])
        return dict(totals)

    async def _not_noted_at_stripe(self) -> dict[str, list[Violation]]:
        suspects: dict[str, list[Violation]] = defaultdict(list)
        for row in await self._connection.fetch(LINKED_TO_NOTHING_NOTED):
            suspects[row["account"]] += _read(Invariant.LEDGER_DIFFERS_FROM_STRIPE, [row])
        return dict(suspects)

    async def still_open(self, operation_ids: Sequence[str]) -> set[str]:
        """Those of `operation_ids` that are not closed now; outside the snapshot, for checking suspects."""
        rows = await self._connection.fetch(
            "SELECT id FROM operations WHERE id = ANY ($1) AND closed_at IS NULL", operation_ids
        )
        return {row["id"] for row in rows}


def _read(invariant: Invariant, rows: Sequence[Any]) -> list[Violation]:
    return [Violation(invariant, row["place"], row["what"], row["look_at"]) for row in rows]


_FIRST_OF = "SELECT v.*, count(*) OVER () AS found FROM ({query}) v ORDER BY place LIMIT {shown}"
