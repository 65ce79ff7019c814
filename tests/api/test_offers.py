"""Making offers and acting on them: each party's verbs, and everything that is refused."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from activities.offer_ledger import OfferAct, OfferLedger
from cli.stack.ports import free_port
from db import ledger
from db.engine import Database, open_database
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.offers import RULES, OfferVerb, OfferWish, Party
from domain.postings import move
from domain.settings import Mode
from domain.statuses import OfferStatus
from tests.api.counting import nothing_written, quiet, rows
from tests.api.test_bad_input import AMOUNTS, names, problem
from tests.auditing import assert_clean
from tests.world import World

OFFERS = "/v1/offers"
GOOD: dict[str, Any] = {"contractor_id": "carl", "amount": 10_000, "currency": "usd"}
WHO = {Party.CUSTOMER: "alice", Party.CONTRACTOR: "carl"}
BODIES: dict[str, dict[str, Any]] = {"release": {"milestone": 1}, "contest": {"reason": "half is missing"}}
OVER = {"completed", "declined", "expired", "canceled", "resolved", "failed"}

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture(scope="module")
async def alice(world: World) -> str:
    """A customer with 10,000.00 USD and 1,000.000 KWD; her wallet's id, of the dollars."""
    paid = [
        await world.accepted_deposit(1_000_000, code, payment_method="pm_card_bypassPending") for code in ("usd", "kwd")
    ]
    for deposit in paid:
        await world.closed(deposit["id"])
    return str(paid[0]["wallet_id"])


@pytest.fixture(scope="module")
async def database(world: World) -> AsyncIterator[Database]:
    """The world's database, as the application sees it."""
    async with open_database(world.settings.database_url.get_secret_value(), pool_size=2) as opened:
        yield opened


async def made(world: World, *acts: str, **more: Any) -> str:
    """An offer of alice's to carl, after `acts`: each `<user> <verb>`, in the verb's usual words; its id."""
    answer = await world.offer(**GOOD | {"contractor": "carl", "milestones": [4_000, 5_000]} | more)
    assert answer.status_code == 201, answer.text
    offer = str(answer.json()["id"])
    for act in acts:
        user, verb = act.split()
        await world.acted(offer, verb, BODIES.get(verb), user=user)
    return offer


async def resolve(
    world: World, offer: str, to_contractor: Any, to_customer: Any, *, key: str | None = None, role: str = "admin"
) -> httpx.Response:
    """An operator's split."""
    body = {"to_contractor": to_contractor, "to_customer": to_customer, "reason": "both have a point"}
    return await world.call("POST", f"/v1/admin/offers/{offer}/resolve", body, user="root", role=role, key=key)


async def act(world: World, offer: str, verb: OfferVerb, party: Party, *, key: str | None = None) -> httpx.Response:
    """A verb in its usual words, by a party, or an operator."""
    if party is Party.OPERATOR:
        return await resolve(world, offer, 10_000, 0, key=key)
    return await world.act(offer, verb.replace("_", "-"), BODIES.get(verb), user=WHO[party], key=key)


async def trace(world: World, offer: str) -> list[Any]:
    """All that an offer is: its status, its row, its postings, what was done to it, and the events that tell of it."""
    tables = {
        "offers": "operation_id",
        "ledger_transactions": "id",
        "offer_actions": "action_id",
        "events": "id",
    }
    parts = [
        f"(SELECT jsonb_agg(t ORDER BY {key}) FROM {name} t WHERE operation_id = $1)" for name, key in tables.items()
    ]
    query = f"SELECT to_jsonb(o) - 'started_at', {', '.join(parts)} FROM operations o WHERE id = $1"
    return [tuple(row) for row in await world.sql(query, offer)]


@asynccontextmanager
async def only_requests(world: World, offer: str, count: int) -> AsyncIterator[None]:
    """The block leaves no trace on the offer, and so many requests that keep their refusals; and nothing else."""
    before, as_it_was = await rows(world), await trace(world, offer)
    yield
    written = {name: rows_ - before[name] for name, rows_ in (await rows(world)).items() if rows_ != before[name]}
    assert written == ({"requests": count} if count else {})
    assert await trace(world, offer) == as_it_was


# ── Made ──


