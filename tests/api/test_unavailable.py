"""What the API answers while something that it needs is away, or it has a bug itself."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest

from activities.temporal_client import connect
from cli.chaos.proxies import Proxy
from cli.stack.ports import free_port
from tests.api.conftest import hold_to_contract
from tests.api.counting import rows
from tests.api.test_bad_input import problem
from tests.api.test_webhooks import event, send, stored
from tests.world import Servers, World, open_world, until


@asynccontextmanager
async def postgres_by_line(servers: Servers) -> AsyncIterator[tuple[World, Proxy]]:
    """A world without a worker, whose API reaches Postgres over a line."""
    port = int(httpx.URL(servers.database_url("x")).port or 0)
    line = Proxy(port)
    async with line.running():
        by_line = replace(
            servers, database_url=lambda name: servers.database_url(name).replace(f":{port}/", f":{line.port}/")
        )
        async with open_world(by_line, worker=False, answer_within=0.5) as world:
            await hold_to_contract(world)
            yield world, line


@asynccontextmanager
async def without_temporal(servers: Servers, port: int | None = None) -> AsyncIterator[World]:
    """A world whose API started before Temporal did, and has never reached it. Its worker has."""
    async with open_world(servers, api=False, answer_within=0.5) as world:
        elsewhere = world.settings.model_copy(update={"temporal_address": f"127.0.0.1:{port or free_port()}"})
        async with world.serving(temporal=await connect(elsewhere, lazy=True)):
            await hold_to_contract(world)
            yield world


async def test_ready_and_alive(world: World) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await world.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_without_temporal(servers: Servers) -> None:
    """What is accepted is answered 202 and kept; the sweeper hands it over."""
    async with without_temporal(servers) as world:
        assert (await world.http.get("/healthz")).status_code == 200
        assert "Temporal" in problem(await world.http.get("/readyz"), 503, "unavailable")["detail"]

        accepted = await world.deposit(key="early")
        assert (accepted.status_code, accepted.json()["status"]) == (202, "requested")
        operation_id = accepted.json()["id"]
        again = await world.deposit(key="early")
        assert (again.status_code, again.json()["id"]) == (202, operation_id)
        assert again.headers["Idempotent-Replayed"] == "true"

        canceled = await world.call("POST", f"/v1/deposits/{operation_id}/cancel", key="cancel")
        assert (canceled.status_code, canceled.json()["status"]) == (202, "requested")

        await world.sweep()
        await world.closed(operation_id)
        answered = await world.call("POST", f"/v1/deposits/{operation_id}/cancel", key="cancel")
        assert (answered.status_code, answered.json()["status"]) == (200, "canceled")
        assert answered.headers["Idempotent-Replayed"] == "true"


async def test_payouts_without_temporal(servers: Servers) -> None:
    """The same for every kind of operation. Nothing remembers an operator's act, who has to ask again."""
    async with without_temporal(servers) as world:
        contractor: dict[str, Any] = {"user": "carl", "role": "contractor"}
        await world.call("PUT", "/v1/me", {"email": "carl@example.com", "country": "US"}, user="carl")
        urls = {"return_url": "http://localhost/a", "refresh_url": "http://localhost/b"}
        account = await world.call("POST", "/v1/connect/account", urls, key="a", **contractor)
        assert (account.status_code, account.json()["status"], account.json()["onboarding"]) == (202, "requested", None)
        assert (await world.get("/v1/connect/account", **contractor))["id"] == account.json()["id"]
        withdrawal = await world.withdraw(key="w")
        assert (withdrawal.status_code, withdrawal.json()["status"]) == (202, "requested")
        body = {"from_user_id": "clara", "to_user_id": "carl", "amount": 8_000, "currency": "usd"}
        moved = await world.call("POST", "/v1/wallet-transfers", body, user="shop", role="service", key="m")
        assert (moved.status_code, moved.json()["status"]) == (202, "requested")
        problem(await world.admin(f"operations/{withdrawal.json()['id']}/resume"), 503, "unavailable")
        asked = await world.admin(f"operations/{withdrawal.json()['id']}/retry")
        assert (asked.status_code, asked.json()["status"]) == (202, "requested")

        await world.sweep()
        await world.until(account.json()["id"], lambda now: now["status"] == "onboarding")
        await world.closed(withdrawal.json()["id"])
        await world.closed(moved.json()["id"])
        made = await world.call("POST", "/v1/connect/account", urls, key="a", **contractor)
        assert (made.status_code, made.json()["onboarding"] is None) == (200, False)
        assert (await world.withdraw(key="w")).status_code == 409
        again = await world.call("POST", "/v1/wallet-transfers", body, user="shop", role="service", key="m")
        problem(again, 409, "not-withdrawable")


