"""Two paths change places in one go, where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
_RENAME_SWAP = 2  # of macOS' renamex_np
# what a system, or a file system such as NFS, answers that has no exchange
_LACKING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange(a: Path, b: Path) -> bool:
    """Have `a` and `b`, which both exist, change places; False where that cannot be done.

    Raises
    ------
    OSError
        If the system can, but was not allowed to, or a path is missing.
    """
    first, second = os.fsencode(a), os.fsencode(b)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(first, second, _RENAME_SWAP)
        else:
            failed = library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    except (AttributeError, OSError, TypeError):  # Windows, or a C library without it
        return False
    number = ctypes.get_errno()
    if failed and number not in _LACKING:
        raise OSError(number, os.strerror(number), str(a), None, str(b))
    return not failed
