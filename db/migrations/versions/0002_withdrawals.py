"""Connected accounts, withdrawals, transfers between wallets, and what admins do to wallets."""

from alembic import op

revision = "0002"
down_revision = "0001"

_KINDS = [
    """
    INSERT INTO operation_statuses VALUES
        ('wallet_transfer', 'requested', false), ('wallet_transfer', 'succeeded', true),
        ('wallet_transfer', 'failed', true),
        ('connected_account', 'requested', false), ('connected_account', 'onboarding', false),
        ('connected_account', 'active', false), ('connected_account', 'restricted', false),
        ('connected_account', 'deauthorized', true), ('connected_account', 'failed', true),
        ('withdrawal', 'requested', false), ('withdrawal', 'reserved', false), ('withdrawal', 'awaiting_funds', false),
        ('withdrawal', 'transferred', false), ('withdrawal', 'paying_out', false), ('withdrawal', 'paid', true),
        ('withdrawal', 'reversing', false), ('withdrawal', 'reversed', true), ('withdrawal', 'canceled', true),
        ('withdrawal', 'failed', true)
    """,
    """
    INSERT INTO operation_moves
    SELECT kind, earlier, later FROM (VALUES
        ('wallet_transfer', 'requested', '{succeeded,failed}'::text[]),
        ('connected_account', 'requested', '{onboarding,failed}'),
        ('connected_account', 'onboarding', '{active,restricted,deauthorized}'),
        ('connected_account', 'active', '{restricted,deauthorized}'),
        ('connected_account', 'restricted', '{active,deauthorized}'),
        ('withdrawal', 'requested', '{reserved,canceled,failed}'),
        ('withdrawal', 'reserved', '{awaiting_funds,transferred,canceled,failed}'),
        ('withdrawal', 'awaiting_funds', '{transferred,canceled,failed}'),
        ('withdrawal', 'transferred', '{paying_out,reversing}'),
        ('withdrawal', 'paying_out', '{paid,reversing}'),
        ('withdrawal', 'paid', '{reversing}'),
        ('withdrawal', 'reversing', '{reversed,canceled}')
    ) AS moves (kind, earlier, laters), unnest(laters) AS later
    """,
]

# A connected account moves no money of its own. Every other operation says how much, and whose.
_OPERATIONS = [
    "ALTER TABLE operations ALTER wallet_id DROP NOT NULL, ALTER amount DROP NOT NULL, ALTER currency DROP NOT NULL",
    """
    ALTER TABLE operations
        ADD CONSTRAINT money_is_whose CHECK (num_nulls(wallet_id, amount, currency) IN (0, 3)),
        ADD CONSTRAINT money_or_account CHECK ((kind = 'connected_account') = (amount IS NULL))
    """,
    """
    CREATE UNIQUE INDEX operations_one_connected_account ON operations (user_id)
    WHERE kind = 'connected_account' AND closed_at IS NULL
    """,
    "CREATE INDEX operations_awaiting_funds ON operations (id) WHERE status = 'awaiting_funds'",
]

_TABLES = [
    """
    CREATE TABLE connected_accounts (
        operation_id text PRIMARY KEY REFERENCES operations,
        user_id text NOT NULL REFERENCES users,
        id text NOT NULL UNIQUE,
        details_submitted boolean NOT NULL,
        transfers_active boolean NOT NULL,
        payouts_enabled boolean NOT NULL,
        manual_payouts boolean NOT NULL,
        currencies text[] NOT NULL,
        due text[] NOT NULL,
        due_by timestamptz,
        disabled_reason text,
        deauthorized boolean NOT NULL,
        observed_at timestamptz NOT NULL DEFAULT app_now()
    )
    """,
    "CREATE UNIQUE INDEX connected_accounts_one_each ON connected_accounts (user_id) WHERE NOT deauthorized",
    """
    CREATE TABLE wallet_actions (
        actor text,
        key text CHECK (length(key) BETWEEN 1 AND 255),
        fingerprint text NOT NULL,
        wallet_id text NOT NULL REFERENCES wallets,
        verb text NOT NULL CHECK (verb IN ('freeze', 'unfreeze', 'activate', 'deactivate')),
        reason text NOT NULL,
        seen jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        PRIMARY KEY (actor, key)
    )
    """,
    "CREATE INDEX wallet_actions_of_wallet ON wallet_actions (wallet_id, created_at)",
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet_actions
    FOR EACH STATEMENT EXECUTE FUNCTION append_only()
    """,
    "GRANT SELECT, INSERT ON connected_accounts, wallet_actions TO paysaga_app",
    "GRANT UPDATE (details_submitted, transfers_active, payouts_enabled, manual_payouts, currencies, due, due_by,"
    " disabled_reason, deauthorized, observed_at) ON connected_accounts TO paysaga_app",
]


def upgrade() -> None:
    """Only more than before: code of before goes on working."""
    for statement in [*_KINDS, *_OPERATIONS, *_TABLES]:
        op.execute(statement)


def downgrade() -> None:
    """Refused by Postgres while there is an operation of a kind that was not known before."""
    kinds = "('wallet_transfer', 'connected_account', 'withdrawal')"
    for statement in (
        "DROP TABLE wallet_actions",
        "DROP TABLE connected_accounts",
        "DROP INDEX operations_awaiting_funds",
        "DROP INDEX operations_one_connected_account",
        "ALTER TABLE operations DROP CONSTRAINT money_or_account, DROP CONSTRAINT money_is_whose",
        "ALTER TABLE operations ALTER wallet_id SET NOT NULL, ALTER amount SET NOT NULL, ALTER currency SET NOT NULL",
        f"DELETE FROM operation_moves WHERE kind IN {kinds}",
        f"DELETE FROM operation_statuses WHERE kind IN {kinds}",
    ):
        op.execute(statement)
