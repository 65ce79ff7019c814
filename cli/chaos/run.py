"""One run of chaos, from the start of the stack to the verdict.

start ──▶ first users ──▶ load and faults, for so many seconds ──▶ healing ──▶ evidence ──▶ verdict
          └───────────── a reader sums the ledger, five times a second ─────┘
"""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activities.temporal_client import connect
from cli.chaos import gathering
from cli.chaos.books import Books
from cli.chaos.clients import Clients
from cli.chaos.evidence import Evidence
from cli.chaos.faults import processes, stripe
from cli.chaos.faults.forgeries import Forgeries
from cli.chaos.faults.network import Network
from cli.chaos.faults.schedule import Schedule, Timed
from cli.chaos.judge import judge
from cli.chaos.machine import Clock
from cli.chaos.outside import Outside
from cli.chaos.plan import OF_STRIPE, Plan, environment
from cli.chaos.record import Record
from cli.chaos.report import Report
from cli.chaos.scene import Scene
from cli.chaos.workload import Workload
from cli.stack.options import StackOptions
from cli.stack.ports import DEFAULT_PORTS, free_port
from cli.stack.reporter import Reporter
from cli.stack.supervisor import Stack

APIS = 2
WORKERS = 2

RECORD = "requests.jsonl"

COMPLAINTS = "complaints.log"

LAST_CONSEQUENCE = stripe.LATE_PAYOUT[1] + 2.0
"""Seconds after the last fault in which one may still have consequences of its own."""

LOOKS_EVERY = 1.0
"""Seconds between two looks at how far everything has come."""


@contextmanager
def _complaints_to(file: Path) -> Iterator[None]:
    """What the event loop would print goes to a file: of asyncpg, whenever Postgres dies while it connects."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    with file.open("w") as complaints:

        def write(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            print(context, file=complaints, flush=True)

        loop.set_exception_handler(write)
        try:
            yield
        finally:
            loop.set_exception_handler(before)


@dataclass
class Standing:
    """How far a run has come."""

    doing: str
    sagas: int = 0
    requests: int = 0
    struck: int = 0
    waiting: int = 0


class Progress:
    """Who is told how far a run has come. Silent here."""

    def stands(self, standing: Standing) -> None:
        """It has come so far."""


def make_folder() -> Path:
    """A new folder for a run, among the system's temporary ones."""
    folder = Path(tempfile.mkdtemp(prefix="paysaga-chaos-"))
    # Postgres runs as a user of its own when we are root, and must be able to pass through.
    folder.chmod(0o711)
    return folder


