"""What a transfer between wallets writes to the ledger."""

from temporalio import activity

from activities.records import advance_and_tell
from db import ledger, operations, users
from db.engine import Database
from domain import errors, postings
from domain.money import Money
from domain.operations import OperationRef
from domain.statuses import WalletTransferStatus
from domain.steps import Step


class WalletLedger:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn
    async def move_between_wallets(self, ref: OperationRef) -> None:
        """From the one wallet to the other, unless a wallet's state forbids it or it holds too little: then refused."""
        async with self._database.transaction() as connection:
            asked = await operations.require(connection, ref.operation_id)
            giver, taker = asked["wallet_id"], asked["request"]["to_wallet_id"]
            # In one order, whichever way money goes between the two: else two transfers could wait for each other. And
            # before anything is looked at: an attempt that had to wait may find that another has moved it, or that the
            # transfer has ended.
            wallets = {
                wallet_id: await users.locked_wallet(connection, wallet_id) for wallet_id in sorted({giver, taker})
            }
            operation = await operations.locked(connection, ref.operation_id)
            money = Money(operation["amount"], operation["currency"])
            if await ledger.find(connection, ref.operation_id, Step.MOVE) is None:
                if operation["status"] != WalletTransferStatus.REQUESTED:
                    raise errors.Compensated(f"{ref.operation_id} has ended as {operation['status']} already.")
                if wallets[giver]["frozen"]:
                    raise errors.WalletFrozen(f"Nothing leaves the wallet {giver}.")
                for wallet_id, wallet in wallets.items():
                    if not wallet["active"]:
                        raise errors.WalletDeactivated(f"The wallet {wallet_id} is deactivated.")
            try:
                await ledger.post(
                    connection, ref.operation_id, Step.MOVE, postings.wallet_transfer(giver, taker, money)
                )
            except errors.InsufficientFunds as error:
                raise errors.NotWithdrawable(f"The wallet {giver} holds less than {money}.") from error
            await advance_and_tell(connection, operation, WalletTransferStatus.SUCCEEDED, close=True)
