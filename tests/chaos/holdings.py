"""What this process holds: memory, file descriptors, tasks."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path


def rss() -> int:
    """Resident bytes, now; the most there ever were where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open file descriptors."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are counted, no paths made


def tasks() -> int:
    """Tasks of the running loop, the caller's included."""
    return len(asyncio.all_tasks())
