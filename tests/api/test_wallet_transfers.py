"""Moving money between wallets, by the marketplace's word."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from tests.api.counting import nothing_written, quiet, rows
from tests.api.test_bad_input import names, problem
from tests.world import World

TRANSFERS = "/v1/wallet-transfers"
GOOD = {"from_user_id": "gina", "to_user_id": "hugo", "amount": 8_000, "currency": "usd"}


async def move(world: World, key: str | None = None, **more: Any) -> httpx.Response:
    """`POST /v1/wallet-transfers`."""
    return await world.call("POST", TRANSFERS, GOOD | more, user="shop", role="service", key=key)


@pytest.fixture(scope="module")
async def gina(world: World) -> str:
    """A customer with 1,000.00 USD; her wallet's id."""
    paid = await world.accepted_deposit(100_000, user="gina", payment_method="pm_card_visa")
    await world.closed(paid["id"])
    return str(paid["wallet_id"])


async def test_moved_then_replayed(world: World, gina: str) -> None:
    before, key = await world.available("gina"), str(uuid.uuid4())
    first = await move(world, key, to_user_id="ivan", reference="job 4711")
    assert first.status_code == 201
    moved = first.json()
    assert first.headers["location"] == f"{TRANSFERS}/{moved['id']}"
    assert (moved["status"], moved["user_id"], moved["wallet_id"]) == ("succeeded", "gina", gina)
    [taken] = await world.get("/v1/wallets", user="ivan")
    assert (moved["to_user_id"], moved["to_wallet_id"], moved["reference"]) == ("ivan", taken["id"], "job 4711")
    assert (taken["available"], taken["totals"]["earned"]) == (8_000, 8_000)
    assert await world.available("gina") == before - 8_000
    async with nothing_written(world):
        again = await move(world, key, to_user_id="ivan", reference="job 4711")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
        problem(await move(world, key, to_user_id="ivan"), 422, "idempotency-key-reused")
    assert again.json() == await world.get(f"{TRANSFERS}/{moved['id']}", user="gina")

    operation = await world.operation(moved["id"])
    [posting] = operation["postings"]
    assert [(entry["account"], entry["owner"], entry["amount"]) for entry in posting["entries"]] == [
        ("wallet_available", gina, -8_000),
        ("wallet_available", taken["id"], 8_000),
    ]
    assert operation["calls"] == []


async def test_who_reads_it(world: World, gina: str) -> None:
    """Its giver, admins and services; the receiver finds it in their statement."""
    moved = (await move(world)).json()
    for user, role in (("gina", "customer"), ("root", "admin"), ("shop", "service")):
        assert (await world.get(f"{TRANSFERS}/{moved['id']}", user=user, role=role))["id"] == moved["id"]
        assert moved["id"] in [one["id"] for one in (await world.get(TRANSFERS, user=user, role=role))["data"]]
    problem(await world.call("GET", f"{TRANSFERS}/{moved['id']}", user="hugo"), 404, "not-found")
    assert (await world.get(TRANSFERS, user="hugo"))["data"] == []
    [wallet] = await world.get("/v1/wallets", user="hugo")
    statement = await world.get(f"/v1/wallets/{wallet['id']}/transactions", user="hugo")
    assert moved["id"] in [entry["operation_id"] for entry in statement["data"]]


async def test_refused_by_state(world: World, gina: str) -> None:
    """One failed operation with its reason, and nothing else."""
    await move(world, amount=1)  # Hugo has a wallet.
    hugo = (await world.wallet("hugo"))["id"]
    for wallet, verb, back, code in (
        (gina, "freeze", "unfreeze", "wallet-frozen"),
        (gina, "deactivate", "activate", "wallet-deactivated"),
        (hugo, "deactivate", "activate", "wallet-deactivated"),
        (None, "", "", "not-withdrawable"),
    ):
        if wallet is not None:
            await world.admin(f"wallets/{wallet}/{verb}")
        await quiet(world)
        before, key = await rows(world), str(uuid.uuid4())
        answers = [await move(world, key, amount=8_000 if wallet else 90_000_000) for _ in range(2)]
        found = problem(answers[0], 409, code)
        assert answers[1].content == answers[0].content
        written = {name: count - before[name] for name, count in (await rows(world)).items() if count != before[name]}
        assert written == {"operations": 1, "requests": 1, "events": 2}
        operation = await world.closed(found["operation_id"])
        assert (operation["status"], operation["failure"]["code"]) == ("failed", code)
        assert (operation["postings"], operation["calls"]) == ([], [])
        if wallet is not None:
            await world.admin(f"wallets/{wallet}/{back}")
    # A frozen wallet still takes.
    await world.admin(f"wallets/{hugo}/freeze")
    assert (await move(world)).status_code == 201
    await world.admin(f"wallets/{hugo}/unfreeze")


async def test_there_and_back_at_once(world: World, gina: str) -> None:
    """First transfers in both directions make each wallet once, and wait for each other instead of for ever."""
    await world.funded("left", 20_000)
    ways = [("left", "right"), ("right", "left")] * 6
    answers = await asyncio.gather(
        *(move(world, from_user_id=giver, to_user_id=taker, amount=1_000) for giver, taker in ways)
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert await world.available("left") + await world.available("right") == 20_000


async def test_bad_form(world: World) -> None:
    async with nothing_written(world):
        for wrong in (0, -1, 100_000_000, 1.5, "8000", True, None):
            names(await move(world, amount=wrong), "amount")
        found = names(await move(world, amount=30_005, currency="kwd"), "amount")
        assert "multiple of 10" in found["detail"]
        for code in ("xyz", "USD", "chf", 840):
            names(await move(world, currency=code), "currency")
        for field in ("from_user_id", "to_user_id"):
            users: list[Any] = ["", "x" * 256, "a\nb", 7, None]
            for user in users:
                names(await move(world, **{field: user}), field)
        same = names(await move(world, to_user_id="gina"), "to_user_id")
        assert "two different users" in same["remedy"]
        for reference in ("", "x" * 201, "a\nb", 7):
            names(await move(world, reference=reference), "reference")
        for field in ("user_id", "wallet_id", "fee"):
            names(await move(world, **{field: "x"}), field)
        headers = {"Authorization": f"Bearer {world.token('shop', 'service')}"}
        problem(await world.http.post(TRANSFERS, json=GOOD, headers=headers), 400, "idempotency-key-missing")
