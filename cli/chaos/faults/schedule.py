"""When what goes wrong: each group of faults by itself, one fault after the other, until it is enough."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cli.chaos.faults.kinds import FaultKind


class Group(Protocol):
    """Faults that strike one after the other."""

    kinds: tuple[FaultKind, ...]

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        """One fault; returns when it is over. False: it found nothing to strike."""

    async def heal(self) -> None:
        """Takes back what lasts."""

    async def struck(self) -> Mapping[FaultKind, int]:
        """How often each kind has had an effect."""


LOOKS_EVERY = 0.5
"""Seconds between two looks at whether every kind has struck."""


@dataclass(frozen=True)
class Timed:
    """A group, and how long it rests between two faults, in seconds at the mean."""

    group: Group
    rests: float


OFTEN = {
    FaultKind.WORKER_KILLED: 3,
    FaultKind.WEBHOOKS_DROPPED: 3,
    FaultKind.STRIPE_LOST: 3,
    FaultKind.STRIPE_TIMEOUT: 2,
    FaultKind.API_KILLED: 2,
}
"""How often a kind strikes in the time in which another strikes once; the others once."""


class Schedule:
    """Everything that goes wrong in a run."""

    def __init__(self, groups: Sequence[Timed], wanted: Collection[FaultKind], seed: int) -> None:
        self._groups = [each for each in groups if set(each.group.kinds) & set(wanted)]
        self._wanted = frozenset(wanted)
        self._seed = seed

    async def run(self, seconds: float, longest: float = 0.0) -> None:
        """Strike for so long, and on until each kind has struck, but not beyond `longest`. Then all is taken back."""
        began = time.monotonic()
        tasks = [asyncio.create_task(self._keep_striking(timed, seconds)) for timed in self._groups]
        try:
            await _or_failure(tasks, seconds)
            while time.monotonic() - began < longest and not all((await self.struck()).values()):
                await _or_failure(tasks, LOOKS_EVERY)
        finally:
            for task in tasks:
                task.cancel()
            # Each gives up what it was doing: a frozen process wakes, a cut line is mended.
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(timed.group.heal() for timed in self._groups))

    async def struck(self) -> dict[FaultKind, int]:
        """How often each wanted kind has struck so far."""
        found: Counter[FaultKind] = Counter()
        for timed in self._groups:
            found.update(await timed.group.struck())
        return {kind: found[kind] for kind in FaultKind if kind in self._wanted}

    async def _keep_striking(self, timed: Timed, seconds: float) -> None:
        kinds = [kind for kind in timed.group.kinds if kind in self._wanted]
        chance = random.Random(f"{self._seed} faults {kinds[0]}")
        took = 0.0
        for number, kind in enumerate(_deck(kinds, chance)):
            # In a short run too each kind has its turn.
            first = number < len(kinds)
            rests = min(timed.rests, 0.25 * seconds / len(kinds)) if first else timed.rests
            struck = False
            while not struck:
                # What took long, for the machine has much else to do, needs as long to be got over.
                await asyncio.sleep(max(rests * chance.uniform(0.5, 1.5), took))
                began = time.monotonic()
                struck = await timed.group.strike(kind, chance)
                took = time.monotonic() - began


async def _or_failure(tasks: Collection["asyncio.Task[None]"], seconds: float) -> None:
    """So much time, unless one of the tasks fails: then its error is raised."""
    if not tasks:
        await asyncio.sleep(seconds)
        return
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _deck(kinds: Sequence[FaultKind], chance: random.Random) -> Iterator[FaultKind]:
    """Each kind once, then each as often as it should be, again and again; shuffled each time."""
    deal = list(kinds)
    while True:
        chance.shuffle(deal)
        yield from deal
        deal = [kind for kind in kinds for _ in range(OFTEN.get(kind, 1))]
