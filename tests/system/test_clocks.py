"""Our clocks are ten minutes off: those of the API, those of the worker."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from db.stripe_calls import KEY_LIFE
from tests.auditing import assert_clean
from tests.processes import running, running_api
from tests.system.clocks import Clock
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.system

TEN_MINUTES = 600


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
    listed = (await world.sandbox.control("GET", "deliveries"))["deliveries"]
    return bool(listed) and all(one["state"] == "succeeded" for one in listed)


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


DAYS = 3 * 86_400
"""Seconds. Longer than Stripe remembers a key, and than a customer has to pay."""


@pytest.mark.parametrize("off", [DAYS, -DAYS], ids=["fast", "slow"])
async def test_f40_ages_are_told_by_the_databases_clock(servers: Servers, tmp_path: Path, off: int) -> None:
    """By its worker's clock each call is too old to be sent again, and each deposit expired, or neither ever."""
    clock = Clock(tmp_path)
    clock.off_by(off)
    assert max(KEY_LIFE.total_seconds(), BRISK.payment_expiry) < DAYS
    async with (
        open_world(servers, worker=False) as world,
        running(world.settings, "cli.main", "worker", **clock.environment),
    ):
        # Given answers of Stripe's that were lost, after it had done what was asked
        for path in ("/v1/customers", "/v1/payment_intents"):
            await world.sandbox.fault("POST", path, "drop_after_commit")

        deposit = await world.accepted_deposit()

        # Then each was sent again under its key, and nobody looked for it or opened another generation
        assert await world.sql("SELECT FROM stripe_calls WHERE generation > 1 OR doubted_at IS NOT NULL") == []
        assert (await world.operation(deposit["id"]))["status"] == "awaiting_payment"
        await world.sweep()
        assert (await world.operation(deposit["id"]))["status"] == "awaiting_payment"
        # And every time that is kept is the database's
        for table, column in (
            ("operations", "created_at"),
            ("stripe_calls", "first_sent_at"),
            ("events", "created_at"),
        ):
            [row] = await world.sql(f"SELECT max(abs(extract(epoch FROM {column} - app_now()))) AS off FROM {table}")
            assert row["off"] < 3600, table

        await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
        await credited_once(world, deposit["id"])

        # And what a day makes old is old, whatever the worker's clock says
        unpaid = await world.accepted_deposit(user="bob")
        await world.skip(BRISK.payment_expiry + 60, unpaid["id"])
        assert (await world.closed(unpaid["id"]))["status"] == "expired"
        assert abs(time.time() - (await world.sql("SELECT extract(epoch FROM now()) AS n"))[0]["n"]) < 60
        await world.settled_events()
        await assert_clean(world)
