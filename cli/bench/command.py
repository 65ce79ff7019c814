"""`paysaga bench`, as it is typed.

Exit 0: all went well, whatever the figures. 1: there were errors, or the audit found something.
"""

import asyncio
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli.audit import look
from cli.bench import report as reporting
from cli.bench.measuring import Measuring, compare_with_yardsticks
from cli.bench.place import open_place
from cli.bench.printing import print_report
from cli.bench.report import Report
from cli.bench.sizes import FULL, QUICK
from cli.stack.errors import BadSettings, StackError
from cli.stack.options import StackOptions
from cli.stack.ports import DEFAULT_PORTS, free_port
from cli.stack.running import until_told
from cli.stack.supervisor import Stack
from domain.settings import Mode

INTERRUPTED = 130
"""The exit code of a command that a signal has ended, as shells have it for Ctrl-C."""

WIDTH = 240
"""Columns where the output has no width of its own, so that the tables fit."""


@dataclass(frozen=True)
class Wishes:
    """What the command was asked."""

    quick: bool = False
    as_json: bool = False


def run_bench(wishes: Wishes) -> int:
    """Measures; the exit code. Raises `StackError` when it could not, with nothing left running."""
    console = Console(highlight=False, stderr=wishes.as_json)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=wishes.as_json, width=WIDTH)
    mode = os.environ.get("PAYSAGA_MODE", Mode.DEVELOPMENT)
    if mode != Mode.DEVELOPMENT:
        raise BadSettings(f"The bench makes up its users, and PAYSAGA_MODE is {mode}: unset it for the bench.")
    if not Path("/proc/self/stat").exists():
        raise StackError("The bench reads each part's CPU and memory from /proc: run it on Linux.")
    return asyncio.run(_bench(wishes, console))


async def _bench(wishes: Wishes, console: Console) -> int:
    folder = Path(tempfile.mkdtemp(prefix="paysaga-bench-"))
    ports: dict[str, int] = {}
    for name in DEFAULT_PORTS:
        ports[name] = free_port(besides=ports.values())
    # Durable, as a deployment is: a commit waits for the disk.
    stack = Stack(StackOptions(data=folder / "data", ports=ports, embedded_only=True, temporary=True))
    report = reporting.begin(QUICK if wishes.quick else FULL)
    well = False
    try:
        done = await until_told(_measure(stack, wishes, report, console), again=stack.kill)
        if done is None:
            console.print("Ended before everything was measured.")
            return INTERRUPTED
        print_report(report, console)
        if wishes.as_json:
            print(json.dumps(report.as_json(), indent=2), flush=True)
        well = report.well
        return 0 if well else 1
    finally:
        if well:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"The logs are kept in {folder / 'data' / 'logs'}.", soft_wrap=True)


async def _measure(stack: Stack, wishes: Wishes, report: Report, console: Console) -> Report:
    size = QUICK if wishes.quick else FULL
    began = time.monotonic()
    console.print("A whole Paysaga starts, only to be measured.")
    async with stack, open_place(stack) as place:
        await Measuring(place, size, report, console).everything()
        report.violations = (await look(place.settings)).total
    compare_with_yardsticks(report)
    reporting.hold_against_aims(report, size.clients)
    report.seconds = time.monotonic() - began
    return report
