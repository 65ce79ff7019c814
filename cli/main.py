"""The command `paysaga`.

Each command imports what it needs when it runs, so that `paysaga --help` and `paysaga token` answer at once.
"""

import asyncio
import atexit
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.audit import audit
from cli.ops import ops
from cli.stack.errors import PortTaken, StackError
from cli.stack.options import MOST_APIS

app = typer.Typer(
    name="paysaga",
    help="Paysaga: payments of a marketplace as durable sagas.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataOption = Annotated[Path, typer.Option("--data", help="The directory that holds everything the stack keeps.")]
DEFAULT_DATA = Path(".paysaga")
_Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Exactly this port; otherwise one that is free.")]
_Apis = Annotated[
    int, typer.Option(min=1, max=MOST_APIS, help="How many APIs, on successive ports where those are free.")
]
_Workers = Annotated[int, typer.Option(min=1, help="How many workers, all on one task queue.")]


def main() -> None:
    """Runs the command; an expected failure is one sentence on stderr and its exit code, never a traceback."""
    # A process that ends while temporalio's background threads still finish their last work sometimes crashes after
    # it has succeeded. A tenth of a second lets them end first.
    atexit.register(time.sleep, 0.1)
    try:
        app()
    except StackError as error:
        print(f"paysaga: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.command()
def up(
    data: DataOption = DEFAULT_DATA,
    port: _Port = None,
    temporal_port: _Port = None,
    ui_port: _Port = None,
    postgres_port: _Port = None,
    sandbox_port: _Port = None,
    apis: _Apis = 1,
    workers: _Workers = 1,
) -> None:
    """Run everything: Postgres, Temporal and its UI, the Stripe sandbox, the API and the worker.

    DATABASE_URL, TEMPORAL_ADDRESS and STRIPE_SECRET_KEY, where set, take the place of the embedded ones.
    """
    from cli.console import ConsoleReporter
    from cli.stack.options import StackOptions
    from cli.stack.running import run_until_told
    from cli.stack.supervisor import Stack

    asked = {
        "api": port,
        "temporal": temporal_port,
        "ui": ui_port,
        "postgres": postgres_port,
        "sandbox": sandbox_port,
    }
    ports = {name: number for name, number in asked.items() if number is not None}
    options = StackOptions(data=data, ports=ports, apis=apis, workers=workers)
    asyncio.run(run_until_told(Stack(options, ConsoleReporter())))


@app.command()
def api() -> None:
    """Serve the HTTP API on PAYSAGA_API_HOST and PAYSAGA_API_PORT."""
    from api.server import serve
    from cli.serving import serve_until_told
    from cli.settings import settings_from
    from cli.stack.ports import is_free

    settings = settings_from(os.environ)
    if not is_free(settings.api_port, settings.api_host):
        raise PortTaken(
            f"{settings.api_host}:{settings.api_port} cannot be listened on: end what uses it, or set"
            " PAYSAGA_API_HOST and PAYSAGA_API_PORT."
        )
    serve_until_told(serve(settings), settings)


@app.command()
def worker(
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether a worker of this host polls. Exit 0: it does. 1: not.")
    ] = False,
) -> None:
    """Run the sagas: a Temporal worker. `paysaga migrate` makes the schedules that it also works on."""
    from cli.settings import settings_from

    settings = settings_from(os.environ)
    if check:
        from cli.polling import require_worker

        asyncio.run(require_worker(settings))
        return
    from cli.serving import serve_until_told
    from worker.main import serve

    serve_until_told(serve(settings), settings)


@app.command()
def migrate(
    service: Annotated[
        str | None, typer.Option(help="The Postgres login that the API and the worker use, if it is another one.")
    ] = None,
) -> None:
    """Prepare Postgres (DATABASE_URL, as the owner) and Temporal (search attributes, retention)."""
    from cli.settings import settings_from
    from cli.stack.preparation import prepare_database, prepare_temporal

    settings = settings_from(os.environ)

    async def prepare() -> None:
        await prepare_database(settings.database_url.get_secret_value(), mode=settings.mode, service=service)
        await prepare_temporal(settings)

    asyncio.run(prepare())


@app.command()
def stripe_sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 12111,
    data: Annotated[Path, typer.Option("--data", help="The SQLite file that holds its state.")] = DEFAULT_DATA
    / "stripe.db",
) -> None:
    """Serve a Stripe-compatible API for development and tests."""
    from cli.stack.ports import is_free
    from stripe_sandbox.server import serve

    if not is_free(port, host):
        raise PortTaken(f"{host}:{port} cannot be listened on: end what uses it, or name another --port.")
    data.parent.mkdir(parents=True, exist_ok=True)
    serve(host, port, str(data))


app.command()(audit)
app.add_typer(ops)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Tell it on the stack that `paysaga up` runs on this directory.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Let the demo's stack run on after it, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout, and the story on stderr.")
    ] = False,
    apis: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_APIS, help="How many APIs the demo's stack has; each is asked in turn."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many workers the demo's stack has.")] = None,
) -> None:
    """Tell a story of deposits and withdrawals, show the ledger that they leave, and audit it.

    Exit 0: every balance is exactly as computed by hand, and the audit finds nothing. 1: it is not so.
    """
    from cli.demo.command import Wishes, run_demo

    raise typer.Exit(run_demo(Wishes(data=data, keep=keep, as_json=as_json, apis=apis, workers=workers)))


@app.command()
def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only see that the bench runs: its figures mean nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout, and the tables on stderr.")
    ] = False,
) -> None:
    """Measure Paysaga on this machine: rates, latencies, CPU, memory, beside what its parts could do at best.

    Exit 0: everything went well, whatever the figures. 1: there were errors, or the audit found something.
    """
    from cli.bench.command import Wishes, run_bench

    raise typer.Exit(run_bench(Wishes(quick=quick, as_json=as_json)))


@app.command()
def chaos(
    seconds: Annotated[
        float,
        typer.Option(min=5, max=86_400, help="How long faults strike; starting, healing and judging come on top."),
    ] = 60,
    seed: Annotated[
        int | None, typer.Option(help="Of what clients want and of what fails when; without it one is drawn, and told.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout, and the tables on stderr.")
    ] = False,
) -> None:
    """Run a whole Paysaga, kill and break everything around it under load, and judge whether any money went astray.

    Exit 0: the judge has found nothing, and every kind of fault has struck. 1: it is not so; all data is kept.
    """
    from cli.chaos.command import Wishes, run_chaos
    from cli.chaos.plan import Plan

    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    raise typer.Exit(run_chaos(Wishes(Plan(seconds=seconds, seed=drawn), as_json=as_json)))


@app.command()
def token(
    user: Annotated[str, typer.Option(help="Who: the token's subject.")],
    role: Annotated[Literal["customer", "contractor", "admin", "service"], typer.Option(help="As what.")],
    ttl: Annotated[int, typer.Option(min=1, help="Seconds until it expires.")] = 3600,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print a bearer token for the API. For development only."""
    from cli.tokens import development_token

    print(development_token(user, role, ttl, data))


if __name__ == "__main__":
    main()