async def test_made_then_replayed(world: World, alice: str) -> None:
    before, key = await world.wallet("alice"), str(uuid.uuid4())
    more: dict[str, Any] = {"contractor": "dora", "milestones": [4_000, 5_000], "job": "job 4711"}
    first = await world.offer(key=key, **more)
    assert first.status_code == 201
    offer = first.json()
    assert first.headers["location"] == f"{OFFERS}/{offer['id']}"
    assert offer["id"].startswith("off_")
    assert [offer[name] for name in ("kind", "status", "user_id", "wallet_id", "contractor_id", "amount")] == [
        "offer", "held", "alice", alice, "dora", 10_000,
    ]  # fmt: skip
    assert [offer[name] for name in ("platform_fee", "released", "service_fee", "returned", "left")] == [
        500, 0, 0, 0, 10_000,
    ]  # fmt: skip
    assert (offer["job"], offer["auto_payout"], offer["payouts"], offer["actions"]) == ("job 4711", False, [], [])
    assert [part["amount"] for part in offer["milestones"]] == [4_000, 5_000]
    assert not any(part["released"] for part in offer["milestones"])
    assert offer["accept_by"] is not None
    assert (offer["deliver_by"], offer["complete_by"], offer["cancel_asked"]) == (None, None, False)
    after = await world.wallet("alice")
    assert (before["available"] - after["available"], after["escrow"] - before["escrow"]) == (10_500, 10_500)

    async with nothing_written(world):
        again = await world.offer(key=key, **more)
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
        assert again.json() == offer
        problem(await world.offer(9_999, key=key, **more), 422, "idempotency-key-reused")
    await world.acted(offer["id"], "accept", user="dora")
    accepted = (await world.offer(key=key, **more)).json()
    assert (accepted["status"], accepted["deliver_by"] is not None) == ("accepted", True)
    for user, role in (("alice", "customer"), ("dora", "contractor"), ("root", "admin"), ("shop", "service")):
        assert await world.get(f"{OFFERS}/{offer['id']}", user=user, role=role) == accepted


@pytest.mark.parametrize(("amount", "currency", "fee"), [(1_010, "usd", 51), (10_110, "kwd", 510)])
async def test_platform_fee_is_rounded_to_what_can_be_paid(world: World, amount: int, currency: str, fee: int) -> None:
    offer = (await world.offer(amount, currency)).json()
    assert (offer["status"], offer["platform_fee"]) == ("held", fee)
    [posting] = (await world.operation(offer["id"]))["postings"]
    assert {abs(entry["amount"]) for entry in posting["entries"]} == {amount + fee}


# ── Refused by its form ──


async def test_bad_form(world: World) -> None:
    """A problem that names the field and the remedy, and nothing written."""
    async with nothing_written(world):
        for amount in AMOUNTS:
            content = b'{"contractor_id":"carl","amount":%s,"currency":"usd"}' % amount.encode()
            names(await _post(world, content), "amount")
        found = names(await world.offer(999), "amount")
        assert found["remedy"] == "Offer at least 10.00 USD and at most 999999.99 USD."
        assert "multiple of 10" in names(await world.offer(30_005, "kwd"), "amount")["detail"]
        for code in ("xyz", "USD", "chf", 840, None):
            names(await world.call("POST", OFFERS, GOOD | {"currency": code}), "currency")

        contractors: list[Any] = ["", "x" * 256, "a\nb", "a\u2028b", 7, None, ["carl"], {"id": "carl"}]
        for contractor in contractors:
            names(await world.call("POST", OFFERS, GOOD | {"contractor_id": contractor}), "contractor_id")
        oneself = names(await world.offer(contractor="alice"), "contractor_id")
        assert "oneself" in oneself["detail"]
        named = GOOD | {"user_id": "carl"}
        names(await world.call("POST", OFFERS, named, user="shop", role="service"), "contractor_id")

        parts: list[Any] = [
            [10_001], [4_000, 6_001], [0], [-1], [4_000, -1], [1.5], ["4000"], [True], [None], 4_000, "4000", None,
            [2**63], [1] * 51, [[4_000]],
        ]  # fmt: skip
        for milestones in parts:
            found = problem(await world.offer(milestones=milestones), 422, "invalid-field")
            assert found["errors"][0]["field"].startswith("milestones"), found
        found = names(await world.offer(milestones=[4_000, 6_001]), "milestones")
        assert (found["detail"], found["remedy"]) == (
            "The milestones are 10001 minor units, and the offer 10000.",
            "Let them add up to at most the amount.",
        )
        found = names(await world.offer(30_000, "kwd", milestones=[10_000, 5_005]), "milestones")
        assert "Milestone 2" in found["detail"]

        jobs: list[Any] = ["", "x" * 201, "a\nb", "a\x7f", 7]
        for job in jobs:
            names(await world.offer(job=job), "job")
        flags: list[Any] = ["yes", "true", 1, 0, None]
        for flag in flags:
            names(await world.offer(auto_payout=flag), "auto_payout")
        waits: list[Any] = [0, -1, 90 * 86_400 + 1, 2**63, 1.5, "3600", True]
        for name in ("accept_within", "complete_within"):
            for wait in waits:
                names(await world.offer(**{name: wait}), name)
        for field in ("status", "platform_fee", "service_fee_rate", "customer_id", "deliver_within", "released", "id"):
            names(await world.call("POST", OFFERS, GOOD | {field: "x"}), field)
        for missing in GOOD:
            names(await world.call("POST", OFFERS, {k: v for k, v in GOOD.items() if k != missing}), missing)
        headers = {"Authorization": f"Bearer {world.token()}"}
        for path in (OFFERS, f"{OFFERS}/off_x/accept", f"{OFFERS}/off_x/release", f"{OFFERS}/off_x/contest"):
            problem(await world.http.post(path, json=GOOD, headers=headers), 400, "idempotency-key-missing")


