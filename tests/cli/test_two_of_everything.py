"""Two APIs and two workers on one database and one Temporal server: they start, share, come back, and end."""

import asyncio
import io
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from rich.console import Console
from temporalio.client import Client

from cli.audit import look
from cli.demo import chapters
from cli.demo.command import Demo, Wishes
from cli.settings import settings_from
from cli.stack.data import DataDirectory
from cli.stack.errors import BadSettings
from cli.stack.ports import choose_ports, free_port, is_free
from cli.stack.preparation import connect_temporal
from cli.tokens import development_token
from domain.settings import Settings
from tests.cli.test_demo import Command, start
from tests.cli.upping import Up, alive, identities, wait
from tests.world import until

TWICE = ("--apis", "2", "--workers", "2")
ONE = {"postgres", "temporal", "sandbox", "api", "worker"}
TWO = ONE | {"api-2", "worker-2"}


def endpoints(data: Path) -> Counter[str]:
    """Where the Stripe sandbox sends events to."""
    state = DataDirectory(data).load()
    listed = httpx.get(
        f"http://127.0.0.1:{state.ports['sandbox']}/v1/webhook_endpoints",
        params={"limit": "100"},
        headers={"Authorization": f"Bearer {state.stripe_key}"},
    ).json()
    return Counter(str(endpoint["url"]) for endpoint in listed["data"])


