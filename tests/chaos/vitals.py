"""A process's vital signs: what it holds, and how busy it is."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from selectors import BaseSelector, SelectorKey

_MIB = 1024 * 1024
EVERY = 0.2
"""Seconds between two samples."""


@dataclass(frozen=True)
class Sample:
    """One look. `rss` is in MiB, `cpu` in seconds since the start, `time` of the monotonic clock."""

    time: float
    rss: float
    files: int
    tasks: int
    waiting: int
    """Deliveries in the worker's lanes."""
    turns: int
    """Turns of the event loop since the start."""


def sample(tasks: int = 0, waiting: int = 0, turns: int = 0) -> Sample:
    """This process's, as of now."""
    proc = Path("/proc/self")
    pages = int((proc / "statm").read_text().split()[1])
    return Sample(
        time=asyncio.get_running_loop().time(),
        rss=pages * os.sysconf("SC_PAGE_SIZE") / _MIB,
        files=len(list((proc / "fd").iterdir())),
        tasks=tasks,
        waiting=waiting,
        turns=turns,
    )


class Turns:
    """Counts the turns of the running event loop: one that has nothing to do sleeps in its selector."""

    def __init__(self) -> None:
        self.count = 0
        selector: BaseSelector = vars(asyncio.get_running_loop())["_selector"]
        self._select = selector.select
        vars(selector)["select"] = self._counted

    def _counted(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.count += 1
        return self._select(timeout)


def append(path: Path, taken: Sample) -> None:
    """Add a sample to a process's file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(taken)) + "\n")


def samples(path: Path) -> list[Sample]:
    """All samples of a process; a line that is being written is left out."""
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [Sample(**json.loads(line)) for line in whole.splitlines()]


def slope(taken: list[Sample]) -> float:
    """How fast its RSS grows, in MiB a minute: the line of least squares."""
    times, sizes = [each.time for each in taken], [each.rss for each in taken]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - middle) ** 2 for time in times)
    return 60 * sum((t - middle) * (s - mean) for t, s in zip(times, sizes, strict=True)) / spread
