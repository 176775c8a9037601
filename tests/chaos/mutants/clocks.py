"""Sabotage of what is measured by which clock."""

from __future__ import annotations

import time
from types import SimpleNamespace

from eventwire.transports.sqlite import membership
from tests.chaos.mutants import mutant


@mutant(
    bar="tests/chaos/test_clock.py::test_a_clock_that_jumps_changes_nothing[sqlite]",
    sees="duplicates: |out of order|a worker tells its wall clock",
)
def leases_by_the_wall_clock() -> None:
    """SQLite's leases end by the clock of the wall."""
    setattr(membership, "time", SimpleNamespace(monotonic=time.time, time=time.time))  # noqa: B010 - a module
