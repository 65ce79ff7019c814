"""The worker: where the parts are put together and the sagas run."""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from stripe import StripeClient
from temporalio.client import Client
from temporalio.worker import Interceptor, Worker, WorkflowRunner

from activities import logs
from activities.breakers import Breakers
from activities.catching_up import CatchUpActivities
from activities.connected_accounts import ConnectedAccountActivities
from activities.deposit_ledger import DepositLedger
from activities.dispatch import SagaDispatcher
from activities.offer_ledger import OfferLedger
from activities.operators import OperatorActivities
from activities.payments import PaymentActivities
from activities.payouts import PayoutActivities
from activities.records import RecordActivities
from activities.retrying import RetryTier
from activities.starting import StartActivities
from activities.stripe_caller import StripeCaller
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from activities.sweeps import SweepActivities
from activities.temporal_client import connect
from activities.wallet_ledger import WalletLedger
from activities.withdrawal_ledger import WithdrawalLedger
from db.engine import Database, open_database
from domain.settings import Settings
from worker.sandboxing import RUNNER
from workflows.catch_up import CatchUp
from workflows.connected_account import ConnectedAccount
from workflows.deposit import Deposit
from workflows.followup import FollowUp
from workflows.offer import Offer
from workflows.sweep import SnapshotBalances, Sweep
from workflows.wallet_transfer import WalletTransfer
from workflows.withdrawal import Withdrawal
from workflows.withdrawal_followup import WithdrawalFollowUp

WORKFLOWS = (
    Deposit,
    FollowUp,
    WalletTransfer,
    ConnectedAccount,
    Withdrawal,
    WithdrawalFollowUp,
    Offer,
    Sweep,
    SnapshotBalances,
    CatchUp,
)
"""Every workflow there is."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker works with."""

    settings: Settings
    temporal: Client
    database: Database
    stripe: StripeClient


def build(parts: Parts, *, around: Sequence[Interceptor] = (), runner: WorkflowRunner = RUNNER) -> Worker:
    """A worker of every workflow and activity; `around` are interceptors outside our own, `runner` is the sandbox."""
    settings, pacing = parts.settings, parts.settings.pacing
    breakers = Breakers(failures=settings.stripe_breaker_failures, pause=settings.stripe_breaker_pause)
    caller = StripeCaller(parts.database, parts.stripe, breakers, absent_apart=pacing.absent_apart)
    reads = StripeReads(parts.stripe, breakers)
    records = RecordActivities(parts.database)
    payments = PaymentActivities(parts.database, caller, reads)
    deposits = DepositLedger(parts.database)
    wallets = WalletLedger(parts.database)
    accounts = ConnectedAccountActivities(parts.database, caller, reads)
    payouts = PayoutActivities(parts.database, caller, reads)
    withdrawals = WithdrawalLedger(parts.database, earnings_hold=settings.earnings_hold)
    offers = OfferLedger(parts.database, payout_bounds=settings.withdrawal_bounds, earnings_hold=settings.earnings_hold)
    operators = OperatorActivities(parts.database, caller, reads, approval_limits=settings.approval_limits)
    dispatcher = SagaDispatcher(parts.temporal, task_queue=settings.task_queue, pacing=pacing)
    starts = StartActivities(parts.database, dispatcher)
    sweeps = SweepActivities(
        parts.database,
        dispatcher,
        older_than=settings.sweep_older_than,
        lasts=0.5 * settings.pacing.start_to_close,
    )
    catching_up = CatchUpActivities(
        parts.database, reads, livemode=settings.livemode, older_than=settings.catch_up_older_than
    )
    return Worker(
        parts.temporal,
        task_queue=settings.task_queue,
        workflows=WORKFLOWS,
        activities=[
            records.record_status,
            records.note_trouble,
            records.clear_trouble,
            records.record_operator_action,
            payments.create_customer,
            payments.create_payment_intent,
            payments.cancel_payment_intent,
            payments.observe_payment,
            deposits.credit_deposit,
            deposits.book_stripe_fee,
            wallets.move_between_wallets,
            accounts.create_account,
            accounts.observe_account,
            payouts.create_transfer,
            payouts.create_payout,
            payouts.create_reversal,
            payouts.observe_payout,
            withdrawals.reserve,
            withdrawals.book_transfer,
            withdrawals.book_payout,
            withdrawals.book_paid,
            withdrawals.unbook_paid,
            withdrawals.unbook_payout,
            withdrawals.book_reversal,
            withdrawals.restore,
            withdrawals.restore_untransferred,
            offers.hold,
            offers.act,
            operators.adopt,
            operators.compensate,
            operators.write_off,
            starts.start_operation,
            sweeps.start_accepted_operations,
            sweeps.deliver_unprocessed_events,
            sweeps.deliver_unanswered_verbs,
            sweeps.snapshot_platform_balances,
            catching_up.accounts_to_catch_up_with,
            catching_up.catch_up,
        ],
        workflow_runner=runner,
        interceptors=[*around, RetryTier(pacing)],
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=settings.sticky_timeout),
        graceful_shutdown_timeout=timedelta(seconds=5),
    )


async def serve(settings: Settings, *, around: Sequence[Interceptor] = ()) -> None:
    """Work until SIGINT or SIGTERM; then finish what is running, for at most 5 s."""
    logs.configure()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    temporal = await connect(settings)
    async with (
        open_database(settings.database_url.get_secret_value(), pool_size=settings.database_pool) as database,
        open_client(
            settings.stripe_secret_key.get_secret_value(),
            base=settings.stripe_api_base,
            timeout=settings.pacing.http_timeout,
        ) as stripe,
    ):
        await database.require_mode(settings.mode)
        async with build(Parts(settings, temporal, database, stripe), around=around):
            log.info("worker ready", task_queue=settings.task_queue, mode=settings.mode)
            await stop.wait()
