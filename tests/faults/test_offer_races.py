"""Everybody acts on one offer at once: one of them is first, the money moves once, and the others are told."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper

from domain.errors import MilestoneReleased, WrongState
from domain.money import Money
from domain.offers import OfferVerb, Party
from tests.auditing import assert_clean
from tests.faults.escrow import Escrow
from tests.world import Servers, World

pytestmark = pytest.mark.long

WEEK = 7 * 86_400 + 1.0
"""Seconds after which nobody's silence is waited for any longer."""

OVER = {"completed", "declined", "expired", "canceled", "resolved"}


class Race(NamedTuple):
    """Verbs at once on an offer that `before` was done to, and how each may turn out. `x!` is a refused `x`."""

    before: str
    contenders: str
    outcomes: frozenset[str]
    """The offer's status then, and what was answered, sorted."""


def _race(before: str, contenders: str, *outcomes: str) -> Race:
    return Race(before, contenders, frozenset(_said(*outcome.split()) for outcome in outcomes))


def _said(status: str, *answers: str) -> str:
    return " ".join([status, *sorted(answers)])


RACES = {
    "accept-cancel": _race("", "accept cancel", "canceled: accept! cancel", "accepted: accept cancel"),
    "accept-decline": _race("", "accept decline", "accepted: accept decline!", "declined: accept! decline"),
    "decline-cancel": _race("", "decline cancel", "declined: decline cancel!", "canceled: decline! cancel"),
    "two-accepts": _race("", "accept accept", "accepted: accept accept!"),
    "two-completes": _race("accept deliver", "complete complete", "completed: complete complete!"),
    "complete-contest": _race(
        "accept deliver", "complete contest", "completed: complete contest!", "contested: complete! contest"
    ),
    "agree-cancel-complete": _race(
        "accept cancel",
        "agree-cancel complete",
        "canceled: agree-cancel complete!",
        "completed: agree-cancel! complete",
    ),
    "agree-cancel-contest": _race(
        "accept cancel", "agree-cancel contest", "canceled: agree-cancel contest!", "contested: agree-cancel! contest"
    ),
    "two-releases": _race("accept", "release release", "accepted: release release!"),
    "complete-release": _race(
        "accept", "complete release", "completed: complete release!", "completed: complete release"
    ),
    "contest-release": _race("accept", "contest release", "contested: contest release!", "contested: contest release"),
    "release-resolve": _race("accept contest", "release resolve", "resolved: release! resolve"),
    "two-resolves": _race("accept contest", "resolve resolve", "resolved: resolve resolve!"),
}
"""Each pair that can come at the same moment."""

AGAINST_THE_CLOCK = {
    "accept-cancel-expire": _race(
        "",
        "accept cancel",
        "expired: accept! cancel!",
        "canceled: accept! cancel",
        "accepted: accept cancel",
    ),
    "decline-expire": _race("", "decline", "declined: decline", "expired: decline!"),
    "complete-contest-auto-complete": _race(
        "accept deliver",
        "complete contest",
        "completed: complete contest!",
        "contested: complete! contest",
        "completed: complete! contest!",
    ),
}
"""Those in which it is also time for what happens by itself."""

RELEASING = {"release", "complete", "auto_complete", "resolve"}

WHOSE = {"accept": "carl", "decline": "carl", "agree-cancel": "carl", "deliver": "carl"}
"""Who does a verb that is not the customer's."""

WORDS: dict[str, dict[str, Any]] = {"release": {"milestone": 1}, "contest": {"reason": "half of it is missing"}}

SOME_TIMES = 4
"""How often each race is run."""


async def _do(world: World, offer_id: str, verb: str, *, left: int = 10_000) -> str:
    """A verb and, if it was refused as a verb may be, an exclamation mark. `left`: what a resolution splits."""
    if verb == "resolve":
        split = {"to_contractor": left - 1_000, "to_customer": 1_000, "reason": "most of it was there"}
        answer = await world.call("POST", f"/v1/admin/offers/{offer_id}/resolve", split, user="root", role="admin")
    else:
        answer = await world.act(offer_id, verb, WORDS.get(verb), user=WHOSE.get(verb, "alice"))
    if answer.status_code == 200:
        return verb
    assert answer.status_code == 409, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    expected = "milestone-released" if verb == "release" else "wrong-state"
    assert answer.json()["type"].rpartition("/")[2] in {"wrong-state", expected}
    return f"{verb}!"


