"""APIs killed while an offer's verbs are on their way to its saga, and everything at once before its money is paid out.

Each process killed by itself, at each of its points, is in tests/crashes: there the client asks again, or the saga goes
on. Here nobody asks again.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.auditing import assert_clean
from tests.crashes.dying import CALLED, COMMITTED, Point, Step, serve_worker
from tests.crashes.mortal import Mortal, mortal
from tests.processes import Process, running, running_api
from tests.servers import running_servers
from tests.workflows.meddling import Meddler
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long

QUICK = BRISK.model_copy(update={"http_timeout": 2.0, "start_to_close": 3.0})
"""Pacing that finds a dead worker's step again within 3 s."""

VERBS: list[tuple[str, str, dict[str, Any]]] = [
    ("accept", "carl", {}),
    ("release", "alice", {"milestone": 1}),
    ("deliver", "carl", {}),
    ("complete", "alice", {}),
]
"""A life in which everything is done: the verb, whose it is, and what it says."""


async def _insist(world: World, offer_id: str, verb: str, user: str, body: dict[str, Any]) -> httpx.Response:
    """A client that asks again with the same key until it is answered, or the API is gone."""
    key, answers = str(uuid.uuid4()), []

    async def answered() -> bool:
        answers.append(await world.act(offer_id, verb, body, user=user, key=key))
        return answers[-1].status_code != 202

    await until(answered)
    return answers[-1]


async def _one_of_everything(world: World, offer_id: str) -> None:
    """Released in two parts, each of them paid out once."""
    closed = await world.closed(offer_id)
    assert [posting["step"] for posting in closed["postings"]] == ["hold", "accept_fee", "release#1", "release#2"]
    told = [event["type"] for event in closed["events"]]
    assert len(told) == len(set(told)), "each change was told once"
    offer = await world.get(f"/v1/offers/{offer_id}")
    assert [action["verb"] for action in offer["actions"]] == [verb for verb, _, _ in VERBS]
    assert len(offer["payouts"]) == len(await world.sql("SELECT FROM operations WHERE kind = 'withdrawal'")) == 2
    for payout in offer["payouts"]:
        assert (await world.closed(payout))["status"] == "paid"
    assert sorted(transfer["amount"] for transfer in await world.sandbox.listed("transfers")) == [3_200, 4_800]
    assert (await world.wallet("carl"))["available"] == 0
    assert (await world.wallet("alice"))["escrow"] == 0
    await world.settled_events()
    await assert_clean(world)


async def test_f35_api_killed_between_a_verbs_request_and_its_answer(servers: Servers) -> None:
    async with open_world(servers, api=False) as world:
        async with world.serving():
            await world.onboarded()
            offer = await world.held_offer(10_000, milestones=[6_000], auto_payout=True)

        # Given an API that has written each request, and reaches no saga before it is killed
        for verb, user, body in VERBS:
            async with _blind_api(world) as blind:
                asking = asyncio.create_task(world.act(offer, verb, body, user=user, key=verb))
                await until(lambda: _one_is_unanswered(world))
                await blind.kill()
                with pytest.raises(httpx.TransportError):
                    await asking

            # When the sweep comes by, and comes again
            await world.sweep()
            await world.sweep()

        # Then each was done once, and the client that asks again hears that it was
        async with world.serving():
            await _one_of_everything(world, offer)
            for verb, user, body in VERBS:
                again = await world.act(offer, verb, body, user=user, key=verb)
                assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


