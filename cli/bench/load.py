"""Load: so many clients, each beginning the next life as soon as its last has ended, until all are lived.

Such a closed loop shows the most that the stack can do, and the latency that comes with that. Paced, the clients begin
so many lives a second between them, whether or not the stack keeps up.
"""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cli.bench.meters import Meters, spent

LIFE_WITHIN = 60.0
"""Seconds after which a life that has not ended counts as an error."""

Life = Callable[[int, int], Awaitable[dict[str, float]]]
"""Lives the n-th life (first argument) by a client (second); the seconds that each stage of it took."""


@dataclass
class Run:
    """What came of one load. Each life that broke off is a sentence in `errors`."""

    clients: int
    seconds: float = 0.0
    stages: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of processor time by part."""

    @property
    def done(self) -> int:
        """Lives that came to their end."""
        return max((len(taken) for taken in self.stages.values()), default=0)

    def add(self, other: "Run") -> None:
        """Takes another run of the same load in."""
        self.seconds += other.seconds
        self.errors += other.errors
        for stage, taken in other.stages.items():
            self.stages.setdefault(stage, []).extend(taken)
        for part, used in other.cpu.items():
            self.cpu[part] = self.cpu.get(part, 0.0) + used

    def rate(self, *, without: str | None = None) -> float:
        """Lives a second; `without` as if one part had run on a machine of its own.

        That holds where processor time is what bounds the rate: the part's share, spread over all cores, is taken off
        the time.
        """
        seconds = self.seconds
        if without is not None:
            seconds -= self.cpu.get(without, 0.0) / cores()
        return self.done / seconds if seconds > 0 else 0.0


async def nothing() -> None:
    """For lives that leave nothing behind."""


async def run(
    clients: int,
    count: int,
    life: Life,
    meters: Meters,
    *,
    until: Callable[[], Awaitable[object]] = nothing,
    pace: float | None = None,
) -> Run:
    """`count` lives by `clients` at once, or at a `pace` of so many a second.

    `until` ends it: what the lives have left to be done belongs to them.
    """
    result = Run(clients)
    numbers = iter(range(count))

    async def client(index: int) -> None:
        for number in numbers:
            if pace is not None:
                await asyncio.sleep(began + number / pace - time.perf_counter())
            try:
                async with asyncio.timeout(LIFE_WITHIN):
                    stages = await life(number, index)
            except Exception as error:
                result.errors.append(f"{type(error).__name__}: {error}"[:300])
                continue
            for stage, taken in stages.items():
                result.stages.setdefault(stage, []).append(taken)

    before, began = meters.cpu(), time.perf_counter()
    await asyncio.gather(*(client(index) for index in range(clients)))
    await until()
    result.seconds = time.perf_counter() - began
    result.cpu = spent(before, meters.cpu())
    return result


def percentile(taken: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank); 0 where there are none."""
    if not taken:
        return 0.0
    ordered = sorted(taken)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))
