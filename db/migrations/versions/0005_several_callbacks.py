"""A run's end may be told at several addresses, also at one that asks after it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# As before (0003), but for any number of callbacks.
RUN_ENDED = """
CREATE OR REPLACE FUNCTION capibara6_run_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text := CASE NEW.status WHEN 'completed' THEN 'run.completed' WHEN 'cancelled' THEN 'run.cancelled'
        ELSE 'run.failed' END;
    urls text[];
    event uuid;
BEGIN
    SELECT array_agg(url) INTO urls FROM callbacks WHERE run_id = NEW.id;
    IF urls IS NULL AND NOT EXISTS (
        SELECT FROM subscribers WHERE owner = NEW.owner AND events IS NOT NULL
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(1667330159);  -- "capo"
    event := capibara6_uuid7();
    -- Locked, so that none is removed as one for whom nothing waits.
    INSERT INTO subscribers (id, owner, url)
        SELECT md5(NEW.owner || ' ' || given.url)::uuid, NEW.owner, given.url FROM unnest(urls) AS given (url)
        ON CONFLICT (id) DO UPDATE SET url = excluded.url;
    WITH touched AS (
        UPDATE subscribers SET newest = nextval('outbox_position'),
            next_attempt_at = coalesce(next_attempt_at, clock_timestamp())
        WHERE id IN (
            SELECT md5(NEW.owner || ' ' || given.url)::uuid FROM unnest(urls) AS given (url)
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

# Who asks for a run that has ended is told of it at once. Who adds a callback holds the run's row (`db.queued`): the
# callback either is there when the run ends, or this sees that the run has ended.
CALLBACK_ADDED = """
CREATE FUNCTION capibara6_callback_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended runs%ROWTYPE;
    address uuid;
BEGIN
    SELECT * INTO ended FROM runs WHERE id = NEW.run_id AND status NOT IN ('queued', 'running');
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(1667330159);
    address := md5(ended.owner || ' ' || NEW.url)::uuid;
    INSERT INTO subscribers (id, owner, url) VALUES (address, ended.owner, NEW.url)
        ON CONFLICT (id) DO UPDATE SET url = excluded.url;
    WITH touched AS (
        UPDATE subscribers SET newest = nextval('outbox_position'),
            next_attempt_at = coalesce(next_attempt_at, clock_timestamp())
        WHERE id = address
        RETURNING newest
    )
    INSERT INTO outbox (position, event_id, subscriber_id, is_callback, event, run_id, owner, kind, status, origin)
    SELECT newest, capibara6_uuid7(), address, true,
        CASE ended.status WHEN 'completed' THEN 'run.completed' WHEN 'cancelled' THEN 'run.cancelled'
            ELSE 'run.failed' END,
        ended.id, ended.owner, ended.kind, ended.status, ended.origin
    FROM touched;
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER callbacks_added AFTER INSERT ON callbacks FOR EACH ROW EXECUTE FUNCTION capibara6_callback_added()
"""


def upgrade() -> None:
    op.add_column(
        "callbacks",
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.drop_constraint(op.f("pk_callbacks"), "callbacks", type_="primary")
    op.create_primary_key(op.f("pk_callbacks"), "callbacks", ["run_id", "url"])
    op.execute(RUN_ENDED)
    op.execute(CALLBACK_ADDED)
    op.execute(TRIGGER)


def downgrade() -> None:
    """Of each run, the first callback stays. The trigger of runs does with one what it did before."""
    op.execute("DROP TRIGGER callbacks_added ON callbacks")
    op.execute("DROP FUNCTION capibara6_callback_added()")
    op.execute("""
DELETE FROM callbacks USING callbacks AS earlier
WHERE earlier.run_id = callbacks.run_id AND (earlier.created_at, earlier.url) < (callbacks.created_at, callbacks.url)
""")
    op.drop_constraint(op.f("pk_callbacks"), "callbacks", type_="primary")
    op.create_primary_key(op.f("pk_callbacks"), "callbacks", ["run_id"])
    op.drop_column("callbacks", "created_at")
