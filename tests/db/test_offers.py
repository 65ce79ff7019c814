"""Offers: what Postgres refuses of them, how long they may stay as they are, and who finds them."""

from datetime import timedelta
from typing import Any

import pytest
from asyncpg.exceptions import CheckViolationError, ForeignKeyViolationError, UniqueViolationError
from sqlalchemy import exc

from db import offers, operations
from db.operations import Asked
from domain.offers import Party
from domain.operations import OperationKind
from domain.statuses import LIFECYCLES, OfferStatus
from tests.db.books import Books


async def acted(books: Books, offer: str, action_id: str, **more: Any) -> None:
    """Something that was done to an offer."""
    act: dict[str, Any] = {"verb": "accept", "party": Party.CONTRACTOR, "actor": "carl", "reason": None, "details": {}}
    async with books.database.transaction() as connection:
        await offers.record_action(connection, offer, action_id, **act | more)


# ── What Postgres refuses ──


NO_OFFERS: list[tuple[dict[str, Any], str]] = [
    ({"contractor": "alice"}, "parties_are_two"),
    ({"platform_fee": -1}, "offers_platform_fee_check"),
    ({"service_fee_rate": -1}, "offers_service_fee_rate_check"),
    ({"service_fee_rate": 10_001}, "offers_service_fee_rate_check"),
    ({"milestones": [4_000, 6_001]}, "milestones_are_parts"),
    ({"milestones": [2**62, 2**62, 2**62, 2**62]}, "milestones_are_parts"),
    ({"milestones": [4_000, 0]}, "offers_milestones_check"),
    ({"milestones": [4_000, -1]}, "offers_milestones_check"),
    ({"milestones": [4_000, None]}, "offers_milestones_check"),
    ({"accept_within": 0.0}, "offers_accept_within_check"),
    ({"deliver_within": 0.0}, "offers_deliver_within_check"),
    ({"complete_within": -1.0}, "offers_complete_within_check"),
    ({"contractor_wallet": "wal_nobodys"}, "offers_contractor_wallet"),
]


async def test_an_offer_that_makes_no_sense(books: Books) -> None:
    for row, rule in NO_OFFERS:
        with pytest.raises(exc.IntegrityError, match=rule):
            await books.offer(**row)


async def test_what_is_released_goes_to_a_wallet_of_the_contractor_in_the_offers_currency(books: Books) -> None:
    for anothers in (await books.wallet("mallory"), await books.wallet("carl", "eur")):
        with pytest.raises(exc.IntegrityError, match="offers_contractor_wallet"):
            await books.offer(contractor_wallet=anothers)


TOO_MUCH = [
    ("released = 10001", "no_more_leaves_than_is_held"),
    ("returned = 10001", "no_more_leaves_than_is_held"),
    ("released = 6000, returned = 4001", "no_more_leaves_than_is_held"),
    ("released = -1", "offers_check|offers_released_check"),
    ("returned = -1", "offers_returned_check"),
    ("released = 100, service_fee = 101", "offers_check|offers_service_fee_check"),
    ("service_fee = -1", "offers_check|offers_service_fee_check"),
    ("releases = -1", "offers_releases_check"),
]


async def test_no_more_leaves_an_offer_than_it_holds(books: Books) -> None:
    """Not even by the hand of the tables' owner, and though the wallet's escrow, which other offers share, has it."""
    await books.offer()
    for way_in in (books.as_app, books.as_owner):
        async with way_in() as connection:
            for change, rule in TOO_MUCH:
                with pytest.raises(CheckViolationError, match=rule):
                    await connection.execute(f"UPDATE offers SET {change}")
            # And so that each was refused for its reason:
            await connection.execute("UPDATE offers SET released = 6000, returned = 4000, service_fee = 6000")


async def test_one_act_is_kept_once_and_names_a_party(books: Books) -> None:
    one, other = await books.offer(), await books.offer()
    await acted(books, one, "act_1")
    await acted(books, other, "act_1")
    with pytest.raises(exc.IntegrityError) as refused:
        await acted(books, one, "act_1", verb="decline")
    assert UniqueViolationError.__name__ in str(refused.value)
    async with books.as_app() as app:
        insert = "INSERT INTO offer_actions (operation_id, action_id, verb, party, actor, details) VALUES"
        with pytest.raises(CheckViolationError, match="offer_actions_party_check"):
            await app.execute(f"{insert} ($1, 'act_2', 'accept', 'somebody', 'x', '{{}}')", one)
        with pytest.raises(ForeignKeyViolationError):
            await app.execute(f"{insert} ('off_none', 'act_2', 'accept', 'customer', 'x', '{{}}')")
    async with books.database.transaction() as connection:
        done = [await offers.acted(connection, offer, act) for offer in (one, other) for act in ("act_1", "act_2")]
    assert done == [True, False, True, False]


async def test_an_offers_status_moves_only_as_its_lifecycle_says(books: Books) -> None:
    life = LIFECYCLES[OperationKind.OFFER]
    offer = await books.offer()
    async with books.as_superuser() as superuser, books.as_app() as app:
        for earlier in OfferStatus:
            for later in OfferStatus:
                await superuser.execute("SET session_replication_role = replica")
                await superuser.execute("UPDATE operations SET status = $1 WHERE id = $2", earlier, offer)
                move = app.execute("UPDATE operations SET status = $1, failure = '{}' WHERE id = $2", later, offer)
                if later in life.next[earlier] or later is earlier:
                    await move
                else:
                    with pytest.raises(CheckViolationError, match=f"cannot go from {earlier} to {later}"):
                        await move


# ── How long it may stay as it is ──


