"""What a worker counts: everything that happened to its deliveries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Totals since the worker was made. Each settled delivery is in exactly one of the first seven."""

    handled: int = 0
    """A handler returned."""
    duplicates: int = 0
    """The inbox knew the event as handled: skipped."""
    unhandled: int = 0
    """No handler overrides the event: skipped."""
    unknown: int = 0
    """The type is not known here: skipped."""
    dead_lettered: int = 0
    dropped: int = 0
    """Exhausted, with the dead letter disabled and `OnExhausted.DROP`."""
    postponed: int = 0
    """Failed, and waits for its next attempt in a queue of the group."""
    retried: int = 0
    """Attempts after the first."""
    transient: int = 0
    """Calls of handlers that failed for a transient fault: no attempts."""

    @property
    def settled(self) -> int:
        """How many deliveries were settled."""
        skipped = self.duplicates + self.unhandled + self.unknown
        return self.handled + skipped + self.dead_lettered + self.dropped + self.postponed
