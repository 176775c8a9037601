"""What the environment says of a fault run.

EVENTWIRE_CHAOS=full   the long form: as many events and faults as docs/reliability.md tells
EVENTWIRE_SEED=N       repeats a run's faults; without it every run draws its own, and prints it
EVENTWIRE_MUTANT=NAME  sabotages one mechanism of the runtime, here and in every child process
"""

from __future__ import annotations

import os
from functools import cache
from random import Random, SystemRandom
from typing import TypeVar

T = TypeVar("T")

CHAOS = "EVENTWIRE_CHAOS"
SEED = "EVENTWIRE_SEED"
MUTANT = "EVENTWIRE_MUTANT"
RESULTS = "EVENTWIRE_CHAOS_RESULTS"


def full() -> bool:
    """Whether this is the long form."""
    return os.environ.get(CHAOS) == "full"


def sized(short: T, long: T) -> T:
    """The figure of the form that runs."""
    return long if full() else short


@cache
def seed() -> int:
    """The run's seed."""
    given = os.environ.get(SEED)
    return int(given) if given else SystemRandom().randrange(1 << 32)


def random_of(name: str) -> Random:
    """A test's own dice: the same for one seed, whatever ran before."""
    return Random(f"{seed()} {name}")  # noqa: S311 - faults to be repeated, no secret