async def test_bad_form_of_a_verb(world: World) -> None:
    """The same, whatever the offer: even one that does not exist."""
    name = "off_x"
    async with nothing_written(world):
        milestones: list[Any] = [0, -1, 51, "1", 1.0, True, None, 2**63]
        for body in [{}, *({"milestone": milestone} for milestone in milestones)]:
            names(await world.act(name, "release", body, user="alice"), "milestone")
        reasons: list[Any] = ["", " ", "x" * 501, "a\nb", 7]
        for verb in ("accept", "contest"):
            for reason in reasons:
                names(await world.act(name, verb, {"reason": reason}, user="alice"), "reason")
        names(await world.act(name, "contest", user="alice"), "reason")
        for verb in ("accept", "decline", "cancel", "agree-cancel", "deliver", "complete", "release", "contest"):
            names(await world.act(name, verb, {"status": "completed"}, user="alice"), "status")
            names(await world.act(name, verb, BODIES.get(verb, {}) | {"user_id": "bob"}, user="alice"), "user_id")
        shares: list[Any] = [-1, 1.5, "1", True, None, 2**63]
        for share in shares:
            names(await resolve(world, name, share, 1), "to_contractor")
            names(await resolve(world, name, 1, share), "to_customer")
        problem(await world.act(name, "accept", user="carl", key="two words"), 400, "idempotency-key-malformed")


async def _post(world: World, content: bytes) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {world.token()}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    return await world.http.post(OFFERS, content=content, headers=headers)


async def test_waits_that_are_asked_for(world: World) -> None:
    longest = 90 * 86_400
    offer = await made(world, accept_within=longest, complete_within=1)
    [row] = await world.sql("SELECT * FROM offers WHERE operation_id = $1", offer)
    assert (row["accept_within"], row["deliver_within"], row["complete_within"]) == (longest, 14 * 86_400, 1)


async def test_beyond_development_nobody_is_hurried(world: World) -> None:
    """At least an hour; where nothing is real a second will do, and what is left out is as the settings say."""
    settings = world.settings.model_copy(update={"mode": Mode.STAGING})
    staging = World(
        settings=settings,
        superuser_url=world.superuser_url,
        sandbox=world.sandbox,
        temporal=world.temporal,
        http=world.http,
    )
    async with staging.serving(port=free_port()) as http:
        staging.http = http
        for name in ("accept_within", "complete_within"):
            async with nothing_written(world):
                found = names(await staging.call("POST", OFFERS, GOOD | {name: 3_599}), name)
                assert "between 3600 and 7776000 seconds" in found["detail"]
            assert (await staging.call("POST", OFFERS, GOOD | {name: 3_600})).status_code == 201
    async with nothing_written(world):
        assert "between 1 and" in names(await world.offer(accept_within=0), "accept_within")["detail"]


# ── Refused by the state of things ──


