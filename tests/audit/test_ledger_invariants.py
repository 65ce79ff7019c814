"""What the audit finds in the books alone. Each test plants one violation, past what Postgres would refuse."""

from collections.abc import AsyncIterator

import pytest

from db.audit import SHOWN
from db.invariants import Invariant
from domain.accounts import AccountKind
from tests.audit.planting import Entry, behind_the_triggers, post, sees_only
from tests.auditing import assert_clean, audited
from tests.world import Servers, World, open_world

AVAILABLE, ESCROW = AccountKind.WALLET_AVAILABLE, AccountKind.WALLET_ESCROW
IN_TRANSIT, IN_FLIGHT = AccountKind.WALLET_IN_TRANSIT, AccountKind.PAYOUTS_IN_FLIGHT
STRIPE_BALANCE, STRIPE_FEES = AccountKind.STRIPE_BALANCE, AccountKind.STRIPE_FEES
BANK, FEES, WRITE_OFFS = AccountKind.PLATFORM_BANK, AccountKind.PLATFORM_FEES, AccountKind.WRITE_OFFS


@pytest.fixture(scope="module")
async def lived(servers: Servers) -> AsyncIterator[tuple[World, str]]:
    """A world whose one deposit is paid and closed, to be copied: and the deposit's id."""
    async with open_world(servers, worker=False, api=False) as empty:
        async with empty.inhabited():
            await empty.sandbox.event_fault("*", "drop")
            deposit = await empty.accepted_deposit(20_000, payment_method="pm_card_visa")
            await empty.closed(deposit["id"])
        yield empty, str(deposit["id"])


@pytest.fixture
async def world(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[World]:
    """A copy of the world that has lived where a test does wrong to its deposit; else one with everything running."""
    if "paid" not in request.fixturenames:
        async with open_world(servers) as made:
            yield made
        return
    original, _ = request.getfixturevalue("lived")
    async with open_world(
        servers, worker=False, api=False, template=original.database, stripe_key=original.sandbox.key
    ) as copy:
        yield copy


@pytest.fixture
async def paid(lived: tuple[World, str]) -> str:
    """The id of the deposit that was paid and closed."""
    return lived[1]


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([(STRIPE_FEES, -100), (WRITE_OFFS, 90)], "2 entries that sum to -10 usd"),
        ([(WRITE_OFFS, 90)], "1 entries that sum to 90 usd"),
        ([], "0 entries that sum to nothing"),
    ],
)
async def test_unbalanced_transaction(world: World, paid: str, entries: list[Entry], what: str) -> None:
    ltx_id = await post(world, paid, *entries, checked=False)

    report = await sees_only(world, Invariant.UNBALANCED_TRANSACTION)

    [found] = report.violations
    assert (found.where, found.what) == (ltx_id, what)
    assert found.look_at == f"operation {paid}, step planted"


async def test_unbalanced_transaction_that_only_sums_to_zero_across_currencies(world: World, paid: str) -> None:
    await post(world, paid, (STRIPE_FEES, -100), (WRITE_OFFS, 100))
    await behind_the_triggers(
        world,
        "UPDATE ledger_entries SET currency = 'eur' WHERE ltx_id = 'ltx_planted_planted' AND amount > 0",
    )

    await sees_only(world, Invariant.UNBALANCED_TRANSACTION)


async def test_unbalanced_transaction_that_is_gone_from_under_its_entries(world: World, paid: str) -> None:
    ltx_id = await post(world, paid, (STRIPE_FEES, -100), (WRITE_OFFS, 100))
    await behind_the_triggers(world, f"DELETE FROM ledger_transactions WHERE id = '{ltx_id}'")

    report = await sees_only(world, Invariant.UNBALANCED_TRANSACTION)

    assert "does not exist" in report.violations[0].what


async def test_wrong_balance(world: World, paid: str) -> None:
    await world.sql("UPDATE ledger_balances SET balance = balance + 1")

    report = await sees_only(world, Invariant.WRONG_BALANCE)

    assert report.violations[0].what == "balance 20001, but its entries sum to 20000"
    with pytest.raises(AssertionError, match=r"audit: 1 violations\nwrong-balance .* wallet_available wal_"):
        await assert_clean(world)


