"""`paysaga demo`, as it is typed. Exit 0: everything was exactly as computed by hand. 1: something was not."""

import asyncio
import json
import os
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from cli.console import ConsoleReporter
from cli.demo import chapters
from cli.demo.ending import reach_ending
from cli.demo.outside import Outside
from cli.demo.place import Place
from cli.demo.printing import print_ending, print_verdict
from cli.demo.story import Story
from cli.stack.errors import BadSettings
from cli.stack.options import StackOptions
from cli.stack.ports import DEFAULT_PORTS, free_port
from cli.stack.running import until_told
from cli.stack.supervisor import Stack
from domain.settings import Mode

INTERRUPTED = 130
"""The exit code of a command that a signal has ended, as shells have it for Ctrl-C."""

WIDTH = 100
"""Columns where the output has no width of its own, so that the tables fit."""


@dataclass(frozen=True)
class Wishes:
    """What the command was asked. `data` is the directory of a stack that runs; None: start one and end it.

    `apis` and `workers` are how many the started one has. A stack that runs has what it has: then they are None.
    """

    data: Path | None = None
    apis: int | None = None
    workers: int | None = None
    keep: bool = False
    as_json: bool = False


def run_demo(wishes: Wishes) -> int:
    """Tells the story; the exit code. Raises `StackError` when it could not be told, with nothing left running."""
    console = Console(highlight=False, stderr=wishes.as_json)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=wishes.as_json, width=WIDTH)
    return asyncio.run(Demo(wishes, console).run())


class Demo:
    """One run of the command."""

    def __init__(self, wishes: Wishes, console: Console) -> None:
        self._wishes = wishes
        self._console = console
        self._began = time.monotonic()
        self._exit_code: int | None = None
        """None until the story has ended."""

    async def run(self) -> int:
        """The exit code. Raises `StackError`."""
        if self._wishes.data is None:
            await self._on_a_stack_of_its_own()
        elif self._wishes.apis or self._wishes.workers:
            raise BadSettings(
                "A stack that runs has its APIs and workers: say how many to `paysaga up`, or leave --data out."
            )
        else:
            await until_told(self._tell(await Place.running(self._wishes.data)))
        if self._exit_code is None:
            self._console.print("Ended before the story had.")
            return INTERRUPTED
        return self._exit_code

    async def _on_a_stack_of_its_own(self) -> None:
        mode = os.environ.get("PAYSAGA_MODE", Mode.DEVELOPMENT)
        if mode != Mode.DEVELOPMENT:
            raise BadSettings(f"The demo makes up its users, and PAYSAGA_MODE is {mode}: unset it for the demo.")
        folder = Path(tempfile.mkdtemp(prefix="paysaga-demo-"))
        ports: dict[str, int] = {}
        for name in DEFAULT_PORTS:
            # Not the defaults: they stay free for the stack that somebody means to keep.
            ports[name] = free_port(besides=ports.values())
        # Whatever database or Stripe account the shell's variables point at, the story is none of their business.
        options = StackOptions(
            data=folder / "data",
            ports=ports,
            apis=self._wishes.apis or 1,
            workers=self._wishes.workers or 1,
            embedded_only=True,
            fsync=False,
            temporary=True,
        )
        stack = Stack(options, ConsoleReporter(self._console))
        well = False
        try:
            await until_told(self._from_start_to_end(stack), ending=self._say_ending, again=stack.kill)
            well = self._exit_code != 1
        finally:
            if well:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._console.print(f"The logs are kept in {folder / 'data' / 'logs'}.", soft_wrap=True)

    async def _from_start_to_end(self, stack: Stack) -> None:
        self._console.print("A whole Paysaga starts, only for this story.")
        try:
            with self._console.status("Starting …"):
                await stack.start()
            place = Place.of(stack.options.data)
            await self._tell(place)
            if self._wishes.keep:
                self._say_kept(place)
                await asyncio.Event().wait()
        finally:
            with self._console.status("Ending the stack …"):
                await _stop(stack)

    async def _tell(self, place: Place) -> None:
        """Raises `StackError` when the story could not be told to its end."""
        key = place.settings.stripe_secret_key.get_secret_value()
        async with AsyncExitStack() as clients:
            sandbox, *apis = [
                await clients.enter_async_context(
                    httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False)
                )
                for url, headers in (
                    (place.sandbox_url, {"Authorization": f"Bearer {key}"}),
                    *((url, {}) for url in place.api_urls),
                )
            ]
            story = Story(place, apis, Outside(sandbox), self._console)
            for number, module in enumerate(chapters.ALL, 1):
                with story.chapter(module.TITLE, number, len(chapters.ALL)):
                    await module.tell(story)
            with self._console.status("Auditing …"):
                ending = await reach_ending(story, self._began)
        lives_on = self._wishes.keep or self._wishes.data is not None
        print_ending(ending, place, self._console, lives_on=lives_on)
        print_verdict(ending, self._console)
        if self._wishes.as_json:
            print(json.dumps(ending.as_json(place), indent=2), flush=True)
        self._exit_code = 0 if ending.well else 1

    def _say_ending(self) -> None:
        self._console.print("[dim]· Ending; once more to kill.[/dim]")

    def _say_kept(self, place: Place) -> None:
        self._console.print(
            f"\nThe stack runs until Ctrl-C: API {place.api_url}/docs, Temporal UI {place.ui_url}, Stripe sandbox"
            f" {place.sandbox_url}\nOther commands find it by its directory: paysaga audit --data {place.data}",
            soft_wrap=True,
        )


async def _stop(stack: Stack) -> None:
    """Ends every part. A signal that comes meanwhile does not leave half of them running."""
    stopping = asyncio.ensure_future(stack.stop())
    while not stopping.done():
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            continue
    stopping.result()
