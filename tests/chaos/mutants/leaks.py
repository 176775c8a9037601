"""Sabotage: what is made and never given back."""

# Sabotage goes where nobody else does.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
from pathlib import Path

from eventwire.lanes import Lanes
from tests.chaos.mutants import mutant

_kept: list[object] = []


@mutant(
    bar="tests/chaos/test_soak.py::test_nothing_grows[sqlite]", sees="RSS grew|more tasks|more open files"
)
def a_leak_for_each_delivery() -> None:
    """Every hundredth delivery leaves a task and a file behind, every one 8 KiB."""
    one = Lanes._one

    async def sabotaged(self: Lanes, *arguments: object) -> None:
        _kept.append(bytearray(8192))
        if len(_kept) % 100 == 0:
            _kept.append(Path("/dev/null").open())  # noqa: SIM115, ASYNC230 - a leak
            _kept.append(asyncio.create_task(asyncio.sleep(3600)))
        await one(self, *arguments)  # type: ignore[arg-type]

    Lanes._one = sabotaged  # type: ignore[method-assign,assignment]
