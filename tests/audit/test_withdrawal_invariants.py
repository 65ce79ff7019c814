"""What withdrawals and connected accounts can leave wrong.

Each test plants one violation in a copy of a world where one withdrawal is paid and closed, another is on its connected
account, and a third is reserved.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from activities.audit import CannotAudit
from activities.stripe_reads import StripeReads
from db.invariants import Invariant
from domain.accounts import AccountKind
from domain.statuses import WithdrawalStatus
from tests.audit.planting import Entry, audited_through, behind_the_triggers, post, sees_only
from tests.audit.withdrawing import contractor
from tests.auditing import assert_clean, audited
from tests.world import Servers, World, open_world

pytestmark = pytest.mark.long

AVAILABLE, IN_TRANSIT = AccountKind.WALLET_AVAILABLE, AccountKind.WALLET_IN_TRANSIT
CONNECTED, IN_FLIGHT = AccountKind.CONNECTED_BALANCE, AccountKind.PAYOUTS_IN_FLIGHT
STRIPE_BALANCE, BANK = AccountKind.STRIPE_BALANCE, AccountKind.PLATFORM_BANK


@dataclass(frozen=True)
class Lived:
    """Ids: of the world's operations, and of its connected account."""

    world: World
    deposit: str
    paid: str
    transferred: str
    reserved: str
    account: str


@pytest.fixture(scope="module")
async def lived(servers: Servers) -> AsyncIterator[Lived]:
    """200.00 USD paid in; 80.00 paid out, 50.00 transferred, 10.00 reserved."""
    async with open_world(servers, worker=False, api=False) as world:
        async with world.inhabited(), contractor(world) as someone:
            paid = await someone.withdrawal(8_000)
            await paid.paid()
            transferred = await someone.withdrawal(5_000)
            await transferred.transferred()
            reserved = await someone.withdrawal(1_000)
            await reserved.reserve()
            # Longer ago than Stripe's whole seconds can tell.
            await world.skip(2)
            await paid.close(WithdrawalStatus.PAID)
            [deposit] = await world.sql("SELECT id FROM operations WHERE kind = 'deposit'")
        yield Lived(world, deposit["id"], paid.id, transferred.id, reserved.id, someone.account)


@pytest.fixture
async def world(servers: Servers, lived: Lived) -> AsyncIterator[World]:
    """A copy of it."""
    async with open_world(
        servers, worker=False, api=False, template=lived.world.database, stripe_key=lived.world.sandbox.key
    ) as copy:
        yield copy


async def arrival(world: World, lived: Lived) -> str:
    """The balance transaction by which the transfer of `lived.transferred` came to its connected account."""
    [row] = await world.sql(
        "SELECT l.balance_transaction_id AS id FROM stripe_balance_links l JOIN ledger_entries e ON e.id = l.entry_id"
        " JOIN ledger_transactions t ON t.id = e.ltx_id WHERE l.stripe_account <> '' AND t.operation_id = $1",
        lived.transferred,
    )
    return str(row["id"])


async def test_money_at_stripe_and_on_its_way_is_held(world: World) -> None:
    report = await audited(world)

    assert report.total == 0
    assert report.unreadable_accounts == 0
    # Held: 50.00 on the connected account, and what is left on ours; Stripe has kept 6.10.
    [solvency] = report.solvency
    assert (solvency.held, solvency.owed) == (20_000 - 610 - 8_000, 20_000 - 8_000)


async def test_money_in_flight_is_held(world: World, lived: Lived) -> None:
    await post(world, lived.transferred, (IN_FLIGHT, -2_000), (CONNECTED, 2_000), account=lived.account)

    [solvency] = (await audited(world)).solvency
    assert (solvency.held, solvency.owed) == (20_000 - 610 - 8_000, 20_000 - 8_000)


# ── Money left behind ──


async def test_money_left_behind_is_told_of_each_operation_apart(world: World, lived: Lived) -> None:
    await post(world, lived.paid, (IN_TRANSIT, 8_000), (IN_FLIGHT, -8_000), account=lived.account)
    # Another operation takes as much out of the same accounts, so that by their balances nothing is too much.
    await post(world, lived.deposit, (IN_TRANSIT, -8_000), (IN_FLIGHT, 8_000), account=lived.account, step="hidden")

    report = await sees_only(world, Invariant.MONEY_LEFT_BEHIND, times=2)

    assert {found.where for found in report.violations} == {lived.paid}
    assert {found.what for found in report.violations} == {
        "paid, but 8000 usd of it are still in wallet_in_transit",
        "paid, but 8000 usd of it are still in payouts_in_flight",
    }


