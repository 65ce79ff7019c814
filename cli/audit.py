"""`paysaga audit`: do the invariants hold? Exit 0: all do. 1: some do not. 2: it could not be told."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.stack.errors import StackError

if TYPE_CHECKING:
    from rich.console import Console

    from activities.audit import Report
    from db.audit import Solvency
    from domain.settings import Settings


class AuditImpossible(StackError):
    """Something that has to be looked at cannot be reached: an audit that could not look says nothing of violations."""

    exit_code = 2


def audit(
    data: Annotated[
        Path, typer.Option("--data", help="The directory of a stack; used where DATABASE_URL is not set.")
    ] = Path(".paysaga"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Hold the books against every invariant, Stripe and Temporal. Changes nothing.

    Exit 0: no violations. 1: violations. 2: something could not be reached, so nothing is known.
    """
    from cli.settings import settings_from

    report = asyncio.run(look(settings_from(_environment(data))))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        show(report)
    if report.total:
        raise typer.Exit(1)


def _environment(data: Path) -> Mapping[str, str]:
    """The shell's variables; without a DATABASE_URL there, those of the stack on `data` on top of them.

    One or the other, never a mix of both: the ledger of one deployment differs from the Stripe account of another.
    """
    from cli.stack.data import DataDirectory

    if os.environ.get("DATABASE_URL"):
        return os.environ
    return {**os.environ, **DataDirectory(data).load_environment()}


async def look(settings: "Settings") -> "Report":
    """One audit of the deployment. Raises `AuditImpossible`."""
    from activities.audit import Audit, CannotAudit
    from activities.stripe_client import open_client
    from activities.stripe_reads import StripeReads
    from activities.temporal_client import connect

    temporal = await connect(settings, lazy=True)
    async with open_client(
        settings.stripe_secret_key.get_secret_value(),
        base=settings.stripe_api_base,
        timeout=settings.pacing.http_timeout,
    ) as stripe:
        try:
            return await Audit(settings, StripeReads(stripe), temporal).run()
        except CannotAudit as error:
            raise AuditImpossible(str(error)) from error


def show(report: "Report", console: "Console | None" = None) -> None:
    """Prints a report; on stdout unless another console is named."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if console is None:
        console = Console(highlight=False)
        # A pipe has no width; there a row stays on one line, for grep.
        if not console.is_terminal:
            console = Console(highlight=False, width=400)
    for solvency in report.solvency:
        console.print(Text(_sentence(solvency)))
    if report.unreadable_accounts:
        many = f"{report.unreadable_accounts} connected account{'' if report.unreadable_accounts == 1 else 's'}"
        console.print(Text(f"not readable: {many}, cut off from us at Stripe"))
    if report.violations:
        table = Table("invariant", "where", "what", "look at", show_lines=console.is_terminal, box=None)
        for found in report.violations:
            table.add_row(Text(found.invariant), Text(found.where), Text(found.what), Text(found.look_at))
        console.print(table)
        hidden = report.total - len(report.violations)
        if hidden:
            console.print(f"and {hidden} more of the same invariants")
    console.print(f"audit: {report.total} violation{'' if report.total == 1 else 's'}")


def _sentence(solvency: "Solvency") -> str:
    from domain.money import Money

    held, owed, surplus = (
        Money(amount, solvency.currency) for amount in (solvency.held, solvency.owed, abs(solvency.surplus))
    )
    word = "surplus" if solvency.surplus >= 0 else "shortfall"
    return f"solvency: {word} of {surplus} (holds {held}, owes {owed})"
