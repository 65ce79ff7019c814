"""A run in which everything went well, small enough to be seen through, for tests to spoil.

ann pays in 100.00, bob 50.00 after a repetition; zoe's card is declined
ann gives cat 10.00, and offers her 20.00, of which she has a milestone of 5.00 and then all
ann offers cat 30.00, contested, split 20.00 to 10.00; and 40.00 that she does not want
cat withdraws 15.00, which is paid; 7.00, which the bank sends back; 3.00, which is called off
"""

from collections.abc import Sequence
from typing import Any

from cli.chaos.evidence import Evidence, Json, Operations, Snapshots, StripeBooks, Workflow
from cli.chaos.record import Attempt, Request

USD = "usd"


def evidence() -> Evidence:
    """All of it, as the judge is shown it."""
    operations = Operations(
        deposits=_by_id(
            _operation("dep_ann", "deposit", "succeeded", "ann", 10_000, payment_intent="pi_ann"),
            _operation("dep_bob", "deposit", "succeeded", "bob", 5_000, payment_intent="pi_bob"),
            _operation("dep_zoe", "deposit", "failed", "zoe", 4_000, payment_intent="pi_zoe"),
        ),
        transfers=_by_id(_operation("wtr_ann", "wallet_transfer", "succeeded", "ann", 1_000, to_user_id="cat")),
        offers=_by_id(
            _offer(
                "off_done",
                "completed",
                2_000,
                [("accept", "contractor", {}), ("release", "customer", {"milestone": 1}), ("complete", "customer", {})],
                milestones=[{"number": 1, "amount": 500, "released": True}],
                released=2_000,
                service_fee=400,
            ),
            _offer(
                "off_split",
                "resolved",
                3_000,
                [
                    ("accept", "contractor", {}),
                    ("contest", "customer", {}),
                    ("resolve", "operator", {"to_contractor": 2_000, "to_customer": 1_000}),
                ],
                released=2_000,
                service_fee=400,
                returned=1_000,
            ),
            _offer("off_not", "declined", 4_000, [("decline", "contractor", {})], returned=4_000),
        ),
        withdrawals=_by_id(
            _operation("wd_paid", "withdrawal", "paid", "cat", 1_500),
            _operation("wd_back", "withdrawal", "reversed", "cat", 700),
            _operation("wd_off", "withdrawal", "canceled", "cat", 300),
        ),
        accounts=_by_id(
            _operation("acc_cat", "connected_account", "active", "cat", None, closed_at=None, currency=None)
        ),
    )
    return Evidence(
        requests=_requests(),
        operations=operations,
        wallets=[
            _wallet("ann", 10_000 - 1_000 - 2_100 - 3_150 + 1_000, spent=1_000 + 2_100 + 2_150),
            _wallet("bob", 5_000),
            _wallet("cat", 1_000 + 1_600 + 1_600 - 1_500, earned=1_000 + 3_200, withdrawn=1_500),
            _wallet("zoe", 0),
        ],
        platform={("platform_fees", USD): 250, ("service_fees", USD): 800, ("stripe_balance", USD): -(13_500 - 495)},
        stripe=StripeBooks(
            payment_intents=[
                _thing("pi_ann", "dep_ann", status="succeeded", amount_received=10_000),
                _thing("pi_bob", "dep_bob", status="succeeded", amount_received=5_000),
                _thing("pi_zoe", "dep_zoe", status="canceled", amount_received=0),
            ],
            transfers=[
                _thing("tr_paid", "wd_paid", amount=1_500, amount_reversed=0),
                _thing("tr_back", "wd_back", amount=700, amount_reversed=700),
            ],
            payouts=[
                _thing("po_paid", "wd_paid", amount=1_500, status="paid"),
                _thing("po_back", "wd_back", amount=700, status="failed"),
            ],
            accounts=[_thing("acct_cat", "acc_cat")],
            customers=[{"id": "cus_ann", "metadata": {"subject": "usr_ann"}}],
            balance={USD: 13_500 - 495},
            fees={USD: 495},
        ),
        snapshots=Snapshots(taken=100),
        workflows=[
            *(Workflow(id, "completed") for id in operations.all if id != "acc_cat"),
            Workflow("acc_cat", "running"),
            Workflow("wd_back/followup", "completed"),
        ],
        replayed=11,
        wanted_faults=["worker-killed"],
        fired_faults={"worker-killed": 3},
    )


