"""Names of the fields of Connect messages' `oneof`s, with the literal types that their generated classes want."""

from typing import Literal

START: Literal["start"] = "start"
DATA: Literal["data"] = "data"
END: Literal["end"] = "end"
KEEPALIVE: Literal["keepalive"] = "keepalive"
FILESYSTEM: Literal["filesystem"] = "filesystem"
STDOUT: Literal["stdout"] = "stdout"
STDERR: Literal["stderr"] = "stderr"
PTY_DATA: Literal["pty"] = "pty"
