"""The ledger, Stripe's calls and events, and deposits."""

from alembic import op

revision = "0001"
down_revision = None

# The application connects as (a member of) this role. It owns nothing, so no bug in it can edit history.
_ROLE = [
    """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'paysaga_app') THEN
            CREATE ROLE paysaga_app NOLOGIN;
        END IF;
        EXECUTE format('GRANT paysaga_app TO %I', current_user);
    EXCEPTION
        -- Roles belong to the whole server: another database's migration may make it at this very moment.
        WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
    """,
    "GRANT USAGE ON SCHEMA public TO paysaga_app",
]

_DEPLOYMENT = [
    """
    CREATE TABLE deployment (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        mode text NOT NULL CHECK (mode IN ('development', 'staging', 'live')),
        clock_offset interval NOT NULL DEFAULT interval '0',
        CONSTRAINT live_keeps_real_time CHECK (mode <> 'live' OR clock_offset = interval '0')
    )
    """,
    "INSERT INTO deployment (mode) VALUES ('development')",
    # Every age in SQL is measured on this clock, so that a test can move it together with Stripe's and Temporal's.
    """
    CREATE FUNCTION app_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT clock_timestamp() + (SELECT clock_offset FROM public.deployment) $$
    """,
]

_PEOPLE = [
    """
    CREATE TABLE users (
        user_id text PRIMARY KEY CHECK (length(user_id) BETWEEN 1 AND 255),
        reference text NOT NULL UNIQUE,
        email text,
        name text,
        country text CHECK (country ~ '^[A-Z]{2}$'),
        locale text,
        channels jsonb NOT NULL DEFAULT '[]',
        created_at timestamptz NOT NULL DEFAULT app_now(),
        updated_at timestamptz NOT NULL DEFAULT app_now()
    )
    """,
    """
    CREATE TABLE wallets (
        id text PRIMARY KEY,
        user_id text NOT NULL REFERENCES users,
        currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
        active boolean NOT NULL DEFAULT true,
        frozen boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        UNIQUE (user_id, currency),
        UNIQUE (id, user_id, currency)
    )
    """,
]

_OPERATIONS = [
    """
    CREATE TABLE operation_statuses (
        kind text, status text, terminal boolean NOT NULL, PRIMARY KEY (kind, status)
    )
    """,
    """
    CREATE TABLE operation_moves (
        kind text, earlier text, later text, PRIMARY KEY (kind, earlier, later),
        FOREIGN KEY (kind, earlier) REFERENCES operation_statuses,
        FOREIGN KEY (kind, later) REFERENCES operation_statuses
    )
    """,
    """
    INSERT INTO operation_statuses VALUES
        ('deposit', 'requested', false), ('deposit', 'awaiting_payment', false), ('deposit', 'processing', false),
        ('deposit', 'succeeded', true), ('deposit', 'failed', true), ('deposit', 'canceled', true),
        ('deposit', 'expired', true)
    """,
    """
    INSERT INTO operation_moves
    SELECT 'deposit', earlier, later FROM (VALUES
        ('requested', '{awaiting_payment,processing,succeeded,failed,canceled,expired}'::text[]),
        ('awaiting_payment', '{processing,succeeded,failed,canceled,expired}'),
        ('processing', '{succeeded,failed,canceled,expired}')
    ) AS moves (earlier, laters), unnest(laters) AS later
    """,
    """
    CREATE TABLE operations (
        id text PRIMARY KEY,
        kind text NOT NULL,
        status text NOT NULL,
        caller text NOT NULL,
        user_id text NOT NULL REFERENCES users,
        wallet_id text NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0),
        currency text NOT NULL,
        request jsonb NOT NULL DEFAULT '{}',
        details jsonb NOT NULL DEFAULT '{}',
        failure jsonb,
        needs_attention boolean NOT NULL DEFAULT false,
        attention jsonb,
        retries integer NOT NULL DEFAULT 0,
        last_retry_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        updated_at timestamptz NOT NULL DEFAULT app_now(),
        started_at timestamptz,
        closed_at timestamptz,
        FOREIGN KEY (kind, status) REFERENCES operation_statuses,
        FOREIGN KEY (wallet_id, user_id, currency) REFERENCES wallets (id, user_id, currency),
        CONSTRAINT failed_says_why CHECK ((status = 'failed') <= (failure IS NOT NULL)),
        CONSTRAINT attention_says_why CHECK (needs_attention <= (attention IS NOT NULL))
    )
    """,
    "CREATE INDEX operations_of_user ON operations (user_id, id)",
    "CREATE INDEX operations_open ON operations (created_at) WHERE closed_at IS NULL",
    """
    CREATE FUNCTION operations_move_forward() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
    BEGIN
        IF NEW.status <> OLD.status AND NOT EXISTS (
            SELECT FROM operation_moves WHERE kind = NEW.kind AND earlier = OLD.status AND later = NEW.status
        ) THEN
            RAISE EXCEPTION 'operation % cannot go from % to %', NEW.id, OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'operations_move_forward';
        END IF;
        IF NEW.closed_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM operation_statuses WHERE kind = NEW.kind AND status = NEW.status AND terminal
        ) THEN
            RAISE EXCEPTION 'operation % cannot close as %', NEW.id, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'operations_close_when_terminal';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER move_forward BEFORE UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION operations_move_forward()
    """,
    """
    CREATE TABLE requests (
        caller text,
        key text CHECK (length(key) BETWEEN 1 AND 255),
        fingerprint text NOT NULL,
        operation_id text NOT NULL REFERENCES operations,
        verb text,
        refusal jsonb,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        answered_at timestamptz,
        PRIMARY KEY (caller, key)
    )
    """,
    "CREATE UNIQUE INDEX requests_make_one_operation ON requests (operation_id) WHERE verb IS NULL",
    "CREATE INDEX requests_unanswered ON requests (created_at) WHERE answered_at IS NULL AND verb IS NOT NULL",
    """
    CREATE TABLE operator_actions (
        operation_id text REFERENCES operations,
        action_id text,
        verb text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL,
        seen jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        PRIMARY KEY (operation_id, action_id)
    )
    """,
    """
    CREATE TABLE events (
        id text PRIMARY KEY,
        operation_id text NOT NULL REFERENCES operations,
        type text NOT NULL,
        data jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        xid xid8 NOT NULL DEFAULT pg_current_xact_id()
    )
    """,
    "CREATE INDEX events_of_operation ON events (operation_id)",
    "CREATE INDEX events_in_order ON events (xid, id)",
]