async def _prepared(world: World, race: Race) -> str:
    answer = await world.offer(10_000, milestones=[4_000])
    assert answer.status_code == 201, answer.text
    offer_id = str(answer.json()["id"])
    for verb in race.before.split():
        assert await _do(world, offer_id, verb) == verb
    return offer_id


async def _run(world: World, offer_id: str, verbs: list[str]) -> str:
    """How a race turned out, in the words of `Race.outcomes`."""
    answers = await asyncio.gather(*(_do(world, offer_id, verb) for verb in verbs))
    offer = await world.get(f"/v1/offers/{offer_id}")
    return _said(f"{offer['status']}:", *answers)


async def _late(world: World, offer_id: str, verbs: list[str]) -> str:
    """The same, while the saga finds that it has waited for long enough."""

    async def pass_time() -> None:
        with contextlib.suppress(RPCError):  # Somebody was faster: it is over.
            await TimeSkipper(world.temporal).fast_forward(world.workflow(offer_id), WEEK)

    _, outcome = await asyncio.gather(pass_time(), _run(world, offer_id, verbs))
    return outcome


async def _rich(world: World, offers: int) -> None:
    paid = await world.deposit(10_500 * offers, payment_method="pm_card_bypassPending")
    await world.closed(paid.json()["id"])


async def _ended(world: World, offer_ids: list[str]) -> None:
    """Each comes to an end by what is left to do; then what was done is what was told, and no money is lost."""
    offers = [await world.get(f"/v1/offers/{offer_id}") for offer_id in offer_ids]
    last = {"accepted": "complete", "contested": "resolve"}
    await asyncio.gather(
        *(
            _do(world, offer["id"], last[offer["status"]], left=offer["left"])
            for offer in offers
            if offer["status"] not in OVER
        )
    )
    released = fees = platform_fees = 0
    for offer_id in offer_ids:
        shown = await world.closed(offer_id)
        offer = await world.get(f"/v1/offers/{offer_id}")
        assert offer["status"] in OVER
        steps = Counter(posting["step"].partition("#")[0] for posting in shown["postings"])
        verbs = Counter(action["verb"] for action in offer["actions"])
        assert steps["hold"] == 1
        assert steps["accept_fee"] == verbs["accept"] <= 1
        assert steps["return"] == int(offer["returned"] > 0)
        assert steps["release"] == len([verb for verb in verbs.elements() if verb in RELEASING])
        assert offer["released"] + offer["returned"] == 10_000
        assert offer["service_fee"] == (offer["released"] + 2) // 5
        released, fees = released + offer["released"], fees + offer["service_fee"]
        platform_fees += 500 * verbs["accept"]
    alice, carl = await world.wallet("alice"), await world.wallet("carl")
    assert (alice["escrow"], carl["available"]) == (0, released - fees)
    assert alice["available"] == 10_500 * len(offer_ids) - released - platform_fees
    await world.settled_events()
    await assert_clean(world)


async def test_f08_two_verbs_at_once(world: World) -> None:
    races = list(RACES.values())
    await _rich(world, SOME_TIMES * len(races))
    raced = []
    for n in range(SOME_TIMES):
        # Given offers for each pair of verbs
        offers = await asyncio.gather(*(_prepared(world, race) for race in races))

        # When both come at the same moment, in this or that order
        order = 1 if n % 2 else -1
        outcomes = await asyncio.gather(
            *(_run(world, offer, race.contenders.split()[::order]) for offer, race in zip(offers, races, strict=True))
        )

        # Then one was first
        for race, outcome in zip(races, outcomes, strict=True):
            assert outcome in race.outcomes
        raced += offers
    await _ended(world, raced)


async def test_f08_verbs_when_their_time_runs_out(world: World) -> None:
    races = [race for race in AGAINST_THE_CLOCK.values() for _ in range(SOME_TIMES)]
    await _rich(world, len(races))
    offers = await asyncio.gather(*(_prepared(world, race) for race in races))

    # When each saga's clock comes to it while they ask
    await world.skip(WEEK)
    outcomes = await asyncio.gather(
        *(_late(world, offer, race.contenders.split()) for offer, race in zip(offers, races, strict=True))
    )

    for race, outcome in zip(races, outcomes, strict=True):
        assert outcome in race.outcomes
    await _ended(world, offers)


