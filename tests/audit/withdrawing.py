"""A withdrawal step by step, by the saga's own activities: so that a test can stop at any point of it and look."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from stripe import StripeClient

from activities.breakers import Breakers
from activities.connected_accounts import ConnectedAccountActivities
from activities.payouts import Part, PayoutActivities
from activities.records import RecordActivities, StatusChange
from activities.stripe_caller import StripeCaller
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from activities.withdrawal_ledger import PayoutBooking, WithdrawalLedger
from db import operations, users
from db.engine import Database, open_database
from domain.ids import new_id
from domain.operations import OperationKind, OperationRef
from domain.payouts import Payout
from domain.statuses import ConnectedAccountStatus, WithdrawalStatus
from tests.world import World

NOBODYS = "nobody-works-here"
"""A task queue: a workflow on it stays open, and does nothing."""


@dataclass
class Contractor:
    """Who has an account at Stripe, by the id `account`, and a wallet."""

    world: World
    database: Database
    client: StripeClient
    user: str
    account: str = ""

    def __post_init__(self) -> None:
        caller = StripeCaller(self.database, self.client, Breakers(failures=5, pause=0.2), absent_apart=0.5)
        reads = StripeReads(self.client)
        self.accounts = ConnectedAccountActivities(self.database, caller, reads)
        self.payouts = PayoutActivities(self.database, caller, reads)
        self.ledger = WithdrawalLedger(self.database, earnings_hold=0)
        self.records = RecordActivities(self.database)

    async def withdrawal(self, amount: int = 8_000) -> "Withdrawal":
        """One that was accepted, and no more. Its saga is open, and idle."""
        [wallet] = await self.world.sql("SELECT id FROM wallets WHERE user_id = $1", self.user)
        accepted = await self.accepted(OperationKind.WITHDRAWAL, wallet_id=wallet["id"], amount=amount, currency="usd")
        return Withdrawal(self, OperationRef(operation_id=accepted))

    async def accepted(self, kind: OperationKind, **values: str | int) -> str:
        """The id of an operation that its saga has taken on."""
        operation_id = new_id(kind.id_prefix)
        async with self.database.transaction() as connection:
            row = {"id": operation_id, "kind": kind, "status": "requested", "caller": self.user, "user_id": self.user}
            await operations.insert_operation(connection, row | values)
        await self.driven(kind.workflow, operation_id)
        return operation_id

    async def driven(self, workflow: str, workflow_id: str) -> None:
        """Open a workflow that is never at work."""
        await self.world.temporal.start_workflow(workflow, id=workflow_id, task_queue=NOBODYS)

    async def onboard(self) -> None:
        """Make the account, and have its owner tell Stripe everything."""
        async with self.database.transaction() as connection:
            await users.update_profile(connection, self.user, {"email": "c@example.com", "country": "US"})
        ref = OperationRef(operation_id=await self.accepted(OperationKind.CONNECTED_ACCOUNT))
        self.account = (await self.accounts.create_account(ref)).id
        await self.world.sandbox.control("POST", f"accounts/{self.account}/complete_onboarding")
        await self.accounts.observe_account(ref)
        for status in (ConnectedAccountStatus.ONBOARDING, ConnectedAccountStatus.ACTIVE):
            await self.records.record_status(StatusChange(operation_id=ref.operation_id, status=status))


@dataclass
class Withdrawal:
    """Each method is one step of the saga, or one thing that happens outside."""

    of: Contractor
    ref: OperationRef
    _payout: list[Payout] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The operation's."""
        return self.ref.operation_id

    @property
    def _booking(self) -> PayoutBooking:
        return PayoutBooking(operation_id=self.id, payout=self._payout[-1])

    def _part(self, number: int) -> Part:
        return Part(operation_id=self.id, number=number)

    async def reserve(self) -> None:
        """Out of what may be spent."""
        await self.of.ledger.reserve(self.ref)

    async def create_transfer(self) -> None:
        """At Stripe."""
        await self.of.payouts.create_transfer(self.ref)

    async def book_transfer(self) -> None:
        """In the ledger."""
        await self.of.ledger.book_transfer(self.ref)

    async def create_payout(self) -> None:
        """At Stripe, where it then waits for its bank."""
        await self.of.world.sandbox.control("POST", "settings", payout_hold=True)
        self._payout.append(await self.of.payouts.create_payout(self.ref))

    async def book_payout(self) -> None:
        """In the ledger."""
        await self.of.ledger.book_payout(self._booking)

    async def bank_takes_it(self) -> None:
        """At Stripe."""
        await self.of.world.sandbox.control("POST", f"payouts/{self._payout[-1].id}/pay")

    async def bank_sends_it_back(self) -> None:
        """At Stripe."""
        await self.of.world.sandbox.control("POST", f"payouts/{self._payout[-1].id}/fail")

    async def book_paid(self) -> None:
        """In the ledger."""
        await self.of.ledger.book_paid(self.ref)

    async def observe_payout(self) -> None:
        """Learn what has become of it."""
        self._payout.append(await self.of.payouts.observe_payout(self.ref))

    async def unbook_paid(self) -> None:
        """In the ledger."""
        await self.of.ledger.unbook_paid(self.ref)

    async def unbook_payout(self) -> None:
        """In the ledger."""
        await self.of.ledger.unbook_payout(self._booking)

    async def create_reversal(self) -> None:
        """At Stripe."""
        assert await self.of.payouts.create_reversal(self._part(1)) is not None

    async def find_nothing_left(self) -> None:
        """At Stripe: it was all reversed."""
        assert await self.of.payouts.create_reversal(self._part(2)) is None

    async def book_reversal(self) -> None:
        """In the ledger."""
        await self.of.ledger.book_reversal(self._part(1))

    async def restore(self) -> None:
        """In the ledger."""
        await self.of.ledger.restore(self._part(1))

    async def restore_untransferred(self) -> None:
        """In the ledger; from then on it is never transferred."""
        await self.of.ledger.restore_untransferred(
            StatusChange(operation_id=self.ref.operation_id, status=WithdrawalStatus.CANCELED)
        )

    async def transferred(self) -> None:
        """Until it is on the connected account, and booked there."""
        await self.reserve()
        await self.create_transfer()
        await self.book_transfer()

    async def paid(self) -> None:
        """Until its bank has it, and that is booked."""
        await self.transferred()
        await self.create_payout()
        await self.book_payout()
        await self.bank_takes_it()
        await self.book_paid()

    async def close(self, status: WithdrawalStatus) -> None:
        """Its saga is over, and has ended with this status."""
        await self.of.records.record_status(StatusChange(operation_id=self.id, status=status, close=True))
        await self.of.world.workflow(self.id).terminate("over")


@asynccontextmanager
async def contractor(world: World, user: str = "alice") -> AsyncIterator[Contractor]:
    """A customer who has paid 200.00 USD, there at once, and is onboarded. Nothing stays connected afterwards."""
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit(20_000, user=user, payment_method="pm_card_bypassPending")
    await world.closed(deposit["id"])
    async with (
        open_database(world.settings.database_url.get_secret_value(), pool_size=2) as database,
        open_client(world.sandbox.key, base=world.sandbox.url, timeout=5) as client,
    ):
        made = Contractor(world, database, client, user)
        await made.onboard()
        yield made