class Chaos:
    """One run: `await Chaos(Plan(seconds=30, seed=7), make_folder()).run()`.

    `folder` gets everything: what the stack keeps, its logs, and the record of every request. It stays until `delete`.
    For tests, `Plan` names the kinds of faults, the mix of lives, and another worker program; `Report.findings` is what
    the judge has found.
    """

    def __init__(
        self, plan: Plan, folder: Path, *, reporter: Reporter | None = None, progress: Progress | None = None
    ) -> None:
        self.plan = plan
        self.folder = folder
        self._progress = progress or Progress()
        self._network = Network(APIS)
        ports: dict[str, int] = {}
        for name in DEFAULT_PORTS:
            # Not the defaults: they stay free for the stack that somebody means to keep.
            ports[name] = free_port(besides=ports.values())
        self.stack = Stack(
            StackOptions(
                data=folder / "data",
                ports=ports,
                apis=APIS,
                workers=WORKERS,
                environment=environment(),
                embedded_only=True,
                worker_program=plan.worker_program,
                route=self._network.route,
            ),
            reporter,
        )
        self._report = Report(plan, cores=len(os.sched_getaffinity(0)))
        self._evidence = Evidence(wanted_faults=sorted(plan.faults))

    async def run(self) -> Report:
        """The verdict. Raises `StackError` when the stack could not start; leaves nothing running."""
        began = time.monotonic()
        async with AsyncExitStack() as running:
            running.enter_context(_complaints_to(self.folder / COMPLAINTS))
            await running.enter_async_context(self._network.running())
            self._stands(Standing("starting the stack"))
            await running.enter_async_context(self.stack)
            record = running.enter_context(Record(self.folder / RECORD))
            outside = Outside(self._sandbox_url, self.stack.stripe_secret_key)
            running.callback(outside.close)
            clients = Clients(self._api_urls(), record, self.stack.options.data)
            running.callback(clients.close)
            books = await running.enter_async_context(Books.open(self._superuser_url))
            scene = Scene(clients, outside, books)
            self._evidence.requests = record.requests
            self._evidence.snapshots = books.snapshots
            await outside.control("POST", "settings", {**OF_STRIPE, "seed": self.plan.seed})
            self._stands(Standing("making the first users"))
            await scene.populate(random.Random(f"{self.plan.seed} first users"))
            await self._strike(scene)
            await self._gather(scene)
            self._report.attempts = clients.attempts
        self._report.findings = judge(self._evidence)
        self._report.take(self._evidence)
        self._report.ways = dict(self._network.where)
        self._report.seconds = time.monotonic() - began
        return self._report

    def delete(self) -> None:
        """Deletes the folder, and Postgres's files wherever they are. The run must be over."""
        self.stack.delete()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ── Load and faults ──

    async def _strike(self, scene: Scene) -> None:
        forgeries = Forgeries(self.stack.api_urls, lambda: scene.payments)
        schedule = self._schedule(scene, forgeries)
        workload = Workload(scene, self.plan.seed, self.plan.mix, self.plan.clients)
        living = asyncio.create_task(workload.run())
        showing = asyncio.create_task(self._show("load and faults", scene, schedule))
        clock = Clock()
        try:
            striking = asyncio.create_task(schedule.run(self.plan.seconds, self.plan.longest))
            await asyncio.wait([living, striking], return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                striking.cancel()
                living.result()
            await striking
            self._report.busy, self._report.stolen = clock.read()
            workload.stop()
            healed = time.monotonic()
            showing.cancel()
            showing = asyncio.create_task(self._show("healing", scene, schedule))
            await self._heal(scene, living)
            self._report.healed_in = time.monotonic() - healed
            self._evidence.fired_faults = {str(kind): count for kind, count in (await schedule.struck()).items()}
            self._evidence.forgeries_taken = forgeries.taken
            self._evidence.mishaps = workload.mishaps
        finally:
            for task in (showing, living):
                task.cancel()
            await asyncio.gather(showing, living, return_exceptions=True)

    async def _heal(self, scene: Scene, living: asyncio.Task[None]) -> None:
        """Returns when nothing waits any more, or patience has ended; the evidence says what still does."""
        began = time.monotonic()
        await asyncio.wait([living], timeout=self.plan.heals_within)
        if living.done():
            living.result()
        temporal = await connect(self.stack.settings)
        while True:
            waiting = [*await scene.books.unresolved(), *(() if living.done() else ["a client waits for an answer"])]
            waiting = waiting or await gathering.running_alone(temporal, await scene.books.open_operations())
            waited = time.monotonic() - began
            if waited > self.plan.heals_within:
                break
            # What the bank of an earlier payout is yet to do, or an event that is still on its way, would change the
            # evidence while it is gathered.
            if not waiting and waited > LAST_CONSEQUENCE and not await gathering.on_their_way(scene.outside):
                break
            await asyncio.sleep(0.5)
        self._evidence.unresolved = waiting

    def _schedule(self, scene: Scene, forgeries: Forgeries) -> Schedule:
        outside = scene.outside
        return Schedule(
            [
                Timed(processes.Processes(self.stack, processes.WORKERS), rests=4.0),
                Timed(processes.Processes(self.stack, processes.APIS), rests=18.0),
                Timed(processes.Processes(self.stack, processes.SERVERS), rests=30.0),
                Timed(self._network, rests=5.0),
                Timed(stripe.calls(outside), rests=1.5),
                Timed(stripe.payouts(outside), rests=5.0),
                Timed(stripe.events(outside), rests=1.5),
                Timed(forgeries, rests=3.0),
            ],
            self.plan.faults,
            self.plan.seed,
        )

    async def _show(self, doing: str, scene: Scene, schedule: Schedule) -> None:
        while True:
            standing = Standing(doing, requests=len(self._evidence.requests))
            standing.sagas = await scene.books.ended()
            standing.struck = sum((await schedule.struck()).values())
            standing.waiting = len(await scene.books.unresolved())
            self._stands(standing)
            await asyncio.sleep(LOOKS_EVERY)

    def _stands(self, standing: Standing) -> None:
        self._progress.stands(standing)

    # ── Evidence ──

    async def _gather(self, scene: Scene) -> None:
        evidence, requests = self._evidence, len(self._evidence.requests)
        self._stands(Standing("asking what everybody has", requests=requests))
        evidence.operations = await gathering.operations_of(scene)
        evidence.wallets = await gathering.wallets_of(scene, evidence.operations)
        evidence.platform = await scene.books.platform()
        evidence.stripe = await gathering.stripe_books(scene.outside)
        self._stands(Standing("auditing", requests=requests))
        settings = self.stack.settings
        evidence.audit = await gathering.audit_rows(settings)
        self._stands(Standing("replaying every history", requests=requests))
        temporal = await connect(settings)
        evidence.workflows = await gathering.workflows_of(temporal)
        evidence.replayed, evidence.replay_failures = await gathering.replay(temporal)

    # ── Addresses ──

    def _api_urls(self) -> list[str]:
        return [self.stack.routed("client", "api", url) for url in self.stack.api_urls]

    @property
    def _sandbox_url(self) -> str:
        url = self.stack.sandbox_url
        assert url is not None, "the stack has a Stripe sandbox"
        return url

    @property
    def _superuser_url(self) -> str:
        url = self.stack.superuser_database_url
        assert url is not None, "the stack has a Postgres of its own"
        return url
