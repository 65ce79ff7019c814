"""The judge of chaos: it finds nothing where nothing is wrong, and each kind of wrong where it is planted."""

from collections.abc import Callable
from typing import Any

import pytest

from cli.chaos.evidence import Evidence, Workflow
from cli.chaos.judge import FindingKind, judge
from tests.cli.chaos.planting import evidence, request, told

pytestmark = pytest.mark.long

Spoil = Callable[[Evidence], object]


def test_where_all_went_well_nothing_is_found() -> None:
    assert judge(evidence()) == []


def offers(spoilt: Evidence, id: str) -> Any:
    return spoilt.operations.offers[id]


def drop(spoilt: Evidence, id: str) -> None:
    """An operation is gone, and all that it did."""
    whole = spoilt.operations
    for kind in (whole.deposits, whole.transfers, whole.offers, whole.withdrawals):
        kind.pop(id, None)


def double(spoilt: Evidence, kind: str, id: str) -> None:
    """A second operation of the same wish, that came to nothing."""
    there: Any = getattr(spoilt.operations, kind)
    there[f"{id}_again"] = {**there[id], "id": f"{id}_again", "status": "failed"}
    spoilt.workflows = [*spoilt.workflows, Workflow(f"{id}_again", "completed")]


def add(spoilt: Evidence, name: str, thing: object) -> None:
    """One thing more at Stripe."""
    setattr(spoilt.stripe, name, [*getattr(spoilt.stripe, name), thing])


def wallet(spoilt: Evidence, user: str) -> Any:
    return next(each for each in spoilt.wallets if each["user_id"] == user)


def at_stripe(spoilt: Evidence, name: str, id: str) -> Any:
    return next(each for each in getattr(spoilt.stripe, name) if each["id"] == id)


def remake(
    spoilt: Evidence, what: str, user: str, amount: int | None, *attempts: Any, about: str | None = None
) -> None:
    """Clients were told something else."""
    for each in spoilt.requests:
        if (each.what, each.user, each.about) == (what, user, about) and each.body.get("amount") == amount:
            each.attempts = list(attempts)


def act(spoilt: Evidence, id: str, verb: str, party: str = "customer") -> None:
    offers(spoilt, id)["actions"].append({"verb": verb, "party": party, "details": {}})


def forget(spoilt: Evidence, id: str, verb: str) -> None:
    offer = offers(spoilt, id)
    offer["actions"] = [each for each in offer["actions"] if each["verb"] != verb]


CLIENTS: dict[str, tuple[FindingKind, Spoil]] = {
    "an operation that was acknowledged is not there": (
        FindingKind.LOST,
        lambda spoilt: drop(spoilt, "wd_off"),
    ),
    "an operation that was accepted without an answer of its saga is not there": (
        FindingKind.LOST,
        lambda spoilt: spoilt.requests.append(request("deposit", "bob", 7_777, told(202))),
    ),
    "two operations came of one request": (FindingKind.DOUBLED, lambda spoilt: double(spoilt, "deposits", "dep_zoe")),
    "two operations came of a request that nobody has heard of again": (
        FindingKind.DOUBLED,
        lambda spoilt: double(spoilt, "offers", "off_split"),
    ),
    "an operation was refused, and made": (
        FindingKind.DONE_THOUGH_REFUSED,
        lambda spoilt: remake(spoilt, "deposit", "ann", 10_000, told(409, "dep_ann")),
    ),
    "an operation was refused in form, and made": (
        FindingKind.DONE_THOUGH_REFUSED,
        lambda spoilt: remake(spoilt, "withdrawal", "cat", 1_500, told(422)),
    ),
    "nobody has asked for an operation": (
        FindingKind.NOBODY_ASKED,
        lambda spoilt: setattr(
            spoilt, "requests", [each for each in spoilt.requests if each.what != "wallet_transfer"]
        ),
    ),
    "one key was answered with two operations": (
        FindingKind.OTHER_ANSWER,
        lambda spoilt: remake(spoilt, "deposit", "bob", 5_000, told(202, "dep_bob"), told(200, "dep_ann")),
    ),
    "a bare 500": (
        FindingKind.BROKEN_ANSWER,
        lambda spoilt: remake(spoilt, "offer", "ann", 3_000, told(500)),
    ),
    "a client could not go on": (
        FindingKind.BROKEN_ANSWER,
        lambda spoilt: setattr(spoilt, "mishaps", ["withdrawal: KeyError: id"]),
    ),
    "a verb that was acknowledged was not done": (
        FindingKind.LOST,
        lambda spoilt: forget(spoilt, "off_done", "release"),
    ),
    "a verb was done twice": (FindingKind.DOUBLED, lambda spoilt: act(spoilt, "off_done", "complete")),
    "a verb was refused, and done": (
        FindingKind.DONE_THOUGH_REFUSED,
        lambda spoilt: remake(spoilt, "decline", "cat", None, told(409), about="off_not"),
    ),
    "nobody has asked for a verb": (FindingKind.NOBODY_ASKED, lambda spoilt: act(spoilt, "off_not", "contest")),
    "what was said to be canceled is not": (
        FindingKind.LOST,
        lambda spoilt: remake(spoilt, "cancel", "shop", None, told(200), about="wd_paid"),
    ),
    "what was said not to be canceled is": (
        FindingKind.DONE_THOUGH_REFUSED,
        lambda spoilt: remake(spoilt, "cancel", "shop", None, told(409), about="wd_off"),
    ),
}

