"""Calls to Stripe that must not be made any more: closed steps, what a reversal closes, and a frozen wallet."""

from collections.abc import Awaitable
from dataclasses import replace

import pytest

from db import stripe_calls, users
from db.operations import Asked
from db.stripe_calls import Call, Intent, Outcome, StillOpen
from domain.errors import WalletFrozen
from domain.operations import Failure
from domain.steps import Step
from tests.db.books import Books, at_once, meanwhile, with_errors

ROUNDS = 15
"""Of each race. What must not happen in any is also shown without one, by who waits for whom."""

SHORT = Failure(code="awaiting-funds", detail="The balance is short.").model_dump()
APART = 1_800.0

TRANSFER, PAYOUT = (Step.CREATE_TRANSFER, "transfers.create"), (Step.CREATE_PAYOUT, "payouts.create")


@pytest.fixture
async def operation(books: Books) -> str:
    """A withdrawal that was accepted."""
    return await books.withdrawal()


def intent(operation: str, step: str = Step.CREATE_TRANSFER, write: str = "transfers.create") -> Intent:
    """A withdrawal's intent; refused, it may be tried again."""
    return Intent(operation, step, operation, write, {"amount": 8_000}, again_after_refusal=True)


def reversal(operation: str, number: int = 1) -> Intent:
    """A part of the transfer taken back: from then on there must be no payout of it."""
    step = Step.CREATE_REVERSAL.part(number)
    return replace(intent(operation, step, "transfers.create_reversal"), closes=(PAYOUT,))


async def begin(books: Books, wanted: Intent) -> Call:
    async with books.database.transaction() as connection:
        return await stripe_calls.begin(connection, wanted)


async def close(books: Books, operation: str, step: tuple[str, str] = TRANSFER) -> bool:
    async with books.database.transaction() as connection:
        return await stripe_calls.close(connection, operation, step[0], write=step[1])


async def settle(books: Books, call: Call, outcome: Outcome) -> Call:
    stripe_id, result = ("obj_1", {"id": "obj_1"}) if outcome is Outcome.DONE else (None, SHORT)
    async with books.database.transaction() as connection:
        return await stripe_calls.settle(connection, call, outcome, stripe_id=stripe_id, result=result)


async def rows(books: Books, operation: str, step: str = Step.CREATE_TRANSFER) -> list[tuple[int, str | None, bool]]:
    """Each generation of a step: its outcome, and whether it is closed."""
    found = await books.sql(
        "SELECT generation, outcome, closed_at IS NOT NULL AS closed FROM stripe_calls"
        " WHERE operation_id = $1 AND step = $2 ORDER BY generation",
        operation,
        step,
    )
    return [(row["generation"], row["outcome"], row["closed"]) for row in found]


# ── A step that was never begun, or refused, is closed for good ──


async def test_what_was_never_begun_never_is_once_it_is_closed(books: Books, operation: str) -> None:
    assert await close(books, operation)

    call = await begin(books, intent(operation))

    assert (call.generation, call.outcome, call.closed_at is None) == (1, Outcome.ABSENT, False)
    assert await rows(books, operation) == [(1, "absent", True)]
    assert await books.value("SELECT attempts FROM stripe_calls") == 0, "nothing was sent"


async def test_what_was_refused_is_not_tried_again_once_it_is_closed(books: Books, operation: str) -> None:
    await settle(books, await begin(books, intent(operation)), Outcome.REFUSED)

    assert await close(books, operation)

    assert (await begin(books, intent(operation))).closed_at is not None
    assert await rows(books, operation) == [(1, "refused", False), (2, "absent", True)]


async def test_what_was_absent_twice_is_not_sent_again_once_it_is_closed(books: Books, operation: str) -> None:
    await begin(books, intent(operation))
    await books.sql("UPDATE stripe_calls SET outcome = 'absent'")

    assert await close(books, operation)

    assert (await begin(books, intent(operation))).closed_at is not None
    assert await rows(books, operation) == [(1, "absent", False), (2, "absent", True)]


async def test_what_was_done_is_not_closed(books: Books, operation: str) -> None:
    await settle(books, await begin(books, intent(operation)), Outcome.DONE)

    assert not await close(books, operation)

    assert await rows(books, operation) == [(1, "done", False)]
    assert (await begin(books, intent(operation))).outcome is Outcome.DONE


async def test_what_has_no_outcome_yet_is_to_be_asked_after_first(books: Books, operation: str) -> None:
    call = await begin(books, intent(operation))

    with pytest.raises(StillOpen, match=f"{call.key} has no outcome yet"):
        await close(books, operation)
    async with books.database.transaction() as connection:
        await stripe_calls.doubt(connection, call)
    with pytest.raises(StillOpen):
        await close(books, operation)

    assert await rows(books, operation) == [(1, None, False)]
    await settle(books, call, Outcome.REFUSED)
    assert await close(books, operation)


