"""Wallets, statements and operations, as they are read."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db import ledger, operations, users
from db.engine import Database, open_database
from domain import postings
from domain.ids import new_id
from domain.money import Money
from domain.operations import OperationKind
from domain.statuses import DepositStatus
from domain.steps import Step
from tests.api.test_bad_input import names
from tests.world import World


@pytest.fixture(scope="module")
async def database(world: World) -> AsyncIterator[Database]:
    """The world's database, as the application sees it."""
    async with open_database(world.settings.database_url.get_secret_value(), pool_size=4) as opened:
        yield opened


async def credited(database: Database, user: str, amount: int, code: str = "usd") -> str:
    """A deposit that is over, with its posting and without a saga; the operation's id."""
    async with database.transaction() as connection:
        await users.ensure_user(connection, user)
        wallet = await users.ensure_wallet(connection, user, code)
        operation_id = new_id("dep")
        await operations.insert_operation(
            connection,
            {
                "id": operation_id,
                "kind": OperationKind.DEPOSIT,
                "status": DepositStatus.REQUESTED,
                "caller": user,
                "user_id": user,
                "wallet_id": wallet["id"],
                "amount": amount,
                "currency": code,
            },
        )
        await operations.advance(connection, operation_id, DepositStatus.SUCCEEDED, close=True)
        await ledger.post(
            connection, operation_id, Step.CREDIT, postings.deposit_credit(wallet["id"], Money(amount, code))
        )
    return operation_id


async def pages(world: World, path: str, user: str, limit: int) -> list[list[dict[str, Any]]]:
    """Every page of a list."""
    found, cursor = [], ""
    while True:
        page = await world.get(f"{path}?limit={limit}{cursor}", user=user)
        found.append(page["data"])
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_pages_have_no_gaps_and_no_doubles(world: World, database: Database) -> None:
    made = [await credited(database, "pager", 1_000 + number) for number in range(25)]
    [wallet] = await world.get("/v1/wallets", user="pager")
    for limit, sizes in ((10, [10, 10, 5]), (5, [5] * 5), (25, [25]), (100, [25]), (1, [1] * 25)):
        statement = await pages(world, f"/v1/wallets/{wallet['id']}/transactions", "pager", limit)
        assert [len(page) for page in statement] == sizes
        entries = [entry for page in statement for entry in page]
        assert [entry["operation_id"] for entry in entries] == made[::-1]
        assert [entry["amount"] for entry in entries] == [1_000 + number for number in range(25)][::-1]
        assert len({entry["id"] for entry in entries}) == 25
        for path in ("operations", "deposits"):
            listed = await pages(world, f"/v1/{path}", "pager", limit)
            assert [len(page) for page in listed] == sizes
            assert [one["id"] for page in listed for one in page] == made[::-1]
    assert wallet["available"] == sum(range(1_000, 1_025))
    default = await world.get("/v1/operations", user="pager")
    assert len(default["data"]) == 20


async def test_statement_is_complete_while_it_is_being_written(world: World, database: Database) -> None:
    """Postings that commit in another order than they began are missed by no page, and shown by none twice."""
    await credited(database, "busy", 1_000)
    [wallet] = await world.get("/v1/wallets", user="busy")
    path = f"/v1/wallets/{wallet['id']}/transactions"
    writers = asyncio.gather(*(credited(database, "busy", 1_000) for _ in range(20)))
    while not writers.done():
        entries = [entry["id"] for page in await pages(world, path, "busy", 3) for entry in page]
        assert len(entries) == len(set(entries))
    made = set(await writers)
    entries = [entry for page in await pages(world, path, "busy", 3) for entry in page]
    assert made < {entry["operation_id"] for entry in entries}
    assert len(entries) == 21