async def refused(world: World, code: str, **more: Any) -> dict[str, Any]:
    """The problem of an offer that the state of things forbids, having left one failed operation and no more."""
    await quiet(world)
    before, wallet, key = await rows(world), await world.wallet("alice"), str(uuid.uuid4())

    answers = [await world.offer(key=key, **more) for _ in range(2)]

    found = problem(answers[0], 409, code)
    assert answers[1].content == answers[0].content
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    operation = await world.closed(found["operation_id"])
    assert (operation["status"], operation["failure"]["code"]) == ("failed", code)
    assert [operation[name] for name in ("steps", "calls", "postings", "stripe_events")] == [[], [], [], []]
    written = {name: count - before[name] for name, count in (await rows(world)).items() if count != before[name]}
    assert written == {"operations": 1, "offers": 1, "requests": 1, "events": 2}
    shown = await world.get(f"{OFFERS}/{operation['id']}", user="root", role="admin")
    assert [shown[name] for name in ("status", "left", "released", "returned", "actions", "accept_by")] == [
        "failed", 0, 0, 0, [], None,
    ]  # fmt: skip
    assert shown["failure"]["detail"] == found["detail"]
    assert await world.wallet("alice") == wallet
    return found


async def test_more_than_there_is(world: World, alice: str) -> None:
    """The platform's fee counts; and to the last cent it is taken."""
    await made(world)  # Carl has a wallet.
    await world.give("alice", "poor", 10_499)
    found = await refused(world, "not-withdrawable", user="poor")
    assert found["detail"] == "The wallet holds 104.99 USD; the offer and the platform's fee are 105.00 USD."
    await world.give("alice", "poor", 1)
    offer = (await world.offer(user="poor")).json()
    assert offer["status"] == "held"
    wallet = await world.wallet("poor")
    assert (wallet["available"], wallet["escrow"]) == (0, 10_500)
    # What is in escrow is no money to spend.
    problem(await world.offer(user="poor"), 409, "not-withdrawable")
    await world.acted(offer["id"], "decline", user="carl")
    assert await world.available("poor") == 10_500
    # A wallet of another currency is another wallet.
    await world.offer(10_000, "eur")
    assert "The wallet holds 0.00 EUR" in (await refused(world, "not-withdrawable", currency="eur"))["detail"]


async def test_wallets_that_may_not(world: World, alice: str) -> None:
    """A frozen wallet gives nothing, but it takes; one that is deactivated does neither. The gravest comes first."""
    await made(world)
    carl = (await world.wallet("carl"))["id"]
    await world.admin(f"wallets/{carl}/freeze")
    await made(world, "carl accept", "alice complete")
    await world.admin(f"wallets/{carl}/unfreeze")

    await world.admin(f"wallets/{alice}/freeze")
    await refused(world, "wallet-frozen")
    await world.admin(f"wallets/{carl}/deactivate")
    assert "contractor's" in (await refused(world, "wallet-deactivated"))["detail"]
    await world.admin(f"wallets/{alice}/deactivate")
    assert "customer's" in (await refused(world, "wallet-deactivated"))["detail"]
    for wallet, verb in ((alice, "unfreeze"), (alice, "activate"), (carl, "activate")):
        await world.admin(f"wallets/{wallet}/{verb}")
    await made(world)


async def test_open_receivable(world: World, database: Database) -> None:
    """Whoever owes us money, in whatever currency, offers none; what they are offered is another matter."""
    owed = move(
        Money(500, "eur"),
        debit=Account(AccountKind.RECEIVABLE, "eur", "alice"),
        credit=Account(AccountKind.DISPUTE_LOSSES, "eur"),
    )
    [deposit, *_] = (await world.get("/v1/deposits"))["data"]
    await made(world)
    async with database.transaction() as connection:
        await ledger.post(connection, deposit["id"], "owed", owed)
    await refused(world, "receivable-open")
    await world.give("alice", "carl", 10_500)
    assert (await world.offer(user="carl", contractor="alice")).json()["status"] == "held"
    async with database.transaction() as connection:
        await ledger.post(connection, deposit["id"], "repaid", owed.mirrored())
    await made(world)


async def test_a_contractors_wallet_that_takes_no_money_accepts_nothing(world: World) -> None:
    offer, carl = await made(world), (await world.wallet("carl"))["id"]
    await world.admin(f"wallets/{carl}/deactivate")
    keys = [str(uuid.uuid4()) for _ in range(2)]
    async with only_requests(world, offer, 1):
        problem(await world.act(offer, "accept", user="carl", key=keys[0]), 409, "wallet-deactivated")
    await world.admin(f"wallets/{carl}/activate")
    # The key keeps its answer; a new one is a new try.
    again = await world.act(offer, "accept", user="carl", key=keys[0])
    problem(again, 409, "wallet-deactivated")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await world.act(offer, "accept", user="carl", key=keys[1])).json()["status"] == "accepted"
    # What was accepted is seen through.
    await world.admin(f"wallets/{carl}/deactivate")
    assert (await world.acted(offer, "complete", user="alice"))["status"] == "completed"
    await world.admin(f"wallets/{carl}/activate")


