"""What arrived at a group, in the order it was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from eventwire.errors import Closed
from eventwire.message import Message
from eventwire.transport import Consumer, Delivery, TopicPartition


class Ledger:
    """Notes deliveries of messages whose bodies are distinct; any number of consumers may write to it."""

    def __init__(self, expected: Iterable[Message]) -> None:
        self.expected = {message.body or b"" for message in expected}
        self.deliveries: list[Delivery] = []
        self._seen: dict[bytes, Message] = {}
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    @property
    def bodies(self) -> list[bytes]:
        """Every body that arrived, repetitions too."""
        return [delivery.message.body or b"" for delivery in self.deliveries]

    def note(self, delivery: Delivery) -> None:
        """Add one delivery."""
        self.deliveries.append(delivery)
        self._seen.setdefault(delivery.message.body or b"", delivery.message)
        self._changed.set()

    async def pump(self, consumer: Consumer) -> None:
        """Fetch, note and ack until the consumer is closed."""
        try:
            while True:
                for delivery in await consumer.fetch(100):
                    self.note(delivery)
                    delivery.ack()
        except Closed:
            return
        except Exception as error:  # noqa: BLE001 - raised by whoever waits
            self._error = error
            self._changed.set()

    async def reached(self, count: int) -> None:
        """Wait for so many different messages; raises what broke a pump."""
        while len(self._seen) < count:
            if self._error:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    async def complete(self) -> None:
        """Wait until everything expected has arrived."""
        await self.reached(len(self.expected))

    def missing(self) -> str:
        """What has not arrived yet, for an error's text."""
        absent = sorted(self.expected - self._seen.keys())
        return f"{len(absent)} of {len(self.expected)} messages, for example {absent[:5]}"

    def foreign(self) -> set[bytes]:
        """What arrived and was not expected."""
        return self._seen.keys() - self.expected

    def by_key(self) -> dict[bytes | None, list[bytes]]:
        """Per key, the bodies in the order of their first arrival."""
        return by_key(list(self._seen.values()))

    def owners(self) -> dict[bytes | None, set[TopicPartition]]:
        """Per key, the partitions it arrived from."""
        owners: dict[bytes | None, set[TopicPartition]] = {}
        for each in self.deliveries:
            owners.setdefault(each.message.key, set()).add(TopicPartition(each.message.topic, each.partition))
        return owners


def by_key(messages: Sequence[Message]) -> dict[bytes | None, list[bytes]]:
    """The messages' bodies per key, in their order."""
    keyed: dict[bytes | None, list[bytes]] = {}
    for message in messages:
        keyed.setdefault(message.key, []).append(message.body or b"")
    return keyed
