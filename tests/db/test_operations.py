"""Operations: statuses that only move forward, and one row per Idempotency-Key."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from asyncpg.exceptions import CheckViolationError
from sqlalchemy.exc import IntegrityError

from db import operations
from db.operations import Asked
from domain.errors import IdempotencyKeyReused
from domain.ids import new_id
from domain.operations import Failure, OperationKind
from domain.statuses import LIFECYCLES, DepositStatus, Status, WithdrawalStatus, is_terminal, status_of
from tests.db.books import Books, at_once, meanwhile, with_errors

REFUSED = Failure(code="payment-refused", detail="No.")


async def advance(books: Books, operation_id: str, status: Status, *, close: bool = False) -> bool:
    """Move it, with a reason if it fails."""
    failure = REFUSED if status == "failed" else None
    async with books.database.transaction() as connection:
        return await operations.advance(connection, operation_id, status, failure=failure, close=close)


async def standing_of(books: Books, operation_id: str) -> tuple[Status, bool]:
    """Its status, and whether it is closed."""
    [row] = await books.sql("SELECT kind, status, closed_at FROM operations WHERE id = $1", operation_id)
    return status_of(row["kind"], row["status"]), row["closed_at"] is not None


# ── Statuses ──


@pytest.mark.parametrize("kind", OperationKind)
async def test_a_status_moves_where_it_may_and_nowhere_else(books: Books, kind: OperationKind) -> None:
    money = {"wallet_id": await books.wallet("bob"), "amount": 8_000, "currency": "usd"}
    who = {"id": "op_1", "kind": kind, "caller": "bob", "user_id": "bob", "failure": REFUSED.model_dump()}
    values: dict[str, Any] = who | ({} if kind is OperationKind.CONNECTED_ACCOUNT else money)
    async with books.database.transaction() as connection:
        for earlier, following in LIFECYCLES[kind].next.items():
            for later in LIFECYCLES[kind].statuses:
                async with connection.begin_nested() as savepoint:
                    await operations.insert_operation(connection, values | {"status": earlier})

                    news = await operations.advance(connection, "op_1", later, failure=REFUSED)

                    after = (await operations.require(connection, "op_1"))["status"]
                    await savepoint.rollback()
                assert news is (later in following), (earlier, later)
                assert after == (later if news else earlier)


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
    assert await standing_of(books, operation_id) == (DepositStatus.SUCCEEDED, False)


async def test_of_two_ends_at_once_one_is_news(books: Books) -> None:
    for _ in range(5):
        operation_id = await books.operation(status=DepositStatus.AWAITING_PAYMENT)

        ends = [DepositStatus.SUCCEEDED, DepositStatus.CANCELED, DepositStatus.EXPIRED, DepositStatus.SUCCEEDED]
        news = await at_once(advance(books, operation_id, end, close=True) for end in ends)

        assert sum(news) == 1
        assert await standing_of(books, operation_id) == (ends[news.index(True)], True)


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
    assert await standing_of(books, operation_id) == (status, is_terminal(status))

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


# ── What was paid may come back ──


async def test_what_was_paid_and_closed_is_open_again_while_it_is_brought_back(books: Books) -> None:
    """A follow-up has taken it on, ten days after its saga has ended."""
    operation_id = await books.withdrawal(status=WithdrawalStatus.PAYING_OUT)
    assert await advance(books, operation_id, WithdrawalStatus.PAID)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.PAID, False), "it watches on"
    await advance(books, operation_id, WithdrawalStatus.PAID, close=True)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.PAID, True)

    assert await advance(books, operation_id, WithdrawalStatus.REVERSING)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSING, False)
    assert await advance(books, operation_id, WithdrawalStatus.REVERSED)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSED, False)

    assert not await advance(books, operation_id, WithdrawalStatus.REVERSED, close=True)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSED, True)
    assert not await advance(books, operation_id, WithdrawalStatus.REVERSING)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSED, True), "for good"


async def test_a_saga_that_ends_late_does_not_close_what_is_being_brought_back(books: Books) -> None:
    """It was reset, and ends as it did before, while the follow-up is at work."""
    operation_id = await books.withdrawal(status=WithdrawalStatus.REVERSING)

    assert not await advance(books, operation_id, WithdrawalStatus.PAID, close=True)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSING, False)
    await advance(books, operation_id, WithdrawalStatus.REVERSED)

    assert not await advance(books, operation_id, WithdrawalStatus.PAID, close=True)
    assert await standing_of(books, operation_id) == (WithdrawalStatus.REVERSED, True), "it has ended, as whatever"


async def test_what_came_back_says_why(books: Books) -> None:
    operation_id = await books.withdrawal(status=WithdrawalStatus.REVERSING)
    bounced = Failure(code="payout-failed", detail="Closed.", decline_code="account_closed")

    async with books.database.transaction() as connection:
        await operations.advance(connection, operation_id, WithdrawalStatus.REVERSED, failure=bounced, close=True)
        row = await operations.require(connection, operation_id)

    assert Failure.model_validate(row["failure"]) == bounced


async def test_those_that_wait_for_funds_are_found_while_they_do(books: Books) -> None:
    waiting, other = await books.withdrawal(), await books.withdrawal("alice", status=WithdrawalStatus.RESERVED)

    async def found() -> list[str]:
        async with books.database.transaction() as connection:
            return [row["id"] for row in await operations.awaiting_funds(connection)]

    assert await found() == []
    for operation_id in (waiting, other):
        await advance(books, operation_id, WithdrawalStatus.RESERVED)
        await advance(books, operation_id, WithdrawalStatus.AWAITING_FUNDS)
    assert sorted(await found()) == sorted([waiting, other])
    await advance(books, waiting, WithdrawalStatus.TRANSFERRED)

    assert await found() == [other]


async def test_an_operations_age_is_counted_from_its_acceptance(books: Books) -> None:
    operation_id = await books.withdrawal()
    await books.advance_clock(timedelta(days=14))
    await advance(books, operation_id, WithdrawalStatus.RESERVED)

    async with books.database.transaction() as connection:
        ages = [
            (await operations.require(connection, operation_id))["age"],
            (await operations.locked(connection, operation_id))["age"],
        ]

    assert all(timedelta(days=14) <= timedelta(seconds=age) < timedelta(days=14, minutes=1) for age in ages)


async def test_what_is_locked_is_moved_by_nobody_else(books: Books) -> None:
    operation_id = await books.withdrawal()

    async with books.database.transaction() as connection:
        seen = await operations.locked(connection, operation_id)
        async with meanwhile(advance(books, operation_id, WithdrawalStatus.RESERVED)) as moving:
            await books.until_somebody_waits()
            assert (await operations.require(connection, operation_id))["status"] == seen["status"] == "requested"
            await connection.commit()

    assert moving.result()
    async with books.database.transaction() as connection:
        with pytest.raises(LookupError, match="wd_none"):
            await operations.locked(connection, "wd_none")


# ── Whose money, and how much ──


@pytest.mark.parametrize("kind", OperationKind)
async def test_an_account_moves_no_money_and_all_else_says_how_much_and_whose(
    books: Books, kind: OperationKind
) -> None:
    wallet_id = await books.wallet("bob")
    insert = "INSERT INTO operations (id, kind, status, caller, user_id, wallet_id, amount, currency)"
    insert += " VALUES ('op_1', $1, 'requested', 'bob', 'bob', $2, $3, $4)"
    everything_or_nothing = (kind is not OperationKind.CONNECTED_ACCOUNT,) * 3

    async with books.as_app() as app:
        for said in itertools.product([True, False], repeat=3):
            money = [value if there else None for value, there in zip((wallet_id, 8_000, "usd"), said, strict=True)]
            if said != everything_or_nothing:
                with pytest.raises(CheckViolationError, match=r"money_is_whose|money_or_account"):
                    await app.execute(insert, kind, *money)
            else:
                await app.execute(insert, kind, *money)
                await books.sql("DELETE FROM operations")


@pytest.mark.parametrize("amount", [0, -1])
async def test_what_is_moved_is_more_than_nothing(books: Books, amount: int) -> None:
    with pytest.raises(IntegrityError, match="operations_amount_check"):
        await books.withdrawal(amount=amount)


@pytest.mark.parametrize("status", ["paid", "active", "awaiting_payment", "REQUESTED"])
async def test_a_status_is_one_of_the_operations_kind(books: Books, status: str) -> None:
    with pytest.raises(IntegrityError, match="operations_kind_status_fkey"):
        await books.operation(kind=OperationKind.WALLET_TRANSFER, status=status)


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

    async def act() -> bool:
        async with books.database.transaction() as connection:
            return await operations.record_operator_action(
                connection, operation_id, "upd_1", verb="retry", actor="olga", reason="mended"
            )

    kept = await at_once(act() for _ in range(5))

    assert sorted(kept) == [False, False, False, False, True], "who is first is told so"
    [action] = await books.sql("SELECT actor, verb, reason, seen ->> 'status' AS status FROM operator_actions")
    assert tuple(action) == ("olga", "retry", "mended", "requested")


ACT: dict[str, Any] = {"verb": "retry", "actor": "olga", "reason": "mended"}


@pytest.mark.parametrize("other", [{"verb": "resume"}, {"actor": "otto"}, {"reason": "mended again"}], ids=str)
async def test_an_id_stands_for_one_act(books: Books, other: dict[str, str]) -> None:
    operation_id, another = await books.operation(), await books.operation()

    async def act(what: dict[str, Any], on: str = operation_id) -> bool:
        async with books.database.transaction() as connection:
            return await operations.record_operator_action(connection, on, "upd_1", **what)

    assert await act(ACT)
    assert not await act(ACT)
    with pytest.raises(IdempotencyKeyReused, match="another act"):
        await act(ACT | other)
    assert await act(ACT | other, another), "on another operation it is another id"
    assert await books.value("SELECT count(*) FROM operator_actions WHERE operation_id = $1", operation_id) == 1
    assert await act(ACT, "dep_none"), "what was tried on an operation that there never was is kept too"


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

    async def ids(
        user_id: str | None, *, limit: int, before_id: str | None = None, kind: OperationKind | None = None
    ) -> list[str]:
        async with books.database.transaction() as connection:
            rows = await operations.page(connection, user_id=user_id, kind=kind, limit=limit, before_id=before_id)
        return [row["id"] for row in rows]

    newest_first = sorted(mine, reverse=True)
    assert await ids("alice", limit=10) == newest_first
    assert await ids("alice", limit=2) == newest_first[:2]
    assert await ids("alice", limit=10, before_id=newest_first[1]) == newest_first[2:]
    assert await ids(None, limit=10) == sorted(mine + others, reverse=True)
    withdrawal = await books.withdrawal("bob")
    assert await ids("bob", limit=10, kind=OperationKind.WITHDRAWAL) == [withdrawal]
    assert await ids("bob", limit=10, kind=OperationKind.DEPOSIT) == others
    assert await ids("alice", limit=10, kind=OperationKind.WITHDRAWAL) == []


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
