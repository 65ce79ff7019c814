"""A worker that is frozen while money is on its way to a bank and back. Killed ones are in tests/crashes."""

import signal

import pytest

from tests.auditing import assert_clean
from tests.processes import running
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long

QUICK = BRISK.model_copy(update={"http_timeout": 2.0, "start_to_close": 3.0})
"""Pacing that finds a dead worker's step again within 3 s."""


async def _one_of_everything(world: World, withdrawal: str) -> None:
    closed = await world.closed(withdrawal)
    assert closed["status"] == "reversed"
    assert [posting["step"] for posting in closed["postings"]] == [
        "reserve", "transfer", "payout", "payout_mirror", "reversal#1", "restore#1",
    ]  # fmt: skip
    told = [event["type"] for event in closed["events"]]
    assert len(told) == len(set(told)), "each change was told once"
    [transfer] = await world.sandbox.listed("transfers")
    assert [reversal["amount"] for reversal in transfer["reversals"]["data"]] == [8_000]
    assert len(await world.sandbox.of_account(transfer["destination"], "payouts")) == 1
    assert await world.available("carl") == 20_000
    await assert_clean(world)


async def test_f38_frozen_worker_wakes_up_when_another_has_done_its_step(servers: Servers) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        async with world.inhabited_by_a_worker():
            await world.onboarded(account_number="000111111113")
            await world.funded()

        # Given a worker that is frozen while Stripe, which has made the transfer, withholds its answer
        await world.sandbox.fault("POST", "/v1/transfers", "hang_after_commit", seconds=0.5)
        withdrawal = str((await world.withdraw()).json()["id"])
        async with running(world.settings, "cli.main", "worker") as frozen:
            await until(lambda: _fired(world))
            frozen.signal(signal.SIGSTOP)
            async with running(world.settings, "cli.main", "worker"):
                await world.until(withdrawal, lambda now: now["status"] not in ("requested", "reserved"))

                # When it wakes up, and gets the answer that it was waiting for
                frozen.signal(signal.SIGCONT)

                await _one_of_everything(world, withdrawal)


async def _fired(world: World) -> bool:
    return await world.sandbox.faults_fired() == 1
