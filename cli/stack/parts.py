"""A part of the stack: a process that is started, watched, started again when it ends by itself, and ended."""

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from cli.stack.errors import StackError
from cli.stack.processes import Child
from cli.stack.reporter import Reporter

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a part is started again: doubling, so that one that cannot run does not keep the machine busy."""

STEADY_AFTER = 60.0
"""Seconds after which a part counts as running well, and its pauses begin anew."""


def called(name: str, index: int) -> str:
    """What the part of this index, from 0, is called wherever it needs a name of its own: `api`, `api-2`, `api-3`."""
    return f"{name}-{index + 1}" if index else name


class Launcher(Protocol):
    """What a part needs of Postgres, of Temporal, and of our own programs."""

    @property
    def child(self) -> Child: ...

    async def start(self) -> None:
        """Returns when it is ready. Raises `StackError`, and then has ended what it started."""

    async def stop(self) -> None: ...


class Part:
    """One process. `index` counts the parts of one name, from 0."""

    def __init__(self, name: str, launcher: Launcher, reporter: Reporter, *, where: str, index: int = 0) -> None:
        self.name = name
        self.index = index
        self.where = where
        """What a person opens or connects to."""
        self._launcher = launcher
        self._reporter = reporter
        self._watcher: asyncio.Task[None] | None = None

    @property
    def title(self) -> str:
        """Its name among others of its kind."""
        return called(self.name, self.index)

    @property
    def pid(self) -> int | None:
        """The pid of its process, running or not; None before the first start."""
        return self._launcher.child.pid

    @property
    def running(self) -> bool:
        return self._launcher.child.running

    async def start(self) -> None:
        """Returns when the part is ready; from then on it is watched. Raises `StackError`."""
        began = time.monotonic()
        await self._launcher.start()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.title}")
        self._reporter.ready(self.title, self.where, time.monotonic() - began)

    async def stop(self) -> None:
        """Ends the process politely; it stays ended."""
        await self.unwatch()
        await self._launcher.stop()

    async def kill(self) -> None:
        """SIGKILL; it stays ended until `start`. To see it come back by itself, kill its `pid` from outside."""
        await self.unwatch()
        self._launcher.child.kill()

    def kill_now(self) -> None:
        """SIGKILL while `stop` is waiting."""
        self._launcher.child.kill()

    async def restart(self) -> None:
        """Ends the process politely and starts it again."""
        await self.stop()
        await self.start()

    async def unwatch(self) -> None:
        """From now on the process is not started again when it ends."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None

    async def _watch(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            status = await self._launcher.child.wait()
            if time.monotonic() - began > STEADY_AFTER:
                pause = FIRST_PAUSE
            reason = f"signal {-status}" if status < 0 else f"status {status}"
            self._reporter.trouble(f"{self.title} ended by itself ({reason}); starting it again in {pause:.1f} s.")
            pause = await self._start_again(pause)

    async def _start_again(self, pause: float) -> float:
        """Tries until the part is ready. Returns the pause that the next failure deserves, in seconds."""
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            began = time.monotonic()
            try:
                await self._launcher.start()
            except StackError as error:
                self._reporter.trouble(f"{error}\nTrying again in {pause:.1f} s.")
            else:
                self._reporter.ready(self.title, self.where, time.monotonic() - began)
                return pause
