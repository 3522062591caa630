"""up, down, restart, status, logs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from stack.errors import ConfigurationError, NotReady, ServiceFailed, StackError
from stack.install.environments import install
from stack.install.report import say
from stack.install.running import installers
from stack.interruption import interruptible, result_of, uninterruptible, wait_forever
from stack.paths import service_log
from stack.secrets import ensure_secrets
from stack.settings import Settings, read_settings
from stack.supervision.bringup import BringUp
from stack.supervision.daemon import Supervisor, stop_everything, table_has_changed
from stack.supervision.state import forget_restarts, states
from stack.supervision.variables import keep_variables, lifecycle_lock
from stack.topology import Service, Topology, load_topology, services_named

STOP_SECONDS = 60
TINY_MODEL = (
    "The packaged model is SmolLM2-135M: tiny, there to see the stack work, not to be believed.\n"
    "For a better one: docs/models.md (a catalogue of your own, or an OpenAI-compatible address)."
)


def up(given: argparse.Namespace) -> int:
    settings = settings_for(given)
    topology = load_topology(settings)
    services = topology.local_services()
    if topology.without:
        left_out = ", ".join(
            s.name for s in topology.services() if s not in services and topology.node in (None, s.node)
        )
        say(f"left out: {left_out} (all come again with: up --without '')")
    if not services:
        say(f"node {topology.node} has no services in this version")
        return 0
    first, later = by_turns(services)
    with interruptible():
        started = Start(settings, topology)
        started.begin(first, install_meanwhile=later)
        if started.late is None:
            _say_where(settings, topology, first)
        started.go_on(later)
        if started.late is not None:
            raise started.late
    if later:
        print(f"  workflows   {topology.url('n8n')}   (sign in: docs/workflows.md)")
        sys.stdout.flush()
    if given.detach:
        return 0
    say("Ctrl-C stops everything (`up --detach` leaves it running).")
    with interruptible():
        try:
            wait_forever()
        except KeyboardInterrupt:
            say("stopping …")
            with uninterruptible(), lifecycle_lock(settings):
                stop_everything(settings, topology, STOP_SECONDS)
    return 0


class Start:
    """One `up`, in turns: what is started first can be used while the rest is still installed."""

    def __init__(self, settings: Settings, topology: Topology) -> None:
        self._settings, self._topology = settings, topology
        self._turns: list[BringUp] = []
        self._installing: Future[None] | None = None
        self.late: NotReady | None = None  # what runs and is not ready yet: it may lack another node, which comes later

    def begin(self, services: Sequence[Service], install_meanwhile: Sequence[Service]) -> None:
        """Installs and starts these, while the others are installed in a thread."""
        if services:
            install(self._settings, environments_of(services))
        if install_meanwhile:
            pool = ThreadPoolExecutor(1)
            self._installing = pool.submit(install, self._settings, environments_of(install_meanwhile))
            pool.shutdown(wait=False)
        if services:
            self._start(services)

    def go_on(self, services: Sequence[Service]) -> None:
        """Starts those others, once they are installed. What began before goes on whatever becomes of them."""
        if self._installing is not None:
            try:
                result_of(self._installing)
            except KeyboardInterrupt:
                installers.stop()
                self._undo()
                raise
        if services:
            self._start(services)

    def _start(self, services: Sequence[Service]) -> None:
        with lifecycle_lock(self._settings):
            ensure_secrets(self._settings)
            keep_variables(self._settings)
            self._turns.append(BringUp(self._settings, self._topology, services))
            try:
                self._turns[-1].run()
            except NotReady as error:
                self.late = self.late or error
            except StackError:
                self._stop_installing()
                self._turns[:] = self._turns[-1:]  # what began before is whole
                self._undo()
                raise
            except BaseException:
                self._stop_installing()
                self._undo()
                raise

    def _stop_installing(self) -> None:
        if self._installing is not None and not self._installing.done():
            installers.stop()

    def _undo(self) -> None:
        say("stopping what was started …")
        with uninterruptible():
            for turn in reversed(self._turns):
                turn.undo()


def down(given: argparse.Namespace) -> int:
    settings = read_settings()
    topology = load_topology(settings)
    if settings.home.exists():
        with lifecycle_lock(settings):
            stop_everything(settings, topology, STOP_SECONDS)
    say("stopped")
    return 0


def restart(given: argparse.Namespace) -> int:
    settings = read_settings()
    topology = load_topology(settings)
    services = [topology.service(given.service)] if given.service else list(topology.local_services())
    if not Supervisor(settings, 5).is_running():
        raise ServiceFailed("the stack is not running", "./capibara6 up")
    for service in services:
        topology.check_placement(service.name)
    if table_has_changed(settings, topology):
        services = list(topology.local_services())
    with interruptible(), lifecycle_lock(settings):
        ensure_secrets(settings)  # a newer version may know of more
        keep_variables(settings)
        for service in reversed(services):
            Supervisor(settings, service.stop_seconds + 10).stop(service.name)
            forget_restarts(settings, service.name)
        faults = []
        for turn in by_turns(services):  # an n8n that does not start takes nothing along
            try:
                BringUp(settings, topology, turn).run()
            except StackError as error:
                faults.append(error)
        if faults:
            raise faults[0]
    return 0


def status(given: argparse.Namespace) -> int:
    """Prints every service of this machine. Exit status 0 when each is ready, or says that this machine cannot offer
    it; 1 otherwise.
    """
    settings = read_settings()
    found = states(settings, load_topology(settings))
    if given.json:
        print(json.dumps({"services": [state.as_json() for state, _ in found]}))
    else:
        for state, reason in found:
            again = f"  restarted {state.restarts}×" if state.restarts else ""
            more = f"  {reason}" if reason and state.state != "ready" else ""
            pid = state.pid or "-"
            print(f"{state.name:16} {state.node:14} {state.port:>6} {state.state:11} {pid:>8}{again}{more}")
    return 0 if all(state.state in ("ready", "unavailable") for state, _ in found) else 1


def logs(given: argparse.Namespace) -> int:
    settings = read_settings()
    topology = load_topology(settings)
    services = [topology.service(given.service)] if given.service else list(topology.local_services())
    files = [str(path) for path in (service_log(settings, service.name) for service in services) if path.exists()]
    if not files:
        raise ConfigurationError("nothing was logged yet", "./capibara6 up")
    sys.stdout.flush()
    follow = ["-F"] if given.follow else []
    return subprocess.run(["tail", "-n", str(given.lines), *follow, "--", *files], check=False).returncode


def by_turns(services: Sequence[Service]) -> tuple[list[Service], list[Service]]:
    """What is started first, and what takes minutes more to install and is not waited for: n8n."""
    later = [service for service in services if service.environment == "n8n"]
    return [service for service in services if service not in later], later


def environments_of(services: Sequence[Service]) -> list[str]:
    """What must be installed for these services; `stack` is there already: it runs this."""
    return sorted({service.environment for service in services} - {"stack"})


def settings_for(given: argparse.Namespace) -> Settings:
    """Settings of this home, after what a command says of it (its node, its GPU) was written down for the next one."""
    settings = read_settings()
    said = {}
    if given.node and given.node != settings.node:
        said["CAPIBARA6_NODE"] = given.node
    without = getattr(given, "without", None)
    if without is not None and services_named(without) != services_named(settings.without):
        said["CAPIBARA6_WITHOUT"] = without
    if given.gpu and not settings.gpu:
        said["CAPIBARA6_GPU"] = "true"
    if said:
        path = settings.home / "settings.env"
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in kept if line.split("=")[0].strip() not in said]
        path.write_text("\n".join([*kept, *(f"{k}={v}" for k, v in said.items())]) + "\n", encoding="utf-8")
        os.environ.update(said)
    return read_settings()


def _say_where(settings: Settings, topology: Topology, services: list[Service]) -> None:
    titles = {
        "chat-api": "chat API", "model-server": "models", "sandbox-gateway": "sandboxes",
        "mcp-server": "MCP", "smart-mcp": "smart MCP", "tts-server": "speech",
        "prefect-server": "Prefect UI",
    }  # fmt: skip
    print("\nCapibara6 is up.\n")
    for service in services:
        if service.name in titles:
            print(f"  {titles[service.name]:11} {topology.url(service.name)}")
    local_catalogue = settings.catalogue is None and settings.profile == "local"
    if local_catalogue and any(service.name == "model-server" for service in services):
        print(f"\n{TINY_MODEL}")
    if any(service.name == "chat-api" for service in services):
        print('\nThe first question:  ./capibara6 chat "¿Cuál es la capital de Francia?"')
    sys.stdout.flush()
