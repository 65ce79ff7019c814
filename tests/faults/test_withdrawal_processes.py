"""Workers killed, or frozen, while money is on its way to a bank and back."""

import asyncio
import signal

import pytest

from tests.auditing import assert_clean
from tests.processes import running
from tests.world import BRISK, PATIENCE, Servers, World, open_world, until

pytestmark = pytest.mark.long

QUICK = BRISK.model_copy(update={"http_timeout": 0.9, "start_to_close": 1.5})
"""Pacing that finds a dead worker's step again within 0.9 s."""

STEPS = [
    "reserve",
    "create_transfer",
    "book_transfer",
    "create_payout",
    "book_payout",
    "observe_payout",
    "unbook_paid",
    "unbook_payout",
    "create_reversal",
    "book_reversal",
    "restore",
    "record_status",
]
"""Every activity of a withdrawal that comes back."""

ASKING = ["create_transfer", "create_payout", "create_reversal"]
"""Those that ask Stripe: for the others, to die before they begin is to die after the one before."""

POINTS = [f"{step}:{moment}" for step in STEPS for moment in ("before", "after") if step in ASKING or moment == "after"]


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


async def test_f34_worker_killed_at_every_step(servers: Servers) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        async with world.inhabited_by_a_worker():
            await world.onboarded(account_number="000111111113")
            await world.funded()

        # Given a worker that dies, each time it starts, at the next point of the one withdrawal
        withdrawal = str((await world.withdraw()).json()["id"])
        async with running(world.settings, "tests.crashing_worker") as worker:
            for point in POINTS:
                await worker.tell(point)
                assert await asyncio.wait_for(worker.said(), PATIENCE) == "-9", f"not killed at {point}"

            # When one lives
            await worker.tell("never")

            # Then everything happened once, and what was recorded was not even asked again
            await _one_of_everything(world, withdrawal)
            assert len(await world.sandbox.requests("/v1/transfers")) == 1
            assert len(await world.sandbox.requests("/v1/payouts")) == 1


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