# ── Verbs ──


WAYS: dict[str, tuple[str, ...]] = {
    "held": (),
    "accepted": ("carl accept",),
    "delivered": ("carl accept", "carl deliver"),
    "contested": ("carl accept", "alice contest"),
    "completed": ("carl accept", "alice release", "alice complete"),
    "declined": ("carl decline",),
    "canceled": ("alice cancel",),
    "resolved": ("carl accept", "carl contest"),
}
"""How an offer comes to a status."""


async def in_every_status(world: World) -> dict[OfferStatus, str]:
    """An offer in each status that one can stay in; their ids."""
    expiring = await made(world, accept_within=1)
    found = {OfferStatus(status): await made(world, *acts) for status, acts in WAYS.items()}
    assert (await resolve(world, found[OfferStatus.RESOLVED], 10_000, 0)).status_code == 200
    poor = await world.offer(user="alice", amount=90_000_000)
    failed = problem(poor, 409, "not-withdrawable")["operation_id"]
    await world.until(expiring, lambda now: now["status"] == "expired")
    found |= {OfferStatus.EXPIRED: expiring, OfferStatus.FAILED: failed}
    for status, offer in found.items():
        assert (await world.get(f"{OFFERS}/{offer}"))["status"] == status
        if status in OVER:
            await world.closed(offer)
    return found


async def test_a_verb_in_the_wrong_state_leaves_no_trace(world: World) -> None:
    """Every verb, in every status: 409 for whose it is."""
    offers = await in_every_status(world)
    verbs = set(OfferVerb) - {OfferVerb.EXPIRE, OfferVerb.AUTO_COMPLETE}
    assert set(offers) == set(OfferStatus) - {OfferStatus.REQUESTED}
    for status, offer in offers.items():
        wrong = [
            (verb, party)
            for verb in sorted(verbs)
            for party in sorted(RULES[verb].parties)
            if status not in RULES[verb].statuses and (party in WHO or verb is OfferVerb.RESOLVE)
        ]
        if status in OVER - {"completed"}:
            # All that is over is answered alike.
            wrong = [one for one in wrong if one[0] in (OfferVerb.ACCEPT, OfferVerb.DELIVER)]
        keys = [str(uuid.uuid4()) for _ in wrong]
        async with only_requests(world, offer, len(wrong)):
            first = await asyncio.gather(
                *(act(world, offer, verb, party, key=key) for (verb, party), key in zip(wrong, keys, strict=True))
            )
            for (verb, _), answer in zip(wrong, first, strict=True):
                found = problem(answer, 409, "wrong-state")
                assert found["detail"].startswith(f"The offer is {status}; to {verb.replace('_', '-')} it, it must be")
                assert (found["operation_id"], answer.headers.get("Idempotent-Replayed")) == (offer, None)
            again = await act(world, offer, *wrong[0], key=keys[0])
            assert (again.content, again.headers["Idempotent-Replayed"]) == (first[0].content, "true")
            other = next(verb for verb, party in wrong[1:] if party is wrong[0][1])
            problem(await act(world, offer, other, wrong[0][1], key=keys[0]), 422, "idempotency-key-reused")


async def test_a_verb_by_the_wrong_party_or_by_nobody_of_them_leaves_no_trace(world: World) -> None:
    """403 for the other party and for who sees everything; for everybody else the offer does not exist."""
    offer, unknown = await made(world), "off_" + "0" * 26
    async with only_requests(world, offer, 0):
        for verb in sorted(set(OfferVerb) - {OfferVerb.EXPIRE, OfferVerb.AUTO_COMPLETE, OfferVerb.RESOLVE}):
            for party in set(WHO) - RULES[verb].parties:
                problem(await act(world, offer, verb, party), 403, "not-the-party")
            path, body = f"{OFFERS}/%s/{verb.replace('_', '-')}", BODIES.get(verb, {})
            answers = [await world.call("POST", path % name, body, user="mallory") for name in (offer, unknown)]
            problem(answers[0], 404, "not-found")
            assert answers[0].content == answers[1].content
            # An admin sees it, and is no party; a service is whom it names.
            problem(await world.call("POST", path % offer, body, user="root", role="admin"), 403, "not-the-party")
            theirs = body | {"user_id": "mallory"}
            problem(await world.call("POST", path % offer, theirs, user="s", role="service"), 403, "not-the-party")
            names(await world.call("POST", path % offer, body, user="s", role="service"), "user_id")
        problem(await resolve(world, offer, 1, 1, role="service"), 403, "forbidden")
        problem(await world.call("GET", f"{OFFERS}/{offer}", user="mallory"), 404, "not-found")


