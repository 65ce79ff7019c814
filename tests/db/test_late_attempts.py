"""Ledger activities whose attempt waited so long that another went on without it: nothing happens behind a status."""

import asyncio

from activities.deposit_ledger import DepositLedger
from activities.records import StatusChange
from activities.wallet_ledger import WalletLedger
from activities.withdrawal_ledger import WithdrawalLedger
from db import operations, users
from domain.operations import Failure, OperationKind, OperationRef
from domain.statuses import WalletTransferStatus, WithdrawalStatus
from tests.db.books import Books, meanwhile, with_errors
from tests.db.test_connected_accounts import ABLE, onboard, record

REFUSED = Failure(code="wallet-frozen", detail="It was frozen.")


async def _reserving(books: Books) -> tuple[str, str, WithdrawalLedger]:
    wallet_id = await books.wallet("bob", holding=8_000)
    await record(books, await onboard(books), ABLE)
    return wallet_id, await books.withdrawal(), WithdrawalLedger(books.database, earnings_hold=0)


async def test_two_attempts_at_one_reservation_of_all_there_is(books: Books) -> None:
    wallet_id, operation_id, ledger = await _reserving(books)
    ref = OperationRef(operation_id=operation_id)

    async with books.database.transaction() as freezer:
        await users.locked_wallet(freezer, wallet_id)
        async with meanwhile(with_errors([ledger.reserve(ref), ledger.reserve(ref)])) as both:
            await books.until_somebody_waits()
            await asyncio.sleep(0.2)
            await freezer.commit()

    assert both.result() == [None, None]
    assert (await books.figures(wallet_id)).in_transit == 8_000


async def test_two_attempts_at_one_credit(books: Books) -> None:
    # Given a deposit that one attempt is about to say has succeeded, and another that waits for the first one's posting
    wallet_id = await books.wallet("alice")
    operation_id = await books.operation("alice", kind=OperationKind.DEPOSIT, amount=8_000)
    credit = DepositLedger(books.database).credit_deposit
    ref = OperationRef(operation_id=operation_id)

    async with books.database.transaction() as holder:
        await operations.locked(holder, operation_id)
        async with meanwhile(with_errors([credit(ref), credit(ref)])) as both:
            await books.until_somebody_waits()
            await asyncio.sleep(0.2)
            await holder.commit()

    # Then neither takes it for a payment that nobody expected
    assert both.result() == [None, None]
    assert (await books.figures(wallet_id)).available == 8_000


async def test_reservation_that_comes_after_the_withdrawal_has_failed(books: Books) -> None:
    wallet_id, operation_id, ledger = await _reserving(books)

    async with books.database.transaction() as freezer:
        await users.locked_wallet(freezer, wallet_id)
        async with meanwhile(with_errors([ledger.reserve(OperationRef(operation_id=operation_id))])) as late:
            await books.until_somebody_waits()
            async with books.database.transaction() as other:
                await operations.advance(other, operation_id, WithdrawalStatus.FAILED, failure=REFUSED, close=True)
            await freezer.commit()

    assert [type(error).__name__ for error in late.result()] == ["Compensated"]
    assert (await books.figures(wallet_id)).in_transit == 0


async def test_reservation_against_its_own_undoing(books: Books) -> None:
    # Given an attempt that was refused, and a late one that would not be: whichever comes first, none stays in transit
    wallet_id, _, ledger = await _reserving(books)
    for _ in range(10):
        operation_id = await books.withdrawal()
        ending = StatusChange(operation_id=operation_id, status=WithdrawalStatus.FAILED, failure=REFUSED)

        undone, _ = await with_errors(
            [ledger.restore_untransferred(ending), ledger.reserve(OperationRef(operation_id=operation_id))]
        )

        assert undone is None
        assert (await books.figures(wallet_id)).in_transit == 0
        assert await books.value("SELECT status FROM operations WHERE id = $1", operation_id) == "failed"


async def test_money_that_would_move_after_the_transfer_has_failed(books: Books) -> None:
    alice, bob = await books.wallet("alice", holding=8_000), await books.wallet("bob")
    operation_id = await books.operation(
        "alice", kind=OperationKind.WALLET_TRANSFER, request={"to_wallet_id": bob}, amount=8_000
    )
    ledger = WalletLedger(books.database)

    async with books.database.transaction() as freezer:
        await users.locked_wallet(freezer, alice)
        move = ledger.move_between_wallets(OperationRef(operation_id=operation_id))
        async with meanwhile(with_errors([move])) as late:
            await books.until_somebody_waits()
            async with books.database.transaction() as other:
                await operations.advance(other, operation_id, WalletTransferStatus.FAILED, failure=REFUSED, close=True)
            await freezer.commit()

    assert [type(error).__name__ for error in late.result()] == ["Compensated"]
    assert await books.holds(bob) == 0
