"""Sabotage: each mutant breaks one mechanism of the runtime, and one bar must see it.

A file in this folder holds mutants:

    @mutant(bar="tests/chaos/test_kills.py::test_killed_workers_lose_nothing[sqlite]", sees="lost")
    def ack_before_the_handler() -> None:
        ...monkeypatch the runtime...

EVENTWIRE_MUTANT=ack_before_the_handler applies it, in the test's process and in every child. `make chaos-mutants` runs
the bar of each, which must fail with `sees` in what it says, and without the mutant must pass.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from tests.chaos.switches import MUTANT


@dataclass(frozen=True)
class Mutant:
    """One sabotage: `bar` is the test that must turn red, `sees` a regular expression of what it then says."""

    name: str
    bar: str
    sees: str
    breaks: str
    apply: Callable[[], None]


_known: dict[str, Mutant] = {}


def mutant(*, bar: str, sees: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Make a function a mutant. Its docstring says what it breaks."""

    def register(apply: Callable[[], None]) -> Callable[[], None]:
        name = apply.__name__
        _known[name] = Mutant(name, bar, sees, (apply.__doc__ or "").strip(), apply)
        return apply

    return register


@cache
def known() -> dict[str, Mutant]:
    """All mutants by name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return _known


def apply() -> None:
    """Apply the one that the environment names, if any. Raises KeyError for one that nobody knows."""
    if name := os.environ.get(MUTANT):
        known()[name].apply()
