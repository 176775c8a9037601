"""What a publisher gets back for many events."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventwire.errors import PublishError


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """The outcome of `publish_many`: how many were confirmed, and every one that was not, with its error."""

    confirmed: int
    failures: tuple[PublishError, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every event of the batch was confirmed."""
        return not self.failures