async def test_closing_again_changes_nothing(books: Books, operation: str) -> None:
    assert await close(books, operation)
    before = await books.sql("SELECT * FROM stripe_calls")

    assert await at_once(close(books, operation) for _ in range(5)) == [True] * 5

    assert await books.sql("SELECT * FROM stripe_calls") == before


async def test_closing_one_step_leaves_the_others(books: Books, operation: str) -> None:
    await close(books, operation, PAYOUT)
    await close(books, await books.withdrawal())

    assert (await begin(books, intent(operation))).closed_at is None


async def test_a_closed_step_comes_to_nothing_whatever_is_answered(books: Books, operation: str) -> None:
    """A late answer, or a look-up that finds nothing, is about a call that was never made."""
    await close(books, operation)
    closed = await begin(books, intent(operation))

    assert (await settle(books, closed, Outcome.DONE)).outcome is Outcome.ABSENT
    async with books.database.transaction() as connection:
        await stripe_calls.doubt(connection, closed)
        assert (await stripe_calls.note_absent(connection, closed, apart=APART)).doubted_at is None
        assert await stripe_calls.done(connection, operation, Step.CREATE_TRANSFER) is None

    assert await rows(books, operation) == [(1, "absent", True)]


# ── Of closing and beginning at once, one wins ──


async def test_who_begins_while_it_is_being_closed_sends_nothing(books: Books, operation: str) -> None:
    async with books.database.transaction() as connection:
        assert await stripe_calls.close(connection, operation, TRANSFER[0], write=TRANSFER[1])
        async with meanwhile(begin(books, intent(operation))) as beginning:
            await books.until_somebody_waits()
            await connection.commit()

    assert beginning.result().closed_at is not None
    assert await rows(books, operation) == [(1, "absent", True)]


@pytest.mark.parametrize("earlier", [None, Outcome.REFUSED])
async def test_who_closes_while_it_begins_learns_so(books: Books, operation: str, earlier: Outcome | None) -> None:
    if earlier is not None:
        await settle(books, await begin(books, intent(operation)), earlier)

    async with books.database.transaction() as connection:
        call = await stripe_calls.begin(connection, intent(operation))
        async with meanwhile(close(books, operation)) as closing:
            await books.until_somebody_waits()
            await connection.commit()

    assert isinstance(closing.exception(), StillOpen)
    assert (await rows(books, operation))[-1] == (call.generation, None, False)


async def test_who_closes_while_a_beginning_is_taken_back_has_closed_it(books: Books, operation: str) -> None:
    async with books.database.transaction() as connection:
        await stripe_calls.begin(connection, intent(operation))
        async with meanwhile(close(books, operation)) as closing:
            await books.until_somebody_waits()
            await connection.rollback()

    assert closing.result()
    assert await rows(books, operation) == [(1, "absent", True)]


@pytest.mark.parametrize("earlier", [None, Outcome.REFUSED])
async def test_of_many_who_close_and_begin_at_once_one_side_wins(books: Books, earlier: Outcome | None) -> None:
    wins = {"begun": 0, "closed": 0}
    for round_ in range(ROUNDS):
        operation = await books.withdrawal()
        if earlier is not None:
            await settle(books, await begin(books, intent(operation)), earlier)
        work: list[Awaitable[Call | bool]] = [begin(books, intent(operation)), close(books, operation)]
        work += [begin(books, intent(operation)), close(books, operation)]

        outcomes = await with_errors(work if round_ % 2 else reversed(work))

        calls = [outcome for outcome in outcomes if isinstance(outcome, Call)]
        closings = [outcome for outcome in outcomes if not isinstance(outcome, Call)]
        assert len(calls) == len(closings) == 2
        newest = (await rows(books, operation))[-1]
        if newest[2]:
            wins["closed"] += 1
            assert all(call.closed_at is not None for call in calls), "what is closed is given to nobody to send"
            assert closings == [True, True]
        else:
            wins["begun"] += 1
            assert newest == (1 if earlier is None else 2, None, False)
            assert all(call.outcome is None for call in calls)
            assert all(isinstance(closing, StillOpen) for closing in closings)
    assert sum(wins.values()) == ROUNDS


# ── A reversal leaves no way to a payout ──


