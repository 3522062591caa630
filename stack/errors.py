"""What can go wrong with an installation; each is told in one line that says how to mend it."""

from __future__ import annotations


class StackError(Exception):
    """StackError
    ├── ConfigurationError   a setting, the topology or a secret is wrong
    │   └── PlacementError   a service on a node that is not its own, or an address its profile forbids
    ├── InstallError         an environment, a package or the packaged weights could not be made
    ├── PortTaken            something else listens on a service's port
    └── ServiceFailed        a service does not start, or the supervisor cannot be reached
        └── NotReady         a service runs, but can't do its work yet

    `str(error)` is one line for a person; `mend` says what to do.
    """

    exit_code = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.mend = mend


class ConfigurationError(StackError):
    exit_code = 2


class PlacementError(ConfigurationError):
    exit_code = 3


class InstallError(StackError):
    exit_code = 4


class PortTaken(StackError):
    exit_code = 5


class ServiceFailed(StackError):
    exit_code = 6


class NotReady(ServiceFailed):
    pass
