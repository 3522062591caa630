"""IPython's shell as a kernel: results, errors and system commands go to the channel and to the descriptors.

The shell is made once, in the template, before any fork: it keeps no history database and starts no thread. A forked
kernel gives it its channel.
"""

import builtins
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from .channel import Channel
from .formats import install_formats
from .results import result_data


class KernelDisplayHook(DisplayHook):
    """The value of a cell's last expression."""

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: Mapping[str, Any], md_dict: Mapping[str, Any] | None = None) -> None:
        publish(format_dict, is_main_result=True)

    def finish_displayhook(self) -> None:
        pass


class KernelDisplayPublisher(DisplayPublisher):
    """`display(…)`, figures, and everything else that is shown."""

    def publish(
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        source: Any = None,
        *,
        transient: Mapping[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        publish(data, is_main_result=False)

    def clear_output(self, wait: bool = False) -> None:
        pass


class KernelShell(InteractiveShell):
    """The shell of every Python context. `channel` is None until a forked kernel sets it."""

    displayhook_class = Type(KernelDisplayHook)
    display_pub_class = Type(KernelDisplayPublisher)
    channel: Channel | None = None
    errors_shown = 0

    def enable_gui(self, gui: str | None = None) -> None:
        """Nothing to do: figures are images, there is no window system."""

    def ask_exit(self) -> NoReturn:
        raise SystemExit(0)

    def system(self, cmd: str) -> None:
        """`!cmd`: its output goes to the same descriptors as the kernel's."""
        status = subprocess.call(self.var_expand(cmd, depth=1), shell=True, executable="/bin/bash")  # noqa: S602
        self.user_ns["_exit_code"] = status

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        self.errors_shown += 1
        show_error(etype.__name__, str(evalue), "\n".join(stb))


def make_shell() -> KernelShell:
    """The one shell of this process, before any fork."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.cache_size = 100
    shell: KernelShell = KernelShell.instance(config=config)
    install_formats(shell.display_formatter)
    for magic in ("pip", "conda", "mamba", "micromamba", "uv"):
        shell.register_magic_function(_no_packages, "line", magic)
    builtins.input = _no_input
    return shell


def publish(bundle: Mapping[str, Any], *, is_main_result: bool) -> None:
    """Shows one result in its place among the output."""
    channel = KernelShell.instance().channel
    if channel is None or not channel.is_mine:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    message = {"event": "result", "is_main_result": is_main_result, "data": result_data(bundle)}
    if not channel.send_and_wait(message):
        print(f"[a result was left out: larger than {channel.max_bytes} bytes]", file=sys.stderr)  # noqa: T201


def show_error(name: str, value: str, traceback: str) -> None:
    """Tells the agent of an error, whatever its size: the middle of a very long one is left out."""
    channel = KernelShell.instance().channel
    if channel is not None:
        channel.send({"event": "error", "name": name, "value": shortened(value), "traceback": shortened(traceback)})


_MAX_ERROR_CHARS = 100_000


def shortened(text: str) -> str:
    """At most about _MAX_ERROR_CHARS characters of `text`, its beginning and its end."""
    if len(text) <= _MAX_ERROR_CHARS:
        return text
    half = _MAX_ERROR_CHARS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def _no_input(prompt: object = "", /) -> str:
    raise RuntimeError("input() is not available: code runs without a terminal. Put the value into the code.")


def _no_packages(_line: str) -> None:
    raise UsageError(
        "packages cannot be installed in this sandbox: it has NumPy, pandas, matplotlib, SymPy, Pillow and openpyxl."
    )
