"""Holding back: deliveries of delayed queues, until each is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from eventwire.middleware.delayed import due_in
from eventwire.transport import Delivery, TopicPartition


class Holding:
    """Keeps deliveries that are not due. For one event loop.

    `delays` are the delays of the topics that have one, in seconds; `let_go` takes what is due. What is held counts as
    unsettled for the consumer, whose `max_uncommitted` is the bound.
    """

    def __init__(self, delays: Mapping[str, float], let_go: Callable[[Iterable[Delivery]], None]) -> None:
        self._delays = delays
        self._let_go = let_go
        self._held: dict[int, tuple[Delivery, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def pass_on(self, deliveries: Iterable[Delivery]) -> None:
        """Let go what is due, or never had to wait; keep the rest until it is."""
        if not self._delays:
            self._let_go(deliveries)
            return
        self._let_go([delivery for delivery in deliveries if not self._keeps(delivery)])

    def give_back(self, partitions: Collection[TopicPartition] | None) -> None:
        """Release what is held, of these partitions or of all."""
        for number, (delivery, timer) in tuple(self._held.items()):
            if partitions is None or (delivery.message.topic, delivery.partition) in partitions:
                timer.cancel()
                del self._held[number]
                delivery.release()

    def _keeps(self, delivery: Delivery) -> bool:
        delay = self._delays.get(delivery.message.topic)
        seconds = due_in(delivery.message, delay) if delay else 0.0
        if seconds <= 0:
            return False
        number = id(delivery)
        timer = asyncio.get_running_loop().call_later(seconds, self._due, number)
        self._held[number] = (delivery, timer)
        return True

    def _due(self, number: int) -> None:
        delivery, _ = self._held.pop(number)
        self._let_go([delivery])
