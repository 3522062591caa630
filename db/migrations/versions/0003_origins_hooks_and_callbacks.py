"""Where runs come from; who is told of their end: hooks, callbacks, and the outbox between"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A run that another asked for has that one's origin, however deep.
OF_CHAT = """
WITH RECURSIVE of_chat AS (
    SELECT id FROM runs WHERE kind = 'chat'
    UNION
    SELECT runs.id FROM runs JOIN of_chat ON runs.parent_id = of_chat.id
)
UPDATE runs SET origin = 'chat' WHERE id IN (SELECT id FROM of_chat)
"""

# The bits of RFC 9562 §5.7: 48 of milliseconds, the version, random ones. (Postgres has its own from 18 on.)
UUID7 = """
CREATE FUNCTION capibara6_uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$
"""

# Whoever ends a run, the events are written with that, in one transaction: none is lost, and none is told of a run that
# did not end. One at a time (the lock lasts until the transaction's end), so that the order of positions is the order
# in which they can be seen. A run that nobody asked to be told of costs two look-ups in small tables.
RUN_ENDED = """
CREATE FUNCTION capibara6_run_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text := CASE NEW.status WHEN 'completed' THEN 'run.completed' WHEN 'cancelled' THEN 'run.cancelled'
        ELSE 'run.failed' END;
    callback_url text;
    address uuid;
    event uuid;
BEGIN
    SELECT url INTO callback_url FROM callbacks WHERE run_id = NEW.id;
    IF callback_url IS NULL AND NOT EXISTS (
        SELECT FROM subscribers WHERE owner = NEW.owner AND events IS NOT NULL
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(1667330159);  -- "capo"
    event := capibara6_uuid7();
    IF callback_url IS NOT NULL THEN
        address := md5(NEW.owner || ' ' || callback_url)::uuid;
        -- Locked, so that it is not removed as one for whom nothing waits.
        INSERT INTO subscribers (id, owner, url) VALUES (address, NEW.owner, callback_url)
            ON CONFLICT (id) DO UPDATE SET url = excluded.url;
    END IF;
    WITH touched AS (
        UPDATE subscribers SET newest = nextval('outbox_position'),
            next_attempt_at = coalesce(next_attempt_at, clock_timestamp())
        WHERE id IN (
            SELECT address WHERE address IS NOT NULL
            UNION ALL
            SELECT id FROM subscribers WHERE owner = NEW.owner AND events IS NOT NULL AND told = ANY(events)
                AND (kinds IS NULL OR NEW.kind = ANY(kinds))
        )
        RETURNING id, newest, events
    )
    INSERT INTO outbox (position, event_id, subscriber_id, is_callback, event, run_id, owner, kind, status, origin)
    SELECT newest, event, id, events IS NULL, told, NEW.id, NEW.owner, NEW.kind, NEW.status, NEW.origin FROM touched;
    RETURN NULL;
END
$$
"""
TRIGGERS = (
    """
CREATE TRIGGER runs_ended AFTER UPDATE OF status ON runs FOR EACH ROW
WHEN (OLD.status IN ('queued', 'running') AND NEW.status NOT IN ('queued', 'running'))
EXECUTE FUNCTION capibara6_run_ended()
""",
    """
CREATE TRIGGER runs_written_ended AFTER INSERT ON runs FOR EACH ROW
WHEN (NEW.status NOT IN ('queued', 'running'))
EXECUTE FUNCTION capibara6_run_ended()
""",
)


def upgrade() -> None:
    op.add_column("runs", sa.Column("origin", sa.Text(), server_default="api", nullable=False))
    op.add_column("runs", sa.Column("n8n_execution_id", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("n8n_workflow_id", sa.Text(), nullable=True))
    op.execute(OF_CHAT)
    op.create_check_constraint(op.f("ck_runs_origin"), "runs", "origin IN ('chat', 'n8n', 'schedule', 'api')")
    op.create_table(
        "subscribers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("newest", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["principals.name"], name=op.f("fk_subscribers_owner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscribers")),
    )
    op.create_index(
        op.f("ix_subscribers_owner"),
        "subscribers",
        ["owner"],
        unique=False,
        postgresql_where=sa.text("events IS NOT NULL"),
    )
    op.create_index(
        "ix_subscribers_waiting",
        "subscribers",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_table(
        "callbacks",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_callbacks_state")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_callbacks_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_callbacks")),
    )
    op.create_index(
        "ix_callbacks_pending", "callbacks", ["run_id"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.execute("CREATE SEQUENCE outbox_position")
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subscriber_id", sa.Uuid(), nullable=False),
        sa.Column("is_callback", sa.Boolean(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["subscribers.id"], name=op.f("fk_outbox_subscriber_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_subscriber_id_position"), "outbox", ["subscriber_id", "position"], unique=False)
    op.create_index(op.f("ix_outbox_created_at"), "outbox", ["created_at"], unique=False)
    op.execute(UUID7)
    op.execute(RUN_ENDED)
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    for trigger in ("runs_written_ended", "runs_ended"):
        op.execute(f"DROP TRIGGER {trigger} ON runs")
    for function in ("capibara6_run_ended", "capibara6_uuid7"):
        op.execute(f"DROP FUNCTION {function}()")
    for table in ("outbox", "callbacks", "subscribers"):
        op.drop_table(table)
    op.execute("DROP SEQUENCE outbox_position")
    op.drop_constraint(op.f("ck_runs_origin"), "runs", type_="check")
    for name in ("n8n_workflow_id", "n8n_execution_id", "origin"):
        op.drop_column("runs", name)
