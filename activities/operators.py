"""What an operator's verbs do: each looks at the evidence, and then acts and is kept in one transaction, or is refused
and that is kept.

The sagas ask for these from their updates, whoever sent those: the API, the command line, or somebody in Temporal's UI.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
import stripe
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities import outcomes
from activities.records import advance_and_tell
from activities.stripe_caller import StripeCaller
from activities.stripe_reads import StripeReads, is_cut_off
from db import approvals, ledger, operations, stripe_calls
from db.engine import Database
from db.stripe_calls import Call, Outcome, StillOpen
from domain import postings
from domain.errors import ApprovalNeeded, EvidenceAgainst, OutcomeUnknown, StateRefusal, VerbNotPossible, WrittenOff
from domain.money import Money
from domain.operations import Failure, OperationKind
from domain.operators import NEEDS_APPROVAL, Adopt, ApprovedAct, OperatorVerb, needs_four_eyes
from domain.payouts import Reversal, Transfer
from domain.statuses import WithdrawalStatus, is_terminal, status_of
from domain.steps import Step

_MOVEMENTS: Mapping[OperationKind, Mapping[str, str]] = {
    OperationKind.DEPOSIT: {Step.CREATE_PAYMENT_INTENT: "payment_intents.create"},
    OperationKind.WITHDRAWAL: {Step.CREATE_TRANSFER: "transfers.create", Step.CREATE_PAYOUT: "payouts.create"},
}
"""The steps that move an operation's money at Stripe, in their order, and their writes: what is given up is the next of
them. The other kinds do nothing there that would have to be taken back."""


class ApprovedOperatorAct(BaseModel):
    """Asks for `compensate` or `write_off`. `action_id` is the update's id, so that each act is done and kept once."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    action_id: str
    wish: ApprovedAct


class Adoption(ApprovedOperatorAct):
    """Asks for `adopt`."""

    wish: Adopt


class _Found(NamedTuple):
    """What the evidence allows: how it is done, in the transaction that keeps it, and what was seen."""

    do: Callable[[AsyncConnection, sa.RowMapping], Awaitable[None]]
    evidence: dict[str, Any]


