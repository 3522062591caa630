"""What requests may say: users, paths, languages, environments."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from models_node.sandbox.inside.agent.environment import Environment, checked
from models_node.sandbox.inside.agent.errors import BadRequest, UnknownUser
from models_node.sandbox.inside.agent.languages import language_name
from models_node.sandbox.inside.agent.paths import Paths, check_user, user_of

HOME = Paths(Path("/home/user"))


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("", "/home/user"),
        ("~", "/home/user"),
        ("~/a", "/home/user/a"),
        ("a/../b", "/home/user/b"),
        ("../../x", "/x"),
        ("/tmp/./y", "/tmp/y"),
    ],
)
def test_paths_start_at_home(path: str, resolved: str) -> None:
    assert HOME.resolve(path) == Path(resolved)


def test_a_zero_byte_in_a_path_is_refused() -> None:
    with pytest.raises(BadRequest):
        HOME.resolve("a\0b")


def test_everybody_is_user() -> None:
    check_user(user_of(""))
    check_user(user_of("Basic " + base64.b64encode(b"user:").decode()))
    for header in ("Basic " + base64.b64encode(b"root:").decode(), "Basic %%%"):
        with pytest.raises(UnknownUser):
            check_user(user_of(header))


def test_languages_have_other_names_too() -> None:
    assert [language_name(name) for name in ("Python3", "sh", "js", "ts")] == [
        "python",
        "bash",
        "javascript",
        "typescript",
    ]
    with pytest.raises(BadRequest, match="'r' is not available here: python, bash, javascript, typescript"):
        language_name("r")


def test_a_call_has_the_last_word_on_its_environment() -> None:
    environment = Environment()
    environment.add({"A": "creator", "B": "creator"})
    assert environment.for_code({"A": "call"}) == {"A": "call", "B": "creator"}
    assert environment.for_command({"A": "call"})["PATH"]


@pytest.mark.parametrize("envs", ["x", {"": "x"}, {"A=B": "x"}, {"A": 1}, {"A": "\0"}])
def test_what_cannot_be_an_environment_is_refused(envs: object) -> None:
    with pytest.raises(BadRequest):
        checked(envs)