async def test_f35_api_killed_while_its_verb_is_done(servers: Servers) -> None:
    apis: list[Process] = []
    meddler = Meddler("off_", ["act"] * 2, lambda saga: apis[-1].kill())
    async with open_world(servers, api=False, around=[meddler]) as world:
        async with world.serving():
            offers = [await world.held_offer(user=user) for user in ("alice", "anna")]

        # Given APIs that are killed when the saga is at it
        for offer in offers:
            async with running_api(world.settings) as api:
                apis.append(api)
                with pytest.raises(httpx.TransportError):
                    await world.act(offer, "accept", user="carl", key=offer)
        assert len(await world.sql("SELECT FROM requests WHERE verb = 'accept' AND answered_at IS NULL")) == 2

        # When the one client asks again, and the other does not
        async with world.serving():
            again = await world.act(offers[0], "accept", user="carl", key=offers[0])
            assert (again.status_code, again.json()["status"]) == (200, "accepted")
            await world.sweep()

            # Then each was done, once, and is answered
            assert not await world.sql("SELECT FROM requests WHERE answered_at IS NULL AND verb IS NOT NULL")
            for offer, customer in zip(offers, ("alice", "anna"), strict=True):
                completed = await world.acted(offer, "complete", user=customer)
                assert [action["verb"] for action in completed["actions"]] == ["accept", "complete"]
            await assert_clean(world)


@asynccontextmanager
async def _blind_api(world: World) -> AsyncIterator[Process]:
    """An API of its own, which Temporal never answers."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silence:
        port = silence.sockets[0].getsockname()[1]
        blind = world.settings.model_copy(update={"temporal_address": f"127.0.0.1:{port}", "answer_within": 30.0})
        async with running_api(blind) as api:
            yield api


async def _is_dead(worker: Mortal) -> bool:
    return worker.death is not None


async def _one_is_unanswered(world: World) -> bool:
    return len(await world.sql("SELECT FROM requests WHERE verb IS NOT NULL AND answered_at IS NULL")) == 1


RELEASED = Point(Step("Offer", "act", "release"), COMMITTED, 1)
STARTING = Point(Step("Offer", "start_operation"), CALLED, 1)


@pytest.mark.parametrize(
    ("point", "found_by"),
    [(RELEASED, "its offer's saga"), (STARTING, "its offer's saga"), (RELEASED, "the sweep")],
    ids=str,
)
async def test_f34_everything_dies_between_a_release_and_its_withdrawal(
    tmp_path: Path, sandbox_url: str, point: Point, found_by: str
) -> None:
    async with (
        running_servers(tmp_path, sandbox_url, durable=True) as (servers, postgres, temporal),
        open_world(servers, pacing=QUICK, worker=False, api=False, answer_within=0.2) as world,
    ):
        async with world.inhabited():
            await world.onboarded()
            offer = await world.held_offer(10_000, milestones=[6_000], auto_payout=True)
            assert (await _insist(world, offer, *VERBS[0])).status_code == 200

        # Given a release that has committed, and processes that are all killed before its withdrawal begins
        async with running_api(world.settings) as api, mortal(serve_worker, world.settings, point, once=True) as worker:
            asking = asyncio.create_task(_insist(world, offer, *VERBS[1]))
            await until(lambda: _is_dead(worker))
            await api.kill()
            with contextlib.suppress(httpx.TransportError):  # It may have been answered just in time.
                await asking
        if found_by == "the sweep":
            await world.workflow(offer).terminate("an engineer's slip")
        temporal.kill()
        postgres.kill()
        await postgres.start()
        await temporal.start()
        [payout] = await world.sql("SELECT id, status, started_at FROM operations WHERE kind = 'withdrawal'")
        assert (payout["status"], payout["started_at"]) == ("requested", None)

        # When they are back
        async with running_api(world.settings), running(world.settings, "cli.main", "worker"):
            if found_by == "the sweep":
                await world.sweep()
            paid = await world.closed(payout["id"])

            # Then it is paid, once
            assert (paid["status"], paid["amount"]) == ("paid", 4_800)
            if found_by == "the sweep":
                assert (await world.admin(f"operations/{offer}/resume")).status_code == 200
            for verb in VERBS[2:]:
                assert (await _insist(world, offer, *verb)).status_code == 200
            await _one_of_everything(world, offer)
