"""Making, previewing, refusing and canceling withdrawals."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from db import ledger
from db.engine import Database, open_database
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.postings import move
from tests.api.counting import nothing_written, quiet, rows
from tests.api.test_bad_input import AMOUNTS, names, problem
from tests.world import World

WITHDRAWALS = "/v1/withdrawals"
PREVIEW = "/v1/withdrawals/preview"
REFUSING_BANK = "000111111113"


@pytest.fixture(scope="module")
async def carl(world: World) -> str:
    """A contractor with 200,000.00 USD and an account that pays out; the account's id."""
    account = await world.onboarded("carl")
    await world.funded("carl", 20_000_000)
    return account


@pytest.fixture(scope="module")
async def database(world: World) -> AsyncIterator[Database]:
    """The world's database, as the application sees it."""
    async with open_database(world.settings.database_url.get_secret_value(), pool_size=2) as opened:
        yield opened


async def previewed(world: World, amount: int = 8_000, currency: str = "usd", *, user: str = "carl") -> dict[str, Any]:
    """What a preview says."""
    body = {"amount": amount, "currency": currency}
    answer = await world.call("POST", PREVIEW, body, user=user, role="contractor")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(
    world: World, code: str, amount: int = 8_000, currency: str = "usd", *, user: str = "carl", status: int = 409
) -> dict[str, Any]:
    """The problem of a withdrawal that the state of things forbids, having left one failed operation and no more.

    The preview has said so before, in the same words.
    """
    foretold = await previewed(world, amount, currency, user=user)
    assert not foretold["allowed"]
    await quiet(world)
    before, asked, key = await rows(world), len(await world.sandbox.requests("*")), str(uuid.uuid4())

    answers = [await world.withdraw(amount, currency, user=user, key=key) for _ in range(2)]

    found = problem(answers[0], status, code)
    assert answers[1].content == answers[0].content
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    gravest = foretold["refusals"][0]
    assert [gravest[name] for name in ("type", "title", "detail", "remedy")] == [
        found[name] for name in ("type", "title", "detail", "remedy")
    ]
    operation = await world.closed(found["operation_id"])
    assert (operation["status"], operation["failure"]["code"]) == ("failed", code)
    assert [operation[name] for name in ("steps", "calls", "postings", "stripe_events")] == [[], [], [], []]
    written = {name: count - before[name] for name, count in (await rows(world)).items() if count != before[name]}
    written.pop("wallets", None)  # Made on first use, as ever.
    assert written == {"operations": 1, "requests": 1, "events": 2}
    assert len(await world.sandbox.requests("*")) == asked
    return found


# ── Made ──


