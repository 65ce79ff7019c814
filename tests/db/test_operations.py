"""Operations: statuses that only move forward, and one row per Idempotency-Key."""

from datetime import timedelta

import pytest
from asyncpg.exceptions import CheckViolationError

from db import operations
from db.operations import Asked
from domain.errors import IdempotencyKeyReused
from domain.ids import new_id
from domain.operations import Failure, OperationKind
from domain.statuses import LIFECYCLES, DepositStatus, is_terminal
from tests.db.books import Books, at_once, with_errors

REFUSED = Failure(code="payment-refused", detail="No.")


async def advance(books: Books, operation_id: str, status: DepositStatus, *, close: bool = False) -> bool:
    """Move it, with a reason if it fails."""
    failure = REFUSED if status is DepositStatus.FAILED else None
    async with books.database.transaction() as connection:
        return await operations.advance(connection, operation_id, status, failure=failure, close=close)


async def status_of(books: Books, operation_id: str) -> tuple[DepositStatus, bool]:
    """Its status, and whether it is closed."""
    [row] = await books.sql("SELECT status, closed_at FROM operations WHERE id = $1", operation_id)
    return DepositStatus(row["status"]), row["closed_at"] is not None


# ── Statuses ──


async def test_a_status_moves_where_it_may_and_nowhere_else(books: Books) -> None:
    for earlier in DepositStatus:
        for later in DepositStatus:
            operation_id = await books.operation(status=earlier, failure=REFUSED.model_dump())

            news = await advance(books, operation_id, later)

            allowed = later in LIFECYCLES[OperationKind.DEPOSIT].next[earlier]
            assert news is allowed, (earlier, later)
            assert (await status_of(books, operation_id))[0] is (later if allowed else earlier)


async def test_the_database_refuses_a_step_back_by_whatever_way(books: Books) -> None:
    operation_id = await books.operation(status=DepositStatus.SUCCEEDED)

    for way_in in (books.as_app(), books.as_owner(), books.as_superuser()):
        async with way_in as connection:
            for back in ("processing", "requested", "canceled"):
                with pytest.raises(CheckViolationError, match=f"cannot go from succeeded to {back}"):
                    await connection.execute("UPDATE operations SET status = $1 WHERE id = $2", back, operation_id)
            with pytest.raises(CheckViolationError):
                await connection.execute("UPDATE operations SET status = 'paid' WHERE id = $1", operation_id)


async def test_a_saga_run_twice_is_no_news(books: Books) -> None:
    operation_id = await books.operation()
    story = (DepositStatus.AWAITING_PAYMENT, DepositStatus.PROCESSING, DepositStatus.SUCCEEDED)

    assert [await advance(books, operation_id, status) for status in story] == [True, True, True]
    assert [await advance(books, operation_id, status) for status in story] == [False, False, False]
    assert await status_of(books, operation_id) == (DepositStatus.SUCCEEDED, False)


async def test_of_two_ends_at_once_one_is_news(books: Books) -> None:
    for _ in range(5):
        operation_id = await books.operation(status=DepositStatus.AWAITING_PAYMENT)

        ends = [DepositStatus.SUCCEEDED, DepositStatus.CANCELED, DepositStatus.EXPIRED, DepositStatus.SUCCEEDED]
        news = await at_once(advance(books, operation_id, end, close=True) for end in ends)

        assert sum(news) == 1
        assert await status_of(books, operation_id) == (ends[news.index(True)], True)


async def test_details_are_merged_also_by_who_comes_late(books: Books) -> None:
    operation_id = await books.operation()

    async with books.database.transaction() as connection:
        for status, details in (
            (DepositStatus.AWAITING_PAYMENT, {"payment_intent": "pi_1"}),
            (DepositStatus.SUCCEEDED, None),
            (DepositStatus.SUCCEEDED, {"balance_transaction": "txn_1"}),
        ):
            await operations.advance(connection, operation_id, status, details=details)
        row = await operations.require(connection, operation_id)

    assert row["details"] == {"payment_intent": "pi_1", "balance_transaction": "txn_1"}
    assert row["started_at"] is not None


@pytest.mark.parametrize("status", DepositStatus)
async def test_only_what_has_ended_can_be_closed(books: Books, status: DepositStatus) -> None:
    operation_id = await books.operation(status=status, failure=REFUSED.model_dump())

    await advance(books, operation_id, status, close=True)
    assert await status_of(books, operation_id) == (status, is_terminal(status))

    if not is_terminal(status):
        async with books.as_owner() as owner:
            with pytest.raises(CheckViolationError, match=f"cannot close as {status}"):
                await owner.execute("UPDATE operations SET closed_at = now() WHERE id = $1", operation_id)


