"""What is measured, in its order: sagas while the ledger is small, and requests and postings as it grows."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from rich.console import Console

from cli.audit import look
from cli.bench import load, postings
from cli.bench.filling import Filling, operations_to_post_on
from cli.bench.load import Life, Run, percentile
from cli.bench.meters import spent
from cli.bench.place import Place
from cli.bench.postings import Postings, Updates
from cli.bench.report import COLD, HOT, READS, TOLD, UNTOLD, Cost, Grown, Load, Report, paced
from cli.bench.requests import Reads, Webhooks, open_deposits, pay
from cli.bench.sagas import Deposits, Offers, Withdrawals, bare, twin
from cli.bench.sizes import Size
from db.engine import Database, open_database

IDLE_FOR = 3.0
"""Seconds of looking at a stack that does nothing."""

TOLD_OF_A_DEPOSIT = 2
"""Events of one deposit that its saga waits for: its payment's success, its charge's fee."""

WAITING = 20
"""Deposits that webhooks tell of."""


class Kind(Protocol):
    """Lives of one kind."""

    decisive: str
    ids: list[str]

    async def live(self, number: int, client: int) -> dict[str, float]:
        """One life."""

    async def end(self) -> None:
        """What they have left to be done."""


class Measuring:
    """One bench on one place."""

    def __init__(self, place: Place, size: Size, report: Report, console: Console) -> None:
        self._place = place
        self._size = size
        self._report = report
        self._console = console
        self._filling = Filling()
        self._operations: list[str] = []
        self._generation = 1

    async def everything(self) -> None:
        """Fills the report in."""
        async with self._place.meters.watching_memory("api", "worker"):
            await self._idle()
            async with self._database() as database:
                first, *larger = self._size.growth
                # Before the sagas, which write thousands of entries themselves.
                await self._grown(database, first)
                await self._sagas()
                for entries in larger:
                    await self._grown(database, entries)
                await self._postings(database)
            await self._requests()
            await self._deposits_again()
        self._report.memory = self._place.meters.memory

    # ── Sagas ──

    async def _idle(self) -> None:
        before = self._place.meters.cpu()
        await asyncio.sleep(IDLE_FOR)
        used = spent(before, self._place.meters.cpu())
        self._report.idle_cpu_ms_per_second = {part: each * 1000 / IDLE_FOR for part, each in used.items()}

    async def _sagas(self) -> None:
        size = self._size
        lives = size.alone + size.together + size.clients + 10
        withdrawals, offers = Withdrawals(self._place), Offers(self._place)
        self._say("contractors onboard")
        await withdrawals.prepare(size.clients, lives)
        self._say("customers deposit")
        await offers.prepare(size.clients, lives)
        yardsticks: dict[str, Kind] = {"bare workflow": bare(self._place), "deposit's no-op twin": twin(self._place)}
        deposits = Deposits(self._place)
        taking_turns: dict[str, Kind] = {**yardsticks, "deposit": deposits}
        others: dict[str, Kind] = {"offer": offers, "withdrawal": withdrawals}
        for what, kind in {**taking_turns, **others}.items():
            # The first of each connects, imports, and makes customers at Stripe.
            await self._warm_up(what, kind)
        for what, kind in {**taking_turns, **others}.items():
            self._keep(what, kind.decisive, await self._run(what, 1, size.alone, kind.live, kind.end))
        together = {what: Run(size.clients) for what in taking_turns}
        for turn in range(size.rounds):
            for what, kind in taking_turns.items():
                said = f"{what}, round {turn + 1} of {size.rounds}"
                together[what].add(await self._run(said, size.clients, size.together, kind.live, kind.end))
        for what, kind in taking_turns.items():
            self._keep(what, kind.decisive, together[what])
        for what, kind in others.items():
            self._keep(what, kind.decisive, await self._run(what, size.clients, size.together, kind.live, kind.end))
        for what, kind in {**taking_turns, **others}.items():
            await self._count(what, kind)

    async def _deposits_again(self) -> None:
        deposits = Deposits(self._place)
        run = await self._run("deposit", self._size.clients, self._size.together, deposits.live, deposits.end)
        self._keep(f"deposit, {self._size.growth[-1]:,} entries", deposits.decisive, run)

    async def _warm_up(self, what: str, kind: Kind) -> None:
        run = await self._run(f"{what}, to warm up", self._size.clients, self._size.clients, kind.live, kind.end)
        self._report.errors += run.errors

    async def _count(self, what: str, kind: Kind) -> None:
        """What one life asks of the others: the mean of a few, one after the other."""
        lives = min(self._size.alone, 10)
        first = len(kind.ids)
        calls = await self._place.at_rest()
        async with self._place.backdoor.counting_statements():
            run = await self._run(f"{what}, counted", 1, lives, kind.live, kind.end)
            statements = await self._place.backdoor.counted()
        self._report.errors += run.errors
        calls = await self._place.stripe_calls() - calls
        described = [await self._place.temporal.get_workflow_handle(id).describe() for id in kind.ids[first:]]
        events = [each.history_length for each in described]
        self._report.costs.append(
            Cost(
                what=what,
                history_events=statistics.mean(events) if events else 0.0,
                stripe_calls=calls / lives,
                sql_queries=statements.queries / lives,
                sql_transactions=statements.transactions / lives,
            )
        )

    # ── Ledger ──

    async def _postings(self, database: Database) -> None:
        size = self._size
        await self._place.backdoor.make_counters(size.clients)
        for hot, what in ((False, "row updates, a row each"), (True, "row updates, all one row")):
            await self._measure(what, size.clients, size.postings, Updates(database, hot).live, "updated")
        for hot, what in ((False, COLD), (True, HOT)):
            await self._measure(what, size.clients, size.postings, self._posting(database, hot=hot), "posted")
        await self._place.backdoor.drop_counters()

    def _posting(self, database: Database, *, hot: bool) -> Life:
        made = Postings(database, self._filling.wallets, self._operations, hot, self._generation)
        # Each run has generations of its own; none has as many postings.
        self._generation += 1_000_000
        return made.live

    async def _requests(self) -> None:
        size, place = self._size, self._place
        waiting = await open_deposits(place, min(WAITING, size.requests))
        deposits_per_second = self._report.load("deposit", size.clients).per_second
        for clients in (1, size.clients):
            count = size.requests if clients > 1 else max(10, size.requests // 10)
            few = max(10, count // 5)
            for what, life, stage, times in (
                (READS, Reads(place, self._filling.wallets).live, "read", count),
                (UNTOLD, Webhooks(place, []).live, "acknowledged", count),
                # Where a saga is told, it asks Stripe what happened: each costs as much as ten others.
                (TOLD, Webhooks(place, waiting).live, "acknowledged", few),
            ):
                top = await self._measure(what, clients, times, life, stage)
                if clients > 1:
                    pace = TOLD_OF_A_DEPOSIT * deposits_per_second if what == TOLD else top.rate() / 2
                    await self._measure(paced(what), clients, times // 2, life, stage, pace=pace)
        await pay(place, waiting)

    async def _grown(self, database: Database, entries: int) -> None:
        size, place = self._size, self._place
        self._say(f"the ledger grows to {entries:,} entries")
        await self._filling.grow(place.backdoor.connection, entries)
        if not self._operations:
            wallets = self._filling.wallets[: size.clients]
            self._operations = await operations_to_post_on(place.backdoor.connection, wallets)
        there = await place.backdoor.entries()
        reads, webhooks = Reads(place, self._filling.wallets), Webhooks(place, [])
        said = f"at {entries:,} entries"
        # Before anything is posted there is no snapshot of what was filled in.
        unsnapped = await _median(lambda: postings.platform_balance(database))
        snapshot = await postings.snapshot(database)
        snapped = await _median(lambda: postings.platform_balance(database))
        alone = await self._run(f"wallet reads, {said}", 1, max(10, size.requests // 10), reads.live)
        together = await self._run(f"wallet reads, {said}", size.clients, size.requests, reads.live)
        acknowledged = await self._run(f"webhooks, {said}", size.clients, size.requests // 2, webhooks.live)
        cold, hot = [
            await self._run(
                f"ledger postings, {said}", size.clients, size.postings // 5, self._posting(database, hot=hot)
            )
            for hot in (False, True)
        ]
        began = time.perf_counter()
        self._report.violations = (await look(place.settings)).total
        audited = time.perf_counter() - began
        for run in (alone, together, acknowledged, cold, hot):
            self._report.errors += run.errors
        self._report.growth.append(
            Grown(
                ledger_entries=there,
                wallet_read_ms=percentile(alone.stages.get("read", []), 0.5) * 1000,
                wallet_reads_per_second=together.rate(),
                wallet_read_p95_ms=percentile(together.stages.get("read", []), 0.95) * 1000,
                webhooks_per_second=acknowledged.rate(),
                webhook_p95_ms=percentile(acknowledged.stages.get("acknowledged", []), 0.95) * 1000,
                cold_postings_per_second=cold.rate(),
                hot_postings_per_second=hot.rate(),
                platform_balance_ms=unsnapped * 1000,
                platform_balance_after_snapshot_ms=snapped * 1000,
                snapshot_ms=snapshot * 1000,
                audit_seconds=audited,
            )
        )

    # ── Running ──

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        """The application's own access, with a connection for each client."""
        url = self._place.settings.database_url.get_secret_value()
        async with open_database(url, pool_size=self._size.clients) as database:
            yield database

    async def _measure(
        self, what: str, clients: int, count: int, life: Life, stage: str, *, pace: float | None = None
    ) -> Run:
        run = await self._run(what, clients, count, life, pace=pace)
        self._keep(what, stage, run)
        return run

    async def _run(
        self,
        what: str,
        clients: int,
        count: int,
        life: Life,
        until: Callable[[], Awaitable[object]] = load.nothing,
        *,
        pace: float | None = None,
    ) -> Run:
        self._say(f"{what} ({count} by {clients})")
        return await load.run(clients, count, life, self._place.meters, until=until, pace=pace)

    def _keep(self, what: str, decisive: str, run: Run) -> None:
        self._report.loads.append(Load.of(what, run, decisive))
        self._report.errors += [f"{what}: {error}" for error in run.errors]

    def _say(self, what: str) -> None:
        self._console.print(f"[dim]· {what}[/dim]", soft_wrap=True)


async def _median(measure: Callable[[], Awaitable[float]], times: int = 5) -> float:
    return statistics.median([await measure() for _ in range(times)])


def compare_with_yardsticks(report: Report) -> None:
    """Says of each saga's rate how it stands to the yardsticks under as many clients."""
    for each in report.loads:
        if not each.what.startswith(("deposit", "withdrawal", "offer", "bare")):
            continue
        for name, attribute in (("bare workflow", "to_bare"), ("deposit's no-op twin", "to_twin")):
            yardstick = report.load(name, each.clients)
            if yardstick.per_second:
                setattr(each, attribute, each.per_second / yardstick.per_second)
