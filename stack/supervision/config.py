"""supervisord's configuration, made from the table of services."""

from __future__ import annotations

import configparser
import io
import os
import sys
from pathlib import Path

from stack.paths import log_directory, run_directory, service_log
from stack.processes import stack_environment
from stack.settings import REPOSITORY, Settings
from stack.topology import Service, Topology

# A process that ends within START_SECONDS counts as a failed start: supervisord then waits 1, 2, 3 … seconds between
# tries, START_RETRIES times, before it gives up. One that lived longer is started again at once.
START_SECONDS = 5
START_RETRIES = 12


def socket_path(settings: Settings) -> Path:
    return run_directory(settings) / "supervisor.sock"


def config_path(settings: Settings) -> Path:
    return run_directory(settings) / "supervisord.conf"


def render(settings: Settings, topology: Topology) -> str:
    """The whole configuration file."""
    parser = configparser.RawConfigParser()
    parser["unix_http_server"] = {"file": str(socket_path(settings)), "chmod": "0600"}
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    parser["supervisord"] = {
        "logfile": str(log_directory(settings) / "supervisord.log"),
        "logfile_maxbytes": str(settings.log_file_bytes),
        "logfile_backups": str(settings.log_file_backups),
        "pidfile": str(run_directory(settings) / "supervisord.pid"),
        "childlogdir": str(log_directory(settings)),
        "nodaemon": "false",
        "silent": "true",
        "umask": "077",
        **({"user": "root"} if os.getuid() == 0 else {}),
    }
    for order, service in enumerate(topology.local_services()):
        parser[f"program:{service.name}"] = _program(settings, service, order)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _program(settings: Settings, service: Service, order: int) -> dict[str, str]:
    environment = stack_environment(settings, service.name)
    return {
        "command": f'"{_escaped(sys.executable)}" -m stack.exec_service {service.name}',
        "directory": _escaped(str(REPOSITORY)),
        "environment": ",".join(f'{name}="{_escaped(value)}"' for name, value in environment.items()),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": str(START_SECONDS),
        "startretries": str(START_RETRIES),
        "priority": str(100 + order),  # stopped in reverse
        "stopsignal": service.stop_signal,
        "stopwaitsecs": str(int(max(service.stop_seconds, settings.graceful_stop_seconds + 5))),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _escaped(str(service_log(settings, service.name))),
        "stdout_logfile_maxbytes": str(settings.log_file_bytes),
        "stdout_logfile_backups": str(settings.log_file_backups),
    }


def _escaped(value: str) -> str:
    return value.replace("%", "%%")