BOOKS: dict[str, tuple[FindingKind, Spoil]] = {
    "a wallet holds too much": (
        FindingKind.WRONG_WALLET,
        lambda spoilt: wallet(spoilt, "bob").update(available=10_000),
    ),
    "a wallet holds too little": (FindingKind.WRONG_WALLET, lambda spoilt: wallet(spoilt, "cat").update(available=0)),
    "escrow was left behind": (FindingKind.WRONG_WALLET, lambda spoilt: wallet(spoilt, "ann").update(escrow=1)),
    "a total is wrong": (
        FindingKind.WRONG_WALLET,
        lambda spoilt: wallet(spoilt, "cat")["totals"].update(withdrawn=3_000),
    ),
    "a wallet is gone": (
        FindingKind.WRONG_WALLET,
        lambda spoilt: setattr(spoilt, "wallets", [each for each in spoilt.wallets if each["user_id"] != "bob"]),
    ),
    "a fee was taken twice": (
        FindingKind.WRONG_BOOKS,
        lambda spoilt: spoilt.platform.update({("platform_fees", "usd"): 500}),
    ),
    "an offer's figures are wrong": (
        FindingKind.WRONG_BOOKS,
        lambda spoilt: offers(spoilt, "off_done").update(service_fee=401),
    ),
    "a deposit was charged twice": (
        FindingKind.DOUBLED_AT_STRIPE,
        lambda spoilt: add(
            spoilt, "payment_intents", {**at_stripe(spoilt, "payment_intents", "pi_ann"), "id": "pi_ann_again"}
        ),
    ),
    "a deposit's money never came": (
        FindingKind.MISSING_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "payment_intents", "pi_bob").update(status="canceled"),
    ),
    "a deposit took another amount": (
        FindingKind.MISSING_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "payment_intents", "pi_bob").update(amount_received=4_999),
    ),
    "a card can still be charged for a deposit that failed": (
        FindingKind.LIVE_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "payment_intents", "pi_zoe").update(status="requires_payment_method"),
    ),
    "a withdrawal was transferred twice": (
        FindingKind.DOUBLED_AT_STRIPE,
        lambda spoilt: add(spoilt, "transfers", {**at_stripe(spoilt, "transfers", "tr_paid"), "id": "tr_again"}),
    ),
    "a withdrawal was paid out twice": (
        FindingKind.DOUBLED_AT_STRIPE,
        lambda spoilt: add(spoilt, "payouts", {**at_stripe(spoilt, "payouts", "po_paid"), "id": "po_again"}),
    ),
    "a withdrawal is said to be paid, and no bank has it": (
        FindingKind.MISSING_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "payouts", "po_paid").update(status="failed"),
    ),
    "a withdrawal is said to be back, and the bank has it": (
        FindingKind.LIVE_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "payouts", "po_back").update(status="paid"),
    ),
    "a withdrawal is said to be back, and its transfer stands": (
        FindingKind.LIVE_AT_STRIPE,
        lambda spoilt: at_stripe(spoilt, "transfers", "tr_back").update(amount_reversed=699),
    ),
    "a transfer belongs to nobody": (
        FindingKind.UNOWNED_AT_STRIPE,
        lambda spoilt: add(
            spoilt, "transfers", {"id": "tr_x", "metadata": {}, "amount": 5, "amount_reversed": 0, "currency": "usd"}
        ),
    ),
    "an account was made twice": (
        FindingKind.DOUBLED_AT_STRIPE,
        lambda spoilt: add(spoilt, "accounts", {**at_stripe(spoilt, "accounts", "acct_cat"), "id": "acct_again"}),
    ),
    "a customer was made twice": (
        FindingKind.DOUBLED_AT_STRIPE,
        lambda spoilt: add(spoilt, "customers", {"id": "cus_again", "metadata": {"subject": "usr_ann"}}),
    ),
    "an account is said to be active that Stripe does not have": (
        FindingKind.MISSING_AT_STRIPE,
        lambda spoilt: setattr(spoilt.stripe, "accounts", []),
    ),
    "Stripe has less than the ledger says": (
        FindingKind.STRIPE_BALANCE,
        lambda spoilt: setattr(spoilt.stripe, "balance", {"usd": 13_004}),
    ),
    "Stripe's own books are wrong": (
        FindingKind.STRIPE_BOOKS,
        lambda spoilt: setattr(spoilt.stripe, "violations", ["balance of usd"]),
    ),
}

