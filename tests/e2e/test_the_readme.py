"""The README's commands are the ones that are run: its console blocks, in order, on the real stack."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.e2e.stack import MODEL_SECONDS, REPOSITORY, Stack

ELSEWHERE = {
    "./capibara6 test": "this very run: .ci/run calls it",
    "./capibara6 test full": "the longer form of this run",
    "./capibara6 logs chat-api -f": "follows until it is interrupted",
    "./capibara6 bench first_token": "measures for minutes; its parts are tested",
}


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line.split("  #")[0].strip() for line in lines]


def test_the_readme_begins_with_its_two_commands() -> None:
    ours = [command for command in commands() if command.startswith("./capibara6")]
    assert ours[:2] == ["./capibara6 up --detach", "./capibara6 test"]
    assert "./capibara6 test" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("./capibara6") and c not in ELSEWHERE])
def test_a_command_of_the_readme(stack: Stack, command: str) -> None:
    done = stack.run(*shlex.split(command)[1:], seconds=MODEL_SECONDS)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (done.stdout + done.stderr).strip()
