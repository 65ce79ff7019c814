"""What an offer's verbs write: who did it, what moves in the ledger, and the status that follows, in one transaction.

Whoever comes second finds the offer as the first has left it: the operation's row is locked before anything is looked
at. An act that was done is known by its id, and is never done again.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities import outcomes
from activities.records import advance_and_tell
from db import acceptance, connected_accounts, ledger, offers, operations, outbox, users
from db.engine import Database
from db.operations import Asked
from domain import errors, postings
from domain.fees import FeeSchedule
from domain.money import CurrencyCode, Money
from domain.offers import Escrow, OfferVerb, OfferWish, Party, against_holding, refusal, split
from domain.operations import Failure, OperationKind, OperationRef
from domain.settings import Bounds
from domain.statuses import OfferStatus, is_terminal
from domain.steps import Step

OURSELVES = "paysaga\n"
"""The caller of what Paysaga itself begins: no token's subject has a line break, so nobody else can use its keys."""


IN_TEMPORAL = "somebody in Temporal"
"""Who did what nobody has asked the API for."""


class OfferAct(BaseModel):
    """One verb on one offer. `action_id` is the update's id."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    action_id: str
    verb: OfferVerb
    wish: OfferWish


class OfferState(BaseModel):
    """How an offer stands."""

    model_config = ConfigDict(frozen=True)

    status: OfferStatus
    currency: CurrencyCode
    left: int
    """In escrow, without the platform's fee, in minor units."""
    waits: float | None
    """Seconds until it expires or completes by itself; None if it does not."""
    payouts: tuple[str, ...]
    """Withdrawals that its releases have begun."""


class _Offer(NamedTuple):
    """An offer that nobody else changes until the transaction ends."""

    operation: sa.RowMapping
    row: sa.RowMapping

    @property
    def id(self) -> str:
        return str(self.operation["id"])

    @property
    def wallet_id(self) -> str:
        """The customer's."""
        return str(self.operation["wallet_id"])

    @property
    def status(self) -> OfferStatus:
        return OfferStatus(self.operation["status"])

    @property
    def platform_fee(self) -> Money:
        return Money(self.row["platform_fee"], self.row["currency"])

    @property
    def escrow(self) -> Escrow:
        return Escrow(
            Money(self.row["amount"], self.row["currency"]),
            released=self.row["released"],
            service_fee=self.row["service_fee"],
            returned=self.row["returned"],
        )


