"""What `paysaga up` prints: a line per part with its address, and what goes wrong."""

from contextlib import suppress

from rich.console import Console
from rich.markup import escape

from cli.stack.reporter import Reporter


class ConsoleReporter(Reporter):
    """Prints to the terminal; goes on when that is gone, for ending the parts matters more than saying so."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(soft_wrap=True, highlight=False)

    def ready(self, name: str, where: str, seconds: float) -> None:
        self._print(f"[green]✓[/green] [bold]{name:<9}[/bold] {escape(where):<48} [dim]{seconds:4.1f} s[/dim]")

    def note(self, text: str) -> None:
        self._print(f"[dim]· {escape(text)}[/dim]")

    def trouble(self, text: str) -> None:
        self._print(f"[yellow]! {escape(text)}[/yellow]")

    def all_ready(self, seconds: float) -> None:
        self._print(f"[bold green]ready in {seconds:.1f} s[/bold green]")

    def _print(self, text: str) -> None:
        with suppress(OSError):
            self._console.print(text)
