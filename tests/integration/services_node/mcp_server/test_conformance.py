"""The published conformance suite, all its server scenarios, against the product's own server process."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from mcp_process import McpProcess
from node_packages import NODE, REPOSITORY, environment, installed

LOCKS = REPOSITORY / "tests" / "conformance"
EXPECTED_FAILURES = LOCKS / "expected-failures.yaml"
SUITE = Path("node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
TOTAL = re.compile(r"^Total: (\d+) passed, (\d+) failed", re.MULTILINE)
SCENARIO = re.compile(r"^[✓✗~] ([\w-]+): \d+ passed", re.MULTILINE)
HOME = Path(os.environ.get("CAPIBARA6_HOME") or REPOSITORY / "var")


@pytest.mark.parametrize(
    ("lock", "choice", "scenarios", "checks"),
    [
        ("2025-11-25", ["--suite", "all"], 32, 44),
        ("2026-07-28", ["--suite", "all", "--spec-version", "2025-11-25"], 33, 81),
        ("2026-07-28", ["--requirements", "2026-07-28"], 50, 164),
        ("2026-07-28", ["--suite", "all"], 65, 199),
    ],
)
def test_every_scenario_passes_but_those_listed_with_their_reason(
    suite_server: McpProcess, lock: str, choice: list[str], scenarios: int, checks: int
) -> None:
    folder = installed(LOCKS / lock, HOME)
    extensions_too = "--requirements" in choice or choice == ["--suite", "all"]
    expected = ["--expected-failures", str(EXPECTED_FAILURES)] if extensions_too and lock == "2026-07-28" else []
    done = subprocess.run(
        [str(NODE), str(folder / SUITE), "server", "--url", suite_server.mcp, *choice, *expected],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    total = TOTAL.search(said)
    assert total is not None, said[-6000:]
    assert int(total[1]) >= checks, said[-6000:]
    assert len(set(SCENARIO.findall(said))) >= scenarios
    if not expected:
        assert int(total[2]) == 0, said[-6000:]