async def test_what_waits_and_what_is_overdue(books: Books) -> None:
    """`waits` counts down to what happens by itself; `overdue` is what was accepted and not delivered in time."""
    offer = await books.offer()

    async def now(status: OfferStatus, **moments: bool) -> tuple[float | None, bool]:
        async with books.as_superuser() as superuser:
            await superuser.execute("SET session_replication_role = replica")
            await superuser.execute("UPDATE operations SET status = $1, failure = '{}'", status)
            for moment in moments:
                await superuser.execute(f"UPDATE offers SET {moment} = coalesce({moment}, app_now())")
        async with books.database.transaction() as connection:
            row = await offers.require(connection, offer)
        return row["waits"], row["overdue"]

    assert await now(OfferStatus.REQUESTED) == (None, False)
    waits, overdue = await now(OfferStatus.HELD, held_at=True)
    assert waits == pytest.approx(3_600, abs=60)
    assert not overdue
    await books.advance_clock(timedelta(seconds=7_300))
    waits, overdue = await now(OfferStatus.HELD)
    assert waits == pytest.approx(-3_700, abs=60)
    assert not overdue
    assert await now(OfferStatus.ACCEPTED, accepted_at=True) == (None, False)
    await books.advance_clock(timedelta(seconds=7_300))
    assert await now(OfferStatus.ACCEPTED) == (None, True)
    waits, overdue = await now(OfferStatus.DELIVERED, delivered_at=True)
    assert waits == pytest.approx(3_600, abs=60)
    assert not overdue, "what is delivered is late no more"
    for status in set(OfferStatus) - {OfferStatus.HELD, OfferStatus.ACCEPTED, OfferStatus.DELIVERED}:
        assert await now(status) == (None, False)


# ── Who finds it ──


async def test_page(books: Books) -> None:
    """Newest first; each filter leaves out what it says, alone and with the others."""
    mine = await books.offer(job="job 1")
    his = await books.offer(contractor="dora", job="job 2")
    hers = await books.offer("carl", "alice", job="job 1")
    nobodys = await books.offer("erin", "dora")
    async with books.as_app() as app:
        await app.execute("UPDATE operations SET status = 'held' WHERE id = ANY ($1)", [his, nobodys])

    async def found(**filters: Any) -> list[str]:
        names = ("customer_id", "contractor_id", "either_id", "status", "job", "before_id")
        none: dict[str, Any] = dict.fromkeys(names)
        async with books.database.transaction() as connection:
            return await offers.page(connection, **none | {"limit": 10} | filters)

    assert await found() == [nobodys, hers, his, mine]
    assert await found(customer_id="alice") == [his, mine]
    assert await found(contractor_id="alice") == [hers]
    assert await found(either_id="alice") == [hers, his, mine]
    assert await found(either_id="alice", status=OfferStatus.HELD) == [his]
    assert await found(status=OfferStatus.HELD) == [nobodys, his]
    assert await found(job="job 1") == [hers, mine]
    assert await found(job="job 1", customer_id="alice", status=OfferStatus.REQUESTED) == [mine]
    assert await found(job="job") == []
    assert await found(either_id="alice", limit=2) == [hers, his]
    assert await found(either_id="alice", limit=2, before_id=his) == [mine]
    assert await found(either_id="mallory") == []


async def test_a_list_brings_each_offer_with_what_was_done_to_it(books: Books) -> None:
    one, other, deposit = await books.offer(), await books.offer(), await books.operation()
    await acted(books, one, "act_2", verb="accept")
    await acted(books, one, "act_1", verb="deliver", details={"x": 1})
    async with books.database.transaction() as connection:
        rows = await operations.of_ids(connection, [one, other, deposit])
        alone = await operations.require(connection, one)

    assert [row["id"] for row in rows] == [other, one, deposit]
    assert [row["offer"] and row["offer"]["contractor_id"] for row in rows] == ["carl", "carl", None]
    assert rows[0]["offer"]["actions"] is None
    assert [action["verb"] for action in rows[1]["offer"]["actions"]] == ["accept", "deliver"], "oldest first"
    assert alone["offer"] == rows[1]["offer"]


async def test_the_request_behind_an_act(books: Books) -> None:
    offer = await books.offer()
    asked = [Asked("alice", "k1", "f"), Asked("bob", "k1", "f"), Asked("alice", "k2", "f")]
    async with books.database.transaction() as connection:
        for number, one in enumerate(asked):
            await operations.remember_request(connection, one, offer, verb="cancel", reason=f"reason {number}")
        for number, one in enumerate(asked):
            action = operations.update_id(one.caller, one.key)
            found = await operations.request_behind(connection, offer, "cancel", action)
            assert found is not None
            assert found["reason"] == f"reason {number}"
            assert await operations.request_behind(connection, offer, "accept", action) is None
            assert await operations.request_behind(connection, "off_other", "cancel", action) is None
        assert await operations.request_behind(connection, offer, "cancel", "expire") is None


# ── What keeps it fast ──


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT FROM offers WHERE customer_id = 'a' ORDER BY operation_id DESC LIMIT 20", "offers_of_customer"),
        ("SELECT FROM offers WHERE contractor_id = 'a' ORDER BY operation_id DESC LIMIT 20", "offers_of_contractor"),
        ("SELECT FROM offers WHERE job = 'a' ORDER BY operation_id DESC LIMIT 20", "offers_of_job"),
        ("SELECT FROM requests WHERE operation_id = 'a' AND verb = 'accept'", "requests_of_verbs"),
    ],
)
async def test_what_is_looked_for_often_has_its_index(books: Books, query: str, index: str) -> None:
    async with books.as_superuser() as superuser:
        await superuser.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in await superuser.fetch(f"EXPLAIN {query}"))
    assert index in plan
