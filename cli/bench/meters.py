"""What each part of the stack has used: processor time by the kernel's own count, and memory.

Linux alone: both are read from `/proc` and from the processes' CPU clocks.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

BENCH = "bench"
"""The bench's own process: the marketplace's clients, and what watches them."""

_TICK = 1 / os.sysconf("SC_CLK_TCK")

_OF_THE_SCHEDULER = 2
"""The kind of CPU clock that counts in nanoseconds: CPUCLOCK_SCHED of Linux's `posix-timers.h`."""


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used, its threads of before included; 0 once it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | _OF_THE_SCHEDULER)
    except OSError:
        return 0.0


def cpu_of_family(pid: int, *, but: Collection[int] = ()) -> float:
    """The same for a process with all its children, living and reaped, `but` without some of the living."""
    reaped = 0.0
    with suppress(FileNotFoundError, ProcessLookupError):
        # Behind the command, in parentheses, the state is field 0: user and system time of reaped children are 13, 14.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        reaped = (int(fields[13]) + int(fields[14])) * _TICK
    return cpu_of(pid) + reaped + sum(cpu_of_family(child, but=but) for child in _children(pid) if child not in but)


def memory_of(pid: int) -> float:
    """MiB of memory that a process holds (resident set)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (task / "children").read_text().split())
    return found


class Meters:
    """CPU and memory of the parts. `pids` by part; backends that serve the bench itself are no part of Postgres's."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self.own_backends: set[int] = set()
        self.memory: dict[str, dict[str, float]] = {}
        """MiB by part: `start`, `peak`, `end`."""

    def cpu(self) -> dict[str, float]:
        """Seconds that each part has used so far."""
        used = {part: cpu_of_family(pid, but=self.own_backends) for part, pid in self._pids().items()}
        return used | {BENCH: time.process_time()}

    @asynccontextmanager
    async def watching_memory(self, *parts: str) -> AsyncIterator[None]:
        """While this lasts, the memory of `parts` is looked at twice a second."""
        watcher = asyncio.create_task(self._watch_memory(parts))
        try:
            yield
        finally:
            watcher.cancel()
            self._look_at_memory(parts)

    async def _watch_memory(self, parts: Collection[str]) -> None:
        while True:
            self._look_at_memory(parts)
            await asyncio.sleep(0.5)

    def _look_at_memory(self, parts: Collection[str]) -> None:
        pids = self._pids()
        for part in parts:
            now = memory_of(pids[part])
            seen = self.memory.setdefault(part, {"start_mib": now, "peak_mib": now, "end_mib": now})
            seen["peak_mib"] = max(seen["peak_mib"], now)
            seen["end_mib"] = now


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each part has used between two looks."""
    return {part: max(0.0, after[part] - before.get(part, 0.0)) for part in after}
