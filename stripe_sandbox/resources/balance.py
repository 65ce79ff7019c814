"""The balance and its transactions. https://docs.stripe.com/api/balance, …/balance_transactions

Every movement of money is one balance transaction, posted here and nowhere else; the balance is their sum. A
transaction is pending until `available_on`, then available.
"""

from stripe_sandbox.errors import StripeError, invalid_request
from stripe_sandbox.events import publish
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import optional, string
from stripe_sandbox.resource import CREATED, Call, ListFilter, Operation, Resource, equals, listing, retrieve
from stripe_sandbox.store import Filter, Stored
from stripe_sandbox.unit import Unit

_REPORTING = {
    "adjustment": "other_adjustment",
    "payment": "charge",
    "payment_refund": "refund",
    "payout_cancel": "payout_reversal",
    "payout_failure": "payout_reversal",
    "transfer_refund": "transfer_reversal",
}
"""Where a type's reporting category is named otherwise. https://docs.stripe.com/reports/reporting-categories"""


def post(
    unit: Unit,
    *,
    transaction_type: str,
    source: str | None,
    amount: int,
    fee: int,
    currency: str,
    available_in: float,
    description: str | None = None,
    exchange_rate: float | None = None,
) -> Stored:
    """Post one movement.

    amount, fee: minor units of the settlement `currency`; the net moves its balance. exchange_rate: from the currency
    of presentment, where it was another. available_in: seconds until it is available; 0 is at once.
    """
    settled = available_in <= 0
    transaction = unit.add(
        "balance_transaction",
        "txn",
        {
            "amount": amount,
            "available_on": int(unit.now + available_in),
            "balance_type": "payments",
            "currency": currency,
            "description": description,
            "exchange_rate": exchange_rate,
            "fee": fee,
            "fee_details": _fee_details(fee, currency),
            "net": amount - fee,
            "reporting_category": _REPORTING.get(transaction_type, transaction_type),
            "source": source,
            "status": "available" if settled else "pending",
            "type": transaction_type,
        },
    )
    # Stripe's balance transactions, unlike its other objects, do not say `livemode`.
    del transaction.body["livemode"]
    unit.store.save(transaction)
    _move(unit, currency, **{transaction.body["status"]: amount - fee})
    if settled and amount > fee:
        publish(unit, "balance.available", balance(unit))
    elif not settled:
        unit.later(available_in, "settle")
    return transaction


def _fee_details(fee: int, currency: str) -> list[Json]:
    if not fee:
        return []
    return [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]


def _move(unit: Unit, currency: str, pending: int = 0, available: int = 0) -> None:
    unit.store.db.execute(
        "INSERT INTO balances (platform, account, currency, pending, available) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, available = available + excluded.available",
        (*unit.scope, currency, pending, available),
    )


def _settle(unit: Unit, payload: Json) -> None:
    """Make available every transaction whose time has come, and say so once."""
    due = unit.all(
        "balance_transaction",
        Filter("json_extract(body, '$.status') = 'pending' AND json_extract(body, '$.available_on') <= ?", (unit.now,)),
    )
    for transaction in due:
        unit.change(transaction, status="available")
        net = transaction.body["net"]
        _move(unit, transaction.body["currency"], pending=-net, available=net)
    if due:
        publish(unit, "balance.available", balance(unit))


def available(unit: Unit, currency: str) -> int:
    """Available funds in a currency, minor units; below zero where an account owes."""
    return _held(unit, currency, "available")


def pending(unit: Unit, currency: str) -> int:
    """Funds that will become available, minor units."""
    return _held(unit, currency, "pending")


def _held(unit: Unit, currency: str, state: str) -> int:
    row = unit.store.db.execute(
        "SELECT * FROM balances WHERE platform = ? AND account = ? AND currency = ?", (*unit.scope, currency)
    ).fetchone()
    return 0 if row is None else int(row[state])


def insufficient(message: str) -> StripeError:
    """400 `balance_insufficient`: available funds do not cover what was asked for."""
    return invalid_request(message, code="balance_insufficient")


def balance(unit: Unit) -> Json:
    """The balance object: minor units per currency."""
    rows = unit.store.db.execute(
        "SELECT * FROM balances WHERE platform = ? AND account = ? ORDER BY currency", tuple(unit.scope)
    ).fetchall()
    amounts = [(row["currency"], row["available"], row["pending"]) for row in rows] or [("usd", 0, 0)]
    return {
        "object": "balance",
        "available": [_amount(currency, available) for currency, available, _ in amounts],
        "livemode": False,
        "pending": [_amount(currency, pending) for currency, _, pending in amounts],
    }


def _amount(currency: str, value: int) -> Json:
    return {"amount": value, "currency": currency, "source_types": {"card": value}}


def adjust(unit: Unit, amount: int, currency: str, description: str | None) -> Stored:
    """Stripe corrects a balance, by minor units of either sign; it may go below zero."""
    return post(
        unit,
        transaction_type="adjustment",
        source=None,
        amount=amount,
        fee=0,
        currency=currency,
        available_in=0,
        description=description,
    )


def _retrieve_balance(unit: Unit, call: Call) -> Json:
    return balance(unit)


BALANCE = Resource(kind="balance", operations=(Operation("GET", "/v1/balance", _retrieve_balance),))

TRANSACTIONS = Resource(
    kind="balance_transaction",
    expandable=frozenset({"source"}),
    jobs={"settle": _settle},
    operations=(
        listing(
            "/v1/balance_transactions",
            "balance_transaction",
            {
                "created": CREATED,
                "currency": equals("currency"),
                "payout": ListFilter(
                    optional(string()), lambda payout: Filter("json_extract(private, '$.payout') = ?", (payout,))
                ),
                "source": equals("source"),
                "type": equals("type"),
            },
        ),
        retrieve("/v1/balance_transactions/{id}", "balance_transaction"),
    ),
)
