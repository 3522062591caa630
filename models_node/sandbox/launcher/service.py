"""The launcher's life: checks the machine, starts template and gateway, does what the gateway asks, ends everything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_node.sandbox.inside import messages
from models_node.sandbox.launcher import cgroups, checks
from models_node.sandbox.launcher.channel import Channel
from models_node.sandbox.launcher.errors import LaunchError
from models_node.sandbox.launcher.sandboxes import Sandboxes, Sizes, close_at_once, listening
from models_node.sandbox.launcher.template import Template
from models_node.sandbox.launcher.view import (
    PATH,
    RUN,
    Places,
    User,
    gateway_command,
    sandbox_environment,
    template_command,
)

log = logging.getLogger("sandbox.launcher")

TEMPLATE_RETRY_SECONDS = 5.0
ORDERS_AT_ONCE = 128
RUN_VARIABLE, CHANNEL_VARIABLE = "CAPIBARA6_SANDBOX_RUN", "CAPIBARA6_LAUNCHER_FD"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the launcher needs to know, worked out from the settings.

    cgroup: name of the parent cgroup. users: first user id; the gateway is that one, the template the next, sandboxes
    those that follow. accepted: weaknesses taken in so many words. run: the gateway's folder on the host.
    """

    places: Places
    run: Path
    cgroup: str
    users: int
    most: int
    sizes: Sizes
    together: cgroups.Limits
    agent_limits: dict[str, Any]
    accepted: frozenset[str]
    gateway_variables: dict[str, str]
    topology: Path | None
    stop_seconds: float

    @property
    def privileged(self) -> bool:
        return os.geteuid() == 0

    def user(self, offset: int) -> User:
        return User(self.users + offset if self.privileged else None)