async def test_a_reversal_closes_the_payout_it_must_not_be_followed_by(books: Books, operation: str) -> None:
    call = await begin(books, reversal(operation))

    assert (call.outcome, call.closed_at) == (None, None)
    assert await rows(books, operation, Step.CREATE_PAYOUT) == [(1, "absent", True)]
    assert (await begin(books, intent(operation, *PAYOUT))).closed_at is not None
    await settle(books, call, Outcome.REFUSED)
    assert (await begin(books, reversal(operation))).generation == 2
    assert (await begin(books, reversal(operation, 2))).generation == 1
    assert await rows(books, operation, Step.CREATE_PAYOUT) == [(1, "absent", True)], "closed once"


async def test_a_reversal_after_a_payout_that_was_made_leaves_it(books: Books, operation: str) -> None:
    await settle(books, await begin(books, intent(operation, *PAYOUT)), Outcome.DONE)

    assert (await begin(books, reversal(operation))).outcome is None

    assert await rows(books, operation, Step.CREATE_PAYOUT) == [(1, "done", False)]


async def test_a_reversal_does_not_begin_while_a_payout_may_be_on_its_way(books: Books, operation: str) -> None:
    await begin(books, intent(operation, *PAYOUT))

    with pytest.raises(StillOpen):
        await begin(books, reversal(operation))

    assert await rows(books, operation, Step.CREATE_REVERSAL.part(1)) == []
    assert await rows(books, operation, Step.CREATE_PAYOUT) == [(1, None, False)]


async def test_a_reversal_that_is_taken_back_has_closed_nothing(books: Books, operation: str) -> None:
    async with books.database.transaction() as connection:
        await stripe_calls.begin(connection, reversal(operation))
        await connection.rollback()

    assert await books.sql("SELECT FROM stripe_calls") == []
    assert (await begin(books, intent(operation, *PAYOUT))).closed_at is None


async def test_one_step_that_is_still_open_keeps_all_from_being_closed(books: Books, operation: str) -> None:
    await begin(books, intent(operation))

    with pytest.raises(StillOpen):
        await begin(books, replace(reversal(operation), closes=(PAYOUT, TRANSFER)))

    assert await rows(books, operation, Step.CREATE_PAYOUT) == []


async def test_of_a_reversal_and_a_payout_at_once_one_is_sent(books: Books) -> None:
    """Also if they are the first that the operation's saga does: none waits for the other for ever."""
    for round_ in range(ROUNDS):
        operation = await books.withdrawal()
        work = [begin(books, reversal(operation)), begin(books, intent(operation, *PAYOUT))]

        outcomes = await with_errors(work if round_ % 2 else reversed(work))

        sent = [outcome for outcome in outcomes if isinstance(outcome, Call) and outcome.closed_at is None]
        assert len(sent) == 1
        [kept_out] = [outcome for outcome in outcomes if outcome not in sent]
        assert isinstance(kept_out, Call | StillOpen), kept_out
        assert (sent[0].step == Step.CREATE_PAYOUT) is isinstance(kept_out, StillOpen)
        assert (
            await books.value(
                "SELECT count(*) FROM stripe_calls WHERE outcome IS NULL AND operation_id = $1", operation
            )
            == 1
        )


# ── Nothing begins to leave a frozen wallet ──


async def freeze(books: Books, wallet: str, *, key: str = "freeze-1", verb: str = "freeze") -> None:
    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, Asked("olga", key, key), wallet, verb, "looks odd")


async def test_an_intent_does_not_begin_once_its_wallet_is_frozen(books: Books, operation: str) -> None:
    bob = await books.wallet("bob")
    await freeze(books, bob)

    with pytest.raises(WalletFrozen):
        await begin(books, replace(intent(operation), out_of_wallet=bob))

    assert await rows(books, operation) == []
    assert await books.value("SELECT started_at IS NULL FROM operations")
    await freeze(books, bob, key="unfreeze-1", verb="unfreeze")
    assert (await begin(books, replace(intent(operation), out_of_wallet=bob))).outcome is None


async def test_only_the_wallet_that_money_leaves_matters(books: Books, operation: str) -> None:
    bob = await books.wallet("bob")
    await freeze(books, await books.wallet("alice"))
    await freeze(books, await books.wallet("bob", "eur"), key="freeze-2")

    assert (await begin(books, replace(intent(operation), out_of_wallet=bob))).outcome is None
    await freeze(books, bob, key="freeze-3")
    assert (await begin(books, reversal(operation))).outcome is None, "what comes back is not stopped"


@pytest.mark.parametrize("outcome", [None, Outcome.DONE])
async def test_an_intent_begun_before_the_freeze_goes_on(books: Books, operation: str, outcome: Outcome | None) -> None:
    bob = await books.wallet("bob")
    wanted = replace(intent(operation), out_of_wallet=bob)
    call = await begin(books, wanted)
    if outcome is not None:
        await settle(books, call, outcome)
    await freeze(books, bob)

    again = await begin(books, wanted)

    assert (again.key, again.outcome) == (call.key, outcome)
    assert await rows(books, operation) == [(1, outcome, False)]


