"""Anything done to an offer by anybody, in any order and after any time: what is in escrow is accounted for at each
moment, and in the end it is all somebody's.

The model below says from the documentation alone what each verb must do; nothing of it is the product's code but the
rates.
"""

import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import NotTheParty, StateRefusal
from domain.fees import FeeSchedule
from domain.money import Money, currency
from domain.offers import OfferTerms, OfferVerb, Party
from tests.faults.escrow import Escrow
from tests.world import Servers

pytestmark = pytest.mark.long

DAYS = [0.25, 3.0, 6.0, 8.0, 15.0]
"""How much time may pass at once; more or less than what the parties have: 7, 14 and 7 days."""

VERBS_OF = {
    "customer": {"cancel", "complete", "release", "contest"},
    "contractor": {"accept", "decline", "agree_cancel", "deliver", "contest"},
    "operator": {"resolve", "cancel"},
    "clock": {"expire", "auto_complete"},
}

WHEN = {
    "accept": {"held"},
    "decline": {"held"},
    "expire": {"held"},
    "cancel": {"held", "accepted", "delivered"},
    "agree_cancel": {"accepted", "delivered"},
    "deliver": {"accepted"},
    "complete": {"accepted", "delivered"},
    "release": {"accepted", "delivered"},
    "contest": {"accepted", "delivered"},
    "auto_complete": {"delivered"},
    "resolve": {"contested"},
}

SMALLEST_PAYOUT = {"usd": 1_000, "jpy": 1_000, "kwd": 10_000}
LARGEST_PAYOUT = {"usd": 1_000_000, "jpy": 1_000_000, "kwd": 10_000_000}

OVER = {"completed", "declined", "expired", "canceled", "resolved"}


@dataclass(frozen=True)
class Act:
    """One verb, as the model and the product are told it."""

    verb: str
    party: str
    words: dict[str, int] = field(default_factory=dict)


