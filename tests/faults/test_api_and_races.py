"""Repeated, racing and interrupted requests."""

import asyncio
import uuid

import httpx
import pytest
from temporalio.service import RPCError

from activities.temporal_client import connect
from cli.stack.ports import free_port
from tests.auditing import assert_clean
from tests.processes import running_api
from tests.world import Servers, World, open_world, until
from worker.temporal_setup import prepare_namespace


async def test_f01_same_key_and_body_50_times_at_once(world: World) -> None:
    key = str(uuid.uuid4())

    answers = await asyncio.gather(*(world.deposit(payment_method="pm_card_visa", key=key) for _ in range(50)))

    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.headers.get("Idempotent-Replayed") != "true" for answer in answers) == 1
    await world.closed(answers[0].json()["id"])
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert await world.available() == 20_000
    await assert_clean(world)


async def _left_by_a_dead_api(world: World) -> str:
    """An operation whose API died while Temporal did not answer it; its id."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silence:
        port = silence.sockets[0].getsockname()[1]
        blind = world.settings.model_copy(update={"temporal_address": f"127.0.0.1:{port}", "answer_within": 30.0})
        async with running_api(blind) as api:
            request = asyncio.create_task(world.deposit(payment_method="pm_card_visa", key="once"))
            await until(lambda: _one_operation(world))
            await api.kill()
            with pytest.raises(httpx.TransportError):
                await request
    [row] = await world.sql("SELECT id FROM operations WHERE started_at IS NULL")
    return str(row["id"])


async def _one_operation(world: World) -> bool:
    return len(await world.sql("SELECT FROM operations")) == 1


@pytest.mark.long
async def test_f04_api_killed_between_insert_and_start(servers: Servers) -> None:
    async with open_world(servers, api=False) as world:
        operation_id = await _left_by_a_dead_api(world)

        # When the sweeper comes by
        await world.sweep()

        # Then the deposit goes on, and the client that asks again hears of the same one
        assert (await world.closed_by_sql(operation_id))["status"] == "succeeded"
        async with world.serving():
            again = await world.deposit(payment_method="pm_card_visa", key="once")
            assert again.status_code == 200
            assert again.json()["id"] == operation_id
            assert await world.available() == 20_000
            await assert_clean(world)


@pytest.mark.long
async def test_f04_client_retry_starts_what_a_dead_api_left(servers: Servers) -> None:
    async with open_world(servers, api=False) as world:
        operation_id = await _left_by_a_dead_api(world)

        async with world.serving():
            again = await world.deposit(payment_method="pm_card_visa", key="once")

            assert again.status_code == 200
            assert again.json()["id"] == operation_id
            assert again.json()["status"] == "succeeded"
            await world.closed(operation_id)
            await assert_clean(world)


async def test_f05_key_used_again_after_temporal_forgot_the_workflow(world: World) -> None:
    first = await world.accepted_deposit(payment_method="pm_card_visa", key="old")
    await world.closed(first["id"])

    # When Temporal knows nothing of it any more: here, an API at an empty namespace of the same server
    forgotten = world.settings.model_copy(update={"temporal_namespace": "default"})
    empty = await connect(forgotten)
    await prepare_namespace(empty, forgotten)
    async with world.serving(port=free_port(), temporal=empty) as http:
        again = await http.post(
            "/v1/deposits",
            json={"amount": 20_000, "currency": "usd", "payment_method": "pm_card_visa"},
            headers={"Authorization": f"Bearer {world.token()}", "Idempotency-Key": "old"},
        )

        # Then Postgres answers
        assert again.status_code == 200
        assert again.json()["id"] == first["id"]
    with pytest.raises(RPCError):
        await empty.get_workflow_handle(first["id"]).describe()
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert await world.available() == 20_000
    await assert_clean(world)


async def _pool_at_rest(world: World) -> bool:
    [found] = await world.sql(
        "SELECT count(*) FILTER (WHERE state <> 'idle') AS busy FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return bool(found["busy"] == 0)


async def test_f10_client_disconnects_in_the_middle(world: World) -> None:
    # Given Stripe takes longer than the client has patience
    await world.sandbox.fault("POST", "/v1/payment_intents", "hang", seconds=1.5)

    async def ask_impatiently() -> None:
        with pytest.raises(httpx.TimeoutException):
            await world.http.post(
                "/v1/deposits",
                json={"amount": 20_000, "currency": "usd", "payment_method": "pm_card_visa"},
                headers={"Authorization": f"Bearer {world.token()}", "Idempotency-Key": "impatient"},
                timeout=0.3,
            )

    # When it hangs up, and so does each of its retries
    await asyncio.gather(*(ask_impatiently() for _ in range(20)))

    # Then the one operation goes on
    await until(lambda: _one_operation(world))
    [row] = await world.sql("SELECT id FROM operations")
    assert (await world.closed(row["id"]))["status"] == "succeeded"
    assert await world.available() == 20_000
    # And no connection stays taken
    await until(lambda: _pool_at_rest(world))
    await assert_clean(world)