REST: dict[str, tuple[FindingKind, Spoil]] = {
    "the audit has a row": (FindingKind.AUDIT, lambda spoilt: setattr(spoilt, "audit", ["wrong-balance: …"])),
    "a snapshot did not add up": (
        FindingKind.SNAPSHOT,
        lambda spoilt: spoilt.snapshots.wrong.append("all entries sum to 1 usd"),
    ),
    "no snapshot was taken": (FindingKind.SNAPSHOT, lambda spoilt: setattr(spoilt.snapshots, "taken", 0)),
    "an open operation's saga has failed": (
        FindingKind.WORKFLOW,
        lambda spoilt: setattr(spoilt, "workflows", _with(spoilt, Workflow("acc_cat", "failed"))),
    ),
    "an open operation's saga is not there": (
        FindingKind.WORKFLOW,
        lambda spoilt: setattr(spoilt, "workflows", [each for each in spoilt.workflows if each.id != "acc_cat"]),
    ),
    "a closed operation's saga runs": (
        FindingKind.WORKFLOW,
        lambda spoilt: setattr(spoilt, "workflows", _with(spoilt, Workflow("wd_paid", "running"))),
    ),
    "a follow-up still runs": (
        FindingKind.WORKFLOW,
        lambda spoilt: setattr(spoilt, "workflows", _with(spoilt, Workflow("wd_back/followup", "running"))),
    ),
    "a history does not replay": (
        FindingKind.REPLAY,
        lambda spoilt: setattr(spoilt, "replay_failures", ["dep_ann: nondeterminism"]),
    ),
    "no history was replayed": (FindingKind.REPLAY, lambda spoilt: setattr(spoilt, "replayed", 0)),
    "something still waits": (
        FindingKind.UNRESOLVED,
        lambda spoilt: setattr(spoilt, "unresolved", ["wd_back is reversing"]),
    ),
    "a forged webhook was taken": (
        FindingKind.FORGERY_TAKEN,
        lambda spoilt: setattr(spoilt, "forgeries_taken", ["evt_forged"]),
    ),
    "a fault has never struck": (
        FindingKind.FAULT_NEVER_STRUCK,
        lambda spoilt: setattr(spoilt, "fired_faults", {"worker-killed": 0}),
    ),
}

PLANTED = CLIENTS | BOOKS | REST


def _with(spoilt: Evidence, workflow: Workflow) -> list[Workflow]:
    return [each for each in spoilt.workflows if each.id != workflow.id] + [workflow]


@pytest.mark.parametrize("wrong", PLANTED)
def test_what_is_wrong_is_found(wrong: str) -> None:
    kind, spoil = PLANTED[wrong]
    spoilt = evidence()

    spoil(spoilt)

    assert kind in {finding.kind for finding in judge(spoilt)}


def test_every_kind_of_finding_can_be_found() -> None:
    assert {kind for kind, _ in PLANTED.values()} == set(FindingKind)


def test_a_finding_says_where() -> None:
    spoilt = evidence()
    at_stripe(spoilt, "payouts", "po_paid").update(status="failed")

    [finding] = [each for each in judge(spoilt) if each.kind is FindingKind.MISSING_AT_STRIPE]

    assert finding.where == "wd_paid"
    assert finding.what == "is paid with 1500, and 0 were paid out"


def test_an_offers_own_payouts_are_what_it_earned() -> None:
    """Nobody asks for them; and they are not more than was earned."""
    paid = evidence()
    withdrawals: Any = paid.operations.withdrawals
    withdrawals["wd_auto"] = {**withdrawals["wd_off"], "id": "wd_auto", "amount": 1_600, "status": "failed"}
    paid.workflows = [*paid.workflows, Workflow("wd_auto", "completed")]
    offers(paid, "off_done")["payouts"] = ["wd_auto"]
    assert judge(paid) == []

    withdrawals["wd_auto"]["amount"] = 1_601
    assert [finding.kind for finding in judge(paid)] == [FindingKind.DOUBLED]

    offers(paid, "off_done")["payouts"] = ["wd_gone"]
    assert {finding.kind for finding in judge(paid)} == {FindingKind.LOST, FindingKind.NOBODY_ASKED}