async def test_each_verb_is_done_once_whoever_repeats_it(world: World) -> None:
    """The same key is answered with the offer as it is; another key finds that it is done."""
    lives: list[list[str]] = [
        ["carl accept", "carl deliver", "alice release", "alice complete"],
        ["carl decline"],
        ["alice cancel"],
        ["carl accept", "alice contest", "root resolve"],
    ]
    for life in lives:
        offer = await made(world)
        for said in life:
            user, word = said.split()
            verb = OfferVerb(word)
            party = Party.OPERATOR if user == "root" else Party.CUSTOMER if user == "alice" else Party.CONTRACTOR
            key = str(uuid.uuid4())
            done = await act(world, offer, verb, party, key=key)
            assert (done.status_code, "Idempotent-Replayed" in done.headers) == (200, False), done.text
            again = await act(world, offer, verb, party, key=key)
            assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
            code = "milestone-released" if verb is OfferVerb.RELEASE else "wrong-state"
            problem(await act(world, offer, verb, party), 409, code)
            assert again.json() == done.json() == await world.get(f"{OFFERS}/{offer}")


async def test_an_act_whose_answer_was_lost_is_not_done_again(world: World, database: Database) -> None:
    """Nor is one done that the clock asks for too early. Its step alone, since Temporal too knows what was asked."""
    offer, step = await made(world, "carl accept"), OfferLedger(database, payout_bounds={}, earnings_hold=0).act

    def asked(verb: OfferVerb, party: Party, **more: Any) -> OfferAct:
        return OfferAct(operation_id=offer, action_id=f"a {verb}", verb=verb, wish=OfferWish(party=party, **more))

    release = asked(OfferVerb.RELEASE, Party.CUSTOMER, milestone=1)
    once = await step(release)
    assert (once.status, once.left, once.waits) == ("accepted", 6_000, None)
    async with only_requests(world, offer, 0):
        assert await step(release) == once
    assert (await step(asked(OfferVerb.DELIVER, Party.CONTRACTOR))).status == "delivered"
    async with only_requests(world, offer, 0):
        early = await step(asked(OfferVerb.AUTO_COMPLETE, Party.CLOCK))
        assert early.status == "delivered"
        assert early.waits is not None
        assert early.waits > 0


async def test_canceling_what_was_accepted_takes_two(world: World) -> None:
    offer = await made(world, "carl accept")
    async with only_requests(world, offer, 1):
        found = problem(await world.act(offer, "agree-cancel", user="carl"), 409, "wrong-state")
        assert found["detail"] == "The customer has not asked to cancel the offer."
    for _ in range(2):  # Asked twice, it is asked; it still takes the contractor.
        asked = await world.acted(offer, "cancel", {"reason": "not needed any more"}, user="alice")
        assert (asked["status"], asked["cancel_asked"]) == ("accepted", True)
    # And it goes on if they do not agree.
    assert (await world.acted(offer, "deliver", user="carl"))["cancel_asked"]
    agreed = await world.acted(offer, "agree-cancel", user="carl")
    assert (agreed["status"], agreed["returned"], agreed["left"]) == ("canceled", 10_000, 0)