_LEDGER = [
    """
    CREATE TABLE ledger_account_kinds (
        kind text PRIMARY KEY,
        nature text NOT NULL,
        guard smallint NOT NULL CHECK (guard IN (-1, 0, 1)),
        keeps_balance boolean NOT NULL
    )
    """,
    """
    INSERT INTO ledger_account_kinds (kind, nature, guard, keeps_balance) VALUES
        ('wallet_available', 'liability', 1, true),
        ('wallet_escrow', 'liability', 1, true),
        ('wallet_in_transit', 'liability', 1, true),
        ('receivable', 'asset', 0, true),
        ('recoveries_payable', 'liability', 1, true),
        ('vendor_payable', 'liability', 1, true),
        ('connected_balance', 'asset', -1, true),
        ('payouts_in_flight', 'asset', -1, true),
        ('stripe_balance', 'asset', 0, false),
        ('platform_bank', 'clearing', 0, false),
        ('recoveries_clearing', 'clearing', 0, false),
        ('fx_clearing', 'clearing', 0, false),
        ('opening_balances', 'clearing', 0, false),
        ('platform_fees', 'income', 0, false),
        ('service_fees', 'income', 0, false),
        ('commission_fees', 'income', 0, false),
        ('payment_revenue', 'income', 0, false),
        ('subscription_revenue', 'income', 0, false),
        ('stripe_fees', 'expense', 0, false),
        ('vendor_costs', 'expense', 0, false),
        ('dispute_losses', 'expense', 0, false),
        ('write_offs', 'expense', 0, false)
    """,
    """
    CREATE TABLE ledger_accounts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL REFERENCES ledger_account_kinds,
        owner text NOT NULL,
        currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
        UNIQUE (kind, owner, currency),
        UNIQUE (id, currency)
    )
    """,
    "CREATE INDEX ledger_accounts_of_owner ON ledger_accounts (owner)",
    # guard is the sign a balance must keep; 0 where either is allowed.
    """
    CREATE TABLE ledger_balances (
        account_id bigint PRIMARY KEY REFERENCES ledger_accounts,
        guard smallint NOT NULL,
        balance bigint NOT NULL DEFAULT 0,
        CONSTRAINT never_negative CHECK (guard * balance >= 0)
    )
    """,
    """
    CREATE FUNCTION ledger_open_balance() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO ledger_balances (account_id, guard)
        SELECT NEW.id, k.guard FROM ledger_account_kinds k WHERE k.kind = NEW.kind AND k.keeps_balance;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER open_balance AFTER INSERT ON ledger_accounts FOR EACH ROW EXECUTE FUNCTION ledger_open_balance()",
    """
    CREATE TABLE ledger_transactions (
        id text PRIMARY KEY,
        operation_id text NOT NULL REFERENCES operations,
        step text NOT NULL,
        generation integer NOT NULL CHECK (generation > 0),
        content text NOT NULL,
        reverses text UNIQUE REFERENCES ledger_transactions,
        posted_at timestamptz NOT NULL DEFAULT app_now(),
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        UNIQUE (operation_id, step, generation),
        UNIQUE (id, xid)
    )
    """,
    # (ltx_id, xid): an entry can only join a transaction that was made in the same database transaction.
    """
    CREATE TABLE ledger_entries (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        ltx_id text NOT NULL,
        account_id bigint NOT NULL,
        currency text NOT NULL,
        amount bigint NOT NULL CHECK (amount <> 0),
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        FOREIGN KEY (ltx_id, xid) REFERENCES ledger_transactions (id, xid),
        FOREIGN KEY (account_id, currency) REFERENCES ledger_accounts (id, currency)
    )
    """,
    "CREATE INDEX ledger_entries_of_transaction ON ledger_entries (ltx_id)",
    "CREATE INDEX ledger_entries_of_account ON ledger_entries (account_id, xid, id) INCLUDE (amount)",
    """
    CREATE FUNCTION ledger_keep_balance() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        UPDATE ledger_balances SET balance = balance + NEW.amount WHERE account_id = NEW.account_id;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER keep_balance AFTER INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION ledger_keep_balance()",
    # Both tables check at commit. The transaction's own check alone could be made to run early, by SET CONSTRAINTS,
    # and more entries be added after it. Like every function that reads a table here, it says whose: a temporary table
    # called ledger_entries would otherwise be found first, and could say anything.
    """
    CREATE FUNCTION ledger_check_balanced() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
    DECLARE
        checked text := CASE TG_TABLE_NAME WHEN 'ledger_entries' THEN to_jsonb(NEW)->>'ltx_id' ELSE NEW.id::text END;
    BEGIN
        IF (SELECT count(*) FROM ledger_entries WHERE ltx_id = checked) < 2 THEN
            RAISE EXCEPTION 'ledger transaction % has fewer than two entries', checked
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_at_least_two_entries';
        END IF;
        IF EXISTS (
            SELECT FROM ledger_entries WHERE ltx_id = checked GROUP BY currency HAVING sum(amount) <> 0
        ) THEN
            RAISE EXCEPTION 'ledger transaction % does not sum to zero', checked
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_sums_to_zero';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON ledger_transactions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger_check_balanced()
    """,
    """
    CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger_check_balanced()
    """,
    """
    CREATE TABLE stripe_balance_links (
        entry_id bigint PRIMARY KEY REFERENCES ledger_entries,
        stripe_account text NOT NULL,
        balance_transaction_id text NOT NULL
    )
    """,
    """
    CREATE INDEX stripe_balance_links_of_transaction ON stripe_balance_links (stripe_account, balance_transaction_id)
    """,
    # cut: the balance holds every entry whose xid is below it, and no other. Cut by id it would lose rows, since
    # transactions do not commit in the order of their ids.
    """
    CREATE TABLE ledger_snapshots (
        account_id bigint PRIMARY KEY REFERENCES ledger_accounts,
        cut xid8 NOT NULL,
        balance bigint NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT app_now()
    )
    """,
    """
    CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: correct it by a mirrored transaction', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
    """,
]

