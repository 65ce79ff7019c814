"""The audit: every invariant, held against Postgres, Stripe and Temporal. It changes nothing.

    note what Stripe has ──▶ note Temporal's open workflows ──▶ one snapshot of Postgres ──▶ check the suspects

On a busy system the three are never read at the same moment, so the order is what keeps false alarms out.

- Stripe before Postgres. A movement is at Stripe first and in the ledger later, so one that was noted, and is not
  explained in the younger snapshot although it had its five minutes, is unexplained. The other way round a link may be
  to a movement made since: such links are held against what Stripe has added meanwhile.
- A balance is read after its movements were listed. If they differ, it must be what some number of the movements added
  since make of their sum.
- Each Stripe account is read at a moment of its own, the platform's and every connected one; an account that is younger
  than all that is read when a link names it. One that has been cut off from us cannot be read any more: nothing is said
  of it, but that.
- Temporal before Postgres, and then each suspect once more, in the opposite order: an operation that was accepted after
  the list has its workflow by now, and a saga that ended closed its operation before its workflow. So what then has no
  open workflow, and after that is still open in Postgres, has been left.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import stripe
from pydantic import BaseModel, ConfigDict, computed_field
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.stripe_reads import PLATFORM, StripeReads, is_cut_off
from db.audit import SHOWN, UNREADABLE, BalanceTransaction, Books, Examined, Solvency, Violation, open_books
from db.engine import WrongDeployment
from db.invariants import Invariant
from domain.operations import OperationKind, followup_id
from domain.settings import Settings

Row = TypeVar("Row")
Item = TypeVar("Item")

BATCH = 1_000
"""Rows that are noted at a time."""

WORKFLOWS_AT_ONCE = 20
"""Workflows that Temporal is asked about at a time."""

ACCOUNTS_AT_ONCE = 4
"""Stripe accounts that are read at a time. An answer of Stripe takes about a fifth of a second, and in test mode it
allows 25 requests a second."""


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
    unreadable_accounts: int = 0
    """Connected accounts that have been cut off from us: what they hold was held against nothing."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows properties only undecorated.
    @property
    def total(self) -> int:
        """All violations, also those that are not listed."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _Noted:
    """What is kept of a Stripe account in memory while the rest is noted."""

    newest: str | None
    """The newest balance transaction that was noted."""
    balance: dict[str, int]


@dataclass(frozen=True, slots=True)
class _AtStripe:
    """Every Stripe account, as it could be read or not."""

    noted: dict[str, _Noted] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)


class Audit:
    """One deployment's audit; `run` may be called again. `temporal` may be lazy."""

    def __init__(self, settings: Settings, stripe_reads: StripeReads, temporal: Client) -> None:
        self._settings = settings
        self._stripe = stripe_reads
        self._temporal = temporal

    async def run(self) -> Report:
        """Judge every invariant. Raises `CannotAudit`.

        It reads all balance transactions, of the platform and of each connected account, and all PaymentIntents,
        customers and accounts, a hundred a request.
        """
        with self._reaching():
            url = self._settings.database_url.get_secret_value()
            async with open_books(url, mode=self._settings.mode) as books:
                at_stripe = await self._note_stripe(books)
                await self._note_temporal(books)
                examined = await books.examine()
                differing = await self._differing_from_stripe(books, examined, at_stripe)
                abandoned = await self._abandoned(books, examined.without_noted_workflow)
        return _report(examined, [*differing, *abandoned], unreadable_accounts=len(at_stripe.unreadable))

    # ── Notes ──

    async def _note_stripe(self, books: Books) -> _AtStripe:
        at_stripe = _AtStripe()

        async def note(account: str) -> None:
            noted = await self._note_account(books, account)
            if noted is None:
                at_stripe.unreadable.add(account)
            else:
                at_stripe.noted[account] = noted

        accounts = await books.connected_accounts()
        await _each([PLATFORM, *accounts], note, at_once=ACCOUNTS_AT_ONCE)
        async for objects in _batches(self._stripe.live_objects(with_accounts=bool(accounts))):
            await books.note_live_objects(objects)
        return at_stripe

    async def _note_account(self, books: Books, account: str) -> _Noted | None:
        """None if the account has been cut off from us, be it only while it was read."""
        newest = None
        try:
            async for transactions in _batches(self._stripe.balance_transactions(account)):
                newest = newest or transactions[0].id
                await books.note_balance_transactions(transactions)
            return _Noted(newest, await self._stripe.balance(account))
        except stripe.PermissionError as error:
            if not _cut_off(account, error):
                raise
            await books.note_unreadable(account)
            return None

    async def _note_temporal(self, books: Books) -> None:
        types = {name for kind in OperationKind for name in (kind.workflow, kind.follow_up_workflow) if name}
        names = ", ".join(f"'{name}'" for name in sorted(types))
        running = self._temporal.list_workflows(f"ExecutionStatus = 'Running' AND WorkflowType IN ({names})")
        async for workflows in _batches(running):
            await books.note_open_workflows([workflow.id for workflow in workflows])

    # ── Suspects ──

    async def _differing_from_stripe(self, books: Books, examined: Examined, at_stripe: _AtStripe) -> list[Violation]:
        uneven = {
            account
            for account, noted in at_stripe.noted.items()
            if _unequal(noted.balance, examined.stripe_totals.get(account, {}))
        }
        suspects = sorted(uneven | examined.not_noted_at_stripe.keys())
        # Of an account that is not ours there is nothing to ask: what is linked there is linked to nothing.
        ours = {PLATFORM, *await books.connected_accounts()} if suspects else set()
        found = {account: examined.not_noted_at_stripe.get(account, []) for account in suspects}

        async def look(account: str) -> None:
            noted = at_stripe.noted.get(account)
            try:
                since = await self._stripe.balance_transactions_since(noted.newest if noted else None, account)
            except stripe.PermissionError as error:
                if not _cut_off(account, error):
                    raise
                at_stripe.unreadable.add(account)
                found[account] = []
                return
            added = {transaction.id for transaction in since}
            found[account] = [link for link in found[account] if link.where not in added]
            if noted is not None:
                totals = examined.stripe_totals.get(account, {})
                found[account] += _wrong_totals(account, noted.balance, totals, since)

        await _each([account for account in suspects if account in ours], look, at_once=ACCOUNTS_AT_ONCE)
        return [violation for account in suspects for violation in found[account]]

    async def _abandoned(self, books: Books, suspects: Sequence[Violation]) -> list[Violation]:
        found: list[Violation] = []

        async def look(suspect: Violation) -> None:
            # A follow-up that has opened the operation again is the later of the two.
            status = await self._workflow_status(suspect.where)
            if status is WorkflowExecutionStatus.RUNNING:
                return
            follow_up = await self._workflow_status(followup_id(suspect.where))
            if follow_up is WorkflowExecutionStatus.RUNNING:
                return
            which, status = ("workflow", status) if follow_up is None else ("follow-up", follow_up)
            said = "never ran, or is forgotten" if status is None else f"is {status.name.lower()}"
            found.append(replace(suspect, what=f"{suspect.what}; its {which} {said}"))

        await _each(suspects, look, at_once=WORKFLOWS_AT_ONCE)
        if not found:
            return []
        still_open = await books.still_open([one.where for one in found])
        return sorted((one for one in found if one.where in still_open), key=lambda one: one.where)

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
                " STRIPE_SECRET_KEY may read balances, their transactions, PaymentIntents, customers and connected"
                " accounts."
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


