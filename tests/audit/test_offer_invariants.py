"""What the audit finds in offers: a row that says something else than the postings, and money left in escrow.

Each test plants its violations in a copy of a world where offers have come as far as offers come.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from activities.audit import Report
from db.invariants import Invariant
from domain.accounts import AccountKind
from domain.offers import OfferTerms
from tests.audit.planting import Entry, behind_the_triggers, post, sees_only
from tests.audit.test_command import environment, paysaga_audit
from tests.auditing import assert_clean
from tests.world import Servers, World, open_world

pytestmark = pytest.mark.long

AVAILABLE, ESCROW = AccountKind.WALLET_AVAILABLE, AccountKind.WALLET_ESCROW
SERVICE_FEES, PLATFORM_FEES = AccountKind.SERVICE_FEES, AccountKind.PLATFORM_FEES
DIFFERS = Invariant.OFFER_DIFFERS_FROM_LEDGER


@dataclass(frozen=True)
class Lived:
    """Ids: of the world's offers, named for how far they have come, and of a deposit."""

    world: World
    deposit: str
    held: str
    begun: str
    """Accepted, its first milestone of two released."""
    completed: str
    declined: str
    canceled: str
    """After it was accepted; the platform's fee went back with it."""
    called_off: str
    """Before it was accepted."""
    resolved: str
    failed: str


@pytest.fixture(scope="module")
async def lived(servers: Servers) -> AsyncIterator[Lived]:
    """1,000.00 USD paid in, and eight offers of 100.00."""
    terms = OfferTerms(platform_fee_returned=True)
    async with open_world(servers, worker=False, api=False, offer_terms=terms) as world:
        async with world.inhabited():
            await world.sandbox.event_fault("*", "drop")
            deposit = await world.accepted_deposit(100_000, payment_method="pm_card_visa")
            await world.closed(deposit["id"])

            async def made(*verbs: str) -> str:
                offer = str((await world.offer(milestones=[4_000, 6_000])).json()["id"])
                for verb in verbs:
                    user, _, act = verb.partition(" ")
                    body = {"milestone": 1} if act == "release" else {"reason": "x"} if act == "contest" else {}
                    await world.acted(offer, act, body, user=user)
                return offer

            accept = "carl accept"
            held, begun = await made(), await made(accept, "alice release")
            completed = await made(accept, "carl deliver", "alice release", "alice complete")
            declined = await made("carl decline")
            canceled = await made(accept, "alice cancel", "carl agree-cancel")
            called_off = await made("alice cancel")
            resolved = await made(accept, "alice release", "alice contest")
            shares = {"to_contractor": 1_000, "to_customer": 5_000, "reason": "x"}
            await world.call("POST", f"/v1/admin/offers/{resolved}/resolve", shares, user="root", role="admin")
            failed = str((await world.offer(90_000)).json()["operation_id"])
            for over in (completed, declined, canceled, called_off, resolved, failed):
                await world.closed(over)
        yield Lived(world, deposit["id"], held, begun, completed, declined, canceled, called_off, resolved, failed)


@pytest.fixture
async def world(servers: Servers, lived: Lived) -> AsyncIterator[World]:
    """A copy of it."""
    async with open_world(
        servers, worker=False, api=False, template=lived.world.database, stripe_key=lived.world.sandbox.key
    ) as copy:
        yield copy


def told(report: Report) -> dict[str, str]:
    """What is wrong where."""
    return {found.where: found.what for found in report.violations}


async def test_offers_that_went_their_ways_are_as_their_rows_say(world: World, lived: Lived) -> None:
    statuses = await world.sql("SELECT status FROM operations WHERE kind = 'offer' ORDER BY id")
    assert [row["status"] for row in statuses] == [
        "held", "accepted", "completed", "declined", "canceled", "canceled", "resolved", "failed",
    ]  # fmt: skip
    await assert_clean(world)
    # Where the platform keeps its fee, it does so of what was accepted.
    changed = f"SET platform_fee_returned = false WHERE operation_id = '{lived.called_off}'"
    await behind_the_triggers(world, f"UPDATE offers {changed}")
    await assert_clean(world)


