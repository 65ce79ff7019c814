"""The inbox: every event once, and open until a saga has recorded it."""

from datetime import timedelta
from typing import Any

import pytest
from asyncpg.exceptions import CheckViolationError

from db import inbox
from db.inbox import Arrival, InboxState
from tests.db.books import Books, at_once

ARRIVAL = Arrival("evt_1", "", "payment_intent.succeeded", "pi_1", "dep_1", {"id": "evt_1"}, InboxState.RECEIVED)


async def store(books: Books, **changed: Any) -> bool:
    arrival = Arrival(**{name: getattr(ARRIVAL, name) for name in ARRIVAL.__slots__} | changed)
    async with books.database.transaction() as connection:
        return await inbox.store(connection, arrival)


async def state_of(books: Books, event_id: str = "evt_1") -> InboxState:
    async with books.database.transaction() as connection:
        return await inbox.state_of(connection, event_id)


async def unprocessed(books: Books, *, older_than: float = 0.0, limit: int = 10) -> list[str]:
    async with books.database.transaction() as connection:
        return [row["id"] for row in await inbox.unprocessed(connection, older_than=older_than, limit=limit)]


async def note_signaled(books: Books, operation_id: str) -> None:
    now = await books.value("SELECT app_now()")
    async with books.database.transaction() as connection:
        await inbox.note_signaled(connection, "evt_1", operation_id, at=now)


async def settle(books: Books, *event_ids: str, state: InboxState = InboxState.PROCESSED, **more: Any) -> None:
    async with books.database.transaction() as connection:
        await inbox.settle(connection, list(event_ids), state, **more)


async def test_an_event_delivered_ten_times_at_once_is_new_once(books: Books) -> None:
    news = await at_once(store(books) for _ in range(10))

    assert sum(news) == 1
    assert await books.value("SELECT count(*) FROM stripe_events") == 1


async def test_a_repetition_changes_nothing(books: Books) -> None:
    await store(books)
    await settle(books, "evt_1")

    assert not await store(books, type="charge.updated", payload={}, operation_id=None)

    assert await state_of(books) is InboxState.PROCESSED
    assert await books.value("SELECT type FROM stripe_events") == "payment_intent.succeeded"


async def test_an_event_is_unprocessed_until_it_is_settled(books: Books) -> None:
    for event_id in ("evt_1", "evt_2", "evt_3"):
        await store(books, id=event_id)
    assert await unprocessed(books) == ["evt_1", "evt_2", "evt_3"]
    assert await unprocessed(books, limit=2) == ["evt_1", "evt_2"]

    await settle(books)
    await settle(books, "evt_1", "evt_3", "evt_unknown")

    assert await unprocessed(books) == ["evt_2"]
    assert (await state_of(books, "evt_1"), await state_of(books, "evt_2")) == (
        InboxState.PROCESSED,
        InboxState.RECEIVED,
    )


async def test_the_ordinary_path_has_its_time_and_a_reminder_ever_more(books: Books) -> None:
    """Each reminder stays in the saga's history, so they come at ages of a minute, two, four …"""

    async def due_after(seconds: float) -> list[str]:
        await books.advance_clock(timedelta(seconds=seconds))
        return await unprocessed(books, older_than=60)

    async def remind() -> None:
        await note_signaled(books, "dep_2")

    await store(books)
    assert await due_after(50) == []
    assert await due_after(15) == ["evt_1"]
    await remind()
    assert await due_after(50) == []
    assert await due_after(30) == ["evt_1"]
    await remind()
    assert await due_after(70) == [], "longer than the ordinary path's time, but not than it had waited before"
    assert await due_after(90) == ["evt_1"]

    async with books.database.transaction() as connection:
        assert [row["id"] for row in await inbox.of_operation(connection, "dep_2")] == ["evt_1"]


async def test_what_a_saga_was_told_as_it_ended_is_due_at_once(books: Books) -> None:
    operation_id = await books.operation()
    await store(books)
    await books.advance_clock(timedelta(seconds=600))
    await note_signaled(books, operation_id)
    assert await unprocessed(books) == []

    await books.advance_clock(timedelta(seconds=1))
    await books.sql("UPDATE operations SET status = 'canceled', closed_at = app_now()")
    assert await unprocessed(books) == ["evt_1"]

    # And once whoever looks after it then was told, it has its time again.
    await books.advance_clock(timedelta(seconds=1))
    await note_signaled(books, operation_id)
    assert await unprocessed(books) == []


@pytest.mark.parametrize("state", [InboxState.IGNORED, InboxState.QUARANTINED])
async def test_what_is_set_aside_says_why_and_stays(books: Books, state: InboxState) -> None:
    await store(books, state=state, reason="of no use")

    await settle(books, "evt_1")

    assert await state_of(books) is state
    assert await unprocessed(books) == []
    with pytest.raises(Exception, match="set_aside_says_why"):
        await store(books, id="evt_2", state=state)


async def test_what_was_settled_stays_as_it_was(books: Books) -> None:
    await store(books)
    await settle(books, "evt_1")

    await settle(books, "evt_1", state=InboxState.QUARANTINED, reason="too late")
    async with books.database.transaction() as connection:
        await inbox.give_up(connection, "evt_1", after=-1, reason="too late")

    assert await state_of(books) is InboxState.PROCESSED


async def test_only_what_found_nobody_for_long_is_given_up(books: Books) -> None:
    await store(books, operation_id=None)

    async def give_up() -> InboxState:
        async with books.database.transaction() as connection:
            await inbox.give_up(connection, "evt_1", after=240, reason="nobody's")
        return await state_of(books)

    assert await give_up() is InboxState.RECEIVED, "it may be faster than our own commit"
    await books.advance_clock(timedelta(seconds=241))
    assert await give_up() is InboxState.IGNORED


async def test_the_state_of_an_event_and_its_time_agree(books: Books) -> None:
    await store(books)

    async with books.as_app() as app:
        with pytest.raises(CheckViolationError, match="settled_when_not_received"):
            await app.execute("UPDATE stripe_events SET state = 'processed'")
        with pytest.raises(CheckViolationError, match="settled_when_not_received"):
            await app.execute("UPDATE stripe_events SET settled_at = app_now()")
        with pytest.raises(CheckViolationError, match="state_check"):
            await app.execute("UPDATE stripe_events SET state = 'lost', settled_at = app_now()")


async def test_payloads_are_not_shown(books: Books) -> None:
    await store(books, payload={"email": "alice@example.com"})

    async with books.database.transaction() as connection:
        [shown] = await inbox.of_operation(connection, "dep_1")

    assert "alice@example.com" not in str(dict(shown))