async def test_wrong_balance_where_its_row_is_missing(world: World, paid: str) -> None:
    await world.sql("DELETE FROM ledger_balances")

    await sees_only(world, Invariant.WRONG_BALANCE)


async def test_wrong_balance_in_a_snapshot(world: World, paid: str) -> None:
    await world.sql(
        "INSERT INTO ledger_snapshots (account_id, cut, balance)"
        " SELECT id, pg_current_xact_id(), 1 FROM ledger_accounts WHERE kind = 'stripe_balance'"
    )

    report = await sees_only(world, Invariant.WRONG_BALANCE)

    assert report.violations[0].where == "stripe_balance usd"


@pytest.mark.parametrize(
    "entries",
    [
        [(AVAILABLE, -30_000), (FEES, 30_000)],
        [(BANK, -100), (IN_FLIGHT, 100)],
    ],
)
async def test_forbidden_negative(world: World, paid: str, entries: list[Entry]) -> None:
    await world.sql("ALTER TABLE ledger_balances DROP CONSTRAINT never_negative")
    await post(world, paid, *entries)

    await sees_only(world, Invariant.FORBIDDEN_NEGATIVE)


async def test_forbidden_negative_that_only_the_entries_show(world: World, paid: str) -> None:
    await world.sql("ALTER TABLE ledger_balances DROP CONSTRAINT never_negative")
    await post(world, paid, (AVAILABLE, -30_000), (FEES, 30_000))
    await world.sql("UPDATE ledger_balances SET balance = 20000")

    counts = (await audited(world)).counts

    assert {name for name, count in counts.items() if count} == {Invariant.FORBIDDEN_NEGATIVE, Invariant.WRONG_BALANCE}


async def test_step_posted_twice(world: World, paid: str) -> None:
    await world.sql(
        "ALTER TABLE ledger_transactions DROP CONSTRAINT ledger_transactions_operation_id_step_generation_key"
    )
    ltx_id = await post(world, paid, (STRIPE_FEES, -100), (WRITE_OFFS, 100), step="credit")

    report = await sees_only(world, Invariant.STEP_POSTED_TWICE)

    [found] = report.violations
    assert (found.where, found.what) == (paid, "step credit, generation 1, stands 2 times")
    assert ltx_id in found.look_at


@pytest.mark.parametrize(
    "entries",
    [
        [(AVAILABLE, -5_000), (ESCROW, 5_000)],
        [(AVAILABLE, -5_000), (IN_TRANSIT, 5_000)],
        [(IN_FLIGHT, -5_000), (BANK, 5_000)],
    ],
)
async def test_money_left_behind(world: World, paid: str, entries: list[Entry]) -> None:
    await post(world, paid, *entries)

    report = await sees_only(world, Invariant.MONEY_LEFT_BEHIND)
    assert report.violations[0].where == paid
    assert "5000 usd of it are still in" in report.violations[0].what

    # A flagged operation is somebody's work already; and what moves on is left behind no more.
    await world.sql("UPDATE operations SET needs_attention = true, attention = '{}'")
    await assert_clean(world)
    await world.sql("UPDATE operations SET needs_attention = false, attention = NULL")
    await post(world, paid, *[(kind, -amount) for kind, amount in entries], step="moved_on")
    await assert_clean(world)


async def test_money_in_escrow_of_an_operation_under_way_is_where_it_belongs(world: World, awaiting: str) -> None:
    await post(world, awaiting, (BANK, -5_000), (ESCROW, 5_000))

    await assert_clean(world)


async def test_more_returned_than_captured(world: World, awaiting: str) -> None:
    await post(world, awaiting, (AccountKind.DISPUTE_LOSSES, -100), (STRIPE_BALANCE, 100))

    report = await sees_only(world, Invariant.MORE_RETURNED_THAN_CAPTURED)

    assert report.violations[0].where == awaiting


