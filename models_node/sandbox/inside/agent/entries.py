"""What the filesystem service says of a file: `EntryInfo`, and errors of the file system as Connect's."""

import errno
import grp
import os
import pwd
import stat
from datetime import UTC, datetime
from pathlib import Path

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.filesystem.filesystem_pb import EntryInfo, FileType
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

METADATA_PREFIX = "user.e2b."

_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.INVALID_ARGUMENT,
    errno.EISDIR: Code.INVALID_ARGUMENT,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.ENOTEMPTY: Code.FAILED_PRECONDITION,
    errno.EBUSY: Code.FAILED_PRECONDITION,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EROFS: Code.PERMISSION_DENIED,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EDQUOT: Code.RESOURCE_EXHAUSTED,
}


def connect_error(error: OSError, path: Path) -> ConnectError:
    """The same in Connect's words."""
    code = _CODES.get(error.errno or 0, Code.INTERNAL)
    if code is Code.NOT_FOUND:
        return ConnectError(code, f"path {str(path)!r} does not exist")
    return ConnectError(code, f"{str(path)!r}: {error.strerror}")


def shown(name: str) -> str:
    """A file's name as text that can be sent: names are bytes, and need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def entry_info(path: Path) -> EntryInfo:
    """The entry at `path` itself, a link not followed (its target's type is told). Raises OSError."""
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    entry = EntryInfo(
        name=shown(path.name),
        type=_type_of(path, found.st_mode),
        path=shown(str(path)),
        size=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        permissions=stat.filemode(found.st_mode),
        owner=_user_name(found.st_uid),
        group=_group_name(found.st_gid),
        modified_time=Timestamp.from_datetime(datetime.fromtimestamp(found.st_mtime, UTC)),
        metadata=_metadata(path),
        is_symlink=is_link,
    )
    if is_link:
        entry.symlink_target = shown(str(path.readlink()))
    return entry


def _type_of(path: Path, mode: int) -> FileType:
    if stat.S_ISLNK(mode):
        try:
            mode = path.stat().st_mode
        except OSError:
            return FileType.SYMLINK
    if stat.S_ISDIR(mode):
        return FileType.DIRECTORY
    return FileType.FILE if stat.S_ISREG(mode) else FileType.UNSPECIFIED


def _metadata(path: Path) -> dict[str, str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            shown(name.removeprefix(METADATA_PREFIX)): os.getxattr(path, name, follow_symlinks=False).decode(
                "utf-8", "replace"
            )
            for name in names
            if name.startswith(METADATA_PREFIX)
        }
    except OSError:  # no such attributes here
        return {}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "user" if uid == os.getuid() else str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return "user" if gid == os.getgid() else str(gid)
