"""Lives without end: so many at once, each followed by the next, until no new one is to begin."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

from cli.chaos.clients import BrokenOff
from cli.chaos.lives import LIVES
from cli.chaos.scene import Scene
from cli.http import UnexpectedAnswer

PACE = 0.1
"""Seconds, at least, between two lives' beginnings: a saga takes a quarter of a second of processor time."""


class Workload:
    """What all clients do. Which life is the n-th, and what it wants, the seed alone says.

    Raises `ValueError` for a mix of lives that there are not.
    """

    def __init__(self, scene: Scene, seed: int, mix: Mapping[str, int], clients: int) -> None:
        if unknown := set(mix) - set(LIVES):
            raise ValueError(f"There are no such lives: {', '.join(sorted(unknown))}.")
        self._scene = scene
        self._seed = seed
        self._mix = dict(mix) or {name: weight for name, (_, weight) in LIVES.items()}
        self._clients = clients
        self._begun = 0
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        self.lived: Counter[str] = Counter()
        """Lives that came to their end, by name."""
        self.broken_off = 0
        """Lives whose client was refused or told nothing."""
        self.mishaps: list[str] = []
        """Lives that broke off because something came that a client cannot go on with."""

    async def run(self) -> None:
        """Returns when `stop` was called and every life that had begun is over."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(self._clients):
                clients.create_task(self._client())

    def stop(self) -> None:
        """Begin no more lives."""
        self._stopping.set()

    async def _client(self) -> None:
        while not self._stopping.is_set():
            async with self._turn:
                await asyncio.sleep(PACE)
            self._begun += 1
            chance = random.Random(f"{self._seed} life {self._begun}")
            [name] = chance.choices(list(self._mix), list(self._mix.values()))
            life, _ = LIVES[name]
            try:
                await life(self._scene, chance)
            except BrokenOff:
                self.broken_off += 1
            except (UnexpectedAnswer, KeyError, TypeError, ValueError) as error:
                self.mishaps.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self.lived[name] += 1