class Service:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._gateway: Channel | None = None
        self._gateway_pidfd = -1
        self._sandboxes: Sandboxes | None = None
        self._unavailable: tuple[str, str] | None = None
        self._starting = True
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until the gateway ends or a stop signal comes. Returns the exit status."""
        plan = self._plan
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        ours, theirs = messages.pair()
        self._gateway = channel = Channel(ours)
        findings = await asyncio.to_thread(
            checks.examine, checks.Machine.this(plan.places.environment), f"{plan.cgroup}-trial"
        )
        lacking = checks.missing(findings, plan.accepted)
        with theirs:
            try:
                process = self._start_gateway(theirs.fileno(), in_view=checks.can_confine(findings))
            except OSError as error:
                log.error("the gateway cannot be started: %s", error)
                return 1
        limited = not any(f.weakness == checks.WITHOUT_LIMITS and not f.ok for f in findings)
        template = asyncio.create_task(self._keep_template(lacking, limited))
        orders = asyncio.create_task(self._obey(channel))
        over = asyncio.create_task(asyncio.to_thread(process.wait))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((over, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not over.done():
                self._tell_gateway_to_stop(process)
                await asyncio.wait((over,), timeout=plan.stop_seconds)
        finally:
            process.kill()
            for task in (template, orders, stopped, *self._tasks):
                task.cancel()
            await asyncio.gather(template, orders, stopped, *self._tasks, return_exceptions=True)
        status = await over
        return 0 if stop.is_set() else status if status > 0 else 1

    def _start_gateway(self, channel: int, *, in_view: bool) -> subprocess.Popen[bytes]:
        """In its view; or, where no view can be had, as the same powerless user, to say that there are no sandboxes."""
        plan = self._plan
        own = plan.gateway_variables | {CHANNEL_VARIABLE: str(channel)}
        if in_view:
            own |= {"CAPIBARA6_HOME": RUN, RUN_VARIABLE: RUN}
            command = gateway_command(plan.places, plan.user(0), plan.run, own, plan.topology)
            return subprocess.Popen(command, pass_fds=(channel,), stdin=subprocess.DEVNULL)
        own |= {"CAPIBARA6_HOME": str(plan.run), RUN_VARIABLE: str(plan.run)}
        if plan.topology:
            own |= {"CAPIBARA6_TOPOLOGY": str(plan.topology)}
        variables = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(plan.places.repository), **own}
        return subprocess.Popen(
            [str(plan.places.environment / "bin" / "python"), "-m", "models_node.sandbox.gateway"],
            pass_fds=(channel,),
            stdin=subprocess.DEVNULL,
            env=variables,
            user=plan.users if plan.privileged else None,
            group=plan.users if plan.privileged else None,
            extra_groups=[] if plan.privileged else None,
        )

    def _tell_gateway_to_stop(self, process: subprocess.Popen[bytes]) -> None:
        """Its signal goes to itself: bubblewrap, which stands before it, would end it at once."""
        with contextlib.suppress(ProcessLookupError):
            if self._gateway_pidfd >= 0:
                signal.pidfd_send_signal(self._gateway_pidfd, signal.SIGTERM)
            else:
                process.terminate()

    async def _keep_template(self, lacking: checks.Finding | None, limited: bool) -> None:
        """Holds a template alive; with each that ends all its sandboxes end."""
        plan = self._plan
        if lacking:
            self._say_unavailable(f"this machine lacks {lacking.what}", lacking.mend)
            return
        if not limited:
            log.warning("sandboxes run without limits of memory and processes, as was asked for")
        parent = cgroups.find(plan.cgroup, plan.together) if limited else None
        template = Template(template_command(plan.places, plan.user(1), self._marks()), plan.agent_limits)
        try:
            while True:
                try:
                    if parent:
                        await asyncio.to_thread(parent.sweep)
                    await template.start()
                except (LaunchError, OSError) as error:
                    self._say_unavailable(str(error), getattr(error, "mend", ""))
                else:
                    users = plan.users + 2 if plan.privileged else None
                    self._sandboxes = Sandboxes(
                        template, parent, plan.sizes, sandbox_environment(),
                        users=users, most=plan.most, told_exit=self._tell_exit,
                    )  # fmt: skip
                    self._starting, self._unavailable = False, None
                    self._tell({"event": "available"})
                    await template.wait()
                    self._starting = True
                    self._tell({"event": "starting"})
                await asyncio.sleep(TEMPLATE_RETRY_SECONDS)
        finally:
            await template.stop()
            if parent:
                await asyncio.to_thread(parent.dissolve)

    def _marks(self) -> dict[str, str]:
        """What finds the stack's processes when all else fails: `stack.processes`."""
        return {
            name: value for name, value in os.environ.items() if name in ("CAPIBARA6_STACK_ID", "CAPIBARA6_SERVICE")
        }

    def _say_unavailable(self, reason: str, mend: str) -> None:
        log.warning("sandboxes are unavailable: %s (%s)", reason, mend)
        self._starting, self._unavailable = False, (reason, mend)
        self._tell({"event": "unavailable", "reason": reason, "mend": mend})

    def _tell_exit(self, sandbox_id: str, reason: str) -> None:
        self._tell({"event": "exit", "sandbox_id": sandbox_id, "reason": reason})

    def _tell(self, content: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        if self._gateway:
            with contextlib.suppress(OSError):  # a gateway that is gone ends this service elsewhere
                self._gateway.send(content, descriptors)

    async def _obey(self, gateway: Channel) -> None:
        with contextlib.suppress(messages.Gone):
            while True:
                while len(self._tasks) >= ORDERS_AT_ONCE:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                packet = await gateway.receive()
                task = asyncio.create_task(self._answer(packet))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, packet: messages.Packet) -> None:
        asked, call = packet.content.get("do"), packet.content.get("call")
        try:
            if asked == "hello":
                self._know_gateway(packet.pid)
                if self._unavailable:
                    self._tell({"event": "unavailable", "reason": self._unavailable[0], "mend": self._unavailable[1]})
                else:
                    self._tell({"event": "starting" if self._starting else "available"})
                return
            actions: dict[Any, Callable[[messages.Packet], Coroutine[Any, Any, None]]] = {
                "create": self._create, "kill": self._kill, "usage": self._usage,
            }  # fmt: skip
            if asked not in actions:
                raise LaunchError(f"no such order: {str(asked)[:40]}")
            await actions[asked](packet)
        except LaunchError as error:
            self._tell({"call": call, "failed": str(error), "mend": error.mend})
        except (OSError, TimeoutError) as error:
            self._tell({"call": call, "failed": f"{type(error).__name__}: {error}", "mend": ""})
        finally:
            close_at_once(packet.descriptors)

    def _know_gateway(self, pid: int) -> None:
        """Its first word says who it is; a later one changes nothing."""
        if self._gateway_pidfd < 0:
            with contextlib.suppress(ProcessLookupError):
                self._gateway_pidfd = os.pidfd_open(pid)

    async def _create(self, packet: messages.Packet) -> None:
        if len(packet.descriptors) != 1 or not listening(packet.descriptors[0]):
            raise LaunchError("a sandbox needs one listening unix socket")
        proxy = await self._all().create(
            str(packet.content.get("sandbox_id")), packet.descriptors[0], egress=packet.content.get("egress") is True
        )
        try:
            self._tell({"call": packet.content.get("call"), "ok": True}, proxy)
        finally:
            messages.close(proxy)

    async def _kill(self, packet: messages.Packet) -> None:
        await self._all().kill(str(packet.content.get("sandbox_id")))
        self._tell({"call": packet.content.get("call"), "ok": True})

    async def _usage(self, packet: messages.Packet) -> None:
        usage = self._sandboxes.usage(str(packet.content.get("sandbox_id"))) if self._sandboxes else None
        told = (
            {"memory_bytes": usage.memory_bytes, "cpu_seconds": usage.cpu_seconds, "processes": usage.processes}
            if usage
            else None
        )
        self._tell({"call": packet.content.get("call"), "ok": True, "usage": told})

    def _all(self) -> Sandboxes:
        if self._sandboxes is None:
            reason, mend = self._unavailable or ("the sandboxes' template is starting", "try again in some seconds")
            raise LaunchError(reason, mend)
        return self._sandboxes
