"""`stripe_calls`: one intent at a time, the first outcome for good, and the next generation only when it is certain."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from asyncpg.exceptions import CheckViolationError, RestrictViolationError, UniqueViolationError

from db import stripe_calls
from db.stripe_calls import Call, Intent, Outcome
from db.tables import stripe_calls as stripe_calls_table
from domain.operations import Failure
from tests.db.books import Books, at_once, meanwhile

APART = 1_800.0
DECLINED = Failure(code="card-declined", detail="No.", decline_code="do_not_honor").model_dump()


@pytest.fixture
async def intent(books: Books) -> Intent:
    operation_id = await books.operation()
    return Intent(operation_id, "create_payment_intent", operation_id, "payment_intents.create", {"amount": 20_000})


async def begin(books: Books, intent: Intent) -> Call:
    async with books.database.transaction() as connection:
        return await stripe_calls.begin(connection, intent)


async def latest(books: Books, intent: Intent) -> Call:
    async with books.database.transaction() as connection:
        found = await stripe_calls.latest(connection, intent.subject, intent.step)
    assert found is not None
    return found


async def settle(
    books: Books, call: Call, outcome: Outcome, stripe_id: str | None = None, result: dict[str, Any] | None = None
) -> Call:
    async with books.database.transaction() as connection:
        objects = [stripe_id] if stripe_id else []
        return await stripe_calls.settle(
            connection, call, outcome, stripe_id=stripe_id, result=result or {}, objects=objects
        )


async def note_absent(books: Books, call: Call) -> Call:
    async with books.database.transaction() as connection:
        return await stripe_calls.note_absent(connection, call, apart=APART)


async def absent_twice(books: Books, call: Call) -> Call:
    await note_absent(books, call)
    await books.advance_clock(timedelta(seconds=APART + 1))
    return await note_absent(books, call)


async def rows(books: Books) -> list[tuple[int, str | None]]:
    """Each generation with its outcome."""
    found = await books.sql("SELECT generation, outcome FROM stripe_calls ORDER BY generation")
    return [(row["generation"], row["outcome"]) for row in found]


# ── The intent ──


async def test_an_intent_is_kept_before_it_is_sent(books: Books, intent: Intent) -> None:
    call = await begin(books, intent)

    assert (call.generation, call.outcome, call.params) == (1, None, {"amount": 20_000})
    assert call.key == f"paysaga:{intent.subject}:create_payment_intent:1"
    assert await books.value("SELECT attempts FROM stripe_calls") == 1
    assert await books.value("SELECT started_at IS NOT NULL FROM operations"), "its saga is at work"


async def test_who_begins_again_sends_what_was_stored(books: Books, intent: Intent) -> None:
    first = await begin(books, intent)
    await books.advance_clock(timedelta(minutes=5))

    again = await begin(books, replace(intent, params={"amount": 1}, write="customers.create"))

    assert (again.key, again.params, again.write) == (first.key, {"amount": 20_000}, "payment_intents.create")
    assert again.first_sent_at == first.first_sent_at
    [row] = await books.sql("SELECT attempts, last_sent_at - first_sent_at AS later FROM stripe_calls")
    assert row["attempts"] == 2
    assert row["later"] >= timedelta(minutes=5)


async def test_twenty_who_begin_at_once_begin_one(books: Books, intent: Intent) -> None:
    calls = await at_once(begin(books, replace(intent, params={"amount": n})) for n in range(20))

    assert len({(call.generation, call.key, call.params["amount"]) for call in calls}) == 1
    assert await rows(books) == [(1, None)]
    assert await books.value("SELECT attempts FROM stripe_calls") == 20


# ── The outcome ──


async def test_a_recorded_outcome_is_returned_without_sending(books: Books, intent: Intent) -> None:
    await settle(books, await begin(books, intent), Outcome.DONE, "pi_1", {"status": "succeeded"})

    again = await begin(books, intent)

    assert (again.generation, again.outcome, again.stripe_id) == (1, Outcome.DONE, "pi_1")
    assert again.result == {"status": "succeeded"}
    assert await books.value("SELECT attempts FROM stripe_calls") == 1


@pytest.mark.parametrize("late", [Outcome.DONE, Outcome.REFUSED])
async def test_the_first_recorded_outcome_stays(books: Books, intent: Intent, late: Outcome) -> None:
    """A worker that was frozen comes back with its own answer."""
    call = await begin(books, intent)
    await settle(books, call, Outcome.DONE, "pi_1", {"status": "processing"})

    stands = await settle(books, call, late, "pi_2", DECLINED)

    assert (stands.outcome, stands.stripe_id, stands.result) == (Outcome.DONE, "pi_1", {"status": "processing"})
    async with books.database.transaction() as connection:
        await stripe_calls.doubt(connection, call)
    assert await books.value("SELECT doubted_at IS NULL FROM stripe_calls")
    assert (await note_absent(books, call)).outcome is Outcome.DONE


async def test_of_twenty_answers_at_once_one_is_recorded(books: Books, intent: Intent) -> None:
    call = await begin(books, intent)

    stand = await at_once(settle(books, call, Outcome.DONE, f"pi_{n}", {"n": n}) for n in range(20))

    assert len({each.stripe_id for each in stand}) == 1


async def test_a_recorded_outcome_is_final_by_whatever_way(books: Books, intent: Intent) -> None:
    await settle(books, await begin(books, intent), Outcome.DONE, "pi_1", {"status": "succeeded"})

    for way_in in (books.as_app(), books.as_owner(), books.as_superuser()):
        async with way_in as connection:
            for edit in ("outcome = NULL", "outcome = 'refused'", "stripe_id = 'pi_2'", "result = '{}'"):
                with pytest.raises(RestrictViolationError, match="is recorded"):
                    await connection.execute(f"UPDATE stripe_calls SET {edit}")
            await connection.execute("UPDATE stripe_calls SET closed_at = app_now()")


@pytest.mark.parametrize(
    ("columns", "broken"),
    [
        ("outcome = 'done', result = '{}'", "done_names_its_object"),
        ("outcome = 'done', stripe_id = 'pi_1'", "outcome_says_what"),
        ("outcome = 'refused'", "outcome_says_what"),
        ("outcome = 'perhaps', stripe_id = 'pi_1', result = '{}'", "stripe_calls_outcome_check"),
    ],
)
async def test_an_outcome_says_what_it_is(books: Books, intent: Intent, columns: str, broken: str) -> None:
    await begin(books, intent)

    async with books.as_app() as app:
        with pytest.raises(CheckViolationError, match=broken):
            await app.execute(f"UPDATE stripe_calls SET {columns}")


async def test_a_refusal_stays_and_tells_its_reason(books: Books, intent: Intent) -> None:
    await settle(books, await begin(books, intent), Outcome.REFUSED, "pi_1", DECLINED)

    again = await begin(books, intent)

    assert (again.generation, again.outcome) == (1, Outcome.REFUSED)
    assert again.refusal == Failure.model_validate(DECLINED)
    async with books.database.transaction() as connection:
        assert await stripe_calls.done(connection, intent.subject, intent.step) is None


async def test_what_is_not_settled_has_neither_result_nor_refusal(books: Books, intent: Intent) -> None:
    call = await begin(books, intent)

    assert (call.refusal, call.result, call.stripe_id) == (None, None, None)
    assert await books.value("SELECT result IS NULL FROM stripe_calls")


# ── The next generation ──


async def test_what_was_refused_for_a_passing_state_may_be_asked_again(books: Books, intent: Intent) -> None:
    again_later = replace(intent, again_after_refusal=True, params={"id": "pi_1"})
    await settle(books, await begin(books, again_later), Outcome.REFUSED, None, DECLINED)

    second = await begin(books, replace(again_later, params={"id": "pi_1", "reason": "abandoned"}))

    assert (second.generation, second.outcome) == (2, None)
    assert second.key.endswith(":2")
    assert second.params == {"id": "pi_1", "reason": "abandoned"}, "a new intent, with parameters of its own"


async def test_absent_twice_and_long_apart_closes_the_generation(books: Books, intent: Intent) -> None:
    first = await begin(books, intent)

    assert (await note_absent(books, first)).outcome is None
    assert (await note_absent(books, first)).outcome is None, "twice, but not apart"
    await books.advance_clock(timedelta(seconds=APART - 60))
    assert (await note_absent(books, first)).outcome is None, "apart, but not long enough"
    assert (await begin(books, intent)).generation == 1
    await books.advance_clock(timedelta(seconds=61))
    assert (await note_absent(books, first)).outcome is None, "long after the first look, but just sent again"
    await books.advance_clock(timedelta(seconds=APART))
    assert (await note_absent(books, first)).outcome is Outcome.ABSENT

    second = await begin(books, intent)
    assert (second.generation, second.absent_at, second.doubted_at) == (2, None, None)
    assert await rows(books) == [(1, "absent"), (2, None)]


async def test_what_is_found_after_it_was_absent_once_is_done(books: Books, intent: Intent) -> None:
    first = await begin(books, intent)
    await note_absent(books, first)

    await settle(books, first, Outcome.DONE, "pi_1")
    await books.advance_clock(timedelta(seconds=APART + 1))

    assert (await note_absent(books, first)).outcome is Outcome.DONE
    assert (await begin(books, intent)).generation == 1


async def test_twenty_who_begin_after_an_absent_one_begin_the_same_next(books: Books, intent: Intent) -> None:
    await absent_twice(books, await begin(books, intent))

    calls = await at_once(begin(books, intent) for _ in range(20))

    assert {(call.generation, call.outcome) for call in calls} == {(2, None)}
    assert await rows(books) == [(1, "absent"), (2, None)]


async def test_a_closed_generation_is_not_followed_by_another(books: Books, intent: Intent) -> None:
    """Compensation closes it: whoever asks again gets the old one, and with it the refusal to send."""
    again = replace(intent, again_after_refusal=True)
    await settle(books, await begin(books, again), Outcome.REFUSED, None, DECLINED)
    await books.sql("UPDATE stripe_calls SET closed_at = app_now()")

    call = await begin(books, again)

    assert (call.generation, call.outcome) == (1, Outcome.REFUSED)
    assert call.closed_at is not None


async def test_a_late_answer_to_an_absent_generation_does_not_revive_it(books: Books, intent: Intent) -> None:
    first = await begin(books, intent)
    await absent_twice(books, first)
    second = await begin(books, intent)

    stands = await settle(books, first, Outcome.DONE, "pi_1")
    await settle(books, second, Outcome.DONE, "pi_2")

    assert stands.outcome is Outcome.ABSENT
    assert await rows(books) == [(1, "absent"), (2, "done")]


INSERT = (
    "INSERT INTO stripe_calls (subject, step, generation, operation_id, idempotency_key, write, params, outcome,"
    " stripe_id, result) SELECT subject, step, 2, operation_id, 'other', write, params, {} FROM stripe_calls"
)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.ABSENT])
async def test_what_has_ended_while_it_was_begun_again_is_not_sent(
    books: Books, intent: Intent, outcome: Outcome
) -> None:
    await begin(books, intent)

    # Given one who records how it ended, while another has read that it is open and is about to send it again
    async with books.database.transaction() as holder:
        await holder.execute(
            sa.update(stripe_calls_table).values(
                outcome=outcome, stripe_id="pi_1" if outcome is Outcome.DONE else None, result={}
            )
        )
        async with meanwhile(begin(books, intent)) as again:
            await books.until_somebody_waits()
            await holder.commit()

    assert again.result().outcome is outcome
    assert await books.value("SELECT attempts FROM stripe_calls") == 1


async def test_quiet_is_what_was_sent_neither_lately_nor_again(books: Books, intent: Intent) -> None:
    async def is_quiet(call: Call) -> bool:
        async with books.database.transaction() as connection:
            return await stripe_calls.quiet(connection, call, apart=APART)

    await begin(books, intent)
    read = await latest(books, intent)
    assert not await is_quiet(read)
    await books.advance_clock(timedelta(seconds=APART))
    assert await is_quiet(read)

    # Whatever was found out before it was sent again says nothing of what that may have done.
    await begin(books, intent)
    await books.advance_clock(timedelta(seconds=APART))
    assert not await is_quiet(read)


async def test_what_is_quiet_is_not_sent_before_all_is_recorded(books: Books, intent: Intent) -> None:
    await begin(books, intent)
    await books.advance_clock(timedelta(seconds=APART))
    call = await latest(books, intent)

    async with books.database.transaction() as holder:
        assert await stripe_calls.quiet(holder, call, apart=APART)
        async with meanwhile(begin(books, intent)) as again:
            await books.until_somebody_waits()
            await stripe_calls.settle(holder, call, Outcome.DONE, stripe_id="pi_1", result={})
            await holder.commit()

    assert again.result().outcome is Outcome.DONE


async def test_a_step_has_one_open_intent_at_a_time(books: Books, intent: Intent) -> None:
    await begin(books, intent)

    async with books.as_owner() as owner:
        with pytest.raises(UniqueViolationError, match="stripe_calls_one_open"):
            await owner.execute(INSERT.format("NULL, NULL, NULL"))


async def test_a_step_is_done_once(books: Books, intent: Intent) -> None:
    await settle(books, await begin(books, intent), Outcome.DONE, "pi_1")

    async with books.as_owner() as owner:
        with pytest.raises(UniqueViolationError, match="stripe_calls_one_done"):
            await owner.execute(INSERT.format("'done', 'pi_2', '{}'"))


async def test_a_key_is_used_once(books: Books, intent: Intent) -> None:
    await settle(books, await begin(books, intent), Outcome.DONE, "pi_1")

    async with books.as_owner() as owner:
        with pytest.raises(UniqueViolationError, match="stripe_calls_idempotency_key_key"):
            await owner.execute(INSERT.replace("'other'", "idempotency_key").format("NULL, NULL, NULL"))


# ── Doubt, and whose an object is ──


async def test_doubt_is_dated_from_its_first_cause(books: Books, intent: Intent) -> None:
    call = await begin(books, intent)

    async def doubt() -> None:
        async with books.database.transaction() as connection:
            await stripe_calls.doubt(connection, call)

    await doubt()
    first = (await begin(books, intent)).doubted_at
    await books.advance_clock(timedelta(hours=1))
    await doubt()

    assert first is not None
    assert (await begin(books, intent)).doubted_at == first


async def test_an_object_belongs_to_who_claimed_it_first(books: Books, intent: Intent) -> None:
    other = await books.operation("bob")
    await settle(books, await begin(books, intent), Outcome.DONE, "pi_1")

    async with books.database.transaction() as connection:
        await stripe_calls.claim_objects(connection, other, ["pi_1", "ch_other"])

    async with books.database.transaction() as connection:
        assert await stripe_calls.owner_of(connection, ["pi_1"]) == intent.operation_id
        assert await stripe_calls.owner_of(connection, ["ch_other"]) == other
        assert await stripe_calls.owner_of(connection, ["ch_unknown"]) is None
        assert await stripe_calls.owner_of(connection, []) is None


async def test_what_is_shown_of_a_call_has_no_parameters(books: Books, intent: Intent) -> None:
    await begin(books, replace(intent, params={"email": "alice@example.com"}))

    async with books.database.transaction() as connection:
        [shown] = await stripe_calls.of_operation(connection, intent.operation_id)

    assert "params" not in shown
    assert "alice@example.com" not in str(dict(shown))
