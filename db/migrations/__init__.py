"""Alembic's migrations, run by `python -m db prepare` at every start. Append only: a released one is never edited."""