async def test_milestones(world: World) -> None:
    """Those that there are, each once; the offer is completed with what they leave, or with the last of them."""
    offer = await made(world, "carl accept", milestones=[4_000, 5_000])
    async with only_requests(world, offer, 1):
        found = problem(await world.act(offer, "release", {"milestone": 3}, user="alice"), 409, "milestone-released")
        assert found["detail"] == "The offer has 2 milestones."
    released = await world.acted(offer, "release", {"milestone": 2}, user="alice")
    assert [part["released"] for part in released["milestones"]] == [False, True]
    assert [released[name] for name in ("released", "service_fee", "left", "status")] == [
        5_000, 1_000, 5_000, "accepted",
    ]  # fmt: skip
    async with only_requests(world, offer, 1):
        found = problem(await world.act(offer, "release", {"milestone": 2}, user="alice"), 409, "milestone-released")
        assert found["detail"] == "Milestone 2 was released before."
    released = await world.acted(offer, "release", {"milestone": 1}, user="alice")
    assert (released["status"], released["left"]) == ("accepted", 1_000)
    completed = await world.acted(offer, "complete", user="alice")
    assert (completed["status"], completed["service_fee"], completed["left"]) == ("completed", 2_000, 0)

    whole = await made(world, "carl accept", milestones=[3_333, 3_333, 3_334])
    fees = [
        (await world.acted(whole, "release", {"milestone": number}, user="alice"))["service_fee"]
        for number in (3, 1, 2)
    ]
    assert fees == [667, 1_333, 2_000]
    assert (await world.get(f"{OFFERS}/{whole}"))["status"] == "completed"
    none = await made(world, "carl accept", milestones=[])
    async with only_requests(world, none, 1):
        problem(await world.act(none, "release", {"milestone": 1}, user="alice"), 409, "milestone-released")


async def test_splits(world: World) -> None:
    """All that is left, in payable parts, or nothing happens; a share may be 0."""
    offer = await made(world, "carl accept", "alice release", "carl contest")
    wrong = [(6_001, 0), (0, 5_999), (3_000, 3_001), (0, 0), (10_000, 0)]
    async with only_requests(world, offer, len(wrong)):
        for shares in wrong:
            found = problem(await resolve(world, offer, *shares), 409, "split-mismatch")
            assert found["detail"] == "The shares must add up to 6000 minor units, which are 60.00 USD."
    resolved = (await resolve(world, offer, 0, 6_000)).json()
    assert [resolved[name] for name in ("status", "released", "service_fee", "returned")] == [
        "resolved", 4_000, 800, 6_000,
    ]  # fmt: skip

    dinars = await made(world, "carl accept", "carl contest", amount=30_000, currency="kwd", milestones=[])
    async with only_requests(world, dinars, 2):
        for shares in ((15_005, 14_995), (29_999, 1)):
            found = problem(await resolve(world, dinars, *shares), 409, "split-mismatch")
            assert found["detail"] == "Each share must be a multiple of 10 minor units."
    resolved = (await resolve(world, dinars, 10_070, 19_930)).json()
    assert [resolved[name] for name in ("released", "service_fee", "returned")] == [10_070, 2_010, 19_930]


# ── Who ──


