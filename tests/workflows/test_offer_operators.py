"""Offers under the hands of engineers: found and mended, terminated and resumed, canceled in Temporal, reset."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from activities import visibility
from activities.offer_ledger import OfferAct, OfferLedger
from db.engine import open_database
from domain.offers import OfferVerb, OfferWish, Party
from tests.auditing import assert_clean
from tests.workflows.meddling import Meddler, card_of, reset, run_and_points
from tests.world import Servers, World, open_world, until

pytestmark = pytest.mark.long

WEEK = 7 * 86_400 + 1.0
"""Seconds after which nobody is waited for any longer."""


async def _attribute(world: World, offer_id: str, key: Any) -> Any:
    described = await world.workflow(offer_id).describe()
    return described.typed_search_attributes.get(key)


async def _unanswered(world: World) -> int:
    return len(await world.sql("SELECT FROM requests WHERE verb IS NOT NULL AND answered_at IS NULL"))


async def test_stuck_offer_is_found_read_and_mended(servers: Servers) -> None:
    async with open_world(servers, answer_within=0.5) as world:
        # Given an offer whose card says whose turn it is
        offer = await world.held_offer(10_000, milestones=[4_000])
        card = await card_of(world, offer)
        assert "100.00 USD" in card
        assert "waiting for: the contractor, to accept it" in card
        assert "until: 20" in card
        await world.acted(offer, "accept", user="carl")
        await world.acted(offer, "release", {"milestone": 1}, user="alice")
        card = await card_of(world, offer)
        assert "left: 60.00 USD" in card
        assert "until" not in card

        # When the books are wrong, which is not for its customer to hear
        await world.take_from_escrow(1)
        asked = await world.act(offer, "complete", user="alice", key="complete")
        assert asked.status_code == 202
        stuck = await world.until(offer, lambda now: now["needs_attention"])

        # Then it is found, says what it is stuck at, and nothing of it is done
        assert (stuck["status"], stuck["attention"]["code"]) == ("accepted", "insufficient-funds")
        assert await _attribute(world, offer, visibility.NEEDS_ATTENTION) is True
        card = await card_of(world, offer)
        assert "stuck at: the customer: complete" in card
        assert "retry" in card
        # And once they are mended, it goes on
        await world.take_from_escrow(-1)
        await world.retry(offer, reason="the books are mended")
        await world.workflow(offer).result()
        closed = await world.closed(offer)
        assert (closed["status"], closed["needs_attention"], closed["attention"]) == ("completed", False, None)
        assert await _attribute(world, offer, visibility.NEEDS_ATTENTION) is False
        card = await card_of(world, offer)
        assert not any(word in card for word in ("stuck", "waiting", "until", "trouble"))
        again = await world.act(offer, "complete", user="alice", key="complete")
        assert (again.status_code, again.json()["status"]) == (200, "completed")
        await assert_clean(world)


async def test_stuck_verb_leaves_room_for_an_operator(servers: Servers) -> None:
    async with open_world(servers, answer_within=0.5) as world:
        # Given a verb that is stuck, and more that wait for it than Temporal would let be under way
        offer = await world.held_offer()
        await world.act(offer, "accept", user="carl")
        await world.until(offer, lambda now: now["status"] == "accepted")
        await world.take_from_escrow(1)
        keys = [f"complete-{n}" for n in range(14)]
        asked = await asyncio.gather(*(world.act(offer, "complete", user="alice", key=key) for key in keys))
        assert {answer.status_code for answer in asked} == {202}
        await world.until(offer, lambda now: now["needs_attention"])

        # When the books are mended and somebody presses retry
        await world.take_from_escrow(-1)
        await world.retry(offer, reason="the books are mended")

        # Then it goes on, and each is answered
        await world.closed(offer)

        async def answered() -> bool:
            await world.sweep()
            return await _unanswered(world) == 0

        await until(answered)
        again = [await world.act(offer, "complete", user="alice", key=key) for key in keys]
        assert Counter(answer.status_code for answer in again) == {200: 1, 409: 13}
        await assert_clean(world)


async def test_f46_verbs_that_come_while_the_saga_is_terminated(servers: Servers) -> None:
    async with open_world(servers, answer_within=1.0) as world:
        offer = await world.held_offer()
        await world.workflow(offer).terminate("an engineer's slip")

        # Then they are kept, and wait
        accepted = await world.act(offer, "accept", user="carl", key="accept")
        declined = await world.act(offer, "decline", user="carl", key="decline")
        assert (accepted.status_code, declined.status_code) == (202, 202)
        assert accepted.json()["status"] == "held"
        await world.sweep()
        assert await _unanswered(world) == 2
        # Until it is resumed
        assert (await world.admin(f"operations/{offer}/resume")).status_code == 200

        async def answered() -> bool:
            await world.sweep()
            return await _unanswered(world) == 0

        await until(answered)
        answers = [await world.act(offer, verb, user="carl", key=verb) for verb in ("accept", "decline")]
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert {answer.headers["Idempotent-Replayed"] for answer in answers} == {"true"}
        shown = await world.get(f"/v1/offers/{offer}")
        assert len(shown["actions"]) == 1
        if shown["status"] == "accepted":
            await world.acted(offer, "complete", user="alice")
        assert await world.runs(offer) == 2
        await world.closed(offer)
        await assert_clean(world)


async def test_verb_whose_saga_ended_under_it_is_answered_as_it_ended(servers: Servers) -> None:
    meddler = Meddler("off_", ["act"], lambda saga: world.workflow(saga).terminate("an engineer's slip"))
    async with open_world(servers, around=[meddler], answer_within=5.0) as world:
        # Given an offer that is terminated while it is declined, which yet is done; and a cancel that comes too late
        offer = await world.held_offer()
        await world.act(offer, "decline", user="carl", key="decline")
        await world.closed(offer)
        assert (await world.act(offer, "cancel", user="alice", key="cancel")).status_code == 409

        await world.sweep()

        # Then each is answered by what was done
        assert await _unanswered(world) == 0
        again = await world.act(offer, "decline", user="carl", key="decline")
        assert (again.status_code, again.json()["status"]) == (200, "declined")
        late = await world.act(offer, "cancel", user="alice", key="cancel")
        assert (late.status_code, late.json()["type"].rpartition("/")[2]) == (409, "wrong-state")
        assert [action["verb"] for action in again.json()["actions"]] == ["decline"]
        assert await world.available() == 20_000
        await assert_clean(world)


@pytest.mark.parametrize("wakes", ["time", "temporal's cancel"])
async def test_run_that_is_behind_learns_what_came_first(world: World, wakes: str) -> None:
    # Given an offer that was accepted by a run before this one, at its last moment
    offer = await world.held_offer()
    async with open_database(world.settings.database_url.get_secret_value(), pool_size=1) as database:
        wish = OfferWish(party=Party.CONTRACTOR)
        accept = OfferAct(operation_id=offer, action_id="an earlier run's", verb=OfferVerb.ACCEPT, wish=wish)
        await OfferLedger(database, payout_bounds={}, earnings_hold=0).act(accept)
    assert await _attribute(world, offer, visibility.STATUS) == "held"

    # When this one would let it expire, or call it off
    if wakes == "time":
        await world.skip(WEEK, offer)
    else:
        await world.workflow(offer).cancel()

    # Then it is refused, looks, and waits for what comes next
    async def has_learned() -> bool:
        return bool(await _attribute(world, offer, visibility.STATUS) == "accepted")

    await until(has_learned)
    await world.acted(offer, "deliver", user="carl")
    await world.acted(offer, "complete", user="alice")
    await world.workflow(offer).result()
    assert Counter(await _activities(world, offer)) == {"hold": 2, "act": 3}
    await world.settled_events()
    await assert_clean(world)


async def _activities(world: World, workflow_id: str) -> list[str]:
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in await world.events_of(workflow_id)
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def test_f45_temporal_cancel_in_every_state(world: World) -> None:
    # Given offers in each state that lasts
    ways: dict[str, list[tuple[str, str]]] = {
        "held": [],
        "accepted": [("accept", "carl")],
        "delivered": [("accept", "carl"), ("deliver", "carl")],
        "contested": [("accept", "carl"), ("contest", "alice")],
    }
    offers = {}
    for status, verbs in ways.items():
        offers[status] = await world.held_offer()
        for verb, user in verbs:
            await world.acted(offers[status], verb, {"reason": "a test"}, user=user)

    for offer in offers.values():
        await world.workflow(offer).cancel()

    # Then the one that nobody had accepted is called off, by whoever has done that; the others are their parties'
    assert (await world.closed(offers["held"]))["status"] == "canceled"
    shown = await world.get(f"/v1/offers/{offers['held']}")
    assert [(action["verb"], action["party"], action["actor"]) for action in shown["actions"]] == [
        ("cancel", "operator", "temporal")
    ]
    assert (await world.acted(offers["accepted"], "complete", user="alice"))["status"] == "completed"
    await world.skip(WEEK, offers["delivered"])
    assert (await world.closed(offers["delivered"]))["status"] == "completed"
    split = {"to_contractor": 6_000, "to_customer": 4_000, "reason": "most of it was there"}
    resolved = await world.call(
        "POST", f"/v1/admin/offers/{offers['contested']}/resolve", split, user="root", role="admin"
    )
    assert resolved.status_code == 200
    for offer in offers.values():
        await world.workflow(offer).result()
        await world.closed(offer)
    await world.settled_events()
    await assert_clean(world)


async def test_f46_terminated_at_every_step_and_resumed(servers: Servers) -> None:
    steps = ["hold", "act", "start_operation"]
    meddler = Meddler("off_", steps, lambda saga: world.workflow(saga).terminate("an engineer's slip"))
    async with open_world(servers, around=[meddler], answer_within=5.0) as world:
        paid = await world.deposit(40_000, payment_method="pm_card_bypassPending")
        await world.closed(paid.json()["id"])
        # Given offers of one milestone, each of which is terminated when it does another step
        for n, _ in enumerate(steps):
            answer = await world.offer(10_000, milestones=[4_000], auto_payout=True, key=f"offer-{n}")
            await world.until(answer.json()["id"], lambda now: now["status"] == "held")
        offers = {row["id"]: 0 for row in await world.sql("SELECT id FROM operations WHERE kind = 'offer'")}
        for offer in offers:
            await world.act(offer, "accept", user="carl", key=f"{offer}-accept")
            await _resumed(world, offer)
            await world.act(offer, "release", {"milestone": 1}, user="alice", key=f"{offer}-release")
            await _resumed(world, offer)
            await world.act(offer, "complete", user="alice", key=f"{offer}-complete")
            await _resumed(world, offer)

        # Then all was done once
        assert await meddler.has_met_all()
        for offer in offers:
            closed = await world.closed(offer)
            assert [posting["step"] for posting in closed["postings"]] == [
                "hold", "accept_fee", "release#1", "release#2",
            ]  # fmt: skip
            shown = await world.get(f"/v1/offers/{offer}")
            assert [action["verb"] for action in shown["actions"]] == ["accept", "release", "complete"]
            for payout in shown["payouts"]:
                await world.closed(payout)
        assert len(await world.sql("SELECT FROM operations WHERE kind = 'withdrawal'")) == 6
        assert (await world.wallet("alice"))["escrow"] == 0
        await assert_clean(world)


async def _resumed(world: World, offer: str) -> None:
    """Resume it if it was terminated, and let the sweep ask for what was not answered."""
    await world.admin(f"operations/{offer}/resume")

    async def answered() -> bool:
        await world.sweep()
        return await _unanswered(world) == 0

    await until(answered)


async def test_f44_reset_to_any_point(world: World) -> None:
    # Given an offer that was released in parts, each paid out
    await world.onboarded()
    offer = await world.held_offer(10_000, milestones=[6_000], auto_payout=True)
    await world.acted(offer, "accept", user="carl")
    await world.acted(offer, "release", {"milestone": 1}, user="alice")
    await world.acted(offer, "deliver", user="carl")
    done = await world.acted(offer, "complete", user="alice")
    for payout in done["payouts"]:
        await world.closed(payout)
    assert await world.workflow(offer).result() == "completed"
    first = await world.closed(offer)
    run, points = await run_and_points(world, offer)

    # When somebody resets it to its beginning, and to before each part was released
    for point in points[:: max(len(points) // 5, 1)]:
        await reset(world, offer, run, point)
        assert await world.workflow(offer).result() == "completed"
    await world.sweep()

    # Then nothing is released or paid twice
    assert (await world.operation(offer))["postings"] == first["postings"]
    shown = await world.get(f"/v1/offers/{offer}")
    assert (shown["actions"], shown["payouts"]) == (done["actions"], done["payouts"])
    assert sorted(transfer["amount"] for transfer in await world.sandbox.listed("transfers")) == [3_200, 4_800]
    assert await world.available("carl") == 0
    await assert_clean(world)


async def test_f44_reset_while_it_waits(world: World) -> None:
    # Given an offer of which a part was released
    offer = await world.held_offer(10_000, milestones=[6_000])
    await world.acted(offer, "accept", user="carl")
    await world.acted(offer, "release", {"milestone": 1}, user="alice")
    run, points = await run_and_points(world, offer)

    # When somebody resets it to before that
    await reset(world, offer, run, points[0])

    # Then it goes on from where it was
    with pytest.raises(WorkflowFailureError):
        await world.temporal.get_workflow_handle(offer, run_id=run).result()
    assert (await world.act(offer, "release", {"milestone": 1}, user="alice")).status_code == 409
    await world.acted(offer, "deliver", user="carl")
    await world.skip(WEEK, offer)
    closed = await world.closed(offer)
    assert [posting["step"] for posting in closed["postings"]] == ["hold", "accept_fee", "release#1", "release#2"]
    assert await world.available("carl") == 8_000
    await world.settled_events()
    await assert_clean(world)


async def test_offer_of_many_milestones_begins_new_runs_and_loses_no_verb(world: World) -> None:
    # Given so many milestones that their history grows long, and an engineer's cancel, which came too late
    offer = await world.held_offer(50_000, milestones=[1_000] * 49)
    await world.acted(offer, "accept", user="carl")
    await world.workflow(offer).cancel()

    # When they are released, some at once, without a pause
    answers = []
    for begin in range(1, 50, 4):
        numbers = range(begin, min(begin + 4, 50))
        answers += await asyncio.gather(
            *(
                world.act(offer, "release", {"milestone": number}, user="alice", key=f"part-{number}")
                for number in numbers
            )
        )

    # Then each was, in whichever run
    assert Counter(answer.status_code for answer in answers) == {200: 49}
    assert await world.runs(offer) >= 2
    [started, *_] = await world.events_of(offer)
    assert started.workflow_execution_started_event_attributes.continued_execution_run_id
    await world.acted(offer, "deliver", user="carl")
    await world.skip(WEEK, offer)
    closed = await world.closed(offer)
    assert (closed["status"], len(closed["postings"])) == ("completed", 52)
    shown = await world.get(f"/v1/offers/{offer}")
    assert (shown["released"], shown["service_fee"]) == (50_000, 10_000)
    await world.settled_events()
    await assert_clean(world)


async def test_verb_sent_in_temporal_does_not_pass_for_the_partys(world: World) -> None:
    offer = await world.held_offer()

    await world.workflow(offer).execute_update("accept", {"party": "contractor"})

    [action] = (await world.get(f"/v1/offers/{offer}"))["actions"]
    assert (action["verb"], action["party"], action["actor"]) == ("accept", "contractor", "somebody in Temporal")
