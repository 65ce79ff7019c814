"""Offers: who may do what, when, and how what is in escrow is split."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain import errors
from domain.errors import NotTheParty, SplitMismatch, StateRefusal, WrongState
from domain.fees import PLATFORM_FEE, SERVICE_FEE, FeeSchedule
from domain.money import Money, currency
from domain.statuses import OfferStatus
from domain.withdrawals import Standing

HOUR = 3600.0
DAY = 24 * HOUR

LONGEST_WAIT = 90 * DAY
"""No party is kept waiting for longer, in seconds."""


class OfferVerb(StrEnum):
    """What can be done to an offer. The names of the saga's updates."""

    ACCEPT = "accept"
    """The contractor's: take the job."""
    DECLINE = "decline"
    """The contractor's: leave it."""
    CANCEL = "cancel"
    """The customer's: at once while nobody has accepted it, or if it is overdue; else it asks the contractor."""
    AGREE_CANCEL = "agree_cancel"
    """The contractor's answer to that."""
    DELIVER = "deliver"
    """The contractor's: the work is done."""
    COMPLETE = "complete"
    """The customer's: release all that is left."""
    RELEASE = "release"
    """The customer's: release one milestone."""
    CONTEST = "contest"
    """Either's: they disagree."""
    RESOLVE = "resolve"
    """An operator splits what is left."""
    EXPIRE = "expire"
    """Nobody accepted it in time."""
    AUTO_COMPLETE = "auto_complete"
    """Nobody has said a word since it was delivered."""


class Party(StrEnum):
    """Who acts."""

    CUSTOMER = "customer"
    """Whose money it is at first."""
    CONTRACTOR = "contractor"
    """Who is to earn it."""
    OPERATOR = "operator"
    """The marketplace's own staff."""
    CLOCK = "clock"
    """Nobody: it was time."""


@dataclass(frozen=True, slots=True)
class _Rule:
    parties: frozenset[Party]
    statuses: frozenset[OfferStatus]


def _rule(parties: str, statuses: str) -> _Rule:
    return _Rule(frozenset(map(Party, parties.split())), frozenset(map(OfferStatus, statuses.split())))


RULES: Mapping[OfferVerb, _Rule] = {
    OfferVerb.ACCEPT: _rule("contractor", "held"),
    OfferVerb.DECLINE: _rule("contractor", "held"),
    # An operator's only by Temporal's own cancel.
    OfferVerb.CANCEL: _rule("customer operator", "held accepted delivered"),
    OfferVerb.AGREE_CANCEL: _rule("contractor", "accepted delivered"),
    OfferVerb.DELIVER: _rule("contractor", "accepted"),
    OfferVerb.COMPLETE: _rule("customer", "accepted delivered"),
    OfferVerb.RELEASE: _rule("customer", "accepted delivered"),
    OfferVerb.CONTEST: _rule("customer contractor", "accepted delivered"),
    OfferVerb.RESOLVE: _rule("operator", "contested"),
    OfferVerb.EXPIRE: _rule("clock", "held"),
    OfferVerb.AUTO_COMPLETE: _rule("clock", "delivered"),
}
"""Who may do it, and in which statuses."""