async def test_rows_that_say_something_else(world: World, lived: Lived) -> None:
    """Each of its figures, and the moments that decide who has the platform's fee."""
    changes = {
        lived.held: "held_at = NULL",
        lived.begun: "released = released - 1",
        lived.completed: "service_fee = service_fee + 1",
        lived.declined: "returned = returned - 1",
        lived.canceled: "platform_fee_returned = false",
        lived.resolved: "accepted_at = NULL",
        lived.failed: "held_at = app_now()",
    }
    for offer, change in changes.items():
        await behind_the_triggers(world, f"UPDATE offers SET {change} WHERE operation_id = '{offer}'")

    report = await sees_only(world, DIFFERS, times=7)

    assert told(report) == {
        lived.held: "10500 in escrow, by its row 0; 10500 taken from the customer, by its row 0",
        lived.begun: "6000 in escrow, by its row 6001; 3200 to the contractor, by its row 3199",
        lived.completed: "8000 to the contractor, by its row 7999; 2000 charged as service fee, by its row 2001",
        lived.declined: "0 in escrow, by its row 1; 0 taken from the customer, by its row 1",
        lived.canceled: "0 taken from the customer, by its row 500; 0 charged as platform fee, by its row 500",
        lived.resolved: "0 in escrow, by its row 500; 500 charged as platform fee, by its row 0",
        lived.failed: "0 in escrow, by its row 94500; 0 taken from the customer, by its row 94500",
    }
    assert {found.look_at for found in report.violations if found.where == lived.begun} == {
        "its postings, its row in offers and offer_actions; it is accepted"
    }
    ended = await paysaga_audit(environment(world))
    assert (ended.code, ended.out.splitlines()[-1]) == (1, "audit: 7 violations")


async def test_postings_that_no_row_knows_of(world: World, lived: Lived) -> None:
    """Each of an offer's accounts; the total of all offers', which the accounts' balances show, is right."""
    planted: dict[str, list[Entry]] = {
        lived.held: [(ESCROW, -1), (SERVICE_FEES, 1)],
        lived.begun: [(ESCROW, 1), (SERVICE_FEES, -1)],
        lived.completed: [(PLATFORM_FEES, 1), (SERVICE_FEES, -1)],
        lived.declined: [(AVAILABLE, 1), (PLATFORM_FEES, -1)],
        lived.canceled: [(AccountKind.WRITE_OFFS, 1), (AccountKind.DISPUTE_LOSSES, -1)],
        lived.failed: [(AVAILABLE, -1), (AccountKind.WALLET_IN_TRANSIT, 1)],
    }
    for offer, entries in planted.items():
        await post(world, offer, *entries, step=offer)
    await world.sql("UPDATE operations SET needs_attention = true, attention = '{}' WHERE id = $1", lived.failed)

    assert told(await sees_only(world, DIFFERS, times=6)) == {
        lived.held: "10499 in escrow, by its row 10500; 1 charged as service fee, by its row 0",
        lived.begun: "6001 in escrow, by its row 6000; 799 charged as service fee, by its row 800",
        lived.completed: "1999 charged as service fee, by its row 2000; 501 charged as platform fee, by its row 500",
        lived.declined: "-1 taken from the customer, by its row 0; -1 charged as platform fee, by its row 0",
        lived.canceled: "2 entries on accounts that are not its own",
        lived.failed: "1 entries on accounts that are not its own; 1 taken from the customer, by its row 0",
    }