def request(what: str, user: str, amount: int | None, *attempts: Attempt, about: str | None = None) -> Request:
    """A client's wish, sent so often; as one of the evidence's, or beside them."""
    body: dict[str, Any] = {} if amount is None else {"amount": amount, "currency": USD}
    return Request(
        number=0,
        what=what,
        caller=user,
        key=f"{what} {user} {amount} {about}",
        path="/v1/…",
        body=body,
        user=user,
        about=about,
        attempts=list(attempts),
    )


def told(status: int | None, operation: str | None = None) -> Attempt:
    """One sending, and what its client was told; None: nothing."""
    return Attempt(sent_at=0.0, status=status, operation=operation)


def _requests() -> list[Request]:
    made = [
        request("deposit", "ann", 10_000, told(201, "dep_ann")),
        request("deposit", "bob", 5_000, told(None), told(503), told(202, "dep_bob"), told(200, "dep_bob")),
        request("deposit", "zoe", 4_000, told(402, "dep_zoe")),
        request("wallet_transfer", "ann", 1_000, told(201, "wtr_ann")),
        request("offer", "ann", 2_000, told(201, "off_done")),
        request("offer", "ann", 3_000, told(None)),
        request("offer", "ann", 4_000, told(201, "off_not")),
        request("withdrawal", "cat", 1_500, told(201, "wd_paid")),
        request("withdrawal", "cat", 700, told(201, "wd_back")),
        request("withdrawal", "cat", 300, told(201, "wd_off")),
        request("withdrawal", "cat", 90_000, told(422)),
        request("connected_account", "cat", None, told(201, "acc_cat")),
    ]
    release = request("release", "ann", None, told(None), told(200), about="off_done")
    release.body["milestone"] = 1
    return [
        *made,
        release,
        request("accept", "cat", None, told(200), about="off_done"),
        request("complete", "ann", None, told(202), told(200), about="off_done"),
        request("accept", "cat", None, told(200), about="off_split"),
        request("contest", "ann", None, told(None), about="off_split"),
        request("resolve", "olga", None, told(200), about="off_split"),
        request("cancel", "ann", None, told(409), about="off_not"),
        request("decline", "cat", None, told(200), about="off_not"),
        request("cancel", "shop", None, told(200), about="wd_off"),
        request("cancel", "shop", None, told(409), about="wd_paid"),
    ]


def _operation(id: str, kind: str, status: str, user: str, amount: int | None, **more: Any) -> Json:
    usual = {"currency": USD, "closed_at": "2026-11-21T10:00:00Z"}
    return usual | {"id": id, "kind": kind, "status": status, "user_id": user, "amount": amount} | more


def _offer(id: str, status: str, amount: int, actions: Sequence[tuple[str, str, Json]], **more: Any) -> Json:
    usual = {"contractor_id": "cat", "milestones": [], "payouts": [], "released": 0, "service_fee": 0, "returned": 0}
    done = [{"verb": verb, "party": party, "details": details} for verb, party, details in actions]
    return _operation(id, "offer", status, "ann", amount, **(usual | {"actions": done} | more))


def _wallet(user: str, available: int, *, earned: int = 0, spent: int = 0, withdrawn: int = 0) -> Json:
    totals = {"earned": earned, "spent": spent, "withdrawn": withdrawn}
    return {
        "user_id": user,
        "currency": USD,
        "available": available,
        "escrow": 0,
        "in_transit": 0,
        "totals": totals,
    }


def _thing(id: str, operation: str, **more: Any) -> Json:
    return {"id": id, "currency": USD, "metadata": {"operation_id": operation, "subject": operation}} | more


def _by_id(*operations: Json) -> dict[str, Json]:
    return {operation["id"]: operation for operation in operations}
