"""What was charged with a death is handled with nothing beside it in its process, of any partition.

Else a process that dies would charge, with the killer, whoever else is alone in his own partition, again and again.
"""

from __future__ import annotations

from eventwire.transports.kafka.assignment import KafkaDelivery

_PATIENCE = 10.0
"""Seconds that what is in hand may take to be settled; then a suspect is alone in its partition only."""


class Suspects:
    """Decides for one member. `released` is what waits to be handed out; what is handed out leaves it."""

    def __init__(self) -> None:
        self._alone: KafkaDelivery | None = None
        self._since: float | None = None

    def concern(self, released: list[KafkaDelivery]) -> bool:
        """Whether a suspect is in hand, or waits to be."""
        if self._alone is not None:
            if self._alone.open and self._alone.live:
                return True
            self._alone = None
        return bool(released) and any(delivery.deaths and delivery.live for delivery in released)

    def next(self, released: list[KafkaDelivery], in_hand: int, now: float) -> KafkaDelivery | None:
        """The suspect to hand out now; none while one is in hand, others are, or the broker is being told."""
        if self._alone is not None:
            if self._alone not in released:
                return None
            released.remove(self._alone)
            return self._alone
        if self._since is None:
            self._since = now
        if in_hand > 0 and now - self._since < _PATIENCE:
            return None
        self._since = None
        self._alone = next(delivery for delivery in released if delivery.deaths and delivery.live)
        released.remove(self._alone)
        return self._alone if self._alone.admitted() else None