async def test_webhook_without_temporal(servers: Servers) -> None:
    """An event is acknowledged once it is stored; the sweeper signals it."""
    async with without_temporal(servers) as world:
        await _event_waits_for_the_sweeper(world)


async def test_temporal_that_says_nothing(servers: Servers) -> None:
    """A connection that is taken and never served holds up nobody for long."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silence = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silence, without_temporal(servers, silence.sockets[0].getsockname()[1]) as world:
        begun = asyncio.get_running_loop().time()
        await _event_waits_for_the_sweeper(world)
        problem(await world.http.get("/readyz"), 503, "unavailable")
        assert asyncio.get_running_loop().time() - begun < 15


async def _event_waits_for_the_sweeper(world: World) -> None:
    answer = await world.deposit()
    assert answer.status_code == 202
    sent = event()
    sent["data"]["object"]["metadata"] = {"operation_id": answer.json()["id"]}
    assert (await send(world, sent)).status_code == 200
    assert (await stored(world, sent["id"]))[0]["state"] == "received"
    await world.sweep()
    await world.until(answer.json()["id"], lambda operation: operation["status"] == "awaiting_payment")
    await world.settled_events()
    assert (await stored(world, sent["id"]))[0]["state"] == "processed"


async def test_saga_that_does_not_answer(servers: Servers) -> None:
    """Nobody waits longer than `answer_within`."""
    async with open_world(servers, worker=False, answer_within=0.5) as world:
        await hold_to_contract(world)
        begun = asyncio.get_running_loop().time()
        answer = await world.deposit()
        assert answer.status_code == 202
        canceled = await world.call("POST", f"/v1/deposits/{answer.json()['id']}/cancel")
        assert canceled.status_code == 202
        assert asyncio.get_running_loop().time() - begun < 4


async def test_without_postgres(servers: Servers) -> None:
    """Nothing was written, so 503 and when to come again; webhooks are not acknowledged."""
    async with postgres_by_line(servers) as (world, line):
        before = await rows(world)
        line.down()
        assert (await world.http.get("/healthz")).status_code == 200
        for answer in (
            await world.http.get("/readyz"),
            await world.deposit(key="k"),
            await world.call("POST", "/v1/deposits/dep_x/cancel"),
            await world.call("GET", "/v1/me"),
            await world.call("GET", "/v1/operations"),
            await world.call("GET", "/v1/wallets"),
            await send(world, event()),
        ):
            problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "2"
        # What needs no database is answered as ever.
        problem(await world.http.get("/v1/me"), 401, "unauthenticated")
        assert await rows(world) == before
        line.up()
        assert (await world.deposit(key="k")).status_code == 202


async def test_postgres_lost_after_the_deposit_was_written(servers: Servers) -> None:
    """It is written, so the client is told 202, not 503: for the deposit, and for its cancel."""
    async with postgres_by_line(servers) as (world, line):

        async def there(query: str) -> bool:
            return bool(await world.sql(query))

        asked = asyncio.create_task(world.deposit(key="k"))
        await until(lambda: there("SELECT FROM requests"))
        line.down()
        answer = await asked
        assert (answer.status_code, answer.json()["status"]) == (202, "requested")

        line.up()
        path = f"/v1/deposits/{answer.json()['id']}/cancel"
        asked = asyncio.create_task(world.call("POST", path, key="c"))
        await until(lambda: there("SELECT FROM requests WHERE key = 'c'"))
        line.down()
        canceled = await asked
        assert (canceled.status_code, canceled.json()["id"]) == (202, answer.json()["id"])

        line.up()
        again = await world.deposit(key="k")
        assert (again.status_code, again.json()["id"]) == (202, answer.json()["id"])


async def test_f39_pool_exhausted(servers: Servers) -> None:
    """503 with Retry-After, webhooks not acknowledged, and no deadlock: afterwards all is as before."""
    async with open_world(servers, worker=False, database_pool=1, answer_within=0.5) as world:
        await hold_to_contract(world)
        blocker = await asyncpg.connect(world.superuser_url)
        try:
            await blocker.execute("BEGIN; LOCK TABLE users, stripe_events IN ACCESS EXCLUSIVE MODE")
            first = asyncio.create_task(world.call("GET", "/v1/me"))
            await asyncio.sleep(0.2)
            answers = await asyncio.gather(
                world.deposit(key="k"), send(world, event()), world.call("GET", "/v1/operations")
            )
            for answer in answers:
                problem(answer, 503, "unavailable")
        finally:
            await blocker.close()
        assert (await first).status_code == 200
        assert (await world.deposit(key="k")).status_code == 202
        assert (await send(world, event())).status_code == 200


async def test_bug_is_a_problem_and_its_log_names_nobody(
    world: World, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback reaches the client, and no log quotes a row."""
    caplog.set_level(logging.DEBUG)
    deposit = await world.accepted_deposit(user="pia")
    await world.call("PUT", "/v1/me", {"name": "Pia Private"}, user="pia")
    broken = json.dumps({"email": "pia.private@example.com", "code": {"name": "Pia Private"}})
    await world.sql("UPDATE operations SET attention = $2::jsonb WHERE id = $1", deposit["id"], broken)
    # A constraint's error quotes the row.
    await world.sql("ALTER TABLE users ADD CONSTRAINT nobody CHECK (name <> 'Pia Prime') NOT VALID")

    bug = await world.call("GET", f"/v1/operations/{deposit['id']}", user="pia")
    constraint = await world.call("PUT", "/v1/me", {"name": "Pia Prime", "email": "pia@example.com"}, user="pia")

    for answer in (bug, constraint):
        problem(answer, 503, "unavailable")
        assert "Traceback" not in answer.text
        assert "Pia" not in answer.text
    said = capsys.readouterr()
    logged = said.out + said.err + caplog.text
    assert "unexpected error" in logged
    assert "ValidationError" in logged
    assert "read_operation" in logged, "where it happened"
    assert "IntegrityError" in logged
    for hidden in ("Private", "private", "Prime", "pia@"):
        assert hidden not in logged


