"""What this process holds: memory, file descriptors, tasks."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections import Counter
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


def tasks() -> Counter[str]:
    """The running loop's tasks, by what they run; without a worker's runners, which come and go with the work."""
    found = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    del found["Lanes._run"]
    return found


def apart(before: tuple[int, Counter[str]], now: tuple[int, Counter[str]]) -> tuple[int, int]:
    """How many descriptors and tasks more, or fewer."""
    return abs(now[0] - before[0]), abs(now[1].total() - before[1].total())


def connections(port: int) -> set[object]:
    """Our ends of this process's TCP connections to a port."""
    found: set[object] = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names, no paths
        try:
            with socket.socket(fileno=os.dup(int(name))) as end:
                if end.getpeername()[1] == port:
                    found.add(end.getsockname())
        except (OSError, TypeError, IndexError):
            continue  # no socket, or one that is not connected, or of a family without ports
    return found
