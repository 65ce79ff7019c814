"""What operators may do to an operation whose saga needs help: what each verb is told, and who has to agree.

    retry        go on at once                                     anybody; it can only do what the saga would do anyway
    adopt        this object at Stripe is what the step made       an approval
    compensate   give it up, and take back what was done           an approval, if it is about much
    write_off    give up what cannot be had back                   an approval

Nothing in Temporal's UI proves who clicks there. So what could do harm carries the id of an approval, which the API has
issued to somebody who proved who they are; above a limit two people have agreed to it.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class OperatorVerb(StrEnum):
    """Each is an update of every saga."""

    RETRY = "retry"
    """Do not wait any longer: ask, or try again."""
    ADOPT = "adopt"
    """Take an object at Stripe for what a step has made, where looking for it did not find it."""
    COMPENSATE = "compensate"
    """Give the operation up before its point of no return, and take back what was done."""
    WRITE_OFF = "write_off"
    """Give up what Stripe does not give back: it is the account owner's."""


NEEDS_APPROVAL = frozenset({OperatorVerb.ADOPT, OperatorVerb.WRITE_OFF})
"""Whatever the amount."""


class Act(BaseModel):
    """Who, and why. All that `retry` is told."""

    model_config = ConfigDict(frozen=True)

    actor: str
    reason: str

    @property
    def fault(self) -> str | None:
        """What is wrong with its form."""
        return None if self.actor.strip() and self.reason.strip() else "An operator's act needs an actor and a reason."

    @property
    def about(self) -> dict[str, str]:
        """What exactly is to be done, as an approval names it."""
        return {}


class ApprovedAct(Act):
    """What `compensate` and `write_off` are told."""

    approval: str | None = None


class Adopt(ApprovedAct):
    """What `adopt` is told."""

    step: str
    """Which step's call to Stripe is in doubt (`domain.steps`)."""
    stripe_id: str
    """What it has made, or canceled."""

    @property
    def fault(self) -> str | None:
        """What is wrong with its form."""
        return super().fault or (None if self.step.strip() and self.stripe_id.strip() else "Name a step and an object.")

    @property
    def about(self) -> dict[str, str]:
        """Which object, for which step."""
        return {"step": self.step, "stripe_id": self.stripe_id}


def needs_four_eyes(amount: int | None, currency: str | None, limits: Mapping[str, int]) -> bool:
    """Whether an act on an operation of this amount (minor units) takes two people. None: no money moves."""
    if amount is None or currency is None:
        return False
    return currency not in limits or amount > limits[currency]
