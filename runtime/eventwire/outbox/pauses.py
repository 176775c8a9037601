"""Brokers and topics that take nothing just now, and when to try them again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from eventwire.middleware.backoff import backoff
from eventwire.policy import RetryPolicy

Thing = TypeVar("Thing", bound=Hashable)


class Pauses(Generic[Thing]):
    """Exponential backoff for each thing that failed, for ever. Times are of a monotonic clock."""

    def __init__(self, retry: RetryPolicy, dice: Callable[[], float]) -> None:
        self._retry = retry
        self._dice = dice
        self._until: dict[Thing, tuple[int, float, str]] = {}

    def failed(self, thing: Thing, at: float, reason: str) -> None:
        """It failed once more."""
        attempts = self._until[thing][0] + 1 if thing in self._until else 1
        self._until[thing] = attempts, at + backoff(self._retry, attempts, self._dice()), reason

    def worked(self, thing: Thing) -> None:
        """It worked."""
        self._until.pop(thing, None)

    def paused(self, at: float) -> list[Thing]:
        """What should be left alone."""
        return [thing for thing, (_, until, _) in self._until.items() if at < until]

    def probing(self, thing: Thing) -> bool:
        """Whether it failed when last tried."""
        return thing in self._until

    @property
    def reasons(self) -> list[str]:
        """Why things are paused."""
        return [reason for _, _, reason in self._until.values()]