async def test_made_then_replayed(world: World, carl: str) -> None:
    key = str(uuid.uuid4())
    first = await world.withdraw(key=key)
    assert first.status_code == 201
    made = first.json()
    assert first.headers["location"] == f"{WITHDRAWALS}/{made['id']}"
    assert made["id"].startswith("wd_")
    assert (made["kind"], made["user_id"], made["amount"], made["currency"]) == ("withdrawal", "carl", 8_000, "usd")
    assert made["status"] not in ("requested", "failed")
    assert date.fromisoformat(made["estimated_arrival"]) > datetime.now(UTC).date()

    paid = await world.until(made["id"], lambda now: now["status"] == "paid")
    again = await world.withdraw(key=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    shown = again.json()
    assert (shown["status"], shown["stripe_account"], shown["failure"]) == ("paid", carl, None)
    assert shown["transfer"].startswith("tr_")
    assert shown["payout"].startswith("po_")
    assert shown["estimated_arrival"] == paid["details"]["estimated_arrival"], "Stripe has said so"
    for role, user in (("contractor", "carl"), ("service", "shop"), ("admin", "root")):
        assert await world.get(f"{WITHDRAWALS}/{made['id']}", user=user, role=role) == shown
    listed = await world.get(f"{WITHDRAWALS}?limit=1", user="carl")
    assert listed["data"] == [shown]
    other = await world.withdraw(8_001, key=key)
    problem(other, 422, "idempotency-key-reused")


async def test_service_names_the_user(world: World, carl: str) -> None:
    body: dict[str, Any] = {"amount": 1_000, "currency": "usd"}
    for path in (WITHDRAWALS, PREVIEW):
        names(await world.call("POST", path, body, user="shop", role="service"), "user_id")
        other = await world.call("POST", path, body | {"user_id": "zoe"}, user="carl", role="contractor")
        names(other, "user_id")
    foretold = await world.call("POST", PREVIEW, body | {"user_id": "carl"}, user="shop", role="service")
    assert foretold.json()["allowed"]
    made = await world.call("POST", WITHDRAWALS, body | {"user_id": "carl"}, user="shop", role="service")
    assert (made.status_code, made.json()["user_id"]) == (201, "carl")


async def test_sent_back_by_the_bank(world: World) -> None:
    """It was accepted, so its replay is no problem: it says what became of it."""
    await world.onboarded("rita", account_number=REFUSING_BANK)
    await world.funded("rita")
    key = str(uuid.uuid4())
    made = await world.withdraw(user="rita", key=key)
    assert made.status_code == 201
    await world.closed(made.json()["id"])
    again = await world.withdraw(user="rita", key=key)
    assert (again.status_code, again.json()["status"]) == (200, "reversed")
    failure = again.json()["failure"]
    assert (failure["code"], failure["decline_code"]) == ("payout-failed", "account_closed")
    assert again.json()["estimated_arrival"] is None
    assert await world.available("rita") == 20_000
    # Stripe pays nothing more to that bank.
    await world.until(await account_operation(world, "rita"), lambda now: now["status"] == "restricted")
    await refused(world, "account-not-able", user="rita")


async def account_operation(world: World, user: str) -> str:
    """The operation of a contractor's account."""
    return str((await world.get("/v1/connect/account", user=user))["id"])


# ── Refused by its form ──


async def test_bad_form(world: World) -> None:
    """A problem that names the field and the remedy; nothing is written, by the POST or by the preview."""
    async with nothing_written(world):
        for path in (WITHDRAWALS, PREVIEW):
            for amount in AMOUNTS:
                content = b'{"amount":%s,"currency":"usd"}' % amount.encode()
                names(await _post(world, path, content), "amount")
            for outside in (b"999", b"1000001"):
                found = names(await _post(world, path, b'{"amount":%s,"currency":"usd"}' % outside), "amount")
                assert found["remedy"] == "Withdraw at least 10.00 USD and at most 10000.00 USD."
            found = names(await _post(world, path, b'{"amount":30005,"currency":"kwd"}'), "amount")
            assert "30.000 KWD or 30.010 KWD" in found["remedy"]
            for code in (b'"xyz"', b'"USD"', b'"chf"', b"840", b"null"):
                names(await _post(world, path, b'{"amount":8000,"currency":%s}' % code), "currency")
            for field in ("status", "stripe_account", "payout", "fee"):
                body = {"amount": 8_000, "currency": "usd", field: "x"}
                names(await world.call("POST", path, body, user="carl", role="contractor"), field)
            for missing in (b'{"amount":8000}', b'{"currency":"usd"}', b"{}", b""):
                problem(await _post(world, path, missing), 422, "invalid-field")
            problem(await _post(world, path, b"["), 400, "malformed-request")
        headers = {"Authorization": f"Bearer {world.token('carl', 'contractor')}"}
        for path in (WITHDRAWALS, f"{WITHDRAWALS}/wd_x/cancel"):
            answer = await world.http.post(path, json={"amount": 8_000, "currency": "usd"}, headers=headers)
            problem(answer, 400, "idempotency-key-missing")


async def _post(world: World, path: str, content: bytes) -> Any:
    headers = {
        "Authorization": f"Bearer {world.token('carl', 'contractor')}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    return await world.http.post(path, content=content, headers=headers)


# ── Refused by the state of things ──


async def test_more_than_the_wallet_holds(world: World) -> None:
    await world.onboarded("paul")
    await world.funded("paul", 5_000)
    found = await refused(world, "not-withdrawable", 5_001, user="paul")
    assert found["detail"] == "50.00 USD can be withdrawn now, not 50.01 USD."
    assert (await previewed(world, user="paul"))["withdrawable"] == 5_000
    assert (await world.withdraw(5_000, user="paul")).status_code == 201
    problem(await world.withdraw(1_000, user="paul"), 409, "not-withdrawable")


async def test_no_account_and_one_that_is_not_able(world: World) -> None:
    await world.funded("nina")
    await refused(world, "no-connected-account", user="nina")
    await world.call("PUT", "/v1/me", {"email": "nina@example.com", "country": "US"}, user="nina")
    urls = {"return_url": "http://localhost/done", "refresh_url": "http://localhost/again"}
    made = await world.call("POST", "/v1/connect/account", urls, user="nina", role="contractor")
    found = await refused(world, "account-not-able", user="nina")
    assert "Stripe asks for: " in found["detail"]
    assert "/v1/connect/account/link" in found["remedy"]

    await world.sandbox.control("POST", f"accounts/{made.json()['stripe_account']}/deauthorize")
    await world.closed(made.json()["id"])
    await refused(world, "no-connected-account", user="nina")


async def test_currency_that_the_account_does_not_hold(world: World, carl: str) -> None:
    found = await refused(world, "currency-not-held", currency="eur", status=422)
    assert "eur" in found["detail"]
    foretold = await previewed(world, currency="eur")
    assert [one["code"] for one in foretold["refusals"]] == ["currency-not-held", "not-withdrawable"]


async def test_frozen_and_deactivated(world: World, carl: str) -> None:
    wallet = (await world.wallet())["id"]
    await world.admin(f"wallets/{wallet}/freeze")
    await refused(world, "wallet-frozen")
    await world.admin(f"wallets/{wallet}/deactivate")
    found = await refused(world, "wallet-deactivated")
    assert [one["code"] for one in (await previewed(world))["refusals"]] == ["wallet-deactivated", "wallet-frozen"]
    for verb in ("unfreeze", "activate"):
        await world.admin(f"wallets/{wallet}/{verb}")
    assert (await previewed(world))["allowed"]
    # It cannot be canceled either, which changes nothing.
    path = f"{WITHDRAWALS}/{found['operation_id']}/cancel"
    problem(await world.call("POST", path, user="carl", role="contractor"), 409, "not-cancelable")


async def test_open_receivable(world: World, carl: str, database: Database) -> None:
    """Whoever owes us money, in whatever currency, withdraws none."""
    owed = move(
        Money(500, "eur"),
        debit=Account(AccountKind.RECEIVABLE, "eur", "carl"),
        credit=Account(AccountKind.DISPUTE_LOSSES, "eur"),
    )
    operation = await account_operation(world, "carl")
    async with database.transaction() as connection:
        await ledger.post(connection, operation, "owed", owed)
    await refused(world, "receivable-open")
    async with database.transaction() as connection:
        await ledger.post(connection, operation, "repaid", owed.mirrored())
    assert (await previewed(world))["allowed"]


# ── Previews ──


async def test_preview_changes_nothing(world: World, carl: str) -> None:
    """It needs no Idempotency-Key, and makes neither an operation nor a wallet nor a user."""
    async with nothing_written(world):
        available = (await world.wallet())["available"]
        headers = {"Authorization": f"Bearer {world.token('carl', 'contractor')}"}
        answer = await world.http.post(PREVIEW, json={"amount": 8_000, "currency": "usd"}, headers=headers)
        assert answer.status_code == 200
        assert answer.json() == {
            "allowed": True,
            "refusals": [],
            "withdrawable": available,
            "amount": 8_000,
            "currency": "usd",
            "estimated_arrival": str(datetime.now(UTC).date() + timedelta(days=world.settings.payout_days)),
        }
        stranger = await previewed(world, user="stranger")
        assert (stranger["allowed"], stranger["withdrawable"]) == (False, 0)
        assert [one["code"] for one in stranger["refusals"]] == ["no-connected-account", "not-withdrawable"]
        euros = await previewed(world, currency="eur", user="carl")
        assert (euros["allowed"], euros["withdrawable"]) == (False, 0)


# ── Canceled ──


async def test_cancel_while_it_awaits_funds(world: World, carl: str) -> None:
    before = await world.available("carl")
    drained = {"amount": -1_000_000_000}
    await world.sandbox.control("POST", "adjust_balance", **drained)
    made = (await world.withdraw()).json()
    await world.until(made["id"], lambda now: now["status"] == "awaiting_funds")
    assert await world.available("carl") == before - 8_000
    path, key = f"{WITHDRAWALS}/{made['id']}/cancel", str(uuid.uuid4())
    answers = [await world.call("POST", path, user="carl", role="contractor", key=key) for _ in range(2)]
    await world.sandbox.control("POST", "adjust_balance", amount=-drained["amount"])
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "canceled")] * 2
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    assert answers[0].json()["estimated_arrival"] is None
    assert await world.available("carl") == before
    # Stripe has refused for want of funds, and will not be asked again.
    shown = await world.operation(made["id"])
    assert [call["outcome"] for call in shown["calls"]] == [*["refused"] * (len(shown["calls"]) - 1), "closed"]
    assert shown["steps"][-1]["outcome"] == "done", "restored"
    assert "closed" in [step["outcome"] for step in shown["steps"]]


async def test_cancel_past_the_payout(world: World, carl: str) -> None:
    made = (await world.withdraw()).json()
    await world.until(made["id"], lambda now: now["status"] == "paid")
    path, key = f"{WITHDRAWALS}/{made['id']}/cancel", str(uuid.uuid4())
    answers = [await world.call("POST", path, user="carl", role="contractor", key=key) for _ in range(2)]
    for answer in answers:
        found = problem(answer, 409, "not-cancelable")
        assert (found["detail"], found["operation_id"]) == ("The withdrawal is paid.", made["id"])
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    assert (await world.operation(made["id"]))["status"] == "paid"
