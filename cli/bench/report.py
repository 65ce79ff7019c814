"""What was measured, as it is printed and as JSON. Units are the ends of the names."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.bench.load import Run, cores, percentile
from cli.bench.sizes import Size

SANDBOX = "sandbox"

READS = "wallet reads"

TOLD = "webhooks, saga told"
"""Acknowledged, and the saga that waits for it signaled."""

UNTOLD = "webhooks, nobody waits"
"""Acknowledged: most of what Stripe sends."""


COLD = "ledger postings, cold wallets"

HOT = "ledger postings, one hot account"

_PACES = {
    READS: "at half that rate",
    UNTOLD: "at half that rate",
    TOLD: "as deposits at their top rate bring them",
}
"""How often, where the clients do not go as fast as they can."""


@dataclass
class Load:
    """One kind of life under one load."""

    what: str
    clients: int
    done: int
    errors: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answered_p95_ms: float | None
    """The first answer alone, where more follows."""
    cpu_ms: dict[str, float]
    """Of each part, for one life."""
    to_bare: float | None = None
    """Its rate by that of a bare workflow under as many clients."""
    to_twin: float | None = None
    """Its rate by that of the deposit's no-op twin under as many clients."""
    per_second_without_sandbox: float | None = None
    """As if the Stripe sandbox ran on another machine, as Stripe does."""

    @classmethod
    def of(cls, what: str, run: Run, decisive: str) -> "Load":
        """The figures of a run; `decisive` is the stage whose end the latency is."""
        taken = run.stages.get(decisive, [])
        answered = run.stages.get("answered")
        done = max(run.done, 1)
        sandboxed = run.cpu.get(SANDBOX, 0.0) > 0 and "answered" in run.stages
        return cls(
            what=what,
            clients=run.clients,
            done=run.done,
            errors=len(run.errors),
            per_second=run.rate(),
            p50_ms=percentile(taken, 0.50) * 1000,
            p95_ms=percentile(taken, 0.95) * 1000,
            p99_ms=percentile(taken, 0.99) * 1000,
            answered_p95_ms=percentile(answered, 0.95) * 1000 if answered else None,
            cpu_ms={part: used * 1000 / done for part, used in run.cpu.items()},
            per_second_without_sandbox=run.rate(without=SANDBOX) if sandboxed else None,
        )


@dataclass
class Cost:
    """What one life of a kind takes, by count."""

    what: str
    history_events: float
    stripe_calls: float
    sql_queries: float
    sql_transactions: float


@dataclass
class Grown:
    """The same things at one size of the ledger."""

    ledger_entries: int
    wallet_read_ms: float
    """Median, by one client."""
    wallet_reads_per_second: float
    wallet_read_p95_ms: float
    webhooks_per_second: float
    webhook_p95_ms: float
    cold_postings_per_second: float
    hot_postings_per_second: float
    platform_balance_ms: float
    """Of the account that is in a quarter of all entries, with no snapshot since they came."""
    platform_balance_after_snapshot_ms: float
    snapshot_ms: float
    audit_seconds: float


@dataclass
class Aim:
    """Something that the figures are held against."""

    aim: str
    found: float
    unit: str
    met: bool


@dataclass
class Report:
    """Everything of one bench."""

    size: str
    machine: dict[str, Any]
    loads: list[Load] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    growth: list[Grown] = field(default_factory=list)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    idle_cpu_ms_per_second: dict[str, float] = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    violations: int = 0
    """Of the invariants, by the audit at the end."""
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """Whether the figures may be believed: nothing failed, and the books are right. Aims may still be missed."""
        return not self.errors and self.violations == 0

    def load(self, what: str, clients: int) -> Load:
        """One of the loads. Raises `KeyError`."""
        for load in self.loads:
            if (load.what, load.clients) == (what, clients):
                return load
        raise KeyError(f"{what} {clients}")

    def as_json(self) -> dict[str, Any]:
        """For `--json`: figures to three digits behind the point."""
        return {"ok": self.well, **_rounded(asdict(self))}


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was with other things when the bench began."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {
        "cores": cores(),
        "processor": model,
        "python": platform.python_version(),
        "load_average_at_start": _lines("/proc/loadavg")[0].split()[0],
    }


def begin(size: Size) -> Report:
    """An empty report."""
    return Report(size=size.name, machine=machine())


def hold_against_aims(report: Report, clients: int) -> None:
    """Says of each aim whether it is met by what was measured."""
    deposit, twin = report.load("deposit", clients), report.load("deposit's no-op twin", clients)
    share = (deposit.per_second_without_sandbox or 0.0) / twin.per_second if twin.per_second else 0.0
    cold, hot = report.load(COLD, clients), report.load(HOT, clients)
    ratio = hot.per_second / cold.per_second if cold.per_second else 0.0
    report.aims = [
        Aim("a deposit's rate ≥ 0.5 of its no-op twin's, the sandbox's CPU taken out", share, "", share >= 0.5),
        *_latencies(report, TOLD, clients, 50),
        *_latencies(report, UNTOLD, clients, 50),
        *_latencies(report, READS, clients, 20),
        # Two runs of the same load differ by a few percent.
        Aim("postings on one hot platform account ≥ those on cold wallets", ratio, "", ratio >= 0.95),
        Aim("0 errors", float(len(report.errors)), "", not report.errors),
        Aim("0 violations of the invariants", float(report.violations), "", report.violations == 0),
    ]


def paced(what: str) -> str:
    """The name of the same load at a rate that leaves room for others."""
    return f"{what}, {_PACES[what]}"


def _latencies(report: Report, what: str, clients: int, below_ms: int) -> list[Aim]:
    """Without a pause, the clients see the queue that they are; paced, what a client of a stack that keeps up sees."""
    aims = []
    for load, how in ((what, "without pause"), (paced(what), _PACES[what])):
        found = report.load(load, clients).p95_ms
        said = f"{what}, {clients} clients {how}: p95 < {below_ms} ms"
        aims.append(Aim(said, found, "ms", found < below_ms))
    return aims


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _rounded(thing: Any) -> Any:
    if isinstance(thing, float):
        return round(thing, 3)
    if isinstance(thing, Mapping):
        return {name: _rounded(each) for name, each in thing.items()}
    if isinstance(thing, list):
        return [_rounded(each) for each in thing]
    return thing
