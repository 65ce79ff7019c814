"""The tables, as queries see them. What the database itself enforces stands in `db/migrations/`.

Amounts are minor units (bigint). Times are the database's. The kind of a status is checked there too.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData()

_NOW = sa.text("app_now()")

_JSON = JSONB(none_as_null=True)
"""None is SQL's NULL. JSON has a null of its own, which no constraint and no `IS NULL` takes for nothing."""


def _when(name: str, *, default: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), server_default=_NOW if default else None, nullable=not default)


deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("only_row", sa.Boolean, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("clock_offset", sa.Interval, nullable=False),
)
"""The mode this database belongs to, and how far its clock was moved (never in live mode)."""

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("country", sa.Text),
    sa.Column("locale", sa.Text),
    sa.Column("channels", _JSON, nullable=False),
    _when("created_at", default=True),
    _when("updated_at", default=True),
)
"""Who a user is. `reference` is our own name for them, in keys and at Stripe: theirs may be an e-mail address."""

wallets = sa.Table(
    "wallets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("frozen", sa.Boolean, nullable=False),
    _when("created_at", default=True),
)

wallet_actions = sa.Table(
    "wallet_actions",
    metadata,
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("wallet_id", sa.Text, sa.ForeignKey("wallets.id"), nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seen", _JSON, nullable=False),
    _when("created_at", default=True),
)
"""What admins did to wallets, why, and what they saw."""

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("wallet_id", sa.Text, sa.ForeignKey("wallets.id")),
    sa.Column("amount", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("request", _JSON, nullable=False),
    sa.Column("details", _JSON, nullable=False),
    sa.Column("failure", _JSON),
    sa.Column("needs_attention", sa.Boolean, nullable=False),
    sa.Column("attention", _JSON),
    sa.Column("retries", sa.Integer, nullable=False),
    _when("last_retry_at"),
    _when("created_at", default=True),
    _when("updated_at", default=True),
    _when("started_at"),
    _when("closed_at"),
)
"""`request` is what was asked for beyond amount and currency, `details` what the saga has learned since. A connected
account has neither wallet nor amount."""

connected_accounts = sa.Table(
    "connected_accounts",
    metadata,
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("details_submitted", sa.Boolean, nullable=False),
    sa.Column("transfers_active", sa.Boolean, nullable=False),
    sa.Column("payouts_enabled", sa.Boolean, nullable=False),
    sa.Column("manual_payouts", sa.Boolean, nullable=False),
    sa.Column("currencies", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("due", sa.ARRAY(sa.Text), nullable=False),
    _when("due_by"),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("deauthorized", sa.Boolean, nullable=False),
    _when("observed_at", default=True),
)
"""The contractors' accounts at Stripe, as Stripe last told them."""

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("verb", sa.Text),
    sa.Column("wish", _JSON),
    sa.Column("reason", sa.Text),
    sa.Column("refusal", _JSON),
    _when("created_at", default=True),
    _when("answered_at"),
)
"""Every Idempotency-Key ever used, for good. `verb` is null where the request made its operation; `wish` is what the
verb's saga is told, `reason` what it is not."""

offers = sa.Table(
    "offers",
    metadata,
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), primary_key=True),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("contractor_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("contractor_wallet", sa.Text, sa.ForeignKey("wallets.id"), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("job", sa.Text),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("platform_fee", sa.BigInteger, nullable=False),
    sa.Column("platform_fee_returned", sa.Boolean, nullable=False),
    sa.Column("service_fee_rate", sa.Integer, nullable=False),
    sa.Column("milestones", sa.ARRAY(sa.BigInteger), nullable=False),
    sa.Column("auto_payout", sa.Boolean, nullable=False),
    sa.Column("accept_within", sa.Double, nullable=False),
    sa.Column("deliver_within", sa.Double, nullable=False),
    sa.Column("complete_within", sa.Double, nullable=False),
    sa.Column("released", sa.BigInteger, nullable=False),
    sa.Column("service_fee", sa.BigInteger, nullable=False),
    sa.Column("returned", sa.BigInteger, nullable=False),
    sa.Column("releases", sa.Integer, nullable=False),
    sa.Column("milestones_released", sa.ARRAY(sa.Integer), nullable=False),
    sa.Column("payouts", sa.ARRAY(sa.Text), nullable=False),
    _when("held_at"),
    _when("accepted_at"),
    _when("delivered_at"),
    _when("cancel_asked_at"),
)
"""What an offer was made under, and what of its money has gone where: `released` (`service_fee` of it to the platform)
and `returned`; the rest of `amount` is in the customer's escrow until the offer ends."""

