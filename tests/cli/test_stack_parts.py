"""A part that ends by itself comes back; one that was ended stays so."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.stack import parts
from cli.stack.errors import PartFailed
from cli.stack.parts import Part
from cli.stack.processes import Child
from cli.stack.reporter import Reporter


class Sleeping:
    """The smallest launcher: a process that does nothing. Refuses to start as often as it is told."""

    def __init__(self, folder: Path) -> None:
        self.child = Child("sleeping", log=folder / "log", pid_file=folder / "pid")
        self._folder = folder
        self.refusals = 0

    async def start(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise PartFailed("sleeping", "would not start", self.child.log)
        self.child.spawn(["sleep", "60"], env=os.environ, cwd=self._folder)

    async def stop(self) -> None:
        await self.child.end()


class Remembering(Reporter):
    def __init__(self) -> None:
        self.troubles: list[str] = []

    def trouble(self, text: str) -> None:
        self.troubles.append(text)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FIRST_PAUSE", 0.01)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Sleeping]:
    launcher = Sleeping(tmp_path)
    yield launcher
    launcher.child.kill()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def die(part: Part) -> int:
    """Kills its process from outside; returns its pid."""
    assert part.pid is not None
    os.kill(part.pid, signal.SIGKILL)
    return part.pid


async def test_it_is_started_again_and_that_is_said(launcher: Sleeping) -> None:
    reporter = Remembering()
    part = Part("sleeping", launcher, reporter, where="nowhere")
    await part.start()

    first = die(part)
    await until(lambda: part.running and part.pid != first)
    second = die(part)
    await until(lambda: part.running and part.pid != second)

    await part.stop()
    assert reporter.troubles == [
        "sleeping ended by itself (signal 9); starting it again in 0.0 s.",
        "sleeping ended by itself (signal 9); starting it again in 0.0 s.",
    ]


async def test_it_is_tried_again_when_it_does_not_start(launcher: Sleeping) -> None:
    reporter = Remembering()
    part = Part("sleeping", launcher, reporter, where="nowhere")
    await part.start()
    launcher.refusals = 2

    first = die(part)
    await until(lambda: part.running and part.pid != first)

    await part.stop()
    assert sum("would not start" in trouble for trouble in reporter.troubles) == 2


async def test_it_stays_ended_when_it_was_ended(launcher: Sleeping) -> None:
    reporter = Remembering()
    part = Part("sleeping", launcher, reporter, where="nowhere")

    await part.start()
    await part.kill()
    await asyncio.sleep(0.1)
    assert not part.running

    await part.start()
    assert part.running
    await part.stop()
    await asyncio.sleep(0.1)
    assert not part.running
    assert reporter.troubles == []