# ── Without the saga, where verbs take turns: two runs of it, as after a reset, or an engineer's script ──

IN_POSTGRES = RACES | {
    "accept-expire": _race("", "accept expire", "accepted: accept expire!", "expired: accept! expire"),
    "cancel-expire": _race("", "cancel expire", "canceled: cancel expire!", "expired: cancel! expire"),
    "decline-expire": _race("", "decline expire", "declined: decline expire!", "expired: decline! expire"),
    "complete-auto-complete": _race(
        "accept deliver",
        "complete auto_complete",
        "completed: complete auto_complete!",
        "completed: complete! auto_complete",
    ),
    "contest-auto-complete": _race(
        "accept deliver",
        "contest auto_complete",
        "contested: contest auto_complete!",
        "completed: contest! auto_complete",
    ),
}

PARTIES = {
    "accept": Party.CONTRACTOR,
    "decline": Party.CONTRACTOR,
    "agree-cancel": Party.CONTRACTOR,
    "deliver": Party.CONTRACTOR,
    "resolve": Party.OPERATOR,
    "expire": Party.CLOCK,
    "auto_complete": Party.CLOCK,
}

WISHES: dict[str, dict[str, Any]] = {
    "release": {"milestone": 1},
    "resolve": {"to_contractor": 9_000, "to_customer": 1_000},
}


@pytest.fixture(scope="module")
async def escrow(servers: Servers) -> AsyncIterator[Escrow]:
    """Offers in Postgres alone; one of alice's stays as it is, so that there is more in her escrow than the others'."""
    async with Escrow.opened(servers) as opened:
        await opened.books.wallet("alice", holding=1_000_000)
        other = await opened.offer(Money(10_000, "usd"), customer="alice", contractor="carl")
        yield opened
        assert (await opened.state(other)).left == 10_000
        await opened.books.check()


async def _act(escrow: Escrow, offer_id: str, verb: str) -> str:
    """The verb and, if it was refused, an exclamation mark."""
    try:
        await escrow.act(
            offer_id,
            OfferVerb(verb.replace("-", "_")),
            PARTIES.get(verb, Party.CUSTOMER),
            **WISHES.get(verb, {}),
        )
    except (WrongState, MilestoneReleased):
        return f"{verb}!"
    return verb


@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
@pytest.mark.parametrize("name", IN_POSTGRES)
async def test_f08_two_transactions_at_once(escrow: Escrow, name: str, backwards: bool) -> None:
    # Given an offer
    race = IN_POSTGRES[name]
    offer = await escrow.offer(Money(10_000, "usd"), customer="alice", contractor="carl", milestones=[4_000])
    for verb in race.before.split():
        await _act(escrow, offer, verb)
    if "expire" in name or "auto" in name:
        await escrow.skip(timedelta(seconds=WEEK))

    # When two come who both find its row locked
    contenders = race.contenders.split()[:: -1 if backwards else 1]
    answers = await escrow.all_at_once(offer, [partial(_act, escrow, offer, verb) for verb in contenders])

    # Then one was first, and the other has looked at what it left
    [row] = await escrow.superuser.fetch(
        "SELECT * FROM offers JOIN operations ON id = operation_id WHERE id = $1", offer
    )
    assert _said(f"{row['status']}:", *answers) in race.outcomes
    entries = await escrow.superuser.fetch(
        "SELECT step, a.kind, amount FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id"
        " JOIN ledger_transactions t ON t.id = e.ltx_id WHERE t.operation_id = $1",
        offer,
    )
    in_escrow = sum(entry["amount"] for entry in entries if entry["kind"] == "wallet_escrow")
    fee = 500 if row["status"] == "held" else 0
    assert in_escrow == 10_000 - row["released"] - row["returned"] + fee
    assert sum(entry["step"] == "return" for entry in entries) == 2 * (row["returned"] > 0)
    assert (row["status"] in OVER) == (in_escrow == 0)
    acted = await escrow.superuser.fetchval("SELECT count(*) FROM offer_actions WHERE operation_id = $1", offer)
    assert acted == len(race.before.split()) + sum("!" not in answer for answer in answers)
    told = await escrow.superuser.fetch("SELECT type FROM events WHERE operation_id = $1", offer)
    assert len(told) == len({event["type"] for event in told})
