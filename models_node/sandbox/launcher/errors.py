"""What can go wrong while a sandbox is made."""

from __future__ import annotations


class LaunchError(Exception):
    """A sandbox could not be made; the text says why, `mend` what to do about it."""

    def __init__(self, why: str, mend: str = "") -> None:
        super().__init__(why)
        self.mend = mend


class CgroupsMissing(LaunchError):
    """Limits of memory and processes cannot be set here."""
