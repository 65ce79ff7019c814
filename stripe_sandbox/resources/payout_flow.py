"""The life of a payout. https://docs.stripe.com/payouts

::

    pending ──► in_transit ──► paid ──► failed     (late: the bank returns the money days after)
       │             └───────► failed
       └─► canceled

The account's balance is debited when the payout is created; a failure or a cancellation brings the money back by a
balance transaction of its own. A failure also spoils the bank account: no payout goes to it any more.
"""

from stripe_sandbox.banks import FAILURE_MESSAGES
from stripe_sandbox.errors import invalid_request
from stripe_sandbox.events import publish, updated
from stripe_sandbox.faults import firing_payout_fault
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.resources.account_state import own_account, refresh
from stripe_sandbox.resources.balance import post
from stripe_sandbox.resources.bank_accounts import failure_of
from stripe_sandbox.store import Stored
from stripe_sandbox.unit import Unit


def fate(unit: Unit, bank: Stored) -> Json:
    """What will become of a new payout to this bank account; decided now, so that a seed and a plan can say it.

    transit, arrival: seconds. failure: the code with which it fails when it should arrive. late: how many seconds after
    it was paid it fails, None never; late_failure: the code then.
    """
    settings = unit.settings
    chance = unit.chance()
    transit = chance.uniform(*settings.payout_transit_delay_ms) / 1000
    decided: Json = {
        "transit": transit,
        "arrival": chance.uniform(*settings.payout_arrival_delay_ms) / 1000,
        "failure": failure_of(bank),
        "held": settings.payout_hold,
        "late": None,
        "late_failure": None,
    }
    fault = firing_payout_fault(unit.store, unit.scope.platform, unit.scope.account)
    if fault is not None and fault.kind == "fail":
        decided["failure"] = fault.failure_code
    elif fault is not None and fault.kind == "fail_late":
        decided |= {"late": fault.seconds, "late_failure": fault.failure_code}
    elif fault is not None:
        decided["held"] = True
    return decided


# ── What the clock does ──────────────────────────────────────────────────────────────────────────────────────────────


def submit_later(unit: Unit, payout: Stored) -> None:
    """The new payout goes to the bank after a while."""
    unit.later(payout.private["transit"], "submit_payout", payout=payout.id)


def _submit(unit: Unit, payload: Json) -> None:
    payout = unit.get("payout", payload["payout"])
    if payout.body["status"] == "pending":
        send(unit, payout)
        if not payout.private["held"]:
            unit.later(payout.private["arrival"], "finish_payout", payout=payout.id)


def _finish(unit: Unit, payload: Json) -> None:
    payout = unit.get("payout", payload["payout"])
    if payout.body["status"] != "in_transit":
        return
    if payout.private["failure"] is not None:
        fail(unit, payout, payout.private["failure"])
    else:
        pay(unit, payout)


def _fail_late(unit: Unit, payload: Json) -> None:
    payout = unit.get("payout", payload["payout"])
    if payout.body["status"] == "paid":
        fail(unit, payout, payout.private["late_failure"])


JOBS = {"submit_payout": _submit, "finish_payout": _finish, "fail_payout_late": _fail_late}


# ── What can happen to it ────────────────────────────────────────────────────────────────────────────────────────────


def send(unit: Unit, payout: Stored) -> None:
    """The bank has it."""
    _require(payout, "pending")
    updated(unit, "payout.updated", payout, status="in_transit")


def pay(unit: Unit, payout: Stored) -> None:
    """It arrived; a planned late failure is on its way."""
    _require(payout, "pending", "in_transit")
    if payout.body["status"] == "pending":
        send(unit, payout)
    unit.change(payout, status="paid", trace_id={"status": "unsupported", "value": None})
    publish(unit, "payout.paid", payout.body)
    if payout.private["late"] is not None:
        unit.later(payout.private["late"], "fail_payout_late", payout=payout.id)


def fail(unit: Unit, payout: Stored, code: str) -> None:
    """The bank did not take it, or returns it after it was paid. The money comes back, the bank account is spoilt."""
    _require(payout, "pending", "in_transit", "paid")
    if payout.body["status"] == "pending":
        send(unit, payout)
    returned = _return(unit, payout, "payout_failure", "STRIPE PAYOUT FAILURE")
    unit.change(
        payout,
        status="failed",
        failure_balance_transaction=returned.id,
        failure_code=code,
        failure_message=FAILURE_MESSAGES[code],
        trace_id={"status": "unsupported", "value": None},
    )
    publish(unit, "payout.failed", payout.body)
    bank = unit.find("bank_account", payout.body["destination"])
    if bank is not None:
        updated(unit, "account.external_account.updated", bank, status="errored")
    refresh(unit.platform, own_account(unit))


def cancel(unit: Unit, payout: Stored) -> None:
    """It never leaves. Raises 400 once the bank has it."""
    _require(payout, "pending")
    returned = _return(unit, payout, "payout_cancel", "STRIPE PAYOUT CANCEL")
    unit.change(payout, status="canceled", failure_balance_transaction=returned.id)
    publish(unit, "payout.canceled", payout.body)


def _return(unit: Unit, payout: Stored, transaction_type: str, description: str) -> Stored:
    return post(
        unit,
        transaction_type=transaction_type,
        source=payout.id,
        amount=payout.body["amount"],
        fee=0,
        currency=payout.body["currency"],
        available_in=0,
        description=description,
    )


def _require(payout: Stored, *statuses: str) -> None:
    if payout.body["status"] not in statuses:
        raise invalid_request(
            f"This payout cannot be changed so: its status is {payout.body['status']}, and must be one of "
            f"{', '.join(statuses)}.",
            param="payout",
        )
