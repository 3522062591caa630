"""Everything that speaks SQL: tables, migrations, repositories, and the embedded Postgres.

Lives here: the embedded server (`python -m db.embedded`), creating and migrating databases (`python -m db prepare`),
the typed tables, and the repositories that `flows` and `services_node` call with plain values and get records from.
Never here: HTTP, models, Prefect's API, or a decision about a conversation.
In: `database_url` or the embedded server's password. Out: frozen records (`db.records`).
"""
