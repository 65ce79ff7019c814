"""A stack in the foreground, ended by the terminal or by whoever supervises it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from cli.stack.supervisor import Stack

Result = TypeVar("Result")

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, and a terminal that was closed."""


async def run_until_told(stack: Stack) -> None:
    """Starts the stack and returns when a signal has ended it; a second signal kills what is still ending.

    Raises `StackError` when it could not start.
    """

    async def run() -> None:
        async with stack:
            await asyncio.Event().wait()

    def ending() -> None:
        stack.reporter.note("Ending; once more to kill.")

    await until_told(run(), ending=ending, again=stack.kill)


async def until_told(
    work: Coroutine[Any, Any, Result],
    *,
    ending: Callable[[], None] = lambda: None,
    again: Callable[[], None] = lambda: None,
) -> Result | None:
    """What `work` returns, or None when a signal has ended it: `ending` is called then, and `again` by the next one."""
    running = asyncio.ensure_future(work)
    told = False

    def end() -> None:
        nonlocal told
        if told:
            again()
        else:
            told = True
            ending()
            running.cancel()

    loop = asyncio.get_running_loop()
    # What is ignored stays so: `nohup` means that a closed terminal shall not end us.
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heeded:
        loop.add_signal_handler(number, end)
    try:
        with suppress(asyncio.CancelledError):
            return await running
        return None
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
