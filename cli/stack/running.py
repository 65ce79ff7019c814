"""A stack in the foreground, ended by the terminal or by whoever supervises it."""

import asyncio
import signal
from contextlib import suppress

from cli.stack.supervisor import Stack

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, and a terminal that was closed."""


async def run_until_told(stack: Stack) -> None:
    """Starts the stack and returns when a signal has ended it; a second signal kills what is still ending.

    Raises `StackError` when it could not start.
    """

    async def run() -> None:
        async with stack:
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    told = False

    def end() -> None:
        nonlocal told
        if told:
            stack.kill()
        else:
            told = True
            stack.reporter.note("Ending; once more to kill.")
            running.cancel()

    loop = asyncio.get_running_loop()
    # What is ignored stays so: `nohup` means that a closed terminal shall not end us.
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heeded:
        loop.add_signal_handler(number, end)
    try:
        with suppress(asyncio.CancelledError):
            await running
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
