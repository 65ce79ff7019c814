"""The API's clock is ten minutes off, a worker's by days."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.auditing import assert_clean
from tests.faults.test_long_outages import PATIENT, lose, stripe_is_back
from tests.processes import running, running_api
from tests.system.clocks import Clock
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.system

TEN_MINUTES = 600

DAYS = 3 * 86_400


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    """The lines of a process's log that say `event`."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [told for told in map(json.loads, lines) if told["event"] == event]


async def credited_once(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    assert closed["status"] == "succeeded"
    assert [posting["step"] for posting in closed["postings"]] == ["credit", "stripe_fee"]
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert await world.available() == 20_000


async def attempts(world: World) -> list[dict[str, Any]]:
    """The deliveries of Stripe's to this world that were answered."""
    listed: list[dict[str, Any]] = (await world.sandbox.control("GET", "deliveries"))["deliveries"]
    return [one for one in listed if one["last_status"] is not None]


SELDOM = BRISK.model_copy(update={"polls": (3600.0,)})
"""Sagas that hear of what happened from webhooks alone."""


async def test_f40_api_whose_clock_is_fast_refuses_webhooks_and_says_why(servers: Servers, tmp_path: Path) -> None:
    clock, log = Clock(tmp_path), tmp_path / "api.log"
    async with (
        open_world(servers, api=False, pacing=SELDOM) as world,
        running_api(world.settings, log_to=log, **clock.environment),
    ):
        # Given a deposit that waits to be paid, and an API whose clock is then set ten minutes fast
        deposit = await world.accepted_deposit()
        await until(lambda: _all_succeeded(world))
        clock.off_by(TEN_MINUTES)

        # When it is paid
        await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

        # Then what tells of it is refused, and the log says why and by how much
        async def refused() -> bool:
            return any(one["last_status"] == 400 for one in await attempts(world))

        await until(refused)
        assert await world.sql("SELECT FROM stripe_events WHERE type = 'payment_intent.succeeded'") == []
        [alert, *_] = logged(log, "webhooks are refused: this clock is fast")
        assert alert["level"] == "error"
        assert abs(alert["seconds"] - TEN_MINUTES) < 60

        # When the clock is right again, then Stripe's next attempt ends it
        clock.off_by(0)
        await credited_once(world, deposit["id"])
        await until(lambda: _all_succeeded(world))
        await world.settled_events()
        await assert_clean(world)


async def _all_succeeded(world: World) -> bool:
    """Whether each event was taken. The second copy of one that comes twice is delivered once, and may have failed."""
    listed = (await world.sandbox.control("GET", "deliveries"))["deliveries"]
    taken = {one["event"] for one in listed if one["state"] == "succeeded"}
    return bool(listed) and {one["event"] for one in listed} == taken


async def test_f40_api_whose_clock_is_slow_takes_webhooks_and_says_so(servers: Servers, tmp_path: Path) -> None:
    clock, log = Clock(tmp_path), tmp_path / "api.log"
    async with (
        open_world(servers, api=False, pacing=SELDOM) as world,
        running_api(world.settings, log_to=log, **clock.environment),
    ):
        deposit = await world.accepted_deposit()
        clock.off_by(-TEN_MINUTES)

        await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

        await world.closed_by_sql(deposit["id"])
        [alert, *_] = logged(log, "webhook signed in the future: this clock is slow")
        assert alert["level"] == "error"
        assert abs(alert["seconds"] - TEN_MINUTES) < 60
        # Tokens look as if they were made in its future meanwhile.
        assert (await world.call("GET", "/v1/wallets")).status_code == 401
        clock.off_by(0)
        await credited_once(world, deposit["id"])
        await assert_clean(world)


async def _sent(world: World, operation_id: str) -> list[tuple[int, str]]:
    """Generation and outcome of each call that was to make the payment."""
    calls = (await world.operation(operation_id))["calls"]
    return [(call["generation"], call["outcome"]) for call in calls if call["write"] == "payment_intents.create"]


@pytest.mark.parametrize("off", [DAYS, -DAYS], ids=["fast", "slow"])
async def test_f40_worker_whose_clock_is_days_off_knows_a_young_key(servers: Servers, tmp_path: Path, off: int) -> None:
    clock = Clock(tmp_path)
    clock.off_by(off)
    async with (
        open_world(servers, worker=False) as world,
        running(world.settings, "cli.main", "worker", **clock.environment),
    ):
        # Given a payment that Stripe makes, and whose answer is lost
        await world.sandbox.fault("POST", "/v1/payment_intents", "drop_after_commit")

        deposit = await world.accepted_deposit(payment_method="pm_card_visa")

        # Then it was sent again under the same key, which is seconds old
        await credited_once(world, deposit["id"])
        assert await _sent(world, deposit["id"]) == [(1, "done")]
        await world.settled_events()
        await assert_clean(world)


@pytest.mark.parametrize("off", [DAYS, -DAYS], ids=["fast", "slow"])
async def test_f40_worker_whose_clock_is_days_off_knows_an_old_key(servers: Servers, tmp_path: Path, off: int) -> None:
    clock = Clock(tmp_path)
    clock.off_by(off)
    async with (
        open_world(servers, worker=False, pacing=PATIENT, answer_within=1.0) as world,
        running(world.settings, "cli.main", "worker", **clock.environment),
    ):
        # Given a Stripe that never hears of a payment, and is away for longer than it remembers keys
        await lose(world, "/v1/payment_intents", "error_before")
        deposit = (await world.deposit(payment_method="pm_card_visa")).json()["id"]

        await stripe_is_back(world, deposit)

        # Then nothing was sent under the old key before it was looked for, twice
        await credited_once(world, deposit)
        assert await _sent(world, deposit) == [(1, "absent"), (2, "done")]
        await world.settled_events()
        await assert_clean(world)