@pytest.mark.long
def test_two_start_come_back_and_end_by_pid(data: Path) -> None:
    # Given two of everything
    two = Up(data, *TWICE)
    two.wait_for("ready in")
    before = identities(data)
    assert alive(before) == TWO
    ports = DataDirectory(data).load().ports
    apis = [f"http://127.0.0.1:{ports[name]}" for name in ("api", "api-2")]
    for name, api in zip(("api", "api-2"), apis, strict=True):
        assert re.search(rf"✓ {name} +{api} ", two.printed)
        assert httpx.get(f"{api}/readyz").is_success

    # Then each API hears of every event
    paths = ("/v1/webhooks/stripe", "/v1/webhooks/stripe/connect")
    assert endpoints(data) == Counter(api + path for api in apis for path in paths)

    # When the second of each is killed, then it comes back, and the first one never went away
    for name in ("api-2", "worker-2"):
        os.kill(before[name][0], signal.SIGKILL)
        two.wait_for(f"{name} ended by itself (signal 9); starting it again")
    wait(lambda: all(two.printed.count(f"✓ {name}") == 2 for name in ("api-2", "worker-2")), 60)
    after = identities(data)
    assert alive(after) == TWO
    assert {name for name in TWO if after[name] != before[name]} == {"api-2", "worker-2"}
    assert httpx.get(f"{apis[1]}/readyz").is_success

    # When all that is killed and one of each is started, then nothing is left of the second ones
    two.end(signal.SIGKILL)
    assert alive(after) == TWO
    one = Up(data)
    one.wait_for("ready in")
    assert alive(after) == set()
    assert alive(identities(data)) == ONE
    assert endpoints(data) == Counter(apis[0] + path for path in paths)
    assert "api-2" not in DataDirectory(data).load().ports
    assert one.end() == 0
    assert identities(data) == {}


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The demo with two of everything, whose stack runs on when the story is told."""
    yield from start(tmp_path, *TWICE, "--keep", "--json")


@pytest.mark.long
def test_every_chapter_with_two_of_everything(command: Command) -> None:
    command.until(lambda: "The stack runs until Ctrl-C" in command.err or command.ended())
    assert not command.ended(), command.err

    # Then the story ended as by hand, and both APIs have told it in turn
    told = json.loads(command.out)
    assert told["ok"] is True
    assert told["audit"]["total"] == 0
    assert len(told["chapters"]) == len(chapters.ALL)
    answered = sorted(told["requests"].values())
    assert len(answered) == 2
    assert answered[1] - answered[0] <= 1
    assert len(command.parts) == len(TWO)

    # And what only a look behind it shows
    asyncio.run(look_behind(Path(told["stack"]["data"]), list(told["requests"]), told["operations"]))

    command.process.send_signal(signal.SIGINT)
    command.until(command.ended)
    assert command.process.returncode == 0, command.err
    assert command.alive == set()


async def look_behind(data: Path, apis: list[str], operations: list[dict[str, Any]]) -> None:
    """Both workers did the work, every event came twice and is stored once, one request at both is one operation."""
    settings = settings_from(DataDirectory(data).load_environment())
    temporal = await connect_temporal(settings)
    running = identities(data)
    pids = {running[name][0] for name in ("worker", "worker-2")}

    assert set().union(*[await workers_of(temporal, operation["id"]) for operation in operations]) == pids

    database = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await _every_event_came_to_both(settings, database)
        await _one_request_at_both(settings, data, apis, database)
        await _a_saga_outlives_its_worker(settings, data, apis[1], temporal)
    finally:
        await database.close()
    assert (await look(settings)).total == 0


async def workers_of(temporal: Client, workflow_id: str) -> set[int]:
    """The pids of those who have worked on a saga."""
    found = set()
    async for event in temporal.get_workflow_handle(workflow_id).fetch_history_events():
        for kind in ("workflow_task_completed", "activity_task_started"):
            if event.HasField(f"{kind}_event_attributes"):  # type: ignore[arg-type]  # Its stubs know literals only.
                identity = getattr(event, f"{kind}_event_attributes").identity
                found.add(int(identity.partition("@")[0]))
    return found


def sandbox_of(settings: Settings) -> httpx.AsyncClient:
    """The world outside, of a stack that runs."""
    key = settings.stripe_secret_key.get_secret_value()
    return httpx.AsyncClient(
        base_url=settings.stripe_api_base, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
    )


async def _every_event_came_to_both(settings: Settings, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with sandbox_of(settings) as sandbox:

        async def came_to_both() -> bool:
            deliveries = (await sandbox.get("/_sandbox/deliveries")).json()["deliveries"]
            # The sandbox sends some twice to the same endpoint, as Stripe does: those are `extra`.
            heard = Counter(each["event"] for each in deliveries if each["last_status"] == 200 and not each["extra"])
            stored = {row["id"] for row in await database.fetch("SELECT id FROM stripe_events")}
            return bool(heard) and stored == set(heard) and set(heard.values()) == {2}

        await until(came_to_both)


async def _one_request_at_both(
    settings: Settings, data: Path, apis: list[str], database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    bearer = {"Authorization": f"Bearer {development_token('zoe', 'customer', 600, data)}"}
    wanted = {"amount": 1_000, "currency": "usd", "payment_method": "pm_card_visa"}

    async def deposit(http: httpx.AsyncClient, api: str, key: str) -> httpx.Response:
        return await http.post(f"{api}/v1/deposits", json=wanted, headers=bearer | {"Idempotency-Key": key})

    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        for number in range(10):
            answers = await asyncio.gather(*(deposit(http, api, f"zoe-{number}") for api in apis))
            assert len({answer.json()["id"] for answer in answers}) == 1
            replayed = sorted("Idempotent-Replayed" in answer.headers for answer in answers)
            assert replayed == [False, True]

        async def credited() -> bool:
            [wallet] = (await http.get(f"{apis[0]}/v1/wallets", headers=bearer)).json()
            open_ones = await database.fetchval(
                "SELECT count(*) FROM operations WHERE kind = 'deposit' AND closed_at IS NULL"
            )
            return bool(wallet["available"] == 10_000 and open_ones == 0)

        await until(credited)


async def _a_saga_outlives_its_worker(settings: Settings, data: Path, api: str, temporal: Client) -> None:
    headers = {"Authorization": f"Bearer {development_token('yann', 'customer', 600, data)}", "Idempotency-Key": "yann"}
    async with httpx.AsyncClient(base_url=api, headers=headers, timeout=60, trust_env=False) as http:
        made = (await http.post("/v1/deposits", json={"amount": 1_000, "currency": "usd"})).json()
        [dead] = await workers_of(temporal, made["id"])
        os.kill(dead, signal.SIGKILL)
        async with sandbox_of(settings) as sandbox:
            confirm = f"/_sandbox/payment_intents/{made['payment_intent']}/confirm"
            (await sandbox.post(confirm, json={"payment_method": "pm_card_visa"})).raise_for_status()

        async def closed() -> bool:
            return (await http.get(f"/v1/operations/{made['id']}")).json()["closed_at"] is not None

        await until(closed)
        assert (await http.get(f"/v1/deposits/{made['id']}")).json()["status"] == "succeeded"
    by = await workers_of(temporal, made["id"])
    assert dead in by
    assert by - {dead}


async def test_a_stack_that_runs_has_what_it_has(tmp_path: Path) -> None:
    for wishes in (Wishes(data=tmp_path, apis=2), Wishes(data=tmp_path, workers=2)):
        with pytest.raises(BadSettings, match="say how many to `paysaga up`"):
            await Demo(wishes, Console(file=io.StringIO())).run()


def two_free_ports() -> int:
    """The first of two successive ports that nothing uses."""
    while not is_free((first := free_port()) + 1):
        pass
    return first


def test_further_apis_take_successive_ports() -> None:
    first = two_free_ports()

    assert choose_ports({"api": first}, {}, is_free, apis=2)["api-2"] == first + 1


def test_a_further_api_keeps_last_times_port() -> None:
    first, last = two_free_ports(), free_port()

    assert choose_ports({"api": first}, {"api-2": last}, is_free, apis=2)["api-2"] == last


@pytest.mark.parametrize("first", ["before a part that was asked for", "the highest"])
def test_a_further_api_whose_port_cannot_be_had_takes_a_free_one(first: str) -> None:
    asked = {"api": 65_535} if first == "the highest" else {"api": (port := two_free_ports()), "ui": port + 1}

    chosen = choose_ports(asked, {}, is_free, apis=3)

    assert len(set(chosen.values())) == len(chosen) == 7
    assert is_free(chosen["api-2"])
    assert is_free(chosen["api-3"])
