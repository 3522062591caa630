from __future__ import annotations

from pathlib import Path

import pytest

from models_node.sandbox.launcher.checks import Finding, Machine, _bubblewrap, _root, _user_namespaces, missing


def machine(*, says: str | None = None, privileged: bool = True, **sysctls: str) -> Machine:
    values = {name.replace("__", "/"): value for name, value in sysctls.items()}
    return Machine(Path("/x/bwrap"), privileged, lambda _: says, lambda name: values.get(name, ""))


@pytest.mark.parametrize(
    ("sysctls", "mend"),
    [
        ({"kernel__apparmor_restrict_unprivileged_userns": "1"}, "apparmor_restrict_unprivileged_userns=0"),
        ({"kernel__unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        ({"user__max_user_namespaces": "0"}, "max_user_namespaces=10000"),
        ({}, "seccomp=unconfined"),
    ],
)
def test_closed_user_namespaces_are_told_with_what_opens_them(sysctls: dict[str, str], mend: str) -> None:
    found = _user_namespaces(machine(says="unshare failed: Operation not permitted", **sysctls))
    assert not found.ok
    assert "Operation not permitted" in found.what
    assert mend in found.mend


def test_without_root_one_user_for_all_can_be_accepted_in_so_many_words() -> None:
    found = _root(machine(privileged=False))
    assert missing([found], frozenset()) == found
    assert missing([found], frozenset({"one-uid"})) is None
    assert missing([found], frozenset({"without-limits"})) == found


def test_what_no_word_accepts_stays_missing() -> None:
    found = _bubblewrap(machine(says="bwrap: No such file"))
    assert not found.ok
    assert missing([found], frozenset({"one-uid", "without-limits", ""})) == found
    assert missing([Finding("met", True), found], frozenset({"one-uid", "without-limits"})) == found