@pytest.mark.parametrize("status", ["reversed", "canceled", "failed"])
async def test_money_left_behind_by_one_that_says_it_is_back(world: World, lived: Lived, status: str) -> None:
    ended = f"status = '{status}', failure = '{{}}', closed_at = app_now()"
    await behind_the_triggers(world, f"UPDATE operations SET {ended} WHERE id = '{lived.reserved}'")

    report = await sees_only(world, Invariant.MONEY_LEFT_BEHIND)

    assert report.violations[0].where == lived.reserved


# ── More returned than captured ──


@pytest.mark.parametrize(
    ("withdrawal", "entries", "what"),
    [
        (
            "paid",
            [(IN_TRANSIT, -1_000), (AVAILABLE, 1_000)],
            "1000 usd more paid and restored than reserved; 1000 usd more left our Stripe balance than left the wallet",
        ),
        ("transferred", [(BANK, 6_000), (STRIPE_BALANCE, -6_000)], "1000 usd more reversed than transferred"),
        (
            "transferred",
            [(IN_TRANSIT, -5_000), (AVAILABLE, 5_000)],
            "5000 usd more left our Stripe balance than left the wallet",
        ),
        ("reserved", [(BANK, -500), (CONNECTED, 500)], "500 usd more paid out and reversed than transferred"),
        ("reserved", [(BANK, -500), (IN_FLIGHT, 500)], "500 usd more arrived and came back than was paid out"),
        (
            "reserved",
            [(BANK, -1_500), (AVAILABLE, 1_500)],
            "500 usd more restored than reserved; 500 usd more left our Stripe balance than left the wallet",
        ),
    ],
)
async def test_more_returned_than_captured(
    world: World, lived: Lived, withdrawal: str, entries: list[Entry], what: str
) -> None:
    await post(world, lived.transferred, (IN_FLIGHT, -2_000), (CONNECTED, 2_000), account=lived.account, step="payout")
    await assert_clean(world)

    operation = getattr(lived, withdrawal)
    await post(world, operation, *entries, account=lived.account)

    report = await sees_only(world, Invariant.MORE_RETURNED_THAN_CAPTURED)
    [found] = report.violations
    assert (found.where, found.what) == (operation, what)


# ── Two live objects ──


async def test_step_that_was_given_up_and_is_done(world: World, lived: Lived) -> None:
    async def recorded(generation: int, more: str, values: str) -> None:
        await world.sql(
            "INSERT INTO stripe_calls (subject, operation_id, step, write, params, generation, idempotency_key,"
            f" outcome, {more}) SELECT $1, $1, 'create_payout', 'payouts.create', '{{}}', {generation}, '{generation}',"
            f" {values}",
            lived.transferred,
        )

    await recorded(1, "closed_at", "'absent', app_now()")
    await assert_clean(world)
    await recorded(2, "stripe_id, result", "'done', 'po_2', '{}'")

    report = await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)
    [found] = report.violations
    assert (found.where, found.what) == (lived.transferred, "step create_payout was given up for good, and is done")
    assert "po_2" in found.look_at


# ── Each connected account against Stripe ──


async def test_entries_of_a_connected_account_without_their_link(world: World, lived: Lived) -> None:
    await behind_the_triggers(world, "DELETE FROM stripe_balance_links WHERE stripe_account <> ''")

    # Of the closed withdrawal alone, seen from both sides: its transfer and its payout. The other one has time.
    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE, times=4)

    unlinked = [found for found in report.violations if "linked to no balance transaction" in found.what]
    assert {found.what.split(",")[0] for found in unlinked} == {
        "-8000 usd on connected_balance",
        "8000 usd on connected_balance",
    }
    assert all(f"operation {lived.paid}" in found.look_at for found in report.violations)
    assert all(f"account {lived.account}" in found.look_at for found in report.violations)


async def test_entry_linked_on_another_account(world: World, lived: Lived) -> None:
    await behind_the_triggers(
        world,
        "UPDATE stripe_balance_links SET stripe_account = '' WHERE entry_id = (SELECT e.id FROM ledger_entries e"
        " JOIN ledger_accounts a ON a.id = e.account_id JOIN ledger_transactions t ON t.id = e.ltx_id"
        f" WHERE a.kind = 'connected_balance' AND t.step = 'payout' AND t.operation_id = '{lived.paid}')",
    )

    # The entry has no link of its own account, the movement there has none, and here there is no such movement.
    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE, times=3)

    assert len({found.where for found in report.violations}) == 2


async def test_links_differ_from_net_on_a_connected_account(world: World, lived: Lived) -> None:
    arrived = await arrival(world, lived)
    await post(world, lived.transferred, (BANK, -10), (CONNECTED, 10), account=lived.account, link=arrived)

    report = await sees_only(world, Invariant.LINKS_DIFFER_FROM_NET)

    [found] = report.violations
    assert (found.where, found.what) == (
        arrived,
        "net 5000 usd at Stripe, but its linked entries sum to -4990 usd",
    )
    assert lived.account in found.look_at