offer_actions = sa.Table(
    "offer_actions",
    metadata,
    sa.Column("operation_id", sa.Text, sa.ForeignKey("offers.operation_id"), primary_key=True),
    sa.Column("action_id", sa.Text, primary_key=True),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("party", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("details", _JSON, nullable=False),
    _when("acted_at", default=True),
)
"""Who did what to an offer, and when."""

operator_actions = sa.Table(
    "operator_actions",
    metadata,
    sa.Column("operation_id", sa.Text, primary_key=True),
    sa.Column("action_id", sa.Text, primary_key=True),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seen", _JSON, nullable=False),
    sa.Column("refusal", _JSON),
    _when("created_at", default=True),
)
"""What operators did to operations, or were refused, why, and what they saw. There may be no such operation."""

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("what", _JSON, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("four_eyes", sa.Boolean, nullable=False),
    _when("created_at", default=True),
    sa.Column("approved_by", sa.Text),
    _when("approved_at"),
    sa.Column("used_by", sa.Text),
    _when("used_at"),
)
"""Who agreed to what an operator would do. `used_by` is the id of the act."""

ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
)

ledger_balances = sa.Table(
    "ledger_balances",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("ledger_accounts.id"), primary_key=True),
    sa.Column("balance", sa.BigInteger, nullable=False),
)
"""Credits minus debits of every account but the platform's, kept by a trigger as entries are inserted."""

ledger_transactions = sa.Table(
    "ledger_transactions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("reverses", sa.Text, sa.ForeignKey("ledger_transactions.id")),
    _when("posted_at", default=True),
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("ltx_id", sa.Text, sa.ForeignKey("ledger_transactions.id"), nullable=False),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("ledger_accounts.id"), nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
)

stripe_balance_links = sa.Table(
    "stripe_balance_links",
    metadata,
    sa.Column("entry_id", sa.BigInteger, sa.ForeignKey("ledger_entries.id"), primary_key=True),
    sa.Column("stripe_account", sa.Text, nullable=False),
    sa.Column("balance_transaction_id", sa.Text, nullable=False),
)
"""Which of Stripe's balance transactions an entry on our Stripe balance explains. `stripe_account` is empty for the
platform's own."""

ledger_snapshots = sa.Table(
    "ledger_snapshots",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("ledger_accounts.id"), primary_key=True),
    sa.Column("balance", sa.BigInteger, nullable=False),
    _when("taken_at", default=True),
)
"""Balances of the platform's accounts up to a transaction id; what came after is summed when asked."""

stripe_calls = sa.Table(
    "stripe_calls",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("write", sa.Text, nullable=False),
    sa.Column("stripe_account", sa.Text, nullable=False),
    sa.Column("params", _JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    _when("first_sent_at", default=True),
    _when("last_sent_at", default=True),
    _when("doubted_at"),
    _when("absent_at"),
    sa.Column("outcome", sa.Text),
    sa.Column("stripe_id", sa.Text),
    sa.Column("result", _JSON),
    _when("closed_at"),
)
"""Every write to Stripe: the intent, committed before it is sent, and its outcome. `doubted_at` is set by an answer
that leaves open whether it was done (a 5xx), `absent_at` by the first look-up that found nothing."""

stripe_objects = sa.Table(
    "stripe_objects",
    metadata,
    sa.Column("stripe_id", sa.Text, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
)
"""Whose a Stripe object is, for events that do not say it in their metadata."""

stripe_events = sa.Table(
    "stripe_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("object_id", sa.Text),
    sa.Column("operation_id", sa.Text),
    sa.Column("payload", _JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    _when("received_at", default=True),
    _when("signaled_at"),
    _when("settled_at"),
)
"""The inbox: every verified event, stored before anything reacts to it."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("data", _JSON, nullable=False),
    _when("created_at", default=True),
)
"""The outbox: every domain event, written in the transaction that made it true."""