async def test_operation_shows_what_it_waits_for(servers: Servers) -> None:
    async with open_world(servers, answer_within=0.5) as world:
        await hold_to_contract(world)
        await _waits_in_sight(world)


async def _waits_in_sight(world: World) -> None:
    await world.sandbox.control("POST", "faults", path="/v1/payment_intents", kind="error_before", times=None)
    answer = await world.deposit(user="stuck")
    assert answer.status_code == 202
    assert answer.json()["status"] == "requested"
    assert answer.headers["location"] == f"/v1/deposits/{answer.json()['id']}"
    await world.until(answer.json()["id"], lambda operation: operation["retries"] > 0)
    shown = await world.get(f"/v1/operations/{answer.json()['id']}", user="stuck")
    assert shown["attention"]["code"]
    assert shown["last_retry_at"]
    [payment] = [call for call in shown["calls"] if call["write"] == "payment_intents.create"]
    assert (payment["outcome"], payment["stripe_id"]) == (None, None)
    await world.sandbox.control("DELETE", "faults")
    await world.until(answer.json()["id"], lambda operation: operation["status"] == "awaiting_payment")


@pytest.mark.long
async def test_cancel_of_a_withdrawal_that_is_in_doubt(servers: Servers) -> None:
    """Whether Stripe has transferred it is not known yet, so neither is how it ends: 202, and canceled in the end."""
    async with open_world(servers, answer_within=1.0) as world:
        await hold_to_contract(world)
        await world.onboarded()
        await world.funded()
        await world.sandbox.control("POST", "faults", path="/v1/transfers", kind="drop_after_commit", times=None)
        withdrawal = await world.accepted_withdrawal()
        await world.until(withdrawal, lambda now: now["retries"] > 0)
        path = f"/v1/withdrawals/{withdrawal}/cancel"
        contractor: dict[str, Any] = {"user": "carl", "role": "contractor", "key": "c"}
        accepted = await world.call("POST", path, **contractor)
        assert (accepted.status_code, accepted.json()["status"]) == (202, "reserved")
        await world.sandbox.control("DELETE", "faults")
        await world.closed(withdrawal)
        canceled = await world.call("POST", path, **contractor)
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
        assert await world.available("carl") == 20_000


async def test_cancel_of_a_saga_that_is_terminated_is_not_refused(servers: Servers) -> None:
    """Nobody knows yet how it ends, so nothing is kept as its answer: 202, as for any saga that is away."""
    async with open_world(servers, answer_within=1.0) as world:
        await hold_to_contract(world)
        deposit = await world.accepted_deposit()
        intent = f"/v1/payment_intents/{deposit['payment_intent']}"
        await world.sandbox.control("POST", "faults", path=f"{intent}/cancel", kind="error_before", times=None)
        path = f"/v1/deposits/{deposit['id']}/cancel"
        assert (await world.call("POST", path, key="c")).status_code == 202
        waiting = asyncio.create_task(world.call("POST", path, key="c"))
        await asyncio.sleep(0.3)
        await world.workflow(deposit["id"]).terminate()
        for answer in (await waiting, await world.call("POST", path, key="c")):
            assert (answer.status_code, answer.json()["status"]) == (202, "awaiting_payment")
        [request] = await world.sql("SELECT refusal, answered_at FROM requests WHERE key = 'c'")
        assert (request["refusal"], request["answered_at"]) == (None, None)