@pytest.mark.parametrize("kind", [IN_FLIGHT, CONNECTED])
async def test_entries_that_are_not_on_the_balance_of_the_account(
    world: World, lived: Lived, kind: AccountKind
) -> None:
    # What is on its way to a bank is on no balance any more; and what is on another account's is not on this one's.
    account = lived.account if kind is IN_FLIGHT else "acct_anothers"
    planted = await post(world, lived.transferred, (BANK, 5_000), (kind, -5_000), account=account)
    await behind_the_triggers(
        world,
        "UPDATE stripe_balance_links SET entry_id = (SELECT id FROM ledger_entries"
        f" WHERE ltx_id = '{planted}' AND amount < 0) WHERE balance_transaction_id = '{await arrival(world, lived)}'",
    )

    report = await sees_only(world, Invariant.LINKS_DIFFER_FROM_NET)

    assert report.violations[0].what == "net 5000 usd at Stripe, but its linked entries sum to 0 usd"


@pytest.mark.parametrize("ours", [True, False])
async def test_entry_linked_to_a_movement_that_the_account_does_not_have(
    world: World, lived: Lived, ours: bool
) -> None:
    account = lived.account if ours else "acct_nobodys"
    await post(world, lived.transferred, (BANK, 10), (CONNECTED, -10), account=account, link="txn_nowhere")

    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE)

    [found] = report.violations
    assert found.where == "txn_nowhere"
    assert account in found.look_at


async def test_balance_of_a_connected_account_that_is_not_the_sum_of_its_movements(world: World, lived: Lived) -> None:
    class Skewed(StripeReads):
        async def balance(self, account: str = "") -> dict[str, int]:
            return {code: amount + bool(account) for code, amount in (await super().balance(account)).items()}

    report = await audited_through(world, Skewed)

    [found] = report.violations
    assert found.where == f"Stripe's balance in usd of {lived.account}"
    assert found.what == "5001 usd, but its balance transactions sum to 5000"


async def test_account_that_was_made_while_the_audit_reads_is_no_violation(world: World, lived: Lived) -> None:
    made = "UPDATE connected_accounts SET id = $1"
    await world.sql(made, "acct_not_yet")

    class Busy(StripeReads):
        """All accounts that there were are read; then one more is there, and everything that happened on it."""

        async def balance(self, account: str = "") -> dict[str, int]:
            found = await super().balance(account)
            await world.sql(made, lived.account)
            return found

    report = await audited_through(world, Busy)

    assert report.violations == ()
    # What was its id before is an account that Stripe does not let us read.
    assert report.unreadable_accounts == 1


# ── Accounts that cannot be read ──


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_account_that_is_cut_off_is_skipped(world: World, lived: Lived, meanwhile: bool) -> None:
    for link in ("txn_nowhere", await arrival(world, lived)):
        account, entries = lived.account, [(BANK, 10), (CONNECTED, -10)]
        await post(world, lived.transferred, *entries, account=account, link=link, step=link)

    class CutOff(StripeReads):
        """From the beginning, or once its movements are listed. (Stripe says the same of an account it never had.)"""

        def balance_transactions(self, account: str = "") -> Any:
            return super().balance_transactions("acct_never" if account and not meanwhile else account)

        async def balance(self, account: str = "") -> dict[str, int]:
            return await super().balance("acct_never" if account else account)

    report = await audited_through(world, CutOff)

    assert (report.violations, report.unreadable_accounts) == ((), 1)


async def test_account_that_is_cut_off_when_it_is_looked_at_again_is_skipped(world: World, lived: Lived) -> None:
    await post(world, lived.transferred, (BANK, 10), (CONNECTED, -10), account=lived.account, link="txn_nowhere")

    class CutOff(StripeReads):
        async def balance_transactions_since(self, newest: str | None, account: str = "") -> Any:
            return await super().balance_transactions_since(newest, "acct_never" if account else account)

    report = await audited_through(world, CutOff)

    assert (report.violations, report.unreadable_accounts) == ((), 1)


@pytest.mark.parametrize("error", [stripe.RateLimitError("too much"), stripe.PermissionError("no right")])
async def test_account_that_cannot_be_read_for_another_reason(world: World, error: stripe.StripeError) -> None:
    class Failing(StripeReads):
        async def balance(self, account: str = "") -> dict[str, int]:
            if account:
                raise error
            return await super().balance(account)

    with pytest.raises(CannotAudit, match=f"{type(error).__name__}.*connected accounts"):
        await audited_through(world, Failing)


async def test_platform_that_cannot_be_read_is_never_skipped(world: World) -> None:
    class Nobody(StripeReads):
        async def balance(self, account: str = "") -> dict[str, int]:
            return await super().balance("acct_never")

    with pytest.raises(CannotAudit, match="PermissionError, HTTP 403"):
        await audited_through(world, Nobody)
