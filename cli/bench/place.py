"""What the bench measures: a stack of its own, the worker of the yardsticks, and a way to look at each part."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client

from activities.temporal_client import connect
from cli.bench import yardsticks
from cli.bench.backdoor import Backdoor
from cli.bench.meters import Meters
from cli.http import Connection
from cli.stack.errors import PartFailed
from cli.stack.processes import Child
from cli.stack.programs import polls_temporal
from cli.stack.supervisor import Stack
from cli.tokens import development_token
from domain.settings import Settings

PARTS = ("api", "worker", "postgres", "temporal", "sandbox")
"""The stack's processes, whose processor time is told apart."""

YARDSTICKS = "yardsticks"
"""The worker of the yardsticks."""

QUICKLY = {
    "delivery_delay_ms": [0, 0],
    "balance_transaction_delay_ms": [100, 200],
    "payout_transit_delay_ms": [0, 0],
    "payout_arrival_delay_ms": [0, 0],
}
"""Stripe's own slowness is not what is measured; that webhooks come twice, and in any order, stays."""

EVENTS = "/v1/events"
"""What the catch-up reads."""

REST = 1.0
"""Seconds without a call to Stripe after which none comes by itself."""

TOKEN_LASTS = 24 * 3600
"""Seconds."""


@dataclass
class Place:
    """A stack that runs, and what looks at it."""

    stack: Stack
    settings: Settings
    temporal: Client
    meters: Meters
    backdoor: Backdoor
    superuser_url: str
    sandbox_url: str
    _connections: list[Connection] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return self.stack.api_url

    def as_user(self, user: str, role: str) -> Connection:
        """A connection to the API in somebody's name; closed with the place at the latest."""
        token = development_token(user, role, TOKEN_LASTS, self.stack.options.data)
        return self._connection(self.api_url, {"Authorization": f"Bearer {token}"})

    def to_sandbox(self) -> Connection:
        """A connection to the Stripe sandbox, as the platform."""
        return self._connection(self.sandbox_url, _key(self.settings))

    def as_stripe(self) -> Connection:
        """A connection to the API, in nobody's name."""
        return self._connection(self.api_url, {})

    def _connection(self, url: str, headers: dict[str, str]) -> Connection:
        made = Connection(url, headers)
        self._connections.append(made)
        return made

    def close(self) -> None:
        """Closes every connection."""
        for connection in self._connections:
            connection.close()

    async def stripe_calls(self) -> int:
        """How many requests the Stripe sandbox's API has had so far, without the catch-up's: those come by time."""
        async with self.to_sandbox() as sandbox:
            found: dict[str, Any] = await sandbox.ask("GET", "/_sandbox/requests")
        return sum(request["path"] != EVENTS for request in found["requests"])

    async def at_rest(self) -> int:
        """`stripe_calls`, once no more come: what is late at the end of a saga is looked at after it."""
        before, now = -1, await self.stripe_calls()
        while before != now:
            await asyncio.sleep(REST)
            before, now = now, await self.stripe_calls()
        return now


@asynccontextmanager
async def open_place(stack: Stack) -> AsyncIterator[Place]:
    """Around a stack that has started. Restarts its Postgres, with the library that counts statements."""
    superuser_url = stack.superuser_database_url
    sandbox_url = stack.sandbox_url
    assert superuser_url is not None, "the bench's stack has a Postgres of its own"
    assert sandbox_url is not None, "the bench's stack has a Stripe sandbox"
    await _load_what_counts_statements(stack, superuser_url)
    settings = stack.settings
    temporal = await connect(settings)
    data = stack.options.data
    child = Child(YARDSTICKS, log=data / "logs" / "yardsticks.log", pid_file=data / "run" / "yardsticks.pid")

    def pids() -> Mapping[str, int]:
        found = {part: stack.part(part).pid for part in PARTS} | {YARDSTICKS: child.pid}
        return {part: pid for part, pid in found.items() if pid is not None}

    async with Backdoor.open(superuser_url) as backdoor, Connection(sandbox_url, _key(settings)) as sandbox:
        await sandbox.ask("POST", "/_sandbox/settings", QUICKLY)
        meters = Meters(pids)
        meters.own_backends.add(backdoor.pid)
        await _serve_yardsticks(child, stack, temporal, data)
        place = Place(stack, settings, temporal, meters, backdoor, superuser_url, sandbox_url)
        try:
            yield place
        finally:
            place.close()
            await child.end()


def _key(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.stripe_secret_key.get_secret_value()}"}


async def _load_what_counts_statements(stack: Stack, superuser_url: str) -> None:
    async with Backdoor.open(superuser_url) as backdoor:
        await backdoor.make_ready_to_count()
    # Ended politely, a temporary cluster would be deleted; after a SIGKILL it recovers from its log.
    postgres = stack.part("postgres")
    await postgres.kill()
    await postgres.start()


async def _serve_yardsticks(child: Child, stack: Stack, temporal: Client, data: Path) -> None:
    argv = [sys.executable, "-P", "-m", "cli.bench.yardsticks"]
    child.spawn(argv, env=stack.environment, cwd=data)

    async def client() -> Client:
        return temporal

    ready = polls_temporal(client, yardsticks.TASK_QUEUE)
    assert child.pid is not None
    for _ in range(600):
        if await ready(child.pid):
            return
        child.check_alive()
        await asyncio.sleep(0.05)
    await child.end()
    raise PartFailed(child.name, "was not ready within 30 s", child.log)
