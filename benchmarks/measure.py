"""Interleaved rounds, judged by the CPU time of this process: wall time swings on shared machines, CPU time less."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from typing import NamedTuple, TypeAlias

Work: TypeAlias = Callable[[int], Awaitable[None]]
"""One round of so many events."""


class Row(NamedTuple):
    """Median CPU of one way of doing a thing, in µs per event, and its ratio to the raw client's."""

    name: str
    micros: float
    ratio: float


async def compare(
    works: Mapping[str, Work],
    events: int,
    rounds: int,
    *,
    before: Mapping[str, Work] | None = None,
    after: Mapping[str, Work] | None = None,
) -> list[Row]:
    """Run the works in turn, `rounds` times after a warm-up; the others are held to the first, the raw client.

    `before` and `after` hold what each needs around its round, which is not measured.
    """
    spent: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            if before:
                await before[name](events)
            began = time.process_time()
            await work(events)
            if number:
                spent[name].append((time.process_time() - began) / events * 1e6)
            if after:
                await after[name](events)
    medians = {name: median(values) for name, values in spent.items()}
    raw = medians[next(iter(works))]
    return [Row(name, value, value / raw) for name, value in medians.items()]