async def test_a_service_acts_for_whom_it_names(world: World) -> None:
    async def call(path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        answer = await world.call("POST", path, body, user="shop", role="service")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    names(await world.call("POST", OFFERS, GOOD, user="shop", role="service"), "user_id")
    offer = await call(OFFERS, GOOD | {"user_id": "alice", "contractor_id": "zoë"}, 201)
    assert (offer["user_id"], offer["contractor_id"]) == ("alice", "zoë")
    path = f"{OFFERS}/{offer['id']}"
    await call(f"{path}/accept", {"user_id": "zoë", "reason": "said so on the phone"})
    await call(f"{path}/deliver", {"user_id": "zoë"})
    done = await call(f"{path}/complete", {"user_id": "alice"})
    assert [(each["verb"], each["party"], each["actor"], each["reason"]) for each in done["actions"]] == [
        ("accept", "contractor", "zoë", "said so on the phone"),
        ("deliver", "contractor", "zoë", None),
        ("complete", "customer", "alice", None),
    ]


async def test_an_offer_tells_who_did_what_and_when(world: World) -> None:
    """Each act with its party, its words and the time; what was refused is not among them."""
    offer = await made(world, "carl accept")
    await world.act(offer, "accept", user="carl")
    await world.act(offer, "accept", user="alice")
    await world.acted(offer, "cancel", {"reason": "too late"}, user="alice")
    await world.acted(offer, "release", {"milestone": 2}, user="alice")
    await world.acted(offer, "contest", {"reason": "half is missing"}, user="carl")
    assert (await resolve(world, offer, 2_000, 3_000)).status_code == 200

    for user, role in (("alice", "customer"), ("carl", "contractor"), ("root", "admin")):
        actions = (await world.get(f"{OFFERS}/{offer}", user=user, role=role))["actions"]
        assert [tuple(each[name] for name in ("verb", "party", "actor", "reason", "details")) for each in actions] == [
            ("accept", "contractor", "carl", None, {}),
            ("cancel", "customer", "alice", "too late", {"asked": True}),
            ("release", "customer", "alice", None, {"milestone": 2}),
            ("contest", "contractor", "carl", "half is missing", {}),
            ("resolve", "operator", "root", "both have a point", {"to_contractor": 2_000, "to_customer": 3_000}),
        ]
        moments = [each["acted_at"] for each in actions]
        assert moments == sorted(moments)
    # The saga's history keeps no words of theirs: they may name people.
    history = str(await world.events_of(offer))
    assert "too late" not in history
    assert "both have a point" not in history


# ── Found ──


async def test_listed(world: World) -> None:
    """Those one is a party of, newest first, as each party, in a status, of a job, page by page."""
    await world.give("alice", "lea", 200_000)
    ours = [
        (await world.offer(user="lea", contractor="max", job="job 1")).json()["id"],
        (await world.offer(user="lea", contractor="nina", job="job 2")).json()["id"],
        (await world.offer(user="lea", contractor="max", job="job 2")).json()["id"],
    ]
    await world.acted(ours[0], "accept", user="max")
    await world.give("alice", "max", 20_000)
    back = (await world.offer(user="max", contractor="lea", job="job 2")).json()["id"]

    async def ids(query: str = "", *, user: str = "lea", role: str = "customer") -> list[str]:
        return [one["id"] for one in (await world.get(f"{OFFERS}?{query}", user=user, role=role))["data"]]

    assert await ids() == [back, *reversed(ours)]
    assert await ids(user="max", role="contractor") == [back, ours[2], ours[0]]
    assert await ids(user="nina", role="contractor") == [ours[1]]
    assert await ids("as=customer") == list(reversed(ours))
    assert await ids("as=contractor") == [back]
    assert await ids("as=contractor&user_id=lea") == [back]
    assert await ids("status=accepted") == [ours[0]]
    assert await ids("status=held&as=customer") == [ours[2], ours[1]]
    assert await ids("status=expired") == []
    assert await ids("job=job%202") == [back, ours[2], ours[1]]
    assert await ids("job=job%202&as=customer&status=held", user="max") == [back]
    assert await ids(user="mallory") == []
    for role in ("admin", "service"):
        assert await ids("user_id=lea", user="x", role=role) == [back, *reversed(ours)]
        assert await ids("user_id=max&as=contractor", user="x", role=role) == [ours[2], ours[0]]
        assert await ids("job=job%202", user="x", role=role) == [back, ours[2], ours[1]]
    first = await world.get(f"{OFFERS}?limit=3", user="lea")
    second = await world.get(f"{OFFERS}?limit=3&cursor={first['next_cursor']}", user="lea")
    assert [one["id"] for one in first["data"] + second["data"]] == [back, *reversed(ours)]
    assert second["next_cursor"] is None
    shown = await world.get(f"{OFFERS}/{ours[0]}", user="max")
    assert second["data"] == [shown], "listed as it is read"


async def test_bad_queries(world: World) -> None:
    for query, field in (
        ("as=operator", "as"), ("as=", "as"), ("status=paid", "status"), ("limit=0", "limit"), ("limit=101", "limit"),
        ("cursor=x", "cursor"), ("job=" + "x" * 201, "job"), ("job=%00", "job"), ("user_id=bob", "user_id"),
    ):  # fmt: skip
        names(await world.call("GET", f"{OFFERS}?{query}"), field)
    names(await world.call("GET", f"{OFFERS}?as=customer", user="root", role="admin"), "as")
    assert (await world.get(f"{OFFERS}?job=%ff%27%20OR%201"))["data"] == []


async def test_what_is_no_offer_is_none(world: World) -> None:
    [deposit, *_] = (await world.get("/v1/deposits"))["data"]
    for name in (deposit["id"], "off_" + "0" * 26, "x"):
        for user, role in (("alice", "customer"), ("root", "admin")):
            problem(await world.call("GET", f"{OFFERS}/{name}", user=user, role=role), 404, "not-found")
            problem(await world.call("POST", f"{OFFERS}/{name}/accept", user=user, role=role), 404, "not-found")
        problem(await resolve(world, name, 1, 1), 404, "not-found")


async def test_all_of_it_balances(world: World) -> None:
    """Whatever these tests did, and in whatever order."""
    await quiet(world)
    await world.settled_events()
    await assert_clean(world)
