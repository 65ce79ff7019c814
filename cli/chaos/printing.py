"""A run as it goes, and its report as tables."""

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.chaos.plan import OFFER_WAIT, scaling
from cli.chaos.report import Report
from cli.chaos.run import Progress, Standing

MOST_FINDINGS = 30


class ConsoleProgress(Progress):
    """One line that changes in place; where there is no terminal, one line for each thing that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._doing = ""

    def stands(self, standing: Standing) -> None:
        """It has come so far."""
        if self._console.is_terminal:
            if not self._live.is_started:
                self._live.start()
            self._live.update(Text(_sentence(standing)))
        elif standing.doing != self._doing:
            self._console.print(f"· {standing.doing}")
        self._doing = standing.doing

    def close(self) -> None:
        """Leaves the line."""
        self._live.stop()


def _sentence(standing: Standing) -> str:
    return (
        f"{standing.doing}: {standing.requests} requests, {standing.sagas} sagas ended, {standing.waiting} waiting,"
        f" {standing.struck} faults"
    )


def print_report(report: Report, console: Console) -> None:
    """Prints everything; the verdict last."""
    _sagas(report, console)
    _faults(report, console)
    _scaling(console)
    _findings(report, console)
    console.print(
        f"\n{report.requests} requests, sent {report.attempts} times; of {report.unknown} no client knows what came of"
        f" them, {report.refused} were refused."
    )
    console.print(
        f"{report.snapshots} snapshots of the ledger, {report.replayed} histories replayed,"
        f" {report.audit_rows} audit rows; healed in {report.healed_in:.0f} s."
    )
    console.print(
        f"Of the time of {report.cores} cores {report.busy:.0%} was used and {report.stolen:.0%}"
        " taken away by this machine's host while faults struck."
    )
    verdict = "nothing found" if report.well else f"{len(report.findings)} findings"
    console.print(
        f"chaos: {verdict}; {report.sagas_ended} sagas, {sum(report.faults.values())} faults, seed {report.plan.seed},"
        f" {report.seconds:.0f} s"
    )


def _sagas(report: Report, console: Console) -> None:
    table = _table("operation", "ended as", "how many")
    for kind, statuses in report.operations.items():
        for status, count in sorted(statuses.items()):
            table.add_row(kind, status, str(count))
    _print("Sagas", table, console)


def _faults(report: Report, console: Console) -> None:
    table = _table("fault", "struck")
    for kind, count in report.faults.items():
        table.add_row(kind, str(count))
    _print("Faults", table, console)
    table = _table("network faults between", "struck")
    for way, count in sorted(report.ways.items()):
        table.add_row(way, str(count))
    _print("Where the network failed", table, console)


def _scaling(console: Console) -> None:
    table = _table("waits for", "by default", "here")
    for name, (usual, here) in scaling().items():
        table.add_row(name, _shown(usual), _shown(here))
    table.add_row("offers' accept_within, complete_within", "604800", str(OFFER_WAIT))
    _print("Scaled down (seconds)", table, console)


def _findings(report: Report, console: Console) -> None:
    if report.well:
        return
    table = Table("finding", "where", "what", box=None, show_lines=console.is_terminal)
    for finding in report.findings[:MOST_FINDINGS]:
        table.add_row(Text(finding.kind), Text(finding.where), Text(finding.what))
    _print("Findings", table, console)
    if len(report.findings) > MOST_FINDINGS:
        console.print(f"and {len(report.findings) - MOST_FINDINGS} more: --json has them all")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.MARKDOWN)
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print(title: str, table: Table, console: Console) -> None:
    console.print(f"\n### {escape(title)}")
    console.print(table)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each:g}" for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
