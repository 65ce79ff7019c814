"""The audit: every invariant, held against Postgres, Stripe and Temporal. It changes nothing.

    note what Stripe has ──▶ note Temporal's open workflows ──▶ one snapshot of Postgres ──▶ check the suspects

On a busy system the three are never read at the same moment, so the order is what keeps false alarms out.

- Stripe before Postgres. A movement is at Stripe first and in the ledger later, so one that was noted, and is not
  explained in the younger snapshot although it had its five minutes, is unexplained. The other way round a link may be
  to a movement made since: such links are held against what Stripe has added meanwhile.
- Stripe's balance is read after its movements were listed. If they differ, it must be what some number of the movements
  added since make of their sum.
- Temporal before Postgres, and then each suspect once more, in the opposite order: an operation that was accepted after
  the list has its workflow by now, and a saga that ended closed its operation before its workflow. So what then has no
  open workflow, and after that is still open in Postgres, has been left.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import stripe
from pydantic import BaseModel, ConfigDict, computed_field
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.stripe_reads import StripeReads
from db.audit import SHOWN, UNREADABLE, BalanceTransaction, Books, Examined, Solvency, Violation, open_books
from db.engine import WrongDeployment
from db.invariants import Invariant
from domain.operations import OperationKind
from domain.settings import Settings

Row = TypeVar("Row")

BATCH = 1_000
"""Rows that are noted at a time."""

AT_ONCE = 20
"""Workflows that Temporal is asked about at a time."""


class CannotAudit(Exception):
    """Something that has to be looked at cannot be reached. Nothing is known then, least of all that all is well."""


class Report(BaseModel):
    """What an audit found."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    """The moment of the snapshot, by the database's `app_now()`."""
    counts: dict[Invariant, int]
    """How often each invariant was violated; every invariant is there."""
    violations: tuple[Violation, ...]
    """The first hundred of each invariant."""
    solvency: tuple[Solvency, ...]

    @computed_field  # type: ignore[prop-decorator]  # mypy knows properties only undecorated.
    @property
    def total(self) -> int:
        """All violations, also those that are not listed."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _AtStripe:
    """What is kept of Stripe in memory while the rest is noted."""

    newest: str | None
    """The newest balance transaction that was noted."""
    balance: dict[str, int]


class Audit:
    """One deployment's audit; `run` may be called again. `temporal` may be lazy."""

    def __init__(self, settings: Settings, stripe_reads: StripeReads, temporal: Client) -> None:
        self._settings = settings
        self._stripe = stripe_reads
        self._temporal = temporal

    async def run(self) -> Report:
        """Judge every invariant. Raises `CannotAudit`.

        It reads all of Stripe's balance transactions, PaymentIntents and customers, a hundred a request.
        """
        with self._reaching():
            url = self._settings.database_url.get_secret_value()
            async with open_books(url, mode=self._settings.mode) as books:
                at_stripe = await self._note_stripe(books)
                await self._note_temporal(books)
                examined = await books.examine()
                differing = await self._differing_from_stripe(examined, at_stripe)
                abandoned = await self._abandoned(books, examined.without_noted_workflow)
        return _report(examined, [*differing, *abandoned])

    # ── Notes ──

    async def _note_stripe(self, books: Books) -> _AtStripe:
        newest = None
        async for transactions in _batches(self._stripe.balance_transactions()):
            newest = newest or transactions[0].id
            await books.note_balance_transactions(transactions)
        balance = await self._stripe.balance()
        async for objects in _batches(self._stripe.live_objects()):
            await books.note_live_objects(objects)
        return _AtStripe(newest, balance)

    async def _note_temporal(self, books: Books) -> None:
        names = ", ".join(f"'{kind.workflow}'" for kind in OperationKind)
        running = self._temporal.list_workflows(f"ExecutionStatus = 'Running' AND WorkflowType IN ({names})")
        async for workflows in _batches(running):
            await books.note_open_workflows([workflow.id for workflow in workflows])

    # ── Suspects ──

    async def _differing_from_stripe(self, examined: Examined, at_stripe: _AtStripe) -> list[Violation]:
        unequal = {
            currency
            for currency in at_stripe.balance.keys() | examined.stripe_totals.keys()
            if at_stripe.balance.get(currency, 0) != examined.stripe_totals.get(currency, 0)
        }
        if not unequal and not examined.not_noted_at_stripe:
            return []
        since = await self._stripe.balance_transactions_since(at_stripe.newest)
        added = {transaction.id for transaction in since}
        missing = [link for link in examined.not_noted_at_stripe if link.where not in added]
        return missing + [
            _wrong_total(currency, at_stripe.balance.get(currency, 0), examined.stripe_totals.get(currency, 0))
            for currency in sorted(unequal)
            if at_stripe.balance.get(currency, 0)
            not in _sums_on_the_way(examined.stripe_totals.get(currency, 0), since, currency)
        ]

    async def _abandoned(self, books: Books, suspects: Sequence[Violation]) -> list[Violation]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def look(suspect: Violation) -> Violation | None:
            async with limit:
                status = await self._workflow_status(suspect.where)
            if status is WorkflowExecutionStatus.RUNNING:
                return None
            said = "never ran, or is forgotten" if status is None else f"is {status.name.lower()}"
            return replace(suspect, what=f"{suspect.what}; its workflow {said}")

        found = [one for one in await asyncio.gather(*map(look, suspects)) if one is not None]
        if not found:
            return []
        still_open = await books.still_open([one.where for one in found])
        return [one for one in found if one.where in still_open]

    async def _workflow_status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        try:
            return (await self._temporal.get_workflow_handle(workflow_id).describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except WrongDeployment as error:
            raise CannotAudit(f"{error} Name the database and the mode that belong together.") from error
        except stripe.StripeError as error:
            raise CannotAudit(
                f"Stripe at {self._settings.stripe_api_base} cannot be read ({type(error).__name__},"
                f" {f'HTTP {error.http_status}' if error.http_status else 'no answer'}): see that it answers, and that"
                " STRIPE_SECRET_KEY may read balance transactions, PaymentIntents and customers."
            ) from error
        except UNREADABLE as error:
            raise CannotAudit(
                f"Postgres cannot be read ({type(error).__name__}: {error}): see that it runs, that DATABASE_URL is"
                " right, and that `paysaga migrate` has prepared it."
            ) from error
        except (RPCError, RuntimeError) as error:
            # The only sign that Temporal's client gives of a server that is not there.
            if isinstance(error, RuntimeError) and not str(error).startswith("Failed client connect"):
                raise
            raise CannotAudit(
                f"Temporal at {self._settings.temporal_address} cannot be asked ({error}): see that it runs, and"
                " whether it wants TEMPORAL_TLS."
            ) from error


def _report(examined: Examined, checked: Sequence[Violation]) -> Report:
    counts = {invariant: examined.counts[invariant] for invariant in Invariant}
    shown = Counter(violation.invariant for violation in examined.violations)
    violations = list(examined.violations)
    for violation in checked:
        counts[violation.invariant] += 1
        shown[violation.invariant] += 1
        if shown[violation.invariant] <= SHOWN:
            violations.append(violation)
    return Report(at=examined.at, counts=counts, violations=tuple(violations), solvency=tuple(examined.solvency))


def _wrong_total(currency: str, balance: int, total: int) -> Violation:
    return Violation(
        Invariant.LEDGER_DIFFERS_FROM_STRIPE,
        where=f"Stripe's balance in {currency}",
        what=f"{balance} {currency}, but its balance transactions sum to {total}",
        look_at="the balance and its transactions at Stripe",
    )


def _sums_on_the_way(total: int, added: Sequence[BalanceTransaction], currency: str) -> Iterator[int]:
    """Every sum that the balance has had while `added` came, oldest first."""
    yield total
    for transaction in added:
        if transaction.currency == currency:
            total += transaction.net
            yield total


async def _batches(rows: AsyncIterable[Row]) -> AsyncIterator[list[Row]]:
    batch: list[Row] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
