"""Offers: what is held in escrow for whom, and who did what to it."""

from alembic import op

revision = "0003"
down_revision = "0002"

_KIND = [
    """
    INSERT INTO operation_statuses VALUES
        ('offer', 'requested', false), ('offer', 'held', false), ('offer', 'accepted', false),
        ('offer', 'delivered', false), ('offer', 'completed', true), ('offer', 'declined', true),
        ('offer', 'expired', true), ('offer', 'canceled', true), ('offer', 'contested', false),
        ('offer', 'resolved', true), ('offer', 'failed', true)
    """,
    """
    INSERT INTO operation_moves
    SELECT 'offer', earlier, later FROM (VALUES
        ('requested', '{held,canceled,failed}'::text[]),
        ('held', '{accepted,declined,expired,canceled}'),
        ('accepted', '{delivered,completed,canceled,contested}'),
        ('delivered', '{completed,canceled,contested}'),
        ('contested', '{resolved}')
    ) AS moves (earlier, laters), unnest(laters) AS later
    """,
]

_OFFERS = [
    """
    CREATE FUNCTION total(parts bigint[]) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT coalesce(sum(part), 0) FROM unnest(parts) AS part $$
    """,
    # What is kept of an offer's money is held to the amount here: no offer releases and returns more than it holds,
    # though the wallet's escrow account, which other offers share, would have it.
    """
    CREATE TABLE offers (
        operation_id text PRIMARY KEY REFERENCES operations,
        customer_id text NOT NULL REFERENCES users,
        contractor_id text NOT NULL REFERENCES users,
        contractor_wallet text NOT NULL,
        currency text NOT NULL,
        job text,
        amount bigint NOT NULL CHECK (amount > 0),
        platform_fee bigint NOT NULL CHECK (platform_fee >= 0),
        platform_fee_returned boolean NOT NULL,
        service_fee_rate integer NOT NULL CHECK (service_fee_rate BETWEEN 0 AND 10000),
        milestones bigint[] NOT NULL CHECK (0 < ALL (milestones) AND array_position(milestones, NULL) IS NULL),
        auto_payout boolean NOT NULL,
        accept_within double precision NOT NULL CHECK (accept_within > 0),
        deliver_within double precision NOT NULL CHECK (deliver_within > 0),
        complete_within double precision NOT NULL CHECK (complete_within > 0),
        released bigint NOT NULL DEFAULT 0 CHECK (released >= 0),
        service_fee bigint NOT NULL DEFAULT 0 CHECK (service_fee BETWEEN 0 AND released),
        returned bigint NOT NULL DEFAULT 0 CHECK (returned >= 0),
        releases integer NOT NULL DEFAULT 0 CHECK (releases >= 0),
        milestones_released integer[] NOT NULL DEFAULT '{}',
        payouts text[] NOT NULL DEFAULT '{}',
        held_at timestamptz,
        accepted_at timestamptz,
        delivered_at timestamptz,
        cancel_asked_at timestamptz,
        CONSTRAINT parties_are_two CHECK (contractor_id <> customer_id),
        CONSTRAINT milestones_are_parts CHECK (total(milestones) <= amount),
        CONSTRAINT no_more_leaves_than_is_held CHECK (released + returned <= amount),
        FOREIGN KEY (contractor_wallet, contractor_id, currency) REFERENCES wallets (id, user_id, currency)
    )
    """,
    "CREATE INDEX offers_of_customer ON offers (customer_id, operation_id)",
    "CREATE INDEX offers_of_contractor ON offers (contractor_id, operation_id)",
    "CREATE INDEX offers_of_job ON offers (job, operation_id)",
    """
    CREATE TABLE offer_actions (
        operation_id text REFERENCES offers,
        action_id text,
        verb text NOT NULL,
        party text NOT NULL CHECK (party IN ('customer', 'contractor', 'operator', 'clock')),
        actor text NOT NULL,
        reason text,
        details jsonb NOT NULL,
        acted_at timestamptz NOT NULL DEFAULT app_now(),
        PRIMARY KEY (operation_id, action_id)
    )
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON offer_actions
    FOR EACH STATEMENT EXECUTE FUNCTION append_only()
    """,
    "GRANT SELECT, INSERT ON offers, offer_actions TO paysaga_app",
    "GRANT UPDATE (released, service_fee, returned, releases, milestones_released, payouts, held_at, accepted_at,"
    " delivered_at, cancel_asked_at) ON offers TO paysaga_app",
    "ALTER TABLE requests ADD wish jsonb, ADD reason text",
    # Whatever a verb does is kept with the request behind it, which is looked for while the offer is locked.
    "CREATE INDEX requests_of_verbs ON requests (operation_id) WHERE verb IS NOT NULL",
]


def upgrade() -> None:
    """Only more than before: code of before goes on working."""
    for statement in [*_KIND, *_OFFERS]:
        op.execute(statement)


def downgrade() -> None:
    """Refused by Postgres while there is an offer."""
    for statement in (
        "DROP INDEX requests_of_verbs",
        "ALTER TABLE requests DROP wish, DROP reason",
        "DROP TABLE offer_actions",
        "DROP TABLE offers",
        "DROP FUNCTION total",
        "DELETE FROM operation_moves WHERE kind = 'offer'",
        "DELETE FROM operation_statuses WHERE kind = 'offer'",
    ):
        op.execute(statement)
