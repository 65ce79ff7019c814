"""A service that dies, and is started again at once: a real process, forked off one that has imported everything.

Importing takes longer than most sagas, and each point of the matrix takes two processes.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from domain.settings import Settings
from tests.crashes.dying import Passed, Point

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])

Serve = Callable[[Settings, Point | None, Connection], None]


class Mortal:
    """One service, from its start to the test's end. `deadly` is where its first process dies; `once`: its only one."""

    def __init__(self, serve: Serve, settings: Settings, deadly: Point | None, *, once: bool) -> None:
        self._serve = serve
        self._settings = settings
        self._deadly = deadly
        self._once = once
        self._process: ForkServerProcess | None = None
        self.passed: list[Passed] = []
        """Every point, in order, of all its processes."""
        self.ends: list[tuple[int, Passed | None]] = []
        """How its processes have ended, and what each had passed last."""

    @property
    def points(self) -> list[Point]:
        """What was passed, each point once, in order."""
        return list(dict.fromkeys(passed.point for passed in self.passed))

    @property
    def death(self) -> Passed | None:
        """Where and when it died, once it has. Raises `AssertionError` if it ended in any other way."""
        if not self.ends:
            return None
        assert len(self.ends) == 1, "it ended again"
        code, last = self.ends[0]
        assert last is not None, "it ended before it had done anything"
        assert (code, last.point) == (-signal.SIGKILL, self._deadly)
        return last

    @property
    def recovery(self) -> float:
        """Seconds from its death until what it was at was begun again."""
        assert self.death is not None
        died, step = self.death.at, self.death.point.step
        return min(again.at for again in self.passed if again.point.step == step and again.at > died) - died

    def start(self, deadly: Point | None) -> None:
        """Begin a process."""
        loop = asyncio.get_running_loop()
        heard, telling = _FORKS.Pipe(duplex=False)
        process = _FORKS.Process(target=_serve, args=(self._serve, self._settings, deadly, telling), daemon=True)
        process.start()
        telling.close()
        self._process = process

        def listen() -> None:
            try:
                while heard.poll():
                    self.passed.append(heard.recv())
            except EOFError:
                # The pipe ends with the process, after everything that it has said.
                loop.remove_reader(heard.fileno())
                heard.close()
                process.join()
                assert process.exitcode is not None
                if self._process is process:
                    self.ends.append((process.exitcode, self.passed[-1] if self.passed else None))
                    if not self._once:
                        self.start(None)

        loop.add_reader(heard.fileno(), listen)

    async def end(self) -> None:
        """For good."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.join)


def _serve(serve: Serve, settings: Settings, deadly: Point | None, telling: Connection) -> None:
    # Not to outlive a test session that was killed itself.
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_outlive_not, args=(parent.sentinel,), daemon=True).start()
    serve(settings, deadly, telling)


def _outlive_not(session: int) -> None:
    wait([session])
    os._exit(1)


@asynccontextmanager
async def mortal(
    serve: Serve, settings: Settings, deadly: Point | None, *, once: bool = False
) -> AsyncIterator[Mortal]:
    """A service, for as long as the block runs."""
    service = Mortal(serve, settings, deadly, once=once)
    service.start(deadly)
    try:
        yield service
    finally:
        await service.end()
