"""The embedded Postgres: made once, kept, and started again whatever happened to it."""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator

import httpx
import psutil
import pytest
from installation import Installation, eventually


@pytest.fixture
def own() -> Iterator[Installation]:
    made = Installation()
    yield made
    made.close()


@pytest.fixture
def chat(stack: Installation) -> Iterator[Installation]:
    """The stack, whose Postgres a test may stop."""
    yield stack
    if "postgres" not in stack.processes:
        stack.start("postgres")
        prepared(stack)


def prepared(own: Installation) -> None:
    done = own.run("-m", "db", "prepare", "--wait-seconds", "20")
    assert done.returncode == 0, done.stderr + own.log("postgres")


def test_it_is_made_started_and_stopped_and_started_again_with_its_data(own: Installation) -> None:
    own.start("postgres")
    prepared(own)
    prepared(own)  # a second time changes nothing
    data = own.home / "postgres" / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    command = " ".join(psutil.Process(own.processes["postgres"].pid).cmdline())
    assert "bin/postgres" in command and "password" not in command
    assert own.stop("postgres", signal.SIGINT) == 0
    own.start("postgres")
    prepared(own)
    assert "making a new cluster" in own.log("postgres") and own.log("postgres").count("making a new cluster") == 1


def test_a_killed_server_starts_again_although_its_pid_file_is_left(own: Installation) -> None:
    own.start_postgres()
    own.stop("postgres", signal.SIGKILL)
    pid_file = own.home / "postgres" / "data" / "postmaster.pid"
    assert pid_file.exists()
    own.start("postgres")
    prepared(own)


def test_a_pid_file_whose_number_is_now_anothers_does_not_block(own: Installation) -> None:
    own.start_postgres()
    own.stop("postgres", signal.SIGINT)
    pid_file = own.home / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{own.start('model-server').pid}\n{pid_file.parent}\n0\n5433\n\n127.0.0.1\n0 0\nready\n")
    own.start("postgres")
    prepared(own)


def test_an_interrupted_initdb_is_done_again(own: Installation) -> None:
    process = own.start("postgres")
    base = own.home / "postgres"
    eventually(lambda: list(base.glob("data.new-*/cluster/base")), 20, "initdb is at work")
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait(10)
    assert not (base / "data").exists()
    own.start("postgres")
    prepared(own)
    assert not list(base.glob("data.new-*"))


def test_a_cluster_of_another_version_is_refused_with_the_mend(own: Installation) -> None:
    data = own.home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    done = own.run("-m", "db.embedded")
    assert done.returncode != 0
    assert "made by Postgres 15" in done.stderr and "pg_dumpall" in done.stderr and "Traceback" not in done.stderr


def test_new_secrets_set_a_new_password(own: Installation) -> None:
    own.start_postgres()
    own.stop("postgres", signal.SIGINT)
    (own.home / "secrets.json").unlink()
    own.__post_init__()
    own.start("postgres")
    prepared(own)


def test_a_server_that_is_not_there_is_one_clear_line(own: Installation) -> None:
    done = own.run("-m", "db", "prepare", "--wait-seconds", "1")
    assert done.returncode != 0
    assert "did not answer" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_external_server_is_used_by_url(postgres: Installation, own: Installation) -> None:
    """Another installation's server by its URL, with databases of its own."""
    url = postgres.run(
        "-c",
        "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
        "from db.urls import database_url, plain_url; print(plain_url(database_url(s(), l(s()), 'elsewhere')))",
    ).stdout.strip()
    own.extra["CAPIBARA6_DATABASE_URL"] = url.replace("postgresql://", "postgres://")
    done = own.run("-m", "db", "prepare", "--wait-seconds", "5")
    assert done.returncode == 0, done.stderr
    own.extra["CAPIBARA6_DATABASE_URL"] = "mysql://x@y/z"
    refused = own.run("-m", "db", "prepare")
    assert refused.returncode != 0 and "not Postgres" in refused.stderr


def test_requests_fail_clearly_while_postgres_is_away_and_are_well_without_a_restart(chat: Installation) -> None:
    api = httpx.Client(base_url=chat.url("chat-api"), timeout=30)
    kept = api.post("/api/chat", json={"message": "hola"}).json()
    chat.stop("postgres", signal.SIGINT)
    for path in ("/api/chat", "/api/chat/stream"):
        reply = api.post(path, json={"message": "hola"})
        assert reply.status_code == 503 and reply.json()["code"] == "database_unavailable", reply.text
        assert reply.headers["retry-after"] and reply.elapsed.total_seconds() < 4
    going_on = api.post("/api/chat", json={"message": "hola", "conversation_id": kept["conversation_id"]})
    assert going_on.status_code == 503
    assert api.get("/health/ready").status_code == 503 and api.get("/health/live").status_code == 200
    chat.start("postgres")
    eventually(lambda: api.get("/health/ready").status_code == 200, 30, "ready again")
    reply = api.post("/api/chat", json={"message": "hola", "conversation_id": kept["conversation_id"]})
    assert reply.status_code == 200, reply.text
    assert len(api.get(f"/api/conversations/{kept['conversation_id']}").json()["messages"]) == 4


def test_stale_connections_cost_no_request(chat: Installation) -> None:
    """Restarted between two requests: the pool's dead connections are replaced within the request."""
    api = httpx.Client(base_url=chat.url("chat-api"), timeout=30)
    assert api.post("/api/chat", json={"message": "hola"}).status_code == 200
    chat.stop("postgres", signal.SIGINT)
    chat.start("postgres")
    prepared(chat)
    assert api.post("/api/chat", json={"message": "hola"}).status_code == 200


def test_an_answer_that_ends_while_postgres_is_away_is_kept_when_it_is_back(chat: Installation) -> None:
    api = httpx.Client(base_url=chat.url("chat-api"), timeout=30)
    with api.stream("POST", "/api/chat/stream", json={"message": "hola tokens=10 every=0.1"}) as reply:
        lines = reply.iter_lines()
        run_id = next(lines).split('"run_id":"')[1][:36]
        chat.stop("postgres", signal.SIGINT)
        last = [line for line in lines if line][-1]
    assert "database_unavailable" in last and '"type":"error"' in last
    chat.start("postgres")
    prepared(chat)
    eventually(lambda: api.get(f"/api/runs/{run_id}").json()["status"] == "completed", 20, "the run was written")