_APPEND_ONLY = [
    "ledger_transactions",
    "ledger_entries",
    "stripe_balance_links",
    "events",
    "operator_actions",
]

_STRIPE = [
    """
    CREATE TABLE stripe_calls (
        subject text,
        step text,
        generation integer CHECK (generation > 0),
        operation_id text NOT NULL REFERENCES operations,
        idempotency_key text NOT NULL UNIQUE CHECK (length(idempotency_key) <= 255),
        write text NOT NULL,
        stripe_account text NOT NULL DEFAULT '',
        params jsonb NOT NULL,
        attempts integer NOT NULL DEFAULT 1,
        first_sent_at timestamptz NOT NULL DEFAULT app_now(),
        last_sent_at timestamptz NOT NULL DEFAULT app_now(),
        doubted_at timestamptz,
        absent_at timestamptz,
        outcome text CHECK (outcome IN ('done', 'refused', 'absent')),
        stripe_id text,
        result jsonb,
        closed_at timestamptz,
        PRIMARY KEY (subject, step, generation),
        CONSTRAINT outcome_says_what CHECK ((outcome IN ('done', 'refused')) <= (result IS NOT NULL)),
        CONSTRAINT done_names_its_object CHECK ((outcome = 'done') <= (stripe_id IS NOT NULL))
    )
    """,
    "CREATE INDEX stripe_calls_of_operation ON stripe_calls (operation_id)",
    # One intent at a time, and no step done twice: whatever the sagas do.
    "CREATE UNIQUE INDEX stripe_calls_one_open ON stripe_calls (subject, step) WHERE outcome IS NULL",
    "CREATE UNIQUE INDEX stripe_calls_one_done ON stripe_calls (subject, step) WHERE outcome = 'done'",
    """
    CREATE FUNCTION stripe_calls_outcome_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the outcome of % is recorded', OLD.idempotency_key
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'stripe_calls_outcome_is_final';
    END $$
    """,
    """
    CREATE TRIGGER outcome_is_final BEFORE UPDATE ON stripe_calls FOR EACH ROW
    WHEN (OLD.outcome IS NOT NULL
          AND (OLD.outcome, OLD.stripe_id, OLD.result) IS DISTINCT FROM (NEW.outcome, NEW.stripe_id, NEW.result))
    EXECUTE FUNCTION stripe_calls_outcome_is_final()
    """,
    """
    CREATE TABLE stripe_objects (
        stripe_id text PRIMARY KEY,
        operation_id text NOT NULL REFERENCES operations
    )
    """,
    """
    CREATE TABLE stripe_events (
        id text PRIMARY KEY,
        account text NOT NULL DEFAULT '',
        type text NOT NULL,
        object_id text,
        operation_id text,
        payload jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('received', 'processed', 'ignored', 'quarantined')),
        reason text,
        received_at timestamptz NOT NULL DEFAULT app_now(),
        signaled_at timestamptz,
        settled_at timestamptz,
        CONSTRAINT settled_when_not_received CHECK ((state = 'received') = (settled_at IS NULL)),
        CONSTRAINT set_aside_says_why CHECK ((state IN ('ignored', 'quarantined')) <= (reason IS NOT NULL))
    )
    """,
    "CREATE INDEX stripe_events_unprocessed ON stripe_events (received_at) WHERE state = 'received'",
    "CREATE INDEX stripe_events_of_operation ON stripe_events (operation_id)",
]

