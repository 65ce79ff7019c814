"""Temporal and Postgres killed, or lost at the worst moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.auditing import assert_clean
from tests.servers import CommitCutter, running_servers
from tests.world import Servers, World, open_world, until

pytestmark = pytest.mark.long


async def _credited(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    assert closed["status"] == "succeeded"
    assert [posting["step"] for posting in closed["postings"]] == ["credit", "stripe_fee"]
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert await world.available() == 20_000
    await assert_clean(world)


async def test_f36_temporal_killed(tmp_path: Path, sandbox_url: str) -> None:
    async with (
        running_servers(tmp_path, sandbox_url) as (servers, _, temporal),
        open_world(servers, answer_within=0.5) as world,
    ):
        # Given a deposit on its way
        asked = (await world.deposit(payment_method="pm_card_authenticationRequired")).json()
        under_way = await world.until(asked["id"], lambda now: now["status"] == "awaiting_payment")

        # When Temporal dies
        temporal.kill()
        # Then what is asked for is accepted, not known to have begun
        answer = await world.deposit(payment_method="pm_card_visa", user="bob", key="meanwhile")
        assert answer.status_code == 202
        replayed = await world.deposit(payment_method="pm_card_visa", user="bob", key="meanwhile")
        assert (replayed.status_code, replayed.json()["id"]) == (202, answer.json()["id"])
        cancel = await world.call("POST", f"/v1/deposits/{answer.json()['id']}/cancel", user="bob")
        assert cancel.status_code == 202
        await world.sandbox.complete_3ds(under_way["details"]["payment_intent"])

        # When it is back
        await temporal.start()
        # Then the one goes on where it was, and the other begins, and hears that it is to be called off
        await until(lambda: _swept(world, answer.json()["id"]))
        await world.closed(under_way["id"])
        assert await world.available() == 20_000
        status = (await world.operation(answer.json()["id"]))["status"]
        assert await world.available("bob") == (20_000 if status == "succeeded" else 0)
        await world.settled_events()
        assert await world.sql("SELECT FROM requests WHERE verb IS NOT NULL AND answered_at IS NULL") == []
        await assert_clean(world)


async def _swept(world: World, operation_id: str) -> bool:
    await world.sweep()
    return (await world.operation(operation_id))["closed_at"] is not None


@asynccontextmanager
async def _cuttable(servers: Servers) -> AsyncIterator[tuple[World, CommitCutter]]:
    """A world that reaches Postgres through a proxy which can lose a commit."""
    port = urlsplit(servers.database_url("any")).port
    assert port is not None
    cutter = CommitCutter(port)
    async with cutter.running():
        through = replace(
            servers, database_url=lambda name: servers.database_url(name).replace(f":{port}/", f":{cutter.port}/")
        )
        async with open_world(through) as world:
            yield world, cutter


@pytest.mark.parametrize("server_hears", [True, False], ids=["committed", "not-committed"])
async def test_f37_connection_lost_while_the_request_commits(servers: Servers, server_hears: bool) -> None:
    async with _cuttable(servers) as (world, cutter):
        cutter.arm("key-of-the-lost", server_hears=server_hears)

        answer = await world.deposit(payment_method="pm_card_visa", key="key-of-the-lost")

        assert cutter.lost == 1
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert len(await world.sql("SELECT FROM operations")) == int(server_hears)
        again = await world.deposit(payment_method="pm_card_visa", key="key-of-the-lost")
        assert again.status_code == (200 if server_hears else 201)
        assert len(await world.sql("SELECT FROM operations")) == 1
        await _credited(world, again.json()["id"])


@pytest.mark.parametrize("server_hears", [True, False], ids=["committed", "not-committed"])
@pytest.mark.parametrize("marker", ["create_payment_intent", "credit", "stripe_fee"])
async def test_f37_connection_lost_while_a_step_commits(servers: Servers, server_hears: bool, marker: str) -> None:
    async with _cuttable(servers) as (world, cutter):
        cutter.arm(marker, server_hears=server_hears)

        deposit = await world.accepted_deposit(payment_method="pm_card_visa")

        await _credited(world, deposit["id"])
        assert cutter.lost == 1


async def test_f37_postgres_killed(tmp_path: Path, sandbox_url: str) -> None:
    async with (
        running_servers(tmp_path, sandbox_url, durable=True) as (servers, postgres, _),
        open_world(servers) as world,
    ):
        deposit = await world.accepted_deposit(payment_method="pm_card_authenticationRequired")

        postgres.kill()
        await world.sandbox.complete_3ds(deposit["payment_intent"])
        refused = await world.deposit(payment_method="pm_card_visa", user="bob", key="again")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        # Webhooks are not acknowledged, so Stripe sends them again
        await asyncio.sleep(0.5)
        await postgres.start()

        await _credited_for(world, deposit["id"])

        async def stored() -> bool:
            return bool(await world.sql("SELECT FROM stripe_events WHERE type = 'payment_intent.succeeded'"))

        await until(stored)
        assert await world.sql("SELECT FROM operations WHERE user_id = 'bob'") == []
        again = await world.deposit(payment_method="pm_card_visa", user="bob", key="again")
        assert again.status_code == 201
        await world.closed(again.json()["id"])
        await world.settled_events()
        await assert_clean(world)


async def _credited_for(world: World, operation_id: str) -> None:
    assert (await world.closed(operation_id))["status"] == "succeeded"
    assert await world.available() == 20_000
