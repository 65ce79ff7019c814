"""The wallet-to-wallet transfer: by the marketplace's word, inside the ledger alone.

requested ──▶ succeeded
    └───────▶ failed      a wallet's state forbade it, or it held too little
"""

from temporalio import workflow

from activities.wallet_ledger import WalletLedger
from domain.operations import SagaInput
from domain.statuses import WalletTransferStatus
from workflows.saga import Saga, StepRefused


@workflow.defn(name="WalletTransfer")
class WalletTransfer(Saga):
    """The saga of one transfer between wallets."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, WalletTransferStatus.REQUESTED)

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """The transfer's terminal status."""
        return await self.follow_through(self._story())

    async def _story(self) -> str:
        try:
            await self.step(WalletLedger.move_between_wallets, self.ref, summary="move it")
        except StepRefused as refusal:
            await self.record(WalletTransferStatus.FAILED, failure=refusal.failure, close=True)
            self.show(WalletTransferStatus.FAILED)
        else:
            self.show(WalletTransferStatus.SUCCEEDED)
        return self.status
