"""`paysaga demo`, as it is typed. Exit 0: everything was exactly as computed by hand. 1: something was not."""

import asyncio
import json
import shutil
import signal
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
from cli.stack.options import StackOptions
from cli.stack.ports import DEFAULT_PORTS, free_port
from cli.stack.supervisor import Stack

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended before its end, as shells have it."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

NARROWEST = 100
"""Columns where the output has no width of its own, so that the tables fit."""


@dataclass(frozen=True)
class Wishes:
    """What the command was asked. `data` is the directory of a stack that runs; None: start one and end it."""

    data: Path | None
    keep: bool
    as_json: bool


def run_demo(wishes: Wishes) -> int:
    """Tells the story; the exit code. Raises `StackError` when it could not be told, with nothing left running."""
    console = Console(highlight=False, stderr=wishes.as_json)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=wishes.as_json, width=NARROWEST)
    return asyncio.run(_Demo(wishes, console).run())


class _Demo:
    def __init__(self, wishes: Wishes, console: Console) -> None:
        self._wishes = wishes
        self._console = console
        self._began = time.monotonic()
        self._exit_code: int | None = None
        """None until the story has ended."""

    async def run(self) -> int:
        if self._wishes.data is not None:
            place = await Place.running(self._wishes.data)
            await _until_told(self._tell(place), None)
        else:
            await self._tell_on_a_stack_of_its_own()
        if self._exit_code is None:
            self._console.print("Ended before the story did.")
            return INTERRUPTED
        return self._exit_code

    async def _tell_on_a_stack_of_its_own(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="paysaga-demo-"))
        data = folder / "data"
        ports: dict[str, int] = {}
        for name in DEFAULT_PORTS:
            ports[name] = free_port(besides=ports.values())
        # Never on what the shell's variables point at: the people of the story are made up.
        options = StackOptions(data=data, ports=ports, embedded_only=True, fsync=False, temporary=True)
        stack = Stack(options, ConsoleReporter(self._console))

        async def tell() -> None:
            self._console.print("Starting Postgres, Temporal, the Stripe sandbox, the API and a worker, only for this.")
            with self._console.status("Starting …"):
                await stack.start()
            place = Place.of(data)
            await self._tell(place)
            if self._wishes.keep:
                self._keep(place)
                await asyncio.Event().wait()

        failed = True
        try:
            await _until_told(tell(), stack)
            failed = self._exit_code == 1
        finally:
            if failed:
                self._console.print(f"The logs are kept in {data / 'logs'}.", soft_wrap=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    async def _tell(self, place: Place) -> None:
        async with AsyncExitStack() as clients:
            api = await clients.enter_async_context(
                httpx.AsyncClient(base_url=place.api_url, timeout=30, trust_env=False)
            )
            key = place.settings.stripe_secret_key.get_secret_value()
            sandbox = await clients.enter_async_context(
                httpx.AsyncClient(
                    base_url=place.sandbox_url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
                )
            )
            story = Story(place, api, Outside(sandbox), self._console)
            for number, module in enumerate(chapters.ALL, 1):
                with story.chapter(module.TITLE, number, len(chapters.ALL)):
                    await module.tell(story)
            with self._console.status("Auditing …"):
                ending = await reach_ending(story, self._began)
        print_ending(ending, place, self._console)
        print_verdict(ending, self._console)
        if self._wishes.as_json:
            print(json.dumps(ending.as_json(place), indent=2), flush=True)
        self._exit_code = 0 if ending.well else 1

    def _keep(self, place: Place) -> None:
        self._console.print(
            f"\nThe stack runs on until Ctrl-C. API {place.api_url}/docs, Temporal UI {place.ui_url}, Stripe sandbox"
            f" {place.sandbox_url}.\nTokens: paysaga token --user alice --role customer --data {place.data}",
            soft_wrap=True,
        )


async def _until_told(work: asyncio._CoroutineLike[None], stack: Stack | None) -> None:
    raise NotImplementedError
