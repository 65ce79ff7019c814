"""The network between the parts: a proxy on every way, and what happens there."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from cli.chaos.faults.kinds import FaultKind
from cli.chaos.proxies import Proxy

WAYS = (
    ("client", "api"),
    ("api", "postgres"),
    ("api", "temporal"),
    ("api", "sandbox"),
    ("worker", "postgres"),
    ("worker", "temporal"),
    ("worker", "sandbox"),
    ("sandbox", "api"),
)
"""Who talks to whom; the sandbox by its webhooks. Workers share a way, and so do APIs; to each API there is one."""

LASTS = (0.5, 3.0)
"""Seconds that a partition or a stall may last."""

WAITS_FOR_LOSS = 1.5
"""Seconds in which an exchange must come by that can lose its answer."""

Way = tuple[str, str]


class Network:
    """Every way between two parts. Usable as `async with network.running()`, before the parts are started."""

    kinds: tuple[FaultKind, ...] = (
        FaultKind.CONNECTIONS_CUT,
        FaultKind.PARTITION,
        FaultKind.STALL,
        FaultKind.ANSWER_LOST,
    )

    def __init__(self, apis: int) -> None:
        self._ways = {way: [Proxy() for _ in range(apis if way[1] == "api" else 1)] for way in WAYS}
        self._struck: Counter[FaultKind] = Counter()
        self.where: Counter[str] = Counter()
        """How often each way was struck."""
        self._left: list[tuple[FaultKind, Way]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Forward what is sent, while the block runs."""
        async with AsyncExitStack() as running:
            for proxies in self._ways.values():
                for proxy in proxies:
                    await running.enter_async_context(proxy.running())
            yield

    def route(self, part: str, service: str, port: int) -> int:
        """Where a part is told that a service listens, which is at `port`: at the proxy between them."""
        for proxy in self._ways[part, service]:
            if proxy.target in (0, port):
                proxy.target = port
                return proxy.port
        raise ValueError(f"There is no way left from {part} to {service}.")

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        """One fault on one way; whether anything was there to be struck. Every way has its turn before one has two."""
        ways = [way for struck, way in self._left if struck is kind]
        if not ways:
            ways = [*WAYS]
            chance.shuffle(ways)
            self._left += [(kind, way) for way in ways]
        way = ways[0]
        self._left.remove((kind, way))
        proxy = chance.choice(self._ways[way])
        struck = await self._done(kind, proxy, chance.uniform(*LASTS))
        if struck:
            self._struck[kind] += 1
            self.where[f"{way[0]} → {way[1]}"] += 1
        return struck

    async def heal(self) -> None:
        """Everything passes again."""
        for proxies in self._ways.values():
            for proxy in proxies:
                _mend(proxy)

    async def struck(self) -> Mapping[FaultKind, int]:
        """How often each kind has had an effect."""
        return self._struck

    async def _done(self, kind: FaultKind, proxy: Proxy, seconds: float) -> bool:
        """Whether it has had an effect."""
        try:
            match kind:
                case FaultKind.CONNECTIONS_CUT:
                    return proxy.cut() > 0
                case FaultKind.PARTITION:
                    turned_away, cut = proxy.turned_away, proxy.down()
                    await asyncio.sleep(seconds)
                    return cut > 0 or proxy.turned_away > turned_away
                case FaultKind.STALL:
                    before = proxy.stall(True)
                    await asyncio.sleep(seconds)
                    return max(before, proxy.stall(False)) > 0
                case _:
                    lost = proxy.lost
                    proxy.lose_answers(1)
                    await asyncio.sleep(WAITS_FOR_LOSS)
                    return proxy.lost > lost
        finally:
            _mend(proxy)


def _mend(proxy: Proxy) -> None:
    proxy.up()
    proxy.stall(False)
    proxy.lose_answers(0)
