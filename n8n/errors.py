"""What can go wrong with n8n: each names the mend.

N8nError
├── InstallationFailed   npm or the compiler ended with an error
├── NotReached           n8n does not answer, or is no n8n
├── Refused              n8n answered a request of ours with an error
└── WrongWorkflow        a workflow file that is not one
"""

from __future__ import annotations


class N8nError(Exception):
    """mend: what to do about it."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.mend = mend


class InstallationFailed(N8nError):
    pass


class NotReached(N8nError):
    pass


class Refused(N8nError):
    """status: the HTTP status that n8n answered with."""

    def __init__(self, what: str, status: int, mend: str = "") -> None:
        super().__init__(what, mend)
        self.status = status


class WrongWorkflow(N8nError):
    pass
