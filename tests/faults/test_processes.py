"""Processes killed at any moment."""

import asyncio

import pytest

from tests.auditing import assert_clean
from tests.processes import running
from tests.world import BRISK, PATIENCE, Servers, World, open_world, until

STEPS = [
    "create_customer",
    "create_payment_intent",
    "record_status",
    "observe_payment",
    "credit_deposit",
    "book_stripe_fee",
]
"""Every activity of a deposit that goes well."""

ASKING = ["create_customer", "create_payment_intent"]
"""Those that ask Stripe: for the others, to die before they begin is to die after the one before."""

QUICK = BRISK.model_copy(update={"http_timeout": 0.9, "start_to_close": 1.5})
"""Pacing that finds a dead worker's step again within 0.9 s."""


async def _one_of_everything(world: World, operation_id: str) -> None:
    closed = await world.closed(operation_id)
    assert closed["status"] == "succeeded"
    assert [posting["step"] for posting in closed["postings"]] == ["credit", "stripe_fee"]
    assert [event["type"] for event in closed["events"]].count("deposit.succeeded") == 1
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert len(await world.sandbox.listed("customers")) == 1
    assert await world.available() == 20_000
    await assert_clean(world)


@pytest.mark.long
async def test_f34_worker_killed_at_every_step(servers: Servers) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        # Given a worker that dies, each time it starts, at the next point of the one deposit
        deposit = (await world.deposit(payment_method="pm_card_authenticationRequired")).json()
        paying = asyncio.create_task(_answer_3d_secure(world, deposit["id"]))
        async with running(world.settings, "tests.crashing_worker") as worker:
            for step in STEPS:
                for moment in ("before", "after") if step in ASKING else ("after",):
                    await worker.tell(f"{step}:{moment}")
                    assert await asyncio.wait_for(worker.said(), PATIENCE) == "-9", f"not killed {moment} {step}"
            await paying

            # When one lives
            await worker.tell("never")

            # Then everything happened once, and what was recorded was not even asked again
            await _one_of_everything(world, deposit["id"])
            for path in ("/v1/customers", "/v1/payment_intents"):
                assert len(await world.sandbox.requests(path)) == 1


async def _answer_3d_secure(world: World, operation_id: str) -> None:
    waiting = await world.until(operation_id, lambda now: now["status"] == "awaiting_payment")
    await world.sandbox.complete_3ds(waiting["details"]["payment_intent"])


@pytest.mark.long
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/payment_intents"])
async def test_f34_worker_killed_between_stripes_commit_and_ours(servers: Servers, path: str) -> None:
    async with open_world(servers, pacing=QUICK, worker=False, answer_within=0.1) as world:
        # Given Stripe has done it, and withholds its answer
        await world.sandbox.fault("POST", path, "hang_after_commit", seconds=5)
        deposit = (await world.deposit(payment_method="pm_card_visa")).json()
        async with running(world.settings, "cli.main", "worker") as worker:
            await until(lambda: _fired(world))
            await worker.kill()

        async with running(world.settings, "cli.main", "worker"):
            await _one_of_everything(world, deposit["id"])
        executed = [request for request in await world.sandbox.requests(path) if request["executed"]]
        assert len(executed) == 1


async def _fired(world: World) -> bool:
    return await world.sandbox.faults_fired() == 1