class OfferLedger:
    """`payout_bounds`: what a withdrawal may be. `earnings_hold`: seconds for which a release cannot be withdrawn.

    Raises what `activities.outcomes` lists.
    """

    def __init__(
        self, database: Database, *, payout_bounds: Mapping[CurrencyCode, Bounds], earnings_hold: float
    ) -> None:
        self._database = database
        self._payout_bounds = payout_bounds
        self._earnings_hold = earnings_hold

    @activity.defn
    async def hold(self, ref: OperationRef) -> OfferState:
        """The amount and the platform's fee into the customer's escrow, if nothing speaks against it: else refused.

        Returns how the offer stands, whatever has become of it since.
        """
        async with self._database.transaction() as connection:
            wallets = await offers.locked_wallets(connection, ref.operation_id)
            offer = await _locked(connection, ref.operation_id)
            if await ledger.find(connection, offer.id, Step.HOLD) is None:
                if offer.status is not OfferStatus.REQUESTED:
                    raise errors.Compensated(f"{offer.id} has ended as {offer.status} already.")
                standing = await connected_accounts.standing(connection, offer.wallet_id, earnings_hold=0, lock=True)
                whole = offer.escrow.amount + offer.platform_fee
                for against in against_holding(
                    standing, whole, taker_active=wallets[offer.row["contractor_wallet"]]["active"]
                ):
                    raise against
                await ledger.post(connection, offer.id, Step.HOLD, postings.hold(offer.wallet_id, whole))
                await offers.change(connection, offer.id, held_at=sa.func.app_now())
                await advance_and_tell(connection, offer.operation, OfferStatus.HELD)
            return await _state(connection, offer.id)

    @activity.defn
    async def act(self, act: OfferAct) -> OfferState:
        """Do the verb, if the offer's state and the party allow it: else refused. Done before, it is not done again."""
        try:
            async with self._database.transaction() as connection:
                # Whichever of them is credited: two offers between the same two would else wait for each other.
                await offers.locked_wallets(connection, act.operation_id)
                offer = await _locked(connection, act.operation_id)
                if not await offers.acted(connection, offer.id, act.action_id):
                    against = refusal(act.verb, act.wish.party, offer.status)
                    if against is not None:
                        raise against
                    # The clocks of two machines differ: what comes too early waits on.
                    too_early = act.wish.party is Party.CLOCK and (offer.row["waits"] or 0) > 0
                    if not too_early:
                        details = await self._do(connection, offer, act)
                        await _keep(connection, offer, act, details)
                return await _state(connection, offer.id)
        except errors.InsufficientFunds as error:
            # What an offer has left is in escrow, or the books are wrong: no party's fault, and not theirs to hear.
            raise outcomes.parked(Failure(code=error.code, detail=error.detail)) from error

    async def _do(self, connection: AsyncConnection, offer: _Offer, act: OfferAct) -> dict[str, Any]:
        """Whatever the verb does; what of it is kept with the act."""
        now, wish = sa.func.app_now(), act.wish
        match act.verb:
            case OfferVerb.ACCEPT:
                await self._accept(connection, offer)
            case OfferVerb.DECLINE:
                await _give_all_back(connection, offer, OfferStatus.DECLINED)
            case OfferVerb.EXPIRE:
                await _give_all_back(connection, offer, OfferStatus.EXPIRED)
            case OfferVerb.CANCEL:
                return await _cancel(connection, offer, wish.party)
            case OfferVerb.AGREE_CANCEL:
                if offer.row["cancel_asked_at"] is None:
                    raise errors.WrongState("The customer has not asked to cancel the offer.")
                await _give_all_back(connection, offer, OfferStatus.CANCELED)
            case OfferVerb.DELIVER:
                await offers.change(connection, offer.id, delivered_at=now)
                await advance_and_tell(connection, offer.operation, OfferStatus.DELIVERED)
            case OfferVerb.COMPLETE | OfferVerb.AUTO_COMPLETE:
                await self._release(connection, offer, offer.escrow.left)
                await advance_and_tell(connection, offer.operation, OfferStatus.COMPLETED, close=True)
            case OfferVerb.RELEASE:
                return await self._release_milestone(connection, offer, wish.milestone)
            case OfferVerb.CONTEST:
                await advance_and_tell(connection, offer.operation, OfferStatus.CONTESTED)
            case OfferVerb.RESOLVE:
                return await self._resolve(connection, offer, wish)
        return {}

    async def _accept(self, connection: AsyncConnection, offer: _Offer) -> None:
        taker = await users.wallet(connection, offer.row["contractor_wallet"])
        if taker is None or not taker["active"]:
            raise errors.WalletDeactivated("The contractor's wallet takes no money.")
        if offer.platform_fee.amount:
            fee = postings.accept_fee(offer.wallet_id, offer.platform_fee)
            await ledger.post(connection, offer.id, Step.ACCEPT_FEE, fee)
        await offers.change(connection, offer.id, accepted_at=sa.func.app_now())
        await advance_and_tell(connection, offer.operation, OfferStatus.ACCEPTED)

    async def _release_milestone(
        self, connection: AsyncConnection, offer: _Offer, number: int | None
    ) -> dict[str, Any]:
        milestones, released = offer.row["milestones"], offer.row["milestones_released"]
        if number is None or number > len(milestones):
            raise errors.MilestoneReleased(f"The offer has {len(milestones)} milestones.")
        if number in released:
            raise errors.MilestoneReleased(f"Milestone {number} was released before.")
        part = Money(milestones[number - 1], offer.row["currency"])
        await offers.change(connection, offer.id, milestones_released=sorted([*released, number]))
        await self._release(connection, offer, part)
        if part == offer.escrow.left:
            await advance_and_tell(connection, offer.operation, OfferStatus.COMPLETED, close=True)
        else:
            told = {"milestone": number, "amount": part.amount, "currency": part.currency}
            await outbox.publish(connection, offer.id, "offer.milestone_released", told)
        return {"milestone": number}

    async def _resolve(self, connection: AsyncConnection, offer: _Offer, wish: OfferWish) -> dict[str, Any]:
        to_contractor, to_customer = split(offer.escrow.left, wish.to_contractor, wish.to_customer)
        if to_contractor.amount:
            await self._release(connection, offer, to_contractor)
        if to_customer.amount:
            await _give_back(connection, offer, to_customer)
        await advance_and_tell(connection, offer.operation, OfferStatus.RESOLVED, close=True)
        return {"to_contractor": to_contractor.amount, "to_customer": to_customer.amount}

    async def _release(self, connection: AsyncConnection, offer: _Offer, part: Money) -> None:
        """Out of escrow to the contractor, less the service fee; and on to their bank, if that was agreed."""
        fee, earned = offer.escrow.release(part, FeeSchedule(default=offer.row["service_fee_rate"]))
        number = offer.row["releases"] + 1
        posted = await ledger.post(
            connection,
            offer.id,
            Step.RELEASE.part(number),
            postings.release(offer.wallet_id, offer.row["contractor_wallet"], fee=fee, earned=earned),
        )
        await offers.change(
            connection,
            offer.id,
            released=offer.row["released"] + part.amount,
            service_fee=offer.row["service_fee"] + fee.amount,
            releases=number,
        )
        if offer.row["auto_payout"]:
            await self._pay_out(connection, offer, earned.amount - posted.repaid, number)

    async def _pay_out(self, connection: AsyncConnection, offer: _Offer, earned: int, number: int) -> None:
        """Insert the withdrawal of what was earned, less what was repaid of it, which then goes its way like any other.

        None of what no withdrawal may be: too little, or earned too lately. That stays in the wallet, and so does what
        is above the most that one may be.
        """
        currency = offer.row["currency"]
        bounds = self._payout_bounds.get(currency)
        if bounds is None or earned < bounds.smallest or self._earnings_hold > 0:
            return
        key = f"{offer.id}:payout" if number == 1 else f"{offer.id}:payout#{number}"
        withdrawal = await acceptance.accept(
            connection,
            Asked(OURSELVES, key, fingerprint=key),
            OperationKind.WITHDRAWAL,
            offer.row["contractor_id"],
            wallet_id=offer.row["contractor_wallet"],
            money=Money(min(earned, bounds.largest), currency),
        )
        await offers.change(connection, offer.id, payouts=[*offer.row["payouts"], withdrawal])


