"""What is not as it must be. Pure: evidence in, findings out.

what clients were told     acknowledged: it happened, once. Refused: no effect. Unknown: at most once
the model                  every wallet, and the platform's accounts, hold what follows from how everything ended
Stripe's books             one object an operation, in its amount; nothing lives that no operation owns
the audit, the snapshots   no row; no wrong sum
Temporal                   a saga runs as long as its operation is open; every history replays
the faults                 each kind has struck: else nothing was shown
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from cli.chaos.evidence import Evidence, Json
from cli.chaos.model import Books, expected, shares_of
from cli.chaos.record import Request


class FindingKind(StrEnum):
    """What is wrong. The names are stable: tests and scripts refer to them."""

    LOST = "lost"
    """A client was told that it is done, or will be, and it is not."""
    DOUBLED = "doubled"
    """One request has had two effects."""
    DONE_THOUGH_REFUSED = "done-though-refused"
    """A client was told that it is not done, and it is."""
    NOBODY_ASKED = "nobody-asked"
    """Something was done that no client has asked for."""
    OTHER_ANSWER = "other-answer"
    """The same key was answered with another operation, or an operation is not what was asked for."""
    BROKEN_ANSWER = "broken-answer"
    """An answer that the API does not document: a bare 500, or one that a client could not go on with."""
    WRONG_WALLET = "wrong-wallet"
    """A wallet does not hold what follows from how everything ended."""
    WRONG_BOOKS = "wrong-books"
    """The platform's own accounts, or an offer's figures, are not what follows from how everything ended."""
    DOUBLED_AT_STRIPE = "doubled-at-stripe"
    """Stripe has moved money twice for one operation, or has made two things where one was wanted."""
    MISSING_AT_STRIPE = "missing-at-stripe"
    """An operation says that money moved, and Stripe has not moved it."""
    LIVE_AT_STRIPE = "live-at-stripe"
    """Stripe holds something alive of an operation that has ended without it."""
    UNOWNED_AT_STRIPE = "unowned-at-stripe"
    """Stripe has something that no operation owns."""
    STRIPE_BALANCE = "stripe-balance"
    """Our balance at Stripe is not what the ledger says, or not what follows from how everything ended."""
    STRIPE_BOOKS = "stripe-books"
    """Stripe's own books do not add up: the sandbox is wrong, and nothing can be concluded."""
    AUDIT = "audit"
    """The audit has found something."""
    SNAPSHOT = "snapshot"
    """A reader has seen a ledger that does not add up, or nothing was read at all."""
    WORKFLOW = "workflow"
    """Temporal and Postgres do not agree on what is under way, or a saga has ended badly."""
    REPLAY = "replay"
    """A history does not replay, or none was replayed."""
    UNRESOLVED = "unresolved"
    """Something still waits, long after the last fault."""
    FORGERY_TAKEN = "forgery-taken"
    """A webhook was taken that Stripe had not signed."""
    FAULT_NEVER_STRUCK = "fault-never-struck"
    """A kind of fault has never struck, so the run has shown nothing of it."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be."""

    kind: FindingKind
    where: str
    what: str


Findings = Iterator[Finding]

_LIVE_PAYOUT = ("pending", "in_transit", "paid")


def judge(evidence: Evidence) -> list[Finding]:
    """Everything that speaks against the run; empty when all is as it must be."""
    books = expected(evidence.operations)
    rulings = (
        _makings(evidence),
        _verbs(evidence),
        _answers(evidence),
        _wallets(evidence, books),
        _platform(evidence, books),
        _offers(evidence),
        _payments(evidence),
        _payouts(evidence),
        _owners(evidence),
        _stripe_balance(evidence, books),
        _temporal(evidence),
        _plainly(FindingKind.AUDIT, "the audit", evidence.audit),
        _plainly(FindingKind.STRIPE_BOOKS, "Stripe's books", evidence.stripe.violations),
        _plainly(FindingKind.SNAPSHOT, "the ledger, read beside the load", evidence.snapshots.wrong),
        _plainly(FindingKind.REPLAY, "histories", evidence.replay_failures),
        _plainly(FindingKind.UNRESOLVED, "after healing", evidence.unresolved),
        _plainly(FindingKind.FORGERY_TAKEN, "webhooks", evidence.forgeries_taken),
        _plainly(FindingKind.BROKEN_ANSWER, "clients", evidence.mishaps),
        _shown_nothing(evidence),
    )
    return [finding for ruling in rulings for finding in ruling]


def _plainly(kind: FindingKind, where: str, found: Iterable[str]) -> Findings:
    for what in found:
        yield Finding(kind, where, what)


# ── What clients were told ──


