"""What operators may do to operations that are stuck: approvals, refused acts, and money that is given up."""

from alembic import op

revision = "0004"
down_revision = "0003"

_MOVES = [
    "INSERT INTO operation_statuses VALUES ('withdrawal', 'written_off', true)",
    """
    INSERT INTO operation_moves VALUES
        ('withdrawal', 'paying_out', 'written_off'), ('withdrawal', 'reversing', 'written_off')
    """,
]

_APPROVALS = [
    # Whether two pairs of eyes are needed is decided when it is asked for, and stays. What is approved, and what it
    # was used for, is never taken back.
    """
    CREATE TABLE approvals (
        id text PRIMARY KEY,
        operation_id text NOT NULL REFERENCES operations,
        verb text NOT NULL CHECK (verb IN ('adopt', 'compensate', 'write_off')),
        what jsonb NOT NULL,
        asked_by text NOT NULL,
        reason text NOT NULL,
        four_eyes boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT app_now(),
        approved_by text,
        approved_at timestamptz,
        used_by text,
        used_at timestamptz,
        CONSTRAINT approved_by_whom CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
        CONSTRAINT used_by_what CHECK ((used_by IS NULL) = (used_at IS NULL)),
        CONSTRAINT four_eyes_are_two_people CHECK (NOT four_eyes OR approved_by <> asked_by),
        CONSTRAINT used_once_approved CHECK (used_by IS NULL OR approved_by IS NOT NULL)
    )
    """,
    "CREATE INDEX approvals_of_operation ON approvals (operation_id)",
    "CREATE INDEX approvals_awaited ON approvals (id) WHERE approved_by IS NULL",
    """
    CREATE FUNCTION approvals_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'approval % was given, or used', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'approvals_are_final';
    END $$
    """,
    """
    CREATE TRIGGER final BEFORE UPDATE ON approvals FOR EACH ROW
    WHEN ((OLD.approved_by IS NOT NULL
           AND (OLD.approved_by, OLD.approved_at) IS DISTINCT FROM (NEW.approved_by, NEW.approved_at))
          OR (OLD.used_by IS NOT NULL AND (OLD.used_by, OLD.used_at) IS DISTINCT FROM (NEW.used_by, NEW.used_at)))
    EXECUTE FUNCTION approvals_are_final()
    """,
    """
    CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON approvals
    FOR EACH STATEMENT EXECUTE FUNCTION append_only()
    """,
    "GRANT SELECT, INSERT ON approvals TO paysaga_app",
    "GRANT UPDATE (approved_by, approved_at, used_by, used_at) ON approvals TO paysaga_app",
]

_ACTIONS = [
    "ALTER TABLE operator_actions ADD refusal jsonb",
    # An act on an operation that there never was is kept as well.
    "ALTER TABLE operator_actions DROP CONSTRAINT operator_actions_operation_id_fkey",
]


def upgrade() -> None:
    """Only more than before: code of before goes on working."""
    for statement in [*_MOVES, *_APPROVALS, *_ACTIONS]:
        op.execute(statement)


def downgrade() -> None:
    """Refused by Postgres while a withdrawal is written off, or an act on no operation is kept."""
    for statement in (
        "ALTER TABLE operator_actions ADD CONSTRAINT operator_actions_operation_id_fkey"
        " FOREIGN KEY (operation_id) REFERENCES operations",
        "ALTER TABLE operator_actions DROP refusal",
        "DROP TABLE approvals",
        "DROP FUNCTION approvals_are_final",
        "DELETE FROM operation_moves WHERE kind = 'withdrawal' AND 'written_off' IN (earlier, later)",
        "DELETE FROM operation_statuses WHERE kind = 'withdrawal' AND status = 'written_off'",
    ):
        op.execute(statement)
