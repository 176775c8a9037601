"""Strict suspects: one record of the whole member at a time, and nothing beside it.

Else a process that dies would charge, with the killer, whoever else is alone in his own partition, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiokafka import TopicPartition as KafkaPartition

from eventwire.transports.kafka.assignment import AssignedPartition, KafkaDelivery


class Suspects:
    """Decides for one member what of `assigned` is handed out alone, and when.

    `commit_soon` has every partition's position and note written. Before anything is handed out the broker knows that
    it is alone, and that nobody else is any more: a note that stayed behind would charge who is settled already.
    """

    def __init__(
        self, assigned: Mapping[KafkaPartition, AssignedPartition], commit_soon: Callable[[], None]
    ) -> None:
        self._assigned = assigned
        self._commit_soon = commit_soon
        self._chosen: AssignedPartition | None = None

    @property
    def exclusive(self) -> bool:
        """Whether nothing but what `next` says may be handed out."""
        return any(each.exclusive for each in self._assigned.values())

    def next(self, in_hand: int) -> KafkaDelivery | None:
        """What to hand out now; None while anything is in hand, none is here yet, or the broker is being told."""
        chosen = self._choose() if in_hand == 0 else None
        if chosen is None:
            return None
        if not all(each.recorded for each in self._assigned.values() if each.exclusive):
            self._commit_soon()
            return None
        self._chosen = None
        return chosen.pass_out()

    def _choose(self) -> AssignedPartition | None:
        """Who is next, and noted so. The choice stays: notes that go to and fro would never be at the broker."""
        chosen = self._chosen
        if chosen is not None and chosen.live and chosen.held is not None:
            return chosen
        self._chosen = next(
            (each for each in self._assigned.values() if each.held and not each.leaving), None
        )
        if self._chosen is not None and self._chosen.held is not None:
            self._chosen.suspicion.alone = self._chosen.held.offset
        return self._chosen