async def test_closing_again_keeps_the_first_time(books: Books) -> None:
    operation_id = await books.operation(status=DepositStatus.AWAITING_PAYMENT)
    await advance(books, operation_id, DepositStatus.SUCCEEDED, close=True)
    first = await books.value("SELECT closed_at FROM operations")

    await books.advance_clock(timedelta(days=1))
    await advance(books, operation_id, DepositStatus.SUCCEEDED, close=True)

    assert await books.value("SELECT closed_at FROM operations") == first


async def test_what_failed_says_why(books: Books) -> None:
    operation_id = await books.operation()

    with pytest.raises(Exception, match="failed_says_why"):
        async with books.database.transaction() as connection:
            await operations.advance(connection, operation_id, DepositStatus.FAILED)

    assert await advance(books, operation_id, DepositStatus.FAILED)
    async with books.database.transaction() as connection:
        row = await operations.require(connection, operation_id)
    assert Failure.model_validate(row["failure"]) == REFUSED


async def test_what_is_not_there_is_null_and_no_word_for_it(books: Books) -> None:
    """JSON has a null of its own, which no constraint and no `IS NULL` takes for nothing."""
    operation_id = await books.operation()
    await advance(books, operation_id, DepositStatus.SUCCEEDED)
    async with books.database.transaction() as connection:
        await operations.note_trouble(connection, operation_id, REFUSED, needs_attention=True, retries=1)
        await operations.clear_trouble(connection, operation_id)

    assert await books.value("SELECT failure IS NULL AND attention IS NULL FROM operations")


# ── Trouble ──


async def test_trouble_is_shown_until_it_is_over_and_its_retries_stay(books: Books) -> None:
    operation_id = await books.operation()

    async with books.database.transaction() as connection:
        await operations.note_trouble(connection, operation_id, REFUSED, needs_attention=True, retries=4)
        shown = await operations.require(connection, operation_id)
        await operations.clear_trouble(connection, operation_id)
        after = await operations.require(connection, operation_id)

    assert (shown["needs_attention"], shown["attention"], shown["retries"]) == (True, REFUSED.model_dump(), 4)
    assert shown["last_retry_at"] is not None
    assert (after["needs_attention"], after["attention"], after["retries"]) == (False, None, 4)


async def test_a_flag_says_why(books: Books) -> None:
    operation_id = await books.operation()

    async with books.as_app() as app:
        with pytest.raises(CheckViolationError, match="attention_says_why"):
            await app.execute("UPDATE operations SET needs_attention = true WHERE id = $1", operation_id)


async def test_an_operators_action_is_kept_once_with_what_they_saw(books: Books) -> None:
    operation_id = await books.operation()

    async def act() -> None:
        async with books.database.transaction() as connection:
            await operations.record_operator_action(
                connection, operation_id, "upd_1", verb="retry", actor="olga", reason="mended"
            )

    await at_once(act() for _ in range(5))

    [action] = await books.sql("SELECT actor, verb, reason, seen ->> 'status' AS status FROM operator_actions")
    assert tuple(action) == ("olga", "retry", "mended", "requested")


# ── Who is found, and when ──


async def test_an_operation_is_unstarted_until_its_saga_has_done_something(books: Books) -> None:
    first, second = await books.operation(), await books.operation()

    async def unstarted(older_than: float) -> list[str]:
        async with books.database.transaction() as connection:
            return [row["id"] for row in await operations.unstarted(connection, older_than=older_than, limit=10)]

    assert await unstarted(0) == [first, second]
    assert await unstarted(60) == []
    await books.advance_clock(timedelta(seconds=61))
    assert await unstarted(60) == [first, second]
    async with books.database.transaction() as connection:
        await operations.note_started(connection, first)
    assert await unstarted(60) == [second]
    await advance(books, second, DepositStatus.CANCELED, close=True)
    assert await unstarted(60) == []


async def test_pages_of_operations_are_newest_first_and_ones_own(books: Books) -> None:
    mine = [await books.operation("alice") for _ in range(5)]
    others = [await books.operation("bob")]

    async def ids(user_id: str | None, *, limit: int, before_id: str | None = None) -> list[str]:
        async with books.database.transaction() as connection:
            rows = await operations.page(connection, user_id=user_id, kind=None, limit=limit, before_id=before_id)
        return [row["id"] for row in rows]

    newest_first = sorted(mine, reverse=True)
    assert await ids("alice", limit=10) == newest_first
    assert await ids("alice", limit=2) == newest_first[:2]
    assert await ids("alice", limit=10, before_id=newest_first[1]) == newest_first[2:]
    assert await ids(None, limit=10) == sorted(mine + others, reverse=True)