@dataclass
class Model:
    """What must be so. Money in minor units, time in days since the offer was held."""

    amount: int
    fee: int
    fee_returned: bool
    rate: FeeSchedule
    code: str
    milestones: list[int]
    auto_payout: bool
    status: str = "held"
    now: float = 0.0
    since: float = 0.0
    """When the status began."""
    released: int = 0
    returned: int = 0
    given: set[int] = field(default_factory=set)
    payouts: list[int] = field(default_factory=list)
    asked: bool = False
    accepted: bool = False

    @property
    def left(self) -> int:
        return self.amount - self.released - self.returned

    @property
    def waited(self) -> float:
        return self.now - self.since

    @property
    def escrow(self) -> int:
        """Of the offer's money, what is the customer's and not theirs to spend."""
        return 0 if self.status in OVER else self.left + (0 if self.accepted else self.fee)

    @property
    def service_fee(self) -> int:
        return self.rate.fee(Money(self.released, self.code)).amount

    @property
    def platform_fee(self) -> int:
        """What the platform has of its fee."""
        back = self.status == "canceled" and self.fee_returned
        return self.fee if self.accepted and not back else 0

    def sensible(self) -> list[Act]:
        """What the parties may well try now, right or too early or once more."""
        match self.status:
            case "held":
                return [*_by("contractor", "accept", "accept", "decline"), Act("cancel", "customer"), self._clocks()]
            case "accepted" | "delivered":
                acts = [*_by("customer", "cancel", "complete", "contest"), Act("contest", "contractor")]
                acts += [Act("release", "customer", {"milestone": n}) for n in range(1, len(self.milestones) + 1)]
                acts += [Act("deliver", "contractor")] if self.status == "accepted" else []
                acts += [Act("agree_cancel", "contractor")]
                return [*acts, self._clocks()] if self.status == "delivered" else acts
            case "contested":
                step = currency(self.code).increment
                return [
                    Act("resolve", "operator", {"to_contractor": part, "to_customer": self.left - part})
                    for part in (0, self.left // step // 3 * step, self.left)
                ]
        return []

    def _clocks(self) -> Act:
        """What a saga does by itself, whose clock may be ahead."""
        return Act("expire" if self.status == "held" else "auto_complete", "clock")

    def _open(self) -> list[int]:
        return [number for number in range(1, len(self.milestones) + 1) if number not in self.given]

    def do(self, act: Act) -> str:
        """Do it; or say why not."""
        if act.verb not in VERBS_OF[act.party]:
            return "not-the-party"
        if self.status not in WHEN[act.verb]:
            return "wrong-state"
        match act.verb:
            case "expire" | "auto_complete" if self.waited < 7:
                return "too-early"
            case "accept":
                self.accepted = True
                self._become("accepted")
            case "deliver":
                self._become("delivered")
            case "contest":
                self._become("contested")
            case "decline":
                self._return("declined")
            case "expire":
                self._return("expired")
            case "cancel" if self.status == "held" or (self.status == "accepted" and self.waited >= 14):
                self._return("canceled")
            case "cancel" if act.party == "customer":
                self.asked = True
            case "agree_cancel" if self.asked:
                self._return("canceled")
            case "cancel" | "agree_cancel":
                return "wrong-state"
            case "complete" | "auto_complete":
                self._release(self.left, "completed")
            case "release" if act.words["milestone"] not in self._open():
                return "milestone-released"
            case "release":
                self.given.add(act.words["milestone"])
                part = self.milestones[act.words["milestone"] - 1]
                self._release(part, "completed" if part == self.left else self.status)
            case "resolve" if sum(act.words.values()) != self.left:
                return "split-mismatch"
            case "resolve":
                self.returned += act.words["to_customer"]
                self._release(act.words["to_contractor"], "resolved")
        return "done"

    def _become(self, status: str) -> None:
        if status != self.status:
            self.status, self.since = status, self.now

    def _release(self, part: int, status: str) -> None:
        before = self.service_fee
        self.released += part
        earned = part - (self.service_fee - before)
        if self.auto_payout and earned >= SMALLEST_PAYOUT[self.code]:
            self.payouts.append(min(earned, LARGEST_PAYOUT[self.code]))
        self._become(status)

    def _return(self, status: str) -> None:
        self.returned += self.left
        self._become(status)


def _by(party: str, *verbs: str) -> list[Act]:
    return [Act(verb, party) for verb in verbs]


def _offer(chance: random.Random) -> Model:
    """An offer on any terms."""
    code = chance.choice(["usd", "jpy", "kwd"])
    step = currency(code).increment
    amount = chance.randint(1, chance.choice([40, 50_000, 3_000_000]))
    milestones: list[int] = []
    for _ in range(chance.randint(0, 4)):
        if sum(milestones) < amount:
            milestones.append(chance.choice([amount - sum(milestones), chance.randint(1, amount - sum(milestones))]))
    fee = FeeSchedule(default=chance.choice([0, 1, 500, 10_000])).fee(Money(amount * step, code))
    return Model(
        amount=amount * step,
        fee=fee.amount,
        fee_returned=chance.random() < 0.5,
        rate=FeeSchedule(default=chance.choice([0, 1, 2_000, 3_333, 10_000])),
        code=code,
        milestones=[part * step for part in milestones],
        auto_payout=chance.random() < 0.5,
    )


def _anything(chance: random.Random) -> Act:
    """Whatever somebody may ask for, at any time."""
    verb = chance.choice(list(OfferVerb))
    words = {"release": {"milestone": chance.choice([1, 1, 2, 5])}, "resolve": {"to_contractor": 1, "to_customer": 2}}
    parties = [party for party, verbs in VERBS_OF.items() if verb in verbs or chance.random() < 0.1]
    return Act(verb, chance.choice(parties), words.get(verb, {}))


BY_ITSELF = {"expire", "cancel", "auto_complete", "resolve"}
"""What ends an offer that nobody has ended."""

ENDING = {"decline", "complete", "contest", "agree_cancel", "auto_complete", "expire"}
"""What is done more rarely, or all lives would be short."""

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
async def escrow(servers: Servers) -> AsyncIterator[Escrow]:
    """Offers in Postgres alone."""
    async with Escrow.opened(servers) as opened:
        yield opened
        await opened.books.check()


class Life:
    """One offer, as it is in Postgres and as it must be."""

    def __init__(self, escrow: Escrow, model: Model, offer_id: str) -> None:
        self.escrow, self.model, self.id = escrow, model, offer_id
        self.asked: list[Act] = []
        self.done: list[int] = []

    @classmethod
    async def begun(cls, escrow: Escrow, model: Model) -> "Life":
        """Held, with just enough in the customer's wallet."""
        customer, contractor = (f"{name} {next(NUMBERS)}" for name in ("customer", "contractor"))
        await escrow.books.wallet(customer, model.code, holding=model.amount + model.fee)
        terms = OfferTerms(service_fee=model.rate, platform_fee_returned=model.fee_returned)
        offer_id = await escrow.offer(
            Money(model.amount, model.code),
            customer=customer,
            contractor=contractor,
            terms=terms,
            platform_fee=model.fee,
            milestones=model.milestones,
            auto_payout=model.auto_payout,
        )
        return cls(escrow, model, offer_id)

    async def wait(self, days: float) -> None:
        """Let time pass."""
        self.model.now += days
        await self.escrow.skip(timedelta(days=days))

    async def do(self, act: Act) -> None:
        """Do it: done or refused, it must be as the model has it."""
        expected = self.model.do(act)
        if expected == "done":
            self.done.append(len(self.asked))
        self.asked.append(act)
        await self._ask(len(self.asked) - 1, expected)

    async def again(self, number: int) -> None:
        """Ask once more for what was done before: the answer is no refusal, and nothing is done."""
        if self.done:
            await self._ask(self.done[number % len(self.done)], "done")

    async def _ask(self, number: int, expected: str) -> None:
        act = self.asked[number]
        try:
            verb, party = OfferVerb(act.verb), Party(act.party)
            state = await self.escrow.act(self.id, verb, party, action_id=f"act {number}", **act.words)
        except (NotTheParty, StateRefusal) as refused:
            answer = refused.code
        else:
            answer = "done"
            assert state.status == self.model.status
        assert answer == expected.replace("too-early", "done"), act
        await self.check()

    async def check(self) -> None:
        """What stands in Postgres is what the model says, to the last unit."""
        model, found = self.model, await self.escrow.superuser.fetchrow(FIGURES, self.id)
        assert found is not None
        assert dict(found) == {
            "status": model.status,
            "closed": model.status in OVER,
            "released": model.released,
            "returned": model.returned,
            "kept": model.service_fee,
            "escrow": model.escrow,
            "contractor": model.released - model.service_fee,
            "customer": model.amount + model.fee - model.escrow - model.released - model.platform_fee,
            "service_fees": model.service_fee,
            "platform_fees": model.platform_fee,
            "payouts": model.payouts,
            "acted": len(self.done),
            "told_twice": 0,
        }


FIGURES = """
    WITH offer AS (SELECT * FROM operations JOIN offers ON operation_id = id WHERE id = $1),
    booked AS NOT MATERIALIZED (
        SELECT a.kind, a.owner, e.amount, t.operation_id
        FROM ledger_accounts a JOIN ledger_entries e ON e.account_id = a.id
        JOIN ledger_transactions t ON t.id = e.ltx_id
    )
    SELECT status, closed_at IS NOT NULL AS closed, released, returned, service_fee AS kept,
        (SELECT coalesce(sum(amount), 0)::bigint FROM booked
         WHERE kind = 'wallet_escrow' AND owner = offer.wallet_id) AS escrow,
        (SELECT coalesce(sum(amount), 0)::bigint FROM booked
         WHERE kind = 'wallet_available' AND owner = contractor_wallet) AS contractor,
        (SELECT coalesce(sum(amount), 0)::bigint FROM booked
         WHERE kind = 'wallet_available' AND owner = offer.wallet_id) AS customer,
        (SELECT coalesce(sum(amount), 0)::bigint FROM booked
         WHERE kind = 'service_fees' AND operation_id = offer.id) AS service_fees,
        (SELECT coalesce(sum(amount), 0)::bigint FROM booked
         WHERE kind = 'platform_fees' AND operation_id = offer.id) AS platform_fees,
        (SELECT coalesce(array_agg(w.amount ORDER BY w.id), '{}') FROM operations w
         WHERE w.kind = 'withdrawal' AND w.wallet_id = contractor_wallet AND w.id = ANY (payouts)) AS payouts,
        (SELECT count(*) FROM offer_actions a WHERE a.operation_id = offer.id) AS acted,
        (SELECT count(*) - count(DISTINCT type) FROM events t
         WHERE t.operation_id = offer.id AND type <> 'offer.milestone_released') AS told_twice
    FROM offer
"""


# A generator of chance, not of hypothesis' own choices: those prefer what is simple, and most lives would be short.
@settings(max_examples=30, deadline=None, database=None)
@given(chance=st.randoms(use_true_random=True))
async def test_any_order_of_verbs_and_time_ends_balanced(escrow: Escrow, chance: random.Random) -> None:
    # Given an offer on any terms
    model = _offer(chance)
    life = await Life.begun(escrow, model)

    # When its parties do what makes sense, and what does not, again and again, and days pass
    for _ in range(chance.randint(2, 14)):
        match chance.choice(["sensible", "sensible", "sensible", "sensible", "anything", "again", "wait"]):
            case "sensible" if sensible := model.sensible():
                likely = [1 if act.verb in ENDING or model.status == "held" else 4 for act in sensible]
                await life.do(*chance.choices(sensible, likely))
            case "again":
                await life.again(chance.randint(0, 20))
            case "wait":
                await life.wait(chance.choice(DAYS))
            case _:
                await life.do(_anything(chance))

    # Then it ends, if by nobody's word then by time's, and by an operator's where they disagree
    while model.status not in OVER:
        await life.wait(15.0)
        await life.do(chance.choice([act for act in model.sensible() if act.verb in BY_ITSELF]))
    assert model.escrow == 0
    await life.do(_anything(chance))
