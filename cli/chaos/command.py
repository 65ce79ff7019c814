"""`paysaga chaos`, as it is typed.

Exit 0: the judge has found nothing. 1: it has, or a fault never struck. 130: ended by a signal.
"""

import asyncio
import json
import os
from dataclasses import dataclass

from rich.console import Console

from cli.chaos.plan import Plan
from cli.chaos.printing import ConsoleProgress, print_report
from cli.chaos.run import RECORD, Chaos, make_folder
from cli.stack.errors import BadSettings
from cli.stack.running import until_told
from domain.settings import Mode

INTERRUPTED = 130
"""The exit code of a command that a signal has ended, as shells have it for Ctrl-C."""

WIDTH = 200
"""Columns where the output has no width of its own, so that the tables fit."""


@dataclass(frozen=True)
class Wishes:
    """What the command was asked."""

    plan: Plan
    as_json: bool = False


def run_chaos(wishes: Wishes) -> int:
    """Lets everything go wrong, and judges; the exit code. Raises `StackError` when the stack could not start."""
    console = Console(highlight=False, stderr=wishes.as_json)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=wishes.as_json, width=WIDTH)
    mode = os.environ.get("PAYSAGA_MODE", Mode.DEVELOPMENT)
    if mode != Mode.DEVELOPMENT:
        raise BadSettings(f"Chaos makes up its users, and PAYSAGA_MODE is {mode}: unset it for chaos.")
    return asyncio.run(_chaos(wishes, console))


async def _chaos(wishes: Wishes, console: Console) -> int:
    folder = make_folder()
    progress = ConsoleProgress(console)
    chaos = Chaos(wishes.plan, folder, progress=progress)
    console.print(
        f"Two of everything, {wishes.plan.seconds:g} s of faults, seed {wishes.plan.seed}: the same seed wants the same"
        " and breaks the same, at other moments."
    )
    keep = True
    try:
        report = await until_told(chaos.run(), again=chaos.stack.kill)
        progress.close()
        if report is None:
            console.print("Ended before the judge had seen anything.")
            keep = False
            return INTERRUPTED
        print_report(report, console)
        if wishes.as_json:
            print(json.dumps(report.as_json(), indent=2), flush=True)
        keep = not report.well
        return 1 if keep else 0
    finally:
        progress.close()
        if keep:
            console.print(
                f"Kept in {folder}: {RECORD}, what every client asked and was told; data/logs; and all data, on which"
                f" `paysaga up --data {folder / 'data'}` starts.",
                soft_wrap=True,
            )
        else:
            chaos.delete()
