"""A part is away for a minute under load: what was promised is kept, and what was not was not said to be.

clients ask on, each with its own keys ──▶ the part goes ──▶ a minute ──▶ it is back ──▶ all that was asked has
                                                                                         happened once
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from temporalio.client import WorkflowFailureError

from cli.chaos.proxies import Proxy
from tests.auditing import assert_clean
from tests.servers import running_servers
from tests.world import World, open_world

pytestmark = pytest.mark.system

A_MINUTE = 60.0
CUSTOMERS = ("alice", "bob", "cleo")
CONTRACTOR = "carl"
EACH = 1_000
"""Minor units of each deposit and withdrawal."""

Ask = Callable[[str], Awaitable[httpx.Response]]


@dataclass
class Load:
    """Clients who ask for one thing after the other, and repeat each with its key until it is acknowledged."""

    world: World
    answers: Counter[int] = field(default_factory=Counter)
    made: dict[str, str] = field(default_factory=dict)
    """The operation of each key."""
    over: bool = False

    async def of(self, name: str, ask: Ask) -> None:
        """One client, until it is over and its last request is acknowledged."""
        number = 0
        while not self.over:
            number += 1
            key = f"{name}-{number}"
            self.made[key] = await self._acknowledged(key, ask)
            await asyncio.sleep(0.5)

    async def _acknowledged(self, key: str, ask: Ask) -> str:
        answer = await ask(key)
        self.answers[answer.status_code] += 1
        if answer.status_code == 503:
            assert answer.headers["content-type"] == "application/problem+json"
            await asyncio.sleep(float(answer.headers["Retry-After"]))
            return await self._acknowledged(key, ask)
        assert answer.status_code in (200, 201, 202), answer.text
        return str(answer.json()["id"])


@asynccontextmanager
async def _under_load(world: World) -> AsyncIterator[Load]:
    """Customers deposit and a contractor withdraws while the block runs; afterwards each has what was acknowledged."""
    await world.onboarded(CONTRACTOR)
    await world.funded(CONTRACTOR, 200_000)
    load = Load(world)

    def depositing(user: str) -> Ask:
        return lambda key: world.deposit(EACH, payment_method="pm_card_visa", user=user, key=key)

    def withdrawing(key: str) -> Awaitable[httpx.Response]:
        return world.withdraw(EACH, user=CONTRACTOR, key=key)

    async with asyncio.TaskGroup() as clients:
        for user in CUSTOMERS:
            clients.create_task(load.of(user, depositing(user)))
        clients.create_task(load.of(CONTRACTOR, withdrawing))
        await asyncio.sleep(3.0)
        yield load
        await asyncio.sleep(5.0)
        load.over = True
    while await world.sql("SELECT FROM operations WHERE closed_at IS NULL AND kind <> 'connected_account'"):
        with contextlib.suppress(WorkflowFailureError):  # Nothing is quick now; the Schedule's next sweep goes on.
            await world.sweep()
        await asyncio.sleep(0.5)
    await _require_each_once(world, load)


async def _require_each_once(world: World, load: Load) -> None:
    kept = {row["key"]: row["operation_id"] for row in await world.sql("SELECT key, operation_id FROM requests")}
    assert load.made.items() <= kept.items(), "what was acknowledged is that very operation"
    asked = Counter(key.partition("-")[0] for key in load.made)
    for user in CUSTOMERS:
        assert await world.available(user) == asked[user] * EACH
    assert await world.available(CONTRACTOR) == 200_000 - asked[CONTRACTOR] * EACH
    states = Counter(row["status"] for row in await world.sql("SELECT status FROM operations WHERE amount = $1", EACH))
    assert states == {"succeeded": len(load.made) - asked[CONTRACTOR], "paid": asked[CONTRACTOR]}
    assert len(await world.sandbox.listed("transfers")) == asked[CONTRACTOR]
    intents = [intent for intent in await world.sandbox.listed("payment_intents") if intent["amount"] == EACH]
    assert len(intents) == len(load.made) - asked[CONTRACTOR]
    assert await world.sql("SELECT FROM operations WHERE needs_attention") == []
    await world.settled_events()
    await assert_clean(world)


async def test_f36_temporal_is_away_for_a_minute(tmp_path: Path, sandbox_url: str) -> None:
    async with (
        running_servers(tmp_path, sandbox_url) as (servers, _, temporal),
        open_world(servers, answer_within=1.0) as world,
        _under_load(world) as load,
    ):
        before = load.answers.copy()
        temporal.kill()
        await asyncio.sleep(A_MINUTE)
        meanwhile = load.answers - before
        await temporal.start()

        # Postgres has taken what was asked for: accepted, not known how it begins
        assert set(meanwhile) <= {200, 201, 202}
        assert meanwhile[202] > 10


async def test_f37_postgres_is_away_for_a_minute(tmp_path: Path, sandbox_url: str) -> None:
    async with (
        running_servers(tmp_path, sandbox_url, durable=True) as (servers, postgres, _),
        open_world(servers, answer_within=1.0) as world,
        _under_load(world) as load,
    ):
        before = load.answers.copy()
        postgres.kill()
        await asyncio.sleep(A_MINUTE)
        meanwhile = load.answers - before
        await postgres.start()

        assert meanwhile[503] > 10
        # What was written before and answered after, at most one of each client
        assert meanwhile.total() - meanwhile[503] <= len(CUSTOMERS) + 1


@pytest.mark.parametrize("hours", [0, 26], ids=["a-minute", "26-hours"])
async def test_f13_stripe_is_away(tmp_path: Path, sandbox_url: str, hours: int) -> None:
    stripe = Proxy(urlsplit(sandbox_url).port or 0)
    async with (
        stripe.running(),
        running_servers(tmp_path, sandbox_url) as (servers, _, _),
        open_world(servers, answer_within=1.0, stripe_api_base=f"http://127.0.0.1:{stripe.port}") as world,
        _under_load(world) as load,
    ):
        stripe.down()
        await asyncio.sleep(5.0 if hours else A_MINUTE)
        # By Stripe's clock and the database's, which say how old a key is; the sagas themselves wait no longer.
        await world.skip(hours * 3_600)
        assert stripe.turned_away > 10
        stripe.up()

        assert set(load.answers) <= {200, 201, 202}