async def _locked(connection: AsyncConnection, operation_id: str) -> _Offer:
    operation = await operations.locked(connection, operation_id)
    return _Offer(operation, await offers.require(connection, operation_id))


async def _state(connection: AsyncConnection, operation_id: str) -> OfferState:
    offer = _Offer(await operations.require(connection, operation_id), await offers.require(connection, operation_id))
    return OfferState(
        status=offer.status,
        currency=offer.row["currency"],
        left=0 if is_terminal(offer.status) else offer.escrow.left.amount,
        waits=offer.row["waits"],
        payouts=tuple(offer.row["payouts"]),
    )


async def _cancel(connection: AsyncConnection, offer: _Offer, party: Party) -> dict[str, Any]:
    """At once if nobody has accepted it, or if it is overdue; else it needs the contractor, and is only asked for."""
    if offer.status is OfferStatus.HELD or offer.row["overdue"]:
        await _give_all_back(connection, offer, OfferStatus.CANCELED)
        return {}
    if party is not Party.CUSTOMER:
        raise errors.WrongState(f"The offer is {offer.status}: only its customer can ask to cancel it.")
    if offer.row["cancel_asked_at"] is None:
        await offers.change(connection, offer.id, cancel_asked_at=sa.func.app_now())
        await outbox.publish(connection, offer.id, "offer.cancel_asked", {})
    return {"asked": True}


async def _give_all_back(connection: AsyncConnection, offer: _Offer, ends_as: OfferStatus) -> None:
    """What is left, to the customer; with it the platform's fee, if it was not earned or is not to be kept."""
    earned = await ledger.find(connection, offer.id, Step.ACCEPT_FEE)
    fee = offer.platform_fee if offer.platform_fee.amount else None
    if earned is not None:
        if offer.row["platform_fee_returned"] and fee is not None:
            mirror = postings.accept_fee(offer.wallet_id, fee).mirrored()
            await ledger.post(connection, offer.id, Step.ACCEPT_FEE_MIRROR, mirror, reverses=earned.id)
        else:
            fee = None
    await _give_back(connection, offer, offer.escrow.left, fee)
    await advance_and_tell(connection, offer.operation, ends_as, close=True)


async def _give_back(connection: AsyncConnection, offer: _Offer, part: Money, fee: Money | None = None) -> None:
    whole = part if fee is None else part + fee
    await ledger.post(connection, offer.id, Step.RETURN, postings.give_back(offer.wallet_id, whole))
    await offers.change(connection, offer.id, returned=offer.row["returned"] + part.amount)


async def _keep(connection: AsyncConnection, offer: _Offer, act: OfferAct, details: dict[str, Any]) -> None:
    asked = await operations.request_behind(connection, offer.id, act.verb, act.action_id)
    users_of = {Party.CUSTOMER: offer.row["customer_id"], Party.CONTRACTOR: offer.row["contractor_id"]}
    if act.wish.party is Party.CLOCK:
        actor = "paysaga"
    elif act.wish.party is Party.OPERATOR:
        actor = act.wish.actor or IN_TEMPORAL
    else:
        # An update that no request is behind was sent in Temporal, where nothing proves who it was: not the party.
        actor = users_of[act.wish.party] if asked is not None else IN_TEMPORAL
    await offers.record_action(
        connection,
        offer.id,
        act.action_id,
        verb=act.verb,
        party=act.wish.party,
        actor=actor,
        reason=asked["reason"] if asked is not None else None,
        details=details,
    )