def _cursor(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


CURSORS = [
    "", "x", "%20", "%00", "ä", "....", "A" * 201, _cursor({}), _cursor([]), _cursor(None), _cursor("dep_x"),
    _cursor([True, True]), _cursor([1]), _cursor([1, 2, 3]), _cursor([-1, 5]), _cursor([2**63, 1]),
    _cursor([1.5, 2]), _cursor([["x"], 1]), _cursor(["\x00"]), _cursor(["\ud800"]), _cursor(["ü"]), _cursor([None]),
]  # fmt: skip


async def test_tampered_cursor(world: World, database: Database) -> None:
    await credited(database, "cursed", 1_000)
    [wallet] = await world.get("/v1/wallets", user="cursed")
    for cursor in CURSORS:
        for path in ("deposits", "operations", f"wallets/{wallet['id']}/transactions"):
            names(await world.call("GET", f"/v1/{path}?cursor={cursor}", user="cursed"), "cursor")
    # A cursor of one list is no cursor of the other.
    for path, foreign in (("operations", [1, 2]), (f"wallets/{wallet['id']}/transactions", ["dep_x"])):
        names(await world.call("GET", f"/v1/{path}?cursor={_cursor(foreign)}", user="cursed"), "cursor")
    # One that was made up in the right form is a position like any: it shows nothing that is not one's own.
    await credited(database, "someone", 1_000)
    mine = await world.get(f"/v1/operations?cursor={_cursor(['dep_zzz'])}", user="cursed")
    assert {one["user_id"] for one in mine["data"]} == {"cursed"}


async def test_wallets_are_made_on_first_use(world: World, database: Database) -> None:
    assert await world.get("/v1/wallets", user="rita") == []
    dollars = await world.accepted_deposit(20_000, "usd", user="rita")
    euros = await world.accepted_deposit(30_000, "eur", user="rita")
    again = await world.accepted_deposit(20_000, "usd", user="rita")
    assert dollars["wallet_id"] == again["wallet_id"] != euros["wallet_id"]
    wallets = await world.get("/v1/wallets", user="rita")
    assert wallets == [
        {
            "id": wallet_id,
            "user_id": "rita",
            "currency": code,
            "available": 0,
            "escrow": 0,
            "in_transit": 0,
            "totals": {"earned": 0, "spent": 0, "withdrawn": 0},
            "active": True,
            "frozen": False,
        }
        for code, wallet_id in (("eur", euros["wallet_id"]), ("usd", dollars["wallet_id"]))
    ]
    await credited(database, "rita", 12_345)
    assert await world.get(f"/v1/wallets/{dollars['wallet_id']}", user="rita") == wallets[1] | {"available": 12_345}


async def test_wallets_made_at_once_are_one(world: World) -> None:
    answers = await asyncio.gather(*(world.deposit(user="twins") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["wallet_id"] for answer in answers}) == 1
    assert len(await world.get("/v1/wallets", user="twins")) == 1


async def test_operation_shows_all_that_is_recorded(world: World) -> None:
    deposit = await world.accepted_deposit(user="sven")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    await world.closed(deposit["id"])
    shown = await world.get(f"/v1/operations/{deposit['id']}", user="sven")

    assert (shown["status"], shown["needs_attention"], shown["attention"]) == ("succeeded", False, None)
    assert [(step["act"], step["step"], step["outcome"]) for step in shown["steps"]] == [
        ("stripe_call", "create_customer", "done"),
        ("stripe_call", "create_payment_intent", "done"),
        ("ledger", "credit", "done"),
        ("ledger", "stripe_fee", "done"),
    ]
    customer, payment = shown["calls"]
    assert customer["write"] == "customers.create"
    assert payment["stripe_id"] == deposit["payment_intent"] == shown["details"]["payment_intent"]
    assert payment["idempotency_key"] == f"paysaga:{deposit['id']}:create_payment_intent:1"
    assert "params" not in payment
    credit, fee = shown["postings"]
    booked = shown["details"]["balance_transaction"]
    assert credit["entries"] == [
        {"account": "stripe_balance", "owner": "", "amount": -20_000, "currency": "usd", "balance_transaction": booked},
        {
            "account": "wallet_available",
            "owner": deposit["wallet_id"],
            "amount": 20_000,
            "currency": "usd",
            "balance_transaction": None,
        },
    ]
    assert sum(entry["amount"] for entry in fee["entries"]) == 0
    assert [one["type"] for one in shown["events"]] == [
        "deposit.requested", "deposit.awaiting_payment", "deposit.succeeded"
    ]  # fmt: skip
    await world.settled_events()
    heard = (await world.get(f"/v1/operations/{deposit['id']}", user="sven"))["stripe_events"]
    assert "payment_intent.succeeded" in {one["type"] for one in heard if one["state"] == "processed"}