# Columns are named wherever the rest must not be written: xid, above all, is the database's to set.
_GRANTS = [
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO paysaga_app",
    "GRANT INSERT ON users, wallets, operations, requests, operator_actions, ledger_accounts, stripe_balance_links,"
    " ledger_snapshots, stripe_calls, stripe_objects, stripe_events TO paysaga_app",
    "GRANT INSERT (id, operation_id, type, data) ON events TO paysaga_app",
    "GRANT INSERT (id, operation_id, step, generation, content, reverses) ON ledger_transactions TO paysaga_app",
    "GRANT INSERT (ltx_id, account_id, currency, amount) ON ledger_entries TO paysaga_app",
    "GRANT UPDATE (email, name, country, locale, channels, updated_at) ON users TO paysaga_app",
    "GRANT UPDATE (active, frozen) ON wallets TO paysaga_app",
    "GRANT UPDATE (status, details, failure, needs_attention, attention, retries, last_retry_at, updated_at,"
    " started_at, closed_at) ON operations TO paysaga_app",
    "GRANT UPDATE (refusal, answered_at) ON requests TO paysaga_app",
    "GRANT UPDATE (cut, balance, taken_at) ON ledger_snapshots TO paysaga_app",
    "GRANT UPDATE (attempts, last_sent_at, doubted_at, absent_at, outcome, stripe_id, result, closed_at)"
    " ON stripe_calls TO paysaga_app",
    "GRANT UPDATE (operation_id, state, reason, signaled_at, settled_at) ON stripe_events TO paysaga_app",
]

_TABLES = (
    "stripe_events stripe_objects stripe_calls ledger_snapshots stripe_balance_links ledger_entries"
    " ledger_transactions ledger_balances ledger_accounts ledger_account_kinds events operator_actions requests"
    " operations operation_moves operation_statuses wallets users"
).split()

_FUNCTIONS = (
    "stripe_calls_outcome_is_final append_only ledger_check_balanced ledger_keep_balance ledger_open_balance"
    " operations_move_forward app_now"
).split()


def upgrade() -> None:
    """From an empty database."""
    for statement in [*_ROLE, *_DEPLOYMENT, *_PEOPLE, *_OPERATIONS, *_LEDGER, *_STRIPE]:
        op.execute(statement)
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
    for statement in _GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """Back to an empty database. The role stays: it belongs to the server, and others may use it."""
    for table in _TABLES:
        op.execute(f"DROP TABLE {table}")
    for function in _FUNCTIONS[:-1]:
        op.execute(f"DROP FUNCTION {function}()")
    op.execute("DROP FUNCTION app_now()")
    op.execute("DROP TABLE deployment")
    op.execute("REVOKE USAGE ON SCHEMA public FROM paysaga_app")
