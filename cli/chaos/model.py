"""What everybody must hold, computed from what the API promises and from nothing else.

This is the judge's own arithmetic. It knows none of the code that it judges (an import contract holds it to that), so
that a mistake there is not repeated here. From how each operation ended, as the API tells it, it says what follows.

    deposit            succeeded: the amount is the customer's
    wallet transfer    succeeded: the amount is the other's
    offer              held: amount and 5 % on top leave the customer; what is released is the contractor's, less 20 %
                       of all that was released so far; the rest goes back
    withdrawal         out of the wallet from its reservation on, back if it fails, is canceled or is reversed
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from cli.chaos.evidence import Json, Operations

PLATFORM_FEE = 500
SERVICE_FEE = 2_000
"""Basis points."""

_NOT_BEGUN = ("requested", "failed")
_UNDER_WAY = ("held", "accepted", "delivered", "contested")

_RESERVED = ("reserved", "awaiting_funds", "transferred", "paying_out", "reversing")
"""Statuses of a withdrawal whose money is on its way."""


@dataclass
class Holding:
    """What a user has in one currency, in minor units."""

    available: int = 0
    escrow: int = 0
    in_transit: int = 0
    earned: int = 0
    spent: int = 0
    withdrawn: int = 0


@dataclass
class Books:
    """What follows from how everything ended. Minor units."""

    wallets: defaultdict[tuple[str, str], Holding] = field(default_factory=lambda: defaultdict(Holding))
    """By user and currency."""
    platform_fees: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    service_fees: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    paid_in: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By cards."""
    paid_out: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """To banks."""


@dataclass(frozen=True)
class OfferShares:
    """Where an offer's money is, in minor units."""

    released: int
    service_fee: int
    """Of what was released."""
    returned: int
    """Of the amount, to the customer."""
    platform_fee: int
    """What the platform has of its own fee."""
    given_back_fee: int
    """What the customer has back of it."""
    escrow: int


def share(amount: int, basis_points: int) -> int:
    """So many basis points of an amount, rounded half up to a minor unit."""
    return (2 * amount * basis_points + 10_000) // 20_000


def expected(operations: Operations) -> Books:
    """What everybody must hold, by how each operation stands."""
    books = Books()
    _deposits(books, operations.deposits.values())
    _transfers(books, operations.transfers.values())
    _offers(books, operations.offers.values())
    _withdrawals(books, operations.withdrawals.values())
    return books


def _deposits(books: Books, deposits: Iterable[Json]) -> None:
    for deposit in deposits:
        if deposit["status"] == "succeeded":
            books.wallets[deposit["user_id"], deposit["currency"]].available += deposit["amount"]
            books.paid_in[deposit["currency"]] += deposit["amount"]


def _transfers(books: Books, transfers: Iterable[Json]) -> None:
    for transfer in transfers:
        if transfer["status"] == "succeeded":
            giver = books.wallets[transfer["user_id"], transfer["currency"]]
            taker = books.wallets[transfer["to_user_id"], transfer["currency"]]
            giver.available -= transfer["amount"]
            giver.spent += transfer["amount"]
            taker.available += transfer["amount"]
            taker.earned += transfer["amount"]


def _offers(books: Books, offers: Iterable[Json]) -> None:
    for offer in offers:
        code, shares = offer["currency"], shares_of(offer)
        if shares is None:
            continue
        customer, contractor = books.wallets[offer["user_id"], code], books.wallets[offer["contractor_id"], code]
        customer.available += shares.returned + shares.given_back_fee
        customer.available -= offer["amount"] + share(offer["amount"], PLATFORM_FEE)
        customer.escrow += shares.escrow
        customer.spent += shares.released + shares.platform_fee
        contractor.available += shares.released - shares.service_fee
        contractor.earned += shares.released - shares.service_fee
        books.platform_fees[code] += shares.platform_fee
        books.service_fees[code] += shares.service_fee


def shares_of(offer: Json) -> OfferShares | None:
    """Where the money of one offer must be; None if it never held any."""
    status, amount, done = offer["status"], offer["amount"], {action["verb"] for action in offer["actions"]}
    if status in _NOT_BEGUN:
        return None
    fee, accepted = share(amount, PLATFORM_FEE), "accept" in done
    released = sum(part["amount"] for part in offer["milestones"] if part["released"])
    if status == "completed":
        released = amount
    elif status == "resolved":
        [split] = [action["details"] for action in offer["actions"] if action["verb"] == "resolve"]
        released += split["to_contractor"]
    under_way = status in _UNDER_WAY
    returned = 0 if under_way else amount - released
    return OfferShares(
        released=released,
        service_fee=share(released, SERVICE_FEE),
        returned=returned,
        platform_fee=fee if accepted else 0,
        given_back_fee=0 if accepted or under_way else fee,
        escrow=amount - released + (0 if accepted else fee) if under_way else 0,
    )


def _withdrawals(books: Books, withdrawals: Iterable[Json]) -> None:
    for withdrawal in withdrawals:
        holding = books.wallets[withdrawal["user_id"], withdrawal["currency"]]
        if withdrawal["status"] == "paid":
            holding.available -= withdrawal["amount"]
            holding.withdrawn += withdrawal["amount"]
            books.paid_out[withdrawal["currency"]] += withdrawal["amount"]
        elif withdrawal["status"] in _RESERVED:
            holding.available -= withdrawal["amount"]
            holding.in_transit += withdrawal["amount"]