def _makings(evidence: Evidence) -> Findings:
    """Requests that make an operation, against the operations that there are.

    No two requests for a user's operation of one kind ask for the same amount; so an operation tells by itself which
    request it is of, also where no answer has said so.
    """
    operations = evidence.operations.all
    of_offers = {payout: offer for offer in evidence.operations.offers.values() for payout in offer["payouts"]}
    made: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for id, operation in operations.items():
        if id not in of_offers:
            made[operation["kind"], operation["user_id"], operation["amount"], operation["currency"]].append(id)
    for request in evidence.requests:
        if request.about is not None:
            continue
        where, body = _named(request), request.body
        found = made.pop((request.what, request.user, body.get("amount"), body.get("currency")), [])
        named = request.operations
        if len(found) > 1:
            yield Finding(FindingKind.DOUBLED, where, f"has made {', '.join(found)}")
        if len(named) > 1:
            yield Finding(FindingKind.OTHER_ANSWER, where, f"was answered with {', '.join(named)}")
        for id in named:
            if id not in operations:
                yield Finding(FindingKind.LOST, where, f"was answered with {id}, which there is not")
            elif id not in found:
                yield Finding(FindingKind.OTHER_ANSWER, where, f"was answered with {id}, which is of another request")
        if request.acknowledged and not found:
            yield Finding(FindingKind.LOST, where, "was accepted, and there is no such operation")
        if request.refused:
            for id in found:
                if operations[id]["status"] != "failed":
                    status = operations[id]["status"]
                    yield Finding(FindingKind.DONE_THOUGH_REFUSED, where, f"was refused, but {id} is {status}")
    for ids in made.values():
        for id in ids:
            yield Finding(FindingKind.NOBODY_ASKED, id, "was asked for by no client")
    yield from _offers_payouts(evidence, of_offers)


def _offers_payouts(evidence: Evidence, of_offers: Mapping[str, Json]) -> Findings:
    """The withdrawals that offers have begun by themselves: of what was earned, and no more."""
    paid_on: Counter[str] = Counter()
    for id, offer in of_offers.items():
        withdrawal = evidence.operations.withdrawals.get(id)
        if withdrawal is None:
            yield Finding(FindingKind.LOST, offer["id"], f"says that it has begun {id}, which there is not")
        elif (withdrawal["user_id"], withdrawal["currency"]) != (offer["contractor_id"], offer["currency"]):
            yield Finding(FindingKind.OTHER_ANSWER, id, f"is not the contractor's of {offer['id']}")
        else:
            paid_on[offer["id"]] += withdrawal["amount"]
    for id, amount in paid_on.items():
        shares = shares_of(evidence.operations.offers[id])
        earned = shares.released - shares.service_fee if shares is not None else 0
        if amount > earned:
            yield Finding(FindingKind.DOUBLED, id, f"has begun withdrawals of {amount}, and {earned} were earned")


def _verbs(evidence: Evidence) -> Findings:
    """Requests that change an operation, against what was done to it."""
    asked: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in evidence.requests:
        if request.about is not None:
            asked[request.about, _verb(request)].append(request)
    done: defaultdict[tuple[str, str], int] = defaultdict(int)
    for offer in evidence.operations.offers.values():
        for action in offer["actions"]:
            # What the clock does nobody has asked for. (It cannot be done twice: a status has no way back to itself.)
            if action["party"] != "clock":
                part = action["details"].get("milestone")
                done[offer["id"], action["verb"] + (f"#{part}" if part is not None else "")] += 1
    for id, verb in asked.keys() | done.keys():
        requests, times = asked[id, verb], done[id, verb]
        operation = evidence.operations.all.get(id)
        if operation is None:
            continue  # An operation that is not there was found above.
        if operation["kind"] != "offer":
            yield from _cancels(operation, requests)
            continue
        settled = sum(request.settled and not request.refused for request in requests)
        refused = sum(request.refused for request in requests)
        if times < settled:
            what = f"{verb} was done {times} times, and {settled} clients were told that it is"
            yield Finding(FindingKind.LOST, id, what)
        elif times and not requests:
            yield Finding(FindingKind.NOBODY_ASKED, id, f"{verb} was done {times} times, and nobody has asked for it")
        elif times > len(requests):
            yield Finding(
                FindingKind.DOUBLED, id, f"{verb} was done {times} times, and asked for {len(requests)} times"
            )
        elif times > len(requests) - refused:
            what = f"{verb} was done {times} times; of {len(requests)} requests {refused} were refused"
            yield Finding(FindingKind.DONE_THOUGH_REFUSED, id, what)


def _verb(request: Request) -> str:
    """A verb as an offer's actions name it, with the part that it is about."""
    part = request.body.get("milestone")
    return request.what + (f"#{part}" if part is not None else "")


