"""The story's end for a person at a terminal: wallets, the ledger, links, and whether all is as it must be."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.audit import show
from cli.demo.ending import Ending, called, owners
from cli.demo.place import Place
from cli.demo.story import Json, Person
from domain.money import Money


def print_ending(ending: Ending, place: Place, console: Console, *, lives_on: bool) -> None:
    """Prints all but the verdict. `lives_on` says whether the stack can still be looked at afterwards."""
    console.print()
    console.print(wallet_table(ending.wallets))
    console.print(ledger_table(ending.operations, ending.wallets))
    if place.ui_url:
        console.print(
            "\n[bold]In the Temporal UI[/bold]" + ("" if lives_on else " (with --keep, which lets it run on)")
        )
        kinds = sorted({operation["kind"] for _, operation in ending.operations})
        links = [
            *((called(*operation), place.workflow_url(operation[1]["id"])) for operation in ending.operations),
            *((f"every {kind.replace('_', ' ')}", place.kind_url(kind)) for kind in kinds),
        ]
        margin = max((len(text) for text, _ in links), default=0)
        for text, url in links:
            console.print(f"  {escape(text):<{margin}}", url, soft_wrap=True)
    if len(ending.requests) > 1:
        answered = ", ".join(f"{url} {number}" for url, number in ending.requests.items())
        console.print(f"\nrequests answered: {answered}", soft_wrap=True)
    console.print()
    show(ending.audit, console)


def print_verdict(ending: Ending, console: Console) -> None:
    """Says whether all is as computed by hand, and if not, what is not."""
    if ending.well:
        console.print(
            f"[bold green]✓ All {len(ending.expectations)} expectations are met, every balance is as computed by"
            f" hand: {ending.seconds:.1f} s.[/bold green]"
        )
    for expectation in ending.unmet:
        console.print(f"[bold red]✗ {escape(str(expectation))}[/bold red]", soft_wrap=True)


def wallet_table(wallets: Sequence[tuple[Person, Json]]) -> Table:
    """What each person holds, in human amounts."""
    table = Table("wallet of", "available", "in escrow", "in transit", title="Wallets", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for person, wallet in wallets:
        parts = (str(Money(wallet[part], wallet["currency"])) for part in ("available", "escrow", "in_transit"))
        table.add_row(escape(person.name), *parts)
    return table


def ledger_table(operations: Sequence[tuple[Person, Json]], wallets: Sequence[tuple[Person, Json]]) -> Table:
    """The entries of the operations, in human amounts; in each currency the debits add up to the credits."""
    table = Table("operation, step", "account", "debit", "credit", title="Ledger", title_justify="left")
    for column in table.columns[1:]:
        column.no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    names = owners(operations, wallets)
    debits, credits_ = Counter[str](), Counter[str]()
    for person, operation in operations:
        if operation["amount"] is None:
            continue  # Such as a connected account: it moves no money of its own.
        table.add_row(escape(called(person, operation)))
        if not operation["postings"]:
            table.add_row(f"[dim]  {escape(operation['status'])}[/dim]", "[dim]nothing booked[/dim]")
        for posting in operation["postings"]:
            step = f"  {escape(posting['step'])}"
            for entry in posting["entries"]:
                amount, currency = entry["amount"], entry["currency"]
                owner = f" ({names.get(entry['owner'], entry['owner'])})" if entry["owner"] else ""
                human = str(Money(abs(amount), currency))
                (debits if amount < 0 else credits_)[currency] += abs(amount)
                table.add_row(step, escape(entry["account"] + owner), *((human, "") if amount < 0 else ("", human)))
                step = ""
        table.add_section()
    for currency in sorted(debits | credits_):
        sums = (str(Money(side[currency], currency)) for side in (debits, credits_))
        table.add_row("", "[bold]sum[/bold]", *sums)
    return table
