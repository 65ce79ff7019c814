"""Processes that are killed or frozen, and brought back."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from cli.chaos.faults.kinds import FaultKind
from cli.stack.errors import StackError
from cli.stack.parts import Part
from cli.stack.supervisor import Stack

DOWN = (0.1, 1.5)
"""Seconds that a part which was killed stays away, its own start apart."""

FROZEN = (1.0, 10.0)
"""Seconds: of a worker, also longer than an activity may run."""

TRIES = 20
"""Starts of one part, each given up for something that it needs."""

_PARTS = {
    FaultKind.WORKER_KILLED: "worker",
    FaultKind.WORKER_FROZEN: "worker",
    FaultKind.API_KILLED: "api",
    FaultKind.API_FROZEN: "api",
    FaultKind.TEMPORAL_KILLED: "temporal",
    FaultKind.TEMPORAL_FROZEN: "temporal",
    FaultKind.POSTGRES_KILLED: "postgres",
}

_FREEZING = (FaultKind.WORKER_FROZEN, FaultKind.API_FROZEN, FaultKind.TEMPORAL_FROZEN)

WORKERS = (FaultKind.WORKER_KILLED, FaultKind.WORKER_FROZEN)

APIS = (FaultKind.API_KILLED, FaultKind.API_FROZEN)

SERVERS = (FaultKind.POSTGRES_KILLED, FaultKind.TEMPORAL_KILLED, FaultKind.TEMPORAL_FROZEN)


class Processes:
    """The parts of a stack that are processes. `kinds` are those that strike one after the other."""

    def __init__(self, stack: Stack, kinds: tuple[FaultKind, ...]) -> None:
        self.kinds = kinds
        self._parts = [part for part in stack.parts if part.name in {_PARTS[kind] for kind in kinds}]
        self._struck: Counter[FaultKind] = Counter()
        self._turn = 0

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        """Kill or freeze one part of a kind, each in turn; returns when it is back. False: it was not there."""
        self._turn += 1
        parts = [part for part in self._parts if part.name == _PARTS[kind]]
        part = parts[self._turn % len(parts)]
        if not part.running:
            return False
        self._struck[kind] += 1
        if kind in _FREEZING:
            _tell(part, signal.SIGSTOP)
            try:
                await asyncio.sleep(chance.uniform(*FROZEN))
            finally:
                _tell(part, signal.SIGCONT)
        else:
            await part.kill()
            await asyncio.sleep(chance.uniform(*DOWN))
            await bring_back(part)
        return True

    async def heal(self) -> None:
        """Every part runs again."""
        for part in self._parts:
            _tell(part, signal.SIGCONT)
            await bring_back(part)

    async def struck(self) -> Mapping[FaultKind, int]:
        """How often each kind has had an effect."""
        return self._struck


async def bring_back(part: Part) -> None:
    """Starts the part until it runs: what it needs for that may be away itself. Raises `StackError` if it never is."""
    tries = 0
    while not part.running:
        await part.unwatch()
        tries += 1
        try:
            await part.start()
        except StackError:
            if tries == TRIES:
                raise
            await asyncio.sleep(0.5)


def _tell(part: Part, number: signal.Signals) -> None:
    if part.running and part.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(part.pid, number)