def _cancels(operation: Json, requests: Iterable[Request]) -> Findings:
    canceled = operation["status"] == "canceled"
    told = [request for request in requests if request.settled and not request.refused]
    if told and not canceled:
        yield Finding(
            FindingKind.LOST, operation["id"], f"a client was told that it is canceled; it is {operation['status']}"
        )
    if canceled and all(request.refused for request in requests):
        yield Finding(FindingKind.DONE_THOUGH_REFUSED, operation["id"], "is canceled, and every cancel was refused")


def _answers(evidence: Evidence) -> Findings:
    for request in evidence.requests:
        for attempt in request.attempts:
            bare = attempt.status is not None and attempt.status >= 500 and attempt.status != 503
            if bare or not attempt.typed:
                yield Finding(FindingKind.BROKEN_ANSWER, _named(request), f"was answered {attempt.status}")


def _named(request: Request) -> str:
    return f"request {request.number} ({request.what} by {request.caller}, key {request.key})"


# ── The model ──


def _wallets(evidence: Evidence, books: Books) -> Findings:
    seen = set()
    for wallet in evidence.wallets:
        owner = (wallet["user_id"], wallet["currency"])
        seen.add(owner)
        holds = {name: wallet[name] for name in ("available", "escrow", "in_transit")} | dict(wallet["totals"])
        for name, amount in asdict(books.wallets[owner]).items():
            if holds[name] != amount:
                what = f"{name} is {holds[name]}; by how everything ended it is {amount}"
                yield Finding(FindingKind.WRONG_WALLET, f"{owner[0]}'s {owner[1]}", what)
    for owner, holding in books.wallets.items():
        if owner not in seen and any(asdict(holding).values()):
            yield Finding(
                FindingKind.WRONG_WALLET, f"{owner[0]}'s {owner[1]}", f"is not there, and must hold {holding}"
            )


def _platform(evidence: Evidence, books: Books) -> Findings:
    for kind, should in (("platform_fees", books.platform_fees), ("service_fees", books.service_fees)):
        for code in _currencies(evidence, books):
            held = evidence.platform.get((kind, code), 0)
            if held != should[code]:
                what = f"{held} {code}; by how everything ended {should[code]}"
                yield Finding(FindingKind.WRONG_BOOKS, kind, what)


def _currencies(evidence: Evidence, books: Books) -> list[str]:
    named = {code for _, code in evidence.platform} | {code for _, code in books.wallets} | set(evidence.stripe.balance)
    return sorted(named)


def _offers(evidence: Evidence) -> Findings:
    for id, offer in evidence.operations.offers.items():
        shares = shares_of(offer)
        if shares is None:
            continue
        for name in ("released", "service_fee", "returned"):
            if offer[name] != getattr(shares, name):
                what = f"{name} is {offer[name]}; by how it ended it is {getattr(shares, name)}"
                yield Finding(FindingKind.WRONG_BOOKS, id, what)
        verbs = Counter(action["verb"] for action in offer["actions"])
        for verb in ("accept", "decline", "deliver", "complete", "contest", "resolve", "expire", "auto_complete"):
            if verbs[verb] > 1:
                yield Finding(FindingKind.DOUBLED, id, f"{verb} was done {verbs[verb]} times")


# ── Stripe's books ──


def _payments(evidence: Evidence) -> Findings:
    """One PaymentIntent took a deposit's money; and none that came to nothing can still take any."""
    of = _by_operation(evidence.stripe.payment_intents)
    for id, deposit in evidence.operations.deposits.items():
        took = [intent for intent in of[id] if intent["status"] == "succeeded"]
        live = [intent for intent in of[id] if intent["status"] not in ("succeeded", "canceled")]
        if len(took) > 1 or (took and live):
            yield Finding(FindingKind.DOUBLED_AT_STRIPE, id, f"has {_ids([*took, *live])}")
        if deposit["status"] == "succeeded":
            if not took:
                yield Finding(FindingKind.MISSING_AT_STRIPE, id, "has succeeded, and no PaymentIntent of it has")
            for intent in took:
                if (intent["amount_received"], intent["currency"]) != (deposit["amount"], deposit["currency"]):
                    what = f"is of {deposit['amount']}, and {intent['id']} took {intent['amount_received']}"
                    yield Finding(FindingKind.MISSING_AT_STRIPE, id, what)
        elif deposit["status"] in ("failed", "canceled", "expired") and (took or live):
            yield Finding(FindingKind.LIVE_AT_STRIPE, id, f"is {deposit['status']}, and {_ids([*took, *live])} lives")


