"""The process dies or ends; the state file goes on, and holds each request whole or not at all."""

import asyncio
from pathlib import Path

import httpx
import pytest

from stripe_sandbox.server import create_app
from stripe_sandbox.store import Store
from tests.stripe_sandbox.conftest import Platform, random_key
from tests.stripe_sandbox.process import SandboxProcess
from tests.stripe_sandbox.receiver import Receiver, eventually

DAY = 86_400


@pytest.mark.long
async def test_sigkill_between_requests_loses_nothing(own_process: SandboxProcess, receiver: Receiver) -> None:
    key = random_key()
    platform = Platform(own_process.url, key)
    await platform.control(
        "settings", seed=5, duplicate_rate=0, delivery_delay_ms=500, balance_transaction_delay_ms=700
    )
    await platform.control("faults", path="/v1/customers", kind="rate_limit", skip=1)
    await platform.listen(receiver)
    await platform.advance(3 * DAY)
    payment = {"amount": "20000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true"}
    payment["return_url"] = "https://example.com"
    first = await platform.post("/v1/payment_intents", "key", **payment)
    own_process.kill()
    await platform.close()
    assert receiver.received == []

    own_process.start()
    platform = Platform(own_process.url, key)
    again = await platform.post("/v1/payment_intents", "key", **payment)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (await platform.look("clock"))["offset_seconds"] == 3 * DAY
    assert (await platform.look("settings"))["seed"] == 5
    assert (await platform.look("faults"))["faults"][0]["kind"] == "rate_limit"
    await eventually(lambda: {"payment_intent.succeeded", "charge.updated"} <= set(receiver.types()))
    await platform.assert_sound()
    await platform.close()


@pytest.mark.long
async def test_sigkill_at_any_moment_halves_nothing(own_process: SandboxProcess) -> None:
    """Every acknowledged request survives; of the others, each is whole or absent."""
    key = random_key()
    acknowledged: dict[str, str] = {}

    async def pay(platform: Platform, number: int) -> None:
        try:
            answer = await platform.post(
                "/v1/payment_intents",
                f"key {number}",
                amount=1000,
                currency="usd",
                payment_method="pm_card_visa",
                confirm="true",
                capture_method="automatic",
                return_url="https://example.com",
            )
            acknowledged[f"key {number}"] = answer.json()["id"]
        except httpx.TransportError:
            pass

    platform = Platform(own_process.url, key)
    requests = asyncio.gather(*(pay(platform, number) for number in range(60)))
    await eventually(lambda: len(acknowledged) >= 5)
    own_process.kill()
    await requests
    await platform.close()
    assert 5 <= len(acknowledged) < 60

    own_process.start()
    platform = Platform(own_process.url, key)
    await platform.assert_sound()
    intents = (await platform.v1.payment_intents.list_async({"limit": 100})).data
    assert {intent.status for intent in intents} == {"succeeded"}
    assert set(acknowledged.values()) <= {intent.id for intent in intents}
    events = (await platform.v1.events.list_async({"type": "payment_intent.succeeded", "limit": 100})).data
    assert {event.data.object.id for event in events} == {intent.id for intent in intents}
    log = (await platform.look("requests", path="/v1/payment_intents", method="POST"))["requests"]
    assert sum(request["executed"] for request in log) == len(intents)
    await platform.close()


async def test_sigterm_ends_it_within_a_second_even_while_a_request_hangs(own_process: SandboxProcess) -> None:
    platform = Platform(own_process.url, random_key())
    await platform.control("faults", path="/v1/customers", kind="hang", seconds=30)
    hanging = asyncio.create_task(platform.post("/v1/customers"))

    async def in_flight() -> bool:
        return bool((await platform.look("faults"))["faults"][0]["fired"] == 1)

    await eventually(in_flight)
    assert await asyncio.to_thread(own_process.stop) < 1.0
    with pytest.raises(httpx.TransportError):
        await hanging
    await platform.close()


@pytest.mark.parametrize("table", ["deliveries", "idempotency", "jobs", "requests"])
async def test_a_request_is_written_whole_or_not_at_all(
    tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of its writes fails, nothing of the request is left, and its key is free."""
    path = str(tmp_path / "sandbox.sqlite")
    app = create_app(path)
    store = Store(path)
    headers = {"Authorization": f"Bearer {random_key()}", "Idempotency-Key": "key"}
    payment = {"amount": "20000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true"}
    payment["return_url"] = "https://example.com"
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=headers) as http,
    ):
        endpoint = {"url": "http://127.0.0.1:9/nobody", "enabled_events[]": "*"}
        await http.post("/v1/webhook_endpoints", data=endpoint, headers={"Idempotency-Key": "endpoint"})
        before = _rows(store)
        store.db.execute(f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        assert (await http.post("/v1/payment_intents", data=payment)).status_code == 500
        assert "broken" in caplog.text
        assert _rows(store) == before
        store.db.execute("DROP TRIGGER broken")
        answer = await http.post("/v1/payment_intents", data=payment)
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (200, False)
    store.close()


def _rows(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    tables = ("objects", "balances", "idempotency", "jobs", "deliveries", "requests")
    return {table: store.db.execute(f"SELECT count(*) AS rows FROM {table}").fetchone()["rows"] for table in tables}
