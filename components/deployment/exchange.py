"""Two names in one file system that change places in one step: Linux's renameat2 (man 2 renameat2, since 3.15)."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

RENAME_EXCHANGE = 1 << 1
AT_FDCWD = -100
UNABLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a kernel, and a file system, answer that cannot do it."""


def exchange(first: Path, second: Path) -> bool:
    """Whether they have changed places; False where this system cannot do so. Raises OSError for all else."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it: older than glibc 2.28 or musl 1.2.4, or not Linux's
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNABLE:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