def _payouts(evidence: Evidence) -> Findings:
    """A withdrawal that is paid has one transfer and one payout, in its amount; one that is not has none that lives."""
    transfers, payouts = _by_operation(evidence.stripe.transfers), _by_operation(evidence.stripe.payouts)
    for id, withdrawal in evidence.operations.withdrawals.items():
        standing = [each for each in transfers[id] if each["amount"] > each["amount_reversed"]]
        live = [each for each in payouts[id] if each["status"] in _LIVE_PAYOUT]
        for many in (standing, live):
            if len(many) > 1:
                yield Finding(FindingKind.DOUBLED_AT_STRIPE, id, f"has {_ids(many)}")
        if withdrawal["status"] == "paid":
            for what, amounts in (
                ("transferred", [each["amount"] - each["amount_reversed"] for each in standing]),
                ("paid out", [each["amount"] for each in live]),
            ):
                if sum(amounts) < withdrawal["amount"]:
                    found = f"is paid with {withdrawal['amount']}, and {sum(amounts)} were {what}"
                    yield Finding(FindingKind.MISSING_AT_STRIPE, id, found)
        elif withdrawal["status"] in ("failed", "canceled", "reversed") and (standing or live):
            what = f"is {withdrawal['status']}, and {_ids([*standing, *live])} lives"
            yield Finding(FindingKind.LIVE_AT_STRIPE, id, what)


def _owners(evidence: Evidence) -> Findings:
    """Everything at Stripe is some operation's, and of what is made once there is one."""
    stripe, operations = evidence.stripe, evidence.operations.all
    for thing in (*stripe.payment_intents, *stripe.transfers, *stripe.payouts, *stripe.accounts):
        if thing["metadata"].get("operation_id") not in operations:
            yield Finding(FindingKind.UNOWNED_AT_STRIPE, thing["id"], "belongs to no operation")
    for things in (stripe.accounts, stripe.customers):
        made = defaultdict(list)
        for thing in things:
            made[thing["metadata"].get("subject")].append(thing)
        for subject, each in made.items():
            if len(each) > 1:
                yield Finding(FindingKind.DOUBLED_AT_STRIPE, str(subject), f"has {_ids(each)}")
    accounts = _by_operation(stripe.accounts)
    for id, account in evidence.operations.accounts.items():
        if account["status"] not in ("requested", "failed", "deauthorized") and not accounts[id]:
            yield Finding(FindingKind.MISSING_AT_STRIPE, id, f"is {account['status']}, and Stripe has no account of it")


def _stripe_balance(evidence: Evidence, books: Books) -> Findings:
    stripe = evidence.stripe
    for code in _currencies(evidence, books):
        held = stripe.balance.get(code, 0)
        # An asset grows by debits, which are negative.
        booked = -evidence.platform.get(("stripe_balance", code), 0)
        follows = books.paid_in[code] - books.paid_out[code] - stripe.fees.get(code, 0)
        if held != booked:
            what = f"{held} {code} at Stripe, and {booked} in the ledger"
            yield Finding(FindingKind.STRIPE_BALANCE, "the platform's balance", what)
        if held != follows:
            what = f"{held} {code} at Stripe; by how everything ended {follows}"
            yield Finding(FindingKind.STRIPE_BALANCE, "the platform's balance", what)


def _by_operation(things: Iterable[Json]) -> defaultdict[str, list[Json]]:
    found: defaultdict[str, list[Json]] = defaultdict(list)
    for thing in things:
        found[str(thing["metadata"].get("operation_id"))].append(thing)
    return found


def _ids(things: Iterable[Json]) -> str:
    return ", ".join(thing["id"] for thing in things)


# ── Temporal, and whether anything was shown ──


def _temporal(evidence: Evidence) -> Findings:
    status = {workflow.id: workflow.status for workflow in evidence.workflows}
    for id, operation in evidence.operations.all.items():
        saga = status.get(id)
        if operation["closed_at"] is None and saga != "running":
            yield Finding(FindingKind.WORKFLOW, id, f"is open, and its saga is {saga or 'not there'}")
        if operation["closed_at"] is not None and saga == "running":
            yield Finding(FindingKind.WORKFLOW, id, "is closed, and its saga runs")
    for workflow in evidence.workflows:
        if workflow.status not in ("running", "completed"):
            yield Finding(FindingKind.WORKFLOW, workflow.id, f"has {workflow.status}")
        if workflow.status == "running" and workflow.id not in evidence.operations.all:
            yield Finding(FindingKind.WORKFLOW, workflow.id, "runs, and is no open operation's")


def _shown_nothing(evidence: Evidence) -> Findings:
    """A check that has looked at nothing has found nothing: that is no good news."""
    for kind in evidence.wanted_faults:
        if not evidence.fired_faults.get(kind):
            yield Finding(FindingKind.FAULT_NEVER_STRUCK, kind, "has never struck: let the run be longer")
    if evidence.snapshots.taken == 0:
        yield Finding(FindingKind.SNAPSHOT, "the ledger, read beside the load", "was never read")
    if evidence.replayed == 0:
        yield Finding(FindingKind.REPLAY, "histories", "none was replayed")