async def test_an_operation_that_is_not_there_is_said_to_be(books: Books) -> None:
    async with books.database.transaction() as connection:
        assert await operations.get(connection, "dep_none") is None
        with pytest.raises(LookupError, match="dep_none"):
            await operations.require(connection, "dep_none")


# ── Requests ──

ASKED = Asked(caller="alice", key="key-1", fingerprint="body-1")


async def ask(books: Books, asked: Asked, *, user: str = "alice") -> str:
    """The operation of a request, made unless the key made one before: as the API does it."""
    wallet_id = await books.wallet(user)
    async with books.database.transaction() as connection:
        earlier = await operations.earlier_request(connection, asked)
        if earlier is not None:
            return str(earlier["operation_id"])
        operation_id = new_id("dep")
        of = {"id": operation_id, "caller": asked.caller, "user_id": user, "wallet_id": wallet_id}
        what = {"kind": "deposit", "status": DepositStatus.REQUESTED, "amount": 20_000, "currency": "usd"}
        await operations.insert_operation(connection, of | what)
        await operations.remember_request(connection, asked, operation_id)
        return operation_id


async def test_fifty_requests_with_one_key_make_one_operation(books: Books) -> None:
    await books.wallet()

    made = await at_once(ask(books, ASKED) for _ in range(50))

    assert len(set(made)) == 1
    assert await books.value("SELECT count(*) FROM operations") == 1
    assert await books.value("SELECT count(*) FROM requests") == 1


async def test_of_different_requests_with_one_key_the_first_counts(books: Books) -> None:
    await books.wallet()

    outcomes = await with_errors(
        ask(books, Asked(caller="alice", key="key-1", fingerprint=f"body-{n}")) for n in range(10)
    )

    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, IdempotencyKeyReused) for outcome in outcomes) == 9
    assert await books.value("SELECT count(*) FROM operations") == 1


async def test_another_callers_same_key_is_another_operation(books: Books) -> None:
    first = await ask(books, ASKED)
    second = await ask(books, Asked(caller="bob", key="key-1", fingerprint="body-1"), user="bob")

    assert first != second
    assert await ask(books, ASKED) == first


async def test_a_request_that_was_not_committed_left_no_trace(books: Books) -> None:
    await books.wallet()

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the process dies between the insert and the commit.
        async with books.database.transaction() as connection:
            await operations.earlier_request(connection, ASKED)
            await operations.remember_request(connection, ASKED, await books.operation())
            _ = 1 / 0

    async with books.database.transaction() as connection:
        assert await operations.earlier_request(connection, ASKED) is None


async def test_an_operation_is_made_by_one_request(books: Books) -> None:
    operation_id = await ask(books, ASKED)

    with pytest.raises(Exception, match="requests_make_one_operation"):
        async with books.database.transaction() as connection:
            await operations.remember_request(connection, Asked("alice", "key-2", "body"), operation_id)


async def test_a_verbs_first_answer_stays(books: Books) -> None:
    operation_id = await ask(books, ASKED)
    refusal = REFUSED.model_dump()

    async with books.database.transaction() as connection:
        for key in ("cancel-1", "cancel-2"):
            await operations.remember_request(connection, Asked("alice", key, "body"), operation_id, verb="cancel")
        await operations.answer_request(connection, "alice", "cancel-1", refusal)
        await operations.answer_request(connection, "alice", "cancel-1", None)
        await operations.answer_request(connection, "alice", "cancel-2", None)
        await operations.answer_request(connection, "alice", "cancel-2", refusal)
        refused = await operations.earlier_request(connection, Asked("alice", "cancel-1", "body"))
        done = await operations.earlier_request(connection, Asked("alice", "cancel-2", "body"))

    assert refused is not None
    assert refused["refusal"] == refusal
    assert done is not None
    assert (done["refusal"], done["answered_at"] is None) == (None, False)
    assert await books.value("SELECT refusal IS NULL FROM requests WHERE key = 'cancel-2'")


async def test_verbs_wait_for_their_answer_oldest_first(books: Books) -> None:
    operation_id = await ask(books, ASKED)

    async def waiting(older_than: float) -> list[str]:
        async with books.database.transaction() as connection:
            rows = await operations.unanswered_verbs(connection, older_than=older_than, limit=10)
        return [row["key"] for row in rows]

    for key in ("cancel-1", "cancel-2"):
        async with books.database.transaction() as connection:
            await operations.remember_request(connection, Asked("alice", key, "body"), operation_id, verb="cancel")
    assert (await waiting(0), await waiting(60)) == (["cancel-1", "cancel-2"], [])
    await books.advance_clock(timedelta(seconds=61))
    async with books.database.transaction() as connection:
        await operations.answer_request(connection, "alice", "cancel-1", None)
    assert await waiting(60) == ["cancel-2"]