async def astray(world: World, offer: str, kind: AccountKind, amount: int) -> None:
    """Let an entry of the offer have gone to another wallet's account of the same kind, and the balances with it."""
    mallorys = f"(SELECT id FROM ledger_accounts WHERE kind = '{kind}' AND owner = 'wal_mallory')"
    entry = (
        f"(SELECT e.id FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.ltx_id"
        f" WHERE t.operation_id = '{offer}' AND e.amount = {amount})"
    )
    await behind_the_triggers(
        world,
        f"INSERT INTO ledger_accounts (kind, owner, currency) VALUES ('{kind}', 'wal_mallory', 'usd')",
        f"INSERT INTO ledger_balances (account_id, guard, balance) VALUES ({mallorys}, 1, {amount})",
        f"UPDATE ledger_balances SET balance = balance - {amount}"
        f" WHERE account_id = (SELECT account_id FROM ledger_entries WHERE id = {entry})",
        f"UPDATE ledger_entries SET account_id = {mallorys} WHERE id = {entry}",
    )


async def test_money_that_went_to_another_wallet_of_the_same_kind(world: World, lived: Lived) -> None:
    """A release to somebody who is not the offer's contractor, a hold in another's escrow, and another currency."""
    await astray(world, lived.begun, AVAILABLE, 3_200)
    await astray(world, lived.held, ESCROW, 10_500)
    await behind_the_triggers(world, f"UPDATE offers SET currency = 'eur' WHERE operation_id = '{lived.declined}'")

    report = await sees_only(world, DIFFERS, times=3)

    assert told(report)[lived.held] == "1 entries on accounts that are not its own; 0 in escrow, by its row 10500"
    assert told(report)[lived.begun] == (
        "1 entries on accounts that are not its own; 0 to the contractor, by its row 3200"
    )
    assert told(report)[lived.declined] == (
        "4 entries on accounts that are not its own; its row and its operation name another amount, currency or user"
    )


async def test_more_that_left_an_offer_than_it_held(world: World, lived: Lived) -> None:
    """Released a second time out of what other offers hold, and written down as such: nothing else would show it."""
    await world.script("ALTER TABLE offers DROP CONSTRAINT no_more_leaves_than_is_held")
    await post(world, lived.begun, (ESCROW, -7_000), (SERVICE_FEES, 7_000), step="release#2")
    await behind_the_triggers(
        world,
        "UPDATE offers SET released = released + 7000, service_fee = service_fee + 7000"
        f" WHERE operation_id = '{lived.begun}'",
    )

    report = await sees_only(world, DIFFERS)

    assert told(report) == {lived.begun: "11000 released and returned of 10000"}


async def test_offers_and_rows_that_lack_each_other(world: World, lived: Lived) -> None:
    await behind_the_triggers(
        world,
        "INSERT INTO offers SELECT (jsonb_populate_record(o, jsonb_build_object('operation_id',"
        f" '{lived.deposit}'))).* FROM offers o WHERE operation_id = '{lived.failed}'",
        f"DELETE FROM offers WHERE operation_id = '{lived.failed}'",
        f"UPDATE offers SET customer_id = 'mallory' WHERE operation_id = '{lived.completed}'",
        f"UPDATE offers SET amount = 10001 WHERE operation_id = '{lived.resolved}'",
    )

    report = await sees_only(world, DIFFERS, times=4)

    found = told(report)
    assert found[lived.failed] == "an offer without a row in offers"
    assert found[lived.deposit] == "a row in offers without an offer"
    assert found[lived.completed] == "its row and its operation name another amount, currency or user"
    assert "its row and its operation name another amount, currency or user" in found[lived.resolved]


async def test_money_left_in_escrow_by_an_offer_that_is_over(world: World, lived: Lived) -> None:
    """Its row agrees with its postings, so that this alone finds it: all that is held, or the rest."""
    for offer in (lived.held, lived.begun):
        await behind_the_triggers(
            world, f"UPDATE operations SET status = 'completed', closed_at = app_now() WHERE id = '{offer}'"
        )

    assert told(await sees_only(world, Invariant.MONEY_LEFT_BEHIND, times=2)) == {
        lived.held: "completed, but 10500 usd of it are still in wallet_escrow",
        lived.begun: "completed, but 6000 usd of it are still in wallet_escrow",
    }
