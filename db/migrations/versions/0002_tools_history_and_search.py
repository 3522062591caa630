"""Tool calls, kinds of steps, runs of runs, summaries, forks, and full text search of messages"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As it was written here first: a migration does not change with the tables.
SEARCH = "to_tsvector('spanish', left(content, 40000)) || to_tsvector('english', left(content, 40000))"


def upgrade() -> None:
    op.add_column("conversations", sa.Column("summary", sa.Text(), nullable=True))
    op.add_column("conversations", sa.Column("summary_until", sa.BigInteger(), nullable=True))
    op.add_column("conversations", sa.Column("forked_from", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_conversations_forked_from"),
        "conversations",
        "conversations",
        ["forked_from"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(
        op.f("ix_conversations_forked_from"),
        "conversations",
        ["forked_from"],
        unique=False,
        postgresql_where=sa.text("forked_from IS NOT NULL"),
    )
    op.create_index(op.f("ix_files_conversation_id"), "files", ["conversation_id"], unique=False)
    op.create_index(op.f("ix_files_run_id"), "files", ["run_id"], unique=False)
    op.add_column("runs", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("tool_calls", sa.Integer(), server_default="0", nullable=False))
    op.add_column("runs", sa.Column("tool_errors", sa.Integer(), server_default="0", nullable=False))
    op.create_foreign_key(op.f("fk_runs_parent_id"), "runs", "runs", ["parent_id"], ["id"], ondelete="SET NULL")
    op.create_index(
        op.f("ix_runs_parent_id"),
        "runs",
        ["parent_id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.add_column("run_steps", sa.Column("kind", sa.Text(), server_default="step", nullable=False))
    op.add_column("run_steps", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.add_column("run_steps", sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute("UPDATE run_steps SET kind = 'model_call' WHERE name LIKE 'model_call%'")
    op.create_check_constraint(
        op.f("ck_run_steps_kind"),
        "run_steps",
        "kind IN ('model_call', 'tool_call', 'sandbox', 'retrieval', 'step')",
    )
    op.add_column("messages", sa.Column("tool_calls", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column(
        "messages", sa.Column("search", postgresql.TSVECTOR(), sa.Computed(SEARCH, persisted=True), nullable=True)
    )
    op.create_index(op.f("ix_messages_search"), "messages", ["search"], unique=False, postgresql_using="gin")


def downgrade() -> None:
    op.drop_index(op.f("ix_messages_search"), table_name="messages", postgresql_using="gin")
    op.drop_column("messages", "search")
    op.drop_column("messages", "tool_calls")
    op.drop_constraint(op.f("ck_run_steps_kind"), "run_steps", type_="check")
    for name in ("detail", "parent_id", "kind"):
        op.drop_column("run_steps", name)
    op.drop_index(op.f("ix_runs_parent_id"), table_name="runs")
    op.drop_constraint(op.f("fk_runs_parent_id"), "runs", type_="foreignkey")
    for name in ("tool_errors", "tool_calls", "parent_id"):
        op.drop_column("runs", name)
    op.drop_index(op.f("ix_files_run_id"), table_name="files")
    op.drop_index(op.f("ix_files_conversation_id"), table_name="files")
    op.drop_index(op.f("ix_conversations_forked_from"), table_name="conversations")
    op.drop_constraint(op.f("fk_conversations_forked_from"), "conversations", type_="foreignkey")
    for name in ("forked_from", "summary_until", "summary"):
        op.drop_column("conversations", name)