def _cut_off(account: str, error: stripe.PermissionError) -> bool:
    """Whether the account may be passed over. Our own never may."""
    return account != PLATFORM and is_cut_off(error)


def _report(examined: Examined, checked: Sequence[Violation], *, unreadable_accounts: int) -> Report:
    counts = {invariant: examined.counts[invariant] for invariant in Invariant}
    shown = Counter(violation.invariant for violation in examined.violations)
    violations = list(examined.violations)
    for violation in checked:
        counts[violation.invariant] += 1
        shown[violation.invariant] += 1
        if shown[violation.invariant] <= SHOWN:
            violations.append(violation)
    return Report(
        at=examined.at,
        counts=counts,
        violations=tuple(violations),
        solvency=tuple(examined.solvency),
        unreadable_accounts=unreadable_accounts,
    )


def _unequal(balance: Mapping[str, int], totals: Mapping[str, int]) -> list[str]:
    """The currencies in which they differ; what is not named is 0."""
    return [
        currency
        for currency in sorted(balance.keys() | totals.keys())
        if balance.get(currency, 0) != totals.get(currency, 0)
    ]


def _wrong_totals(
    account: str, balance: Mapping[str, int], totals: Mapping[str, int], since: Sequence[BalanceTransaction]
) -> list[Violation]:
    """A balance that its movements do not make, whichever of those `since` their listing it holds."""
    found = []
    for currency in _unequal(balance, totals):
        held, total = balance.get(currency, 0), totals.get(currency, 0)
        if held not in _sums_on_the_way(total, since, currency):
            found.append(
                Violation(
                    Invariant.LEDGER_DIFFERS_FROM_STRIPE,
                    where=f"Stripe's balance in {currency}" + (f" of {account}" if account else ""),
                    what=f"{held} {currency}, but its balance transactions sum to {total}",
                    look_at="the balance and its transactions at Stripe",
                )
            )
    return found


def _sums_on_the_way(total: int, added: Sequence[BalanceTransaction], currency: str) -> Iterator[int]:
    """Every sum that the balance has had while `added` came, oldest first."""
    yield total
    for transaction in added:
        if transaction.currency == currency:
            total += transaction.net
            yield total


async def _each(items: Iterable[Item], act: Callable[[Item], Awaitable[None]], *, at_once: int) -> None:
    """`act` on all items, at most so many at a time. The first error ends the others, and is raised."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await act(item)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(at_once):
                workers.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _batches(rows: AsyncIterable[Row]) -> AsyncIterator[list[Row]]:
    batch: list[Row] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
