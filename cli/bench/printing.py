"""A report as tables, in Markdown: `docs/performance.md` holds them as they were printed."""

from dataclasses import fields

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.bench.meters import BENCH
from cli.bench.place import PARTS, YARDSTICKS
from cli.bench.report import Grown, Report


def print_report(report: Report, console: Console) -> None:
    """Prints everything; the aims last."""
    _loads(report, console)
    _processor(report, console)
    _costs(report, console)
    _growth(report, console)
    _memory(report, console)
    for error in report.errors[:10]:
        console.print(f"error: {escape(error)}", soft_wrap=True)
    if len(report.errors) > 10:
        console.print(f"and {len(report.errors) - 10} more errors")
    _aims(report, console)


def _loads(report: Report, console: Console) -> None:
    table = _table("what", "clients", "done", "errors", "1/s", "p50 ms", "p95 ms", "p99 ms")
    for heading in ("answer p95 ms", "to bare", "to twin", "1/s without sandbox"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in report.loads:
        table.add_row(
            each.what,
            *(str(each.clients), str(each.done), str(each.errors)),
            *(_shown(value) for value in (each.per_second, each.p50_ms, each.p95_ms, each.p99_ms)),
            *(_shown(value) for value in (each.answered_p95_ms, each.to_bare, each.to_twin)),
            _shown(each.per_second_without_sandbox),
        )
    _print("Rates and latencies", table, console)


def _processor(report: Report, console: Console) -> None:
    parts = [*PARTS, YARDSTICKS, BENCH]
    table = _table("what", "clients", *parts, "all but bench")
    rows = [(each.what, str(each.clients), each.cpu_ms) for each in report.loads]
    for what, clients, used in [*rows, ("a second of idleness", "", report.idle_cpu_ms_per_second)]:
        total = sum(value for part, value in used.items() if part != BENCH)
        table.add_row(what, clients, *(_shown(used.get(part)) for part in parts), _shown(total))
    _print("CPU of each part, ms for one", table, console)


def _costs(report: Report, console: Console) -> None:
    table = _table("what", "history events", "Stripe calls", "SQL queries", "SQL transactions")
    for each in report.costs:
        counts = (each.history_events, each.stripe_calls, each.sql_queries, each.sql_transactions)
        table.add_row(each.what, *map(_shown, counts))
    _print("What one takes", table, console)


def _growth(report: Report, console: Console) -> None:
    table = _table("ledger entries", *(f"{each.ledger_entries:,}" for each in report.growth))
    for field in fields(Grown)[1:]:
        table.add_row(field.name.replace("_", " "), *(_shown(getattr(each, field.name)) for each in report.growth))
    _print("As the ledger grows", table, console)


def _memory(report: Report, console: Console) -> None:
    table = _table("part", "start", "peak", "end")
    for part, seen in report.memory.items():
        table.add_row(part, *(_shown(seen[name]) for name in ("start_mib", "peak_mib", "end_mib")))
    _print("Memory, MiB", table, console)


def _aims(report: Report, console: Console) -> None:
    table = _table("aim", "found", "met")
    for each in report.aims:
        table.add_row(each.aim, f"{_shown(each.found)} {each.unit}".strip(), "yes" if each.met else "no")
    _print("Aims", table, console)
    console.print(f"bench: {len(report.errors)} errors, {report.violations} violations, {report.seconds:.0f} s")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print(title: str, table: Table, console: Console) -> None:
    console.print(f"\n### {title}")
    console.print(table)


def _shown(value: float | None) -> str:
    """Three digits, as far as they say anything."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
