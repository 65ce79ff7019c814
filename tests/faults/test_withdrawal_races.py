"""Many withdrawals at once, and withdrawals against a freeze."""

import asyncio
import collections
import uuid

import httpx
import pytest

from tests.auditing import assert_clean
from tests.world import Servers, World, open_world, until

pytestmark = pytest.mark.long


async def test_f06_a_hundred_at_once_take_exactly_what_there_is(servers: Servers) -> None:
    async with open_world(servers, answer_within=30.0) as world:
        # Given 200.00, and a hundred who want 10.00 of it; and what Stripe keeps of the 200.00, from somebody else
        await world.onboarded()
        await world.funded()
        await world.funded("rita", 1_000)
        world.http.timeout = httpx.Timeout(90.0)

        answers = await asyncio.gather(*(_insist(world) for _ in range(100)))

        # Then all were answered, or told that they will be (202), and exactly what there was is paid
        assert {answer.status_code for answer in answers} <= {201, 202, 409}
        ids = [answer.json().get("id") or answer.json()["operation_id"] for answer in answers]
        ended = [await world.closed(operation_id) for operation_id in ids]
        codes = [now["failure"] and now["failure"]["code"] for now in ended]
        outcomes = collections.Counter(zip([now["status"] for now in ended], codes, strict=True))
        assert outcomes == {("paid", None): 20, ("failed", "not-withdrawable"): 80}
        refused = {now["id"] for now in ended if now["status"] == "failed"}
        assert await world.available("carl") == 0
        assert len(await world.sandbox.listed("transfers")) == 20
        # What was refused has left nothing but itself
        traces = "SELECT operation_id FROM stripe_calls UNION SELECT operation_id FROM ledger_transactions"
        assert refused.isdisjoint(row["operation_id"] for row in await world.sql(traces))
        await assert_clean(world)


async def test_f07_no_transfer_begins_once_the_wallet_is_frozen(world: World) -> None:
    await world.onboarded()
    await world.funded()
    wallet = (await world.wallet())["id"]

    # When it is frozen in the middle of twelve withdrawals
    asking = [asyncio.create_task(world.withdraw(1_000)) for _ in range(12)]
    await until(lambda: _transfers_began(world))
    frozen = await world.admin(f"wallets/{wallet}/freeze", reason="looks odd")

    # Then what had begun is followed to its end, and the rest is given back
    assert frozen.status_code == 200
    answers = await asyncio.gather(*asking)
    ended = [await world.closed(answer.json().get("id") or answer.json()["operation_id"]) for answer in answers]
    began = await world.sql("SELECT operation_id, first_sent_at FROM stripe_calls WHERE step = 'create_transfer'")
    [act] = await world.sql("SELECT created_at FROM wallet_actions")
    assert all(row["first_sent_at"] < act["created_at"] for row in began if row["operation_id"] in _paid(ended))
    assert len(await world.sandbox.listed("transfers")) == len(_paid(ended)) >= 1
    assert {now["failure"]["code"] for now in ended if now["status"] != "paid"} <= {"wallet-frozen"}
    assert await world.available("carl") == 20_000 - 1_000 * len(_paid(ended))
    # Until it is unfrozen
    assert (await world.withdraw()).status_code == 409
    assert (await world.admin(f"wallets/{wallet}/unfreeze")).status_code == 200
    assert (await world.withdraw()).status_code == 201
    await assert_clean(world)


async def _insist(world: World) -> httpx.Response:
    """A client that takes the API at its word: after a 503 the same request with the same key."""
    key = str(uuid.uuid4())
    for _ in range(10):
        answer = await world.withdraw(1_000, key=key)
        if answer.status_code != 503:
            break
        await asyncio.sleep(int(answer.headers["Retry-After"]))
    return answer


def _paid(ended: list[dict[str, object]]) -> list[object]:
    return [now["id"] for now in ended if now["status"] == "paid"]


async def _transfers_began(world: World) -> bool:
    return bool(await world.sql("SELECT FROM stripe_calls WHERE step = 'create_transfer'"))