class OperatorActivities:
    """`approval_limits`: minor units by currency, above which two people must agree.

    Each raises refused, by the code of a `StateRefusal`, and keeps that too; the same act asked for again ends as it
    did. Otherwise what `activities.outcomes` lists.
    """

    def __init__(
        self, database: Database, stripe: StripeCaller, reads: StripeReads, *, approval_limits: Mapping[str, int]
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._reads = reads
        self._limits = approval_limits

    @activity.defn
    async def adopt(self, act: Adoption) -> None:
        """Record an object at Stripe as what a step's open call has made, if nothing speaks against it.

        Not while the call may still make another: both would move the money.
        """
        wish = act.wish

        async def find(operation: sa.RowMapping) -> _Found:
            call = await self._open_call(operation, wish.step)
            found = await self._stripe.look_at(call, wish.stripe_id)
            if found is None:
                raise EvidenceAgainst(f"Stripe knows no {wish.stripe_id} that {call.write} could have made.")
            if found.against:
                raise EvidenceAgainst(f"{wish.stripe_id} is not what {call.key} asked for: {'; '.join(found.against)}.")

            async def settle(connection: AsyncConnection, _: sa.RowMapping) -> None:
                await self._require_unclaimed(connection, call, found.stripe_id)
                if not found.is_own:
                    await self._stripe.require_quiet(connection, call)
                own = call.subject == call.operation_id
                settled = await stripe_calls.settle(
                    connection,
                    call,
                    Outcome.DONE,
                    stripe_id=found.stripe_id,
                    result=found.result,
                    objects=[found.stripe_id] if own else [],
                )
                if (settled.outcome, settled.stripe_id) != (Outcome.DONE, found.stripe_id):
                    raise VerbNotPossible(f"{call.key} has ended meanwhile: {_ending(settled)}.")
                owner = await stripe_calls.owner_of(connection, [found.stripe_id])
                if own and owner != operation["id"]:
                    raise EvidenceAgainst(f"{found.stripe_id} belongs to {owner}.")

            return _Found(settle, {"call": call.key, "stripe_id": found.stripe_id, "found": found.result})

        await self._carry_out(OperatorVerb.ADOPT, act, find)

    @activity.defn
    async def compensate(self, act: ApprovedOperatorAct) -> None:
        """See to it that the operation's next movement of money is never made; its saga then takes back what was.

        Refused once it is past its point of no return, and while a call may have been done.
        """

        async def find(operation: sa.RowMapping) -> _Found:
            kind = OperationKind(operation["kind"])
            if kind not in _MOVEMENTS:
                raise VerbNotPossible(f"A {kind.replace('_', ' ')} has nothing at Stripe that could be taken back.")
            _require_open(operation)
            step, call = await self._next_movement(operation["id"], kind)
            seen = {"step": step, "call": _ending(call)}
            if call is not None and call.outcome is Outcome.DONE:
                await self._require_unpaid(operation, call)
            if call is not None and call.outcome is not Outcome.ABSENT and call.stripe_id is not None:
                # A payment that is there, be it one whose card was declined, the saga calls off.
                return _Found(_nothing_more, seen)

            async def close(connection: AsyncConnection, _: sa.RowMapping) -> None:
                try:
                    never = await stripe_calls.close(connection, operation["id"], step, write=_MOVEMENTS[kind][step])
                except StillOpen as error:
                    raise OutcomeUnknown(f"It was begun again meanwhile: {error}") from error
                if not never:
                    raise VerbNotPossible(f"{step} was done meanwhile.")

            return _Found(close, seen)

        await self._carry_out(OperatorVerb.COMPENSATE, act, find)

    @activity.defn
    async def write_off(self, act: ApprovedOperatorAct) -> None:
        """Give up the rest of a withdrawal that Stripe does not give back, or of whose payout it says nothing more."""

        async def find(operation: sa.RowMapping) -> _Found:
            if operation["status"] == WithdrawalStatus.REVERSING:
                return await self._beyond_reach(operation)
            if operation["status"] == WithdrawalStatus.PAYING_OUT:
                return await self._out_of_sight(operation)
            raise VerbNotPossible(
                f"Only what is being taken back, or paid out, can be lost; it is {_stands(operation)}."
            )

        await self._carry_out(OperatorVerb.WRITE_OFF, act, find)

    # ── The evidence ──

    async def _open_call(self, operation: sa.RowMapping, step: str) -> Call:
        async with self._database.transaction() as connection:
            # A customer belongs to the user, whichever operation of theirs has asked for it.
            call = await stripe_calls.latest(connection, operation["id"], step) or await stripe_calls.latest(
                connection, operation["reference"], step
            )
        if call is None:
            raise VerbNotPossible(f"The operation has asked Stripe for nothing by the name of {step!r}.")
        if call.outcome is not None:
            raise VerbNotPossible(f"It is known how {call.key} ended: {_ending(call)}.")
        return call

    async def _next_movement(self, operation_id: str, kind: OperationKind) -> tuple[str, Call | None]:
        """The first movement that is not done, or the last one, and what is known of its call."""
        *earlier, last = _MOVEMENTS[kind]
        for step in earlier:
            call = await self._stripe.ascertain(operation_id, step)
            if call is None or call.outcome is not Outcome.DONE:
                return step, call
        return last, await self._stripe.ascertain(operation_id, last)

    async def _require_unclaimed(self, connection: AsyncConnection, call: Call, stripe_id: str) -> None:
        maker = await stripe_calls.maker_of(connection, stripe_id)
        if maker is not None and maker.subject != call.subject:
            raise EvidenceAgainst(f"{stripe_id} was made by {maker.key}.")

    async def _require_unpaid(self, operation: sa.RowMapping, last: Call) -> None:
        """Every movement was made: only a payment that is not made yet can still be taken back."""
        if operation["kind"] != OperationKind.DEPOSIT:
            raise VerbNotPossible(f"It is past its point of no return: {_ending(last)}.")
        assert last.stripe_id is not None
        payment = await self._reads.payment(last.stripe_id)
        if payment.succeeded:
            raise EvidenceAgainst(f"Stripe has the payment: {last.stripe_id} has succeeded.")

    async def _beyond_reach(self, operation: sa.RowMapping) -> _Found:
        async with self._database.transaction() as connection:
            transferred = await stripe_calls.done(connection, operation["id"], Step.CREATE_TRANSFER)
            assert transferred is not None, "what is taken back was transferred"
            parts: list[Call] = []
            while (newest := await stripe_calls.latest(connection, operation["id"], _part(parts))) is not None:
                if newest.outcome is not Outcome.DONE:
                    break
                parts.append(newest)
            restored = [
                await ledger.find(connection, operation["id"], Step.RESTORE.part(number + 1))
                for number in range(len(parts))
            ]
        transfer = Transfer.model_validate(transferred.result)
        rest = transfer.amount - sum(Reversal.model_validate(part.result).amount for part in parts)
        if newest is None or newest.outcome is None or None in restored:
            raise OutcomeUnknown("It is being taken back at this moment: ask again when it needs attention.")
        held = await self._held(operation["currency"], transfer.stripe_account)
        seen = {"rest": rest, "held": held, "account": transfer.stripe_account, "refusal": newest.result}
        if held:
            raise EvidenceAgainst(
                f"{transfer.stripe_account} holds {Money(held, operation['currency'])}: let the saga take it back, by"
                " `retry`."
            )

        async def give_up(connection: AsyncConnection, locked: sa.RowMapping) -> None:
            try:
                never = await stripe_calls.close(
                    connection, operation["id"], _part(parts), write="transfers.create_reversal"
                )
            except StillOpen as error:
                raise OutcomeUnknown(f"It was asked for again meanwhile: {error}") from error
            if not never:
                raise VerbNotPossible("More of it has come back meanwhile.")
            await _give_up(connection, locked, transfer.stripe_account, rest, in_flight=False)

        return _Found(give_up, seen)

    async def _out_of_sight(self, operation: sa.RowMapping) -> _Found:
        async with self._database.transaction() as connection:
            made = await stripe_calls.done(connection, operation["id"], Step.CREATE_PAYOUT)
        assert made is not None, "what is paid out has a payout"
        assert made.stripe_id is not None
        try:
            payout = await self._reads.payout(made.stripe_id, stripe_account=made.stripe_account)
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
        else:
            raise EvidenceAgainst(f"Stripe says how {made.stripe_id} stands: it is {payout.status}.")

        async def give_up(connection: AsyncConnection, locked: sa.RowMapping) -> None:
            await _give_up(connection, locked, made.stripe_account, operation["amount"], in_flight=True)

        return _Found(give_up, {"payout": made.stripe_id, "account": made.stripe_account, "cut_off": True})

    async def _held(self, currency: str, stripe_account: str) -> int:
        try:
            return max(await self._reads.available(currency, stripe_account=stripe_account), 0)
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
            return 0  # Whatever it holds, nothing of it can be had.

    # ── What all have in common ──

    async def _carry_out(
        self, verb: OperatorVerb, act: ApprovedOperatorAct, find: Callable[[sa.RowMapping], Awaitable[_Found]]
    ) -> None:
        wish = act.wish

        async def keep(
            connection: AsyncConnection, *, evidence: dict[str, Any] | None = None, refusal: Failure | None = None
        ) -> bool:
            return await operations.record_operator_action(
                connection,
                act.operation_id,
                act.action_id,
                verb=verb,
                actor=wish.actor,
                reason=wish.reason,
                evidence=evidence,
                refusal=refusal,
            )

        async with self._database.transaction() as connection:
            kept = await operations.operator_action(connection, act.operation_id, act.action_id)
            operation = await operations.require(connection, act.operation_id)
        if kept is None:
            try:
                found = await find(operation)
                async with self._database.transaction() as connection:
                    locked = await operations.locked(connection, act.operation_id)
                    if await keep(connection, evidence=found.evidence):
                        await self._require_approval(connection, locked, verb, act)
                        await found.do(connection, locked)
            except StateRefusal as error:
                async with self._database.transaction() as connection:
                    await keep(connection, refusal=Failure(code=error.code, detail=error.detail))
            async with self._database.transaction() as connection:
                kept = await operations.operator_action(connection, act.operation_id, act.action_id)
        assert kept is not None, "whatever came of it is kept"
        if kept["refusal"] is not None:
            raise outcomes.refused(Failure.model_validate(kept["refusal"]))

    async def _require_approval(
        self, connection: AsyncConnection, operation: sa.RowMapping, verb: OperatorVerb, act: ApprovedOperatorAct
    ) -> None:
        wish = act.wish
        if wish.approval is not None:
            await approvals.use(
                connection,
                wish.approval,
                operation_id=operation["id"],
                verb=verb,
                what=wish.about,
                action_id=act.action_id,
            )
        elif verb in NEEDS_APPROVAL or needs_four_eyes(operation["amount"], operation["currency"], self._limits):
            raise ApprovalNeeded(f"To {verb.replace('_', ' ')} {operation['id']} takes an approval of exactly that.")


def _part(parts: list[Call]) -> str:
    """The step that takes back what these have left."""
    return Step.CREATE_REVERSAL.part(len(parts) + 1)


def _ending(call: Call | None) -> str:
    """How a call ended, in a few words."""
    if call is None:
        return "never begun"
    return f"{call.outcome}, {call.stripe_id}" if call.stripe_id else str(call.outcome)


def _stands(operation: sa.RowMapping) -> str:
    return f"a {operation['kind'].replace('_', ' ')} that is {operation['status'].replace('_', ' ')}"


def _require_open(operation: sa.RowMapping) -> None:
    status = status_of(operation["kind"], operation["status"])
    if is_terminal(status) or status == WithdrawalStatus.REVERSING:
        raise VerbNotPossible(f"There is nothing left to take back: it is {_stands(operation)}.")


async def _nothing_more(connection: AsyncConnection, operation: sa.RowMapping) -> None:
    """What is done by keeping it."""


async def _give_up(
    connection: AsyncConnection, operation: sa.RowMapping, stripe_account: str, rest: int, *, in_flight: bool
) -> None:
    """What is left is the owner's, wherever at Stripe it is. The saga then ends."""
    money = Money(rest, operation["currency"])
    posting = postings.write_off(operation["wallet_id"], stripe_account, money, in_flight=in_flight)
    await ledger.post(connection, operation["id"], Step.WRITE_OFF, posting)
    given_up = await advance_and_tell(
        connection,
        operation,
        WithdrawalStatus.WRITTEN_OFF,
        details={"written_off": rest},
        failure=Failure(code=WrittenOff.code, detail=f"{money} could not be had back from {stripe_account}."),
    )
    if not given_up:
        raise VerbNotPossible(f"It has moved on meanwhile: {_stands(operation)}.")