class OfferTerms(BaseModel):
    """What holds for every new offer; each keeps the terms that it was made under."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    platform_fee: FeeSchedule = PLATFORM_FEE
    service_fee: FeeSchedule = SERVICE_FEE
    platform_fee_returned: bool = False
    """Whether the customer gets the platform fee back too if an accepted offer is canceled."""
    accept_within: float = Field(default=7 * DAY, gt=0, le=LONGEST_WAIT)
    """Seconds after which an offer that nobody has accepted expires."""
    deliver_within: float = Field(default=14 * DAY, gt=0, le=LONGEST_WAIT)
    """Seconds after which the customer may cancel what was accepted and not delivered, without the contractor."""
    complete_within: float = Field(default=7 * DAY, gt=0, le=LONGEST_WAIT)
    """Seconds after which what was delivered, and is not answered, completes."""


class OfferWish(BaseModel):
    """What is asked of an offer's saga: by which party, and the verb's own words. No personal data: a saga's history
    keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    party: Party
    milestone: int | None = Field(default=None, gt=0)
    """`release`: which one, from 1."""
    to_contractor: int | None = Field(default=None, ge=0)
    """`resolve`: the contractor's share of what is left, before the service fee, in minor units."""
    to_customer: int | None = Field(default=None, ge=0)
    """`resolve`: the customer's share."""
    actor: str | None = None
    """`resolve`: which operator."""

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if self.party is Party.OPERATOR and not (self.actor or "").strip():
            raise ValueError("an operator says who they are")
        return self


@dataclass(frozen=True, slots=True)
class Escrow:
    """What of an offer's amount has gone where, in minor units. `released` is before the service fee."""

    amount: Money
    released: int = 0
    service_fee: int = 0
    returned: int = 0

    @property
    def left(self) -> Money:
        """What is still in escrow."""
        return Money(self.amount.amount - self.released - self.returned, self.amount.currency)

    def release(self, part: Money, fees: FeeSchedule) -> tuple[Money, Money]:
        """What of `part` is the platform's, and what the contractor's.

        The fee is charged on all that was released so far: ten milestones cost what one release of their sum costs.
        """
        booked = Money(self.service_fee, part.currency)
        fee = fees.cumulative_fee(Money(self.released + part.amount, part.currency), booked)
        return fee, part - fee


def refusal(verb: OfferVerb, party: Party, status: OfferStatus) -> StateRefusal | None:
    """What speaks against `verb` by `party` on an offer in `status`, if anything.

    Raises `NotTheParty` for a party whose verb it never is.
    """
    rule = RULES[verb]
    if party not in rule.parties:
        raise NotTheParty(f"Only the {' or the '.join(sorted(rule.parties))} can {verb.replace('_', '-')} an offer.")
    if status in rule.statuses:
        return None
    return WrongState(f"The offer is {status}; to {verb.replace('_', '-')} it, it must be {_either(rule.statuses)}.")


def against_holding(standing: Standing, whole: Money, *, taker_active: bool) -> list[StateRefusal]:
    """Everything that speaks against putting `whole` in escrow, gravest first. `standing`: of the customer's wallet."""
    found: list[StateRefusal] = []
    if not standing.active:
        found.append(errors.WalletDeactivated("The customer's wallet gives no money."))
    if not taker_active:
        found.append(errors.WalletDeactivated("The contractor's wallet takes no money."))
    if standing.frozen:
        found.append(errors.WalletFrozen("Nothing leaves the customer's wallet."))
    if standing.owed > 0:
        found.append(errors.ReceivableOpen("The customer owes the platform money."))
    if whole.amount > standing.available:
        held = Money(standing.available, whole.currency)
        found.append(errors.NotWithdrawable(f"The wallet holds {held}; the offer and the platform's fee are {whole}."))
    return found


def split(left: Money, to_contractor: int | None, to_customer: int | None) -> tuple[Money, Money]:
    """The two shares of what is left, in payable amounts. Raises `SplitMismatch` unless they are all of it."""
    if to_contractor is None or to_customer is None or min(to_contractor, to_customer) < 0:
        raise SplitMismatch("Each share is a number of minor units, of which 0 is the least.")
    if to_contractor + to_customer != left.amount:
        raise SplitMismatch(f"The shares must add up to {left.amount} minor units, which are {left}.")
    step = currency(left.currency).increment
    if to_contractor % step or to_customer % step:
        raise SplitMismatch(f"Each share must be a multiple of {step} minor units.")
    return Money(to_contractor, left.currency), Money(to_customer, left.currency)


def _either(statuses: frozenset[OfferStatus]) -> str:
    return " or ".join(sorted(statuses))