async def test_unprocessed_event(world: World) -> None:
    await world.sql(
        "INSERT INTO stripe_events (id, type, object_id, payload, state, received_at) SELECT 'evt_' || minutes,"
        " 'payment_intent.succeeded', 'pi_1', '{}', 'received', app_now() - minutes * interval '1 minute'"
        " FROM generate_series(4, 6, 2) AS minutes"
    )

    report = await sees_only(world, Invariant.UNPROCESSED_EVENT)

    assert report.violations[0].where == "evt_6"


async def test_two_live_objects_by_our_record_of_calls(world: World, paid: str) -> None:
    await world.sql("DROP INDEX stripe_calls_one_done")
    await world.sql(
        "INSERT INTO stripe_calls (subject, step, generation, operation_id, idempotency_key, write, params, outcome,"
        " stripe_id, result) SELECT subject, step, 2, operation_id, 'another', write, params, outcome, 'pi_2', result"
        " FROM stripe_calls WHERE step = 'create_payment_intent'"
    )

    report = await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)

    assert report.violations[0].where == paid
    assert "pi_2" in report.violations[0].look_at


async def test_of_many_violations_all_are_counted_and_the_first_listed(world: World) -> None:
    await world.sql(
        "INSERT INTO stripe_events (id, type, payload, state, received_at) SELECT 'evt_' || n, 'charge.updated', '{}',"
        " 'received', app_now() - interval '1 hour' FROM generate_series(1, 250) AS n"
    )

    report = await sees_only(world, Invariant.UNPROCESSED_EVENT, times=250)

    assert report.total == 250
    assert len(report.violations) == SHOWN


RECEIVABLE, LOSSES = AccountKind.RECEIVABLE, AccountKind.DISPUTE_LOSSES
UNREPAID = Invariant.REPAYMENT_DIFFERS_FROM_DEBT


async def _alice_owes(world: World, paid: str, amount: int) -> None:
    await post(world, paid, (RECEIVABLE, -amount), (LOSSES, amount), step="owed", account="alice")


async def test_what_was_owed_was_repaid(world: World, paid: str) -> None:
    """As it must be: nothing of what came before the debt, then all that came, then the rest of it."""
    await _alice_owes(world, paid, 500)
    for step, came, repaid in (("first", 300, 300), ("second", 300, 200), ("third", 300, 0)):
        await _credit(world, paid, step, came, repaid)
    await assert_clean(world)


@pytest.mark.parametrize(
    ("owed", "came", "repaid"),
    [(500, 300, 0), (500, 300, 299), (200, 300, 300)],
    ids=["none", "too little", "too much"],
)
async def test_a_credit_that_did_not_repay_what_was_owed(
    world: World, paid: str, owed: int, came: int, repaid: int
) -> None:
    await _alice_owes(world, paid, owed)

    await _credit(world, paid, "came", came, repaid)

    report = await sees_only(world, UNREPAID)
    due = min(owed, came)
    assert report.violations[0].what == f"step came brought {came} usd, {due} of it were due, {repaid} were repaid"


async def test_a_repayment_of_what_no_credit_brought(world: World, paid: str) -> None:
    await _alice_owes(world, paid, 500)
    await post(world, paid, (AVAILABLE, -300), (RECEIVABLE, 300), step="repayment:nothing", account="alice")

    await sees_only(world, UNREPAID)


async def test_a_repayment_of_what_somebody_else_owes(world: World, paid: str) -> None:
    await post(world, paid, (RECEIVABLE, -500), (LOSSES, 500), step="owed", account="bob")
    await _credit(world, paid, "came", 300, 300, debtor="bob")

    await sees_only(world, UNREPAID)


async def _credit(world: World, paid: str, step: str, came: int, repaid: int, *, debtor: str = "alice") -> None:
    """Money into alice's wallet, and what it repays, in one transaction as Paysaga does it."""
    await post(world, paid, (BANK, -came), (AVAILABLE, came), step=step, account=debtor, repaid=repaid)