async def test_a_refused_intent_is_not_followed_by_another_out_of_a_frozen_wallet(books: Books, operation: str) -> None:
    bob = await books.wallet("bob")
    wanted = replace(intent(operation), out_of_wallet=bob)
    await settle(books, await begin(books, wanted), Outcome.REFUSED)
    await freeze(books, bob)

    with pytest.raises(WalletFrozen):
        await begin(books, wanted)

    assert await rows(books, operation) == [(1, "refused", False)]
    assert await close(books, operation), "but it can be closed"


async def test_who_begins_while_the_wallet_is_being_frozen_waits_and_is_refused(books: Books, operation: str) -> None:
    bob = await books.wallet("bob")

    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, Asked("olga", "freeze-1", "f"), bob, "freeze", "looks odd")
        async with meanwhile(begin(books, replace(intent(operation), out_of_wallet=bob))) as beginning:
            await books.until_somebody_waits()
            await connection.commit()

    assert isinstance(beginning.exception(), WalletFrozen)
    assert await rows(books, operation) == []


async def test_who_freezes_while_an_intent_begins_waits_for_it(books: Books, operation: str) -> None:
    bob = await books.wallet("bob")

    async with books.database.transaction() as connection:
        await stripe_calls.begin(connection, replace(intent(operation), out_of_wallet=bob))
        async with meanwhile(freeze(books, bob)) as freezing:
            await books.until_somebody_waits()
            assert not freezing.done()
            await connection.commit()

    assert freezing.exception() is None
    assert await books.value("SELECT frozen FROM wallets WHERE id = $1", bob)
    assert await rows(books, operation) == [(1, None, False)]


async def test_no_intent_begins_after_a_freeze_whoever_came_first(books: Books) -> None:
    """Both are dated while the wallet's lock is held, so each intent that stands is older than the freeze."""
    bob = await books.wallet("bob")
    begun = 0
    for round_ in range(ROUNDS):
        operations = [await books.withdrawal() for _ in range(3)]
        work: list[Awaitable[Call | None]] = [
            begin(books, replace(intent(operation), out_of_wallet=bob)) for operation in operations
        ]
        work.insert(round_ % 4, freeze(books, bob, key=f"freeze-{round_}"))

        outcomes = await with_errors(work)

        calls = [outcome for outcome in outcomes if isinstance(outcome, Call)]
        assert sum(isinstance(outcome, WalletFrozen) for outcome in outcomes) == 3 - len(calls)
        assert await books.value(
            "SELECT count(*) FROM stripe_calls c, wallet_actions a WHERE a.key = $1 AND c.operation_id = ANY ($2)"
            " AND c.first_sent_at < a.created_at",
            f"freeze-{round_}",
            operations,
        ) == len(calls)
        assert await books.value("SELECT count(*) FROM stripe_calls WHERE operation_id = ANY ($1)", operations) == len(
            calls
        )
        begun += len(calls)
        await freeze(books, bob, key=f"unfreeze-{round_}", verb="unfreeze")
    assert 0 < begun < 3 * ROUNDS, "now the one was first, now the other"


# ── Waiting for funds ──


async def test_each_try_while_funds_are_short_is_an_intent_of_its_own(books: Books, operation: str) -> None:
    for generation in (1, 2, 3):
        wanted = replace(intent(operation), params={"amount": 8_000, "destination": f"acct_{generation}"})
        call = await begin(books, wanted)
        assert (call.generation, call.key) == (generation, f"paysaga:{operation}:create_transfer:{generation}")
        assert call.params["destination"] == f"acct_{generation}", "as things stand by now"
        assert (await begin(books, replace(wanted, params={}))).params == call.params, (
            "but the same until it is answered"
        )
        if generation < 3:
            assert (await settle(books, call, Outcome.REFUSED)).refusal == Failure.model_validate(SHORT)

    await settle(books, call, Outcome.DONE)

    assert (await begin(books, wanted)).generation == 3
    assert await rows(books, operation) == [(1, "refused", False), (2, "refused", False), (3, "done", False)]


async def test_without_leave_a_refusal_is_the_last_word(books: Books, operation: str) -> None:
    once = replace(intent(operation, *PAYOUT), again_after_refusal=False)
    await settle(books, await begin(books, once), Outcome.REFUSED)

    assert (await begin(books, once)).refusal == Failure.model_validate(SHORT)
    assert await rows(books, operation, Step.CREATE_PAYOUT) == [(1, "refused", False)]
