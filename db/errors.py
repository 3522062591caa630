"""What can go wrong with the database, for operators (SetupError) and for a request (DatabaseUnavailable)."""

from __future__ import annotations

from stack.errors import StackError
from wire.errors import Unavailable


class SetupError(StackError):
    """The embedded server or a database can't be set up. One line for a person, and `mend`."""

    exit_code = 4


class DatabaseUnavailable(Unavailable):
    """Postgres can't be reached, or broke the connection. Asking again in a moment may help."""

    default_code = "database_unavailable"

    def __init__(self, detail: str = "The database cannot be reached at the moment.") -> None:
        super().__init__(detail, retry_after_seconds=2)
