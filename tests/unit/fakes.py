"""Deliveries without a broker."""

from __future__ import annotations

from collections.abc import Awaitable

from eventwire.message import Message


class FakeDelivery:
    """A delivery that remembers how it was settled."""

    def __init__(
        self, key: bytes | None = b"k", *, topic: str = "shop.v1", partition: int = 0, offset: int = 0
    ) -> None:
        self.message = Message(topic, b"", key)
        self.partition = partition
        self.offset: int | None = offset
        self.attempt = 1
        self.deaths = 0
        self.settled: str | None = None
        self.error: Exception | None = None

    def ack(self, error: Exception | None = None) -> None:
        assert self.settled is None
        self.settled, self.error = "acked", error

    def release(self) -> None:
        assert self.settled is None
        self.settled = "released"


class NoSleep:
    """Waits not at all, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def wait(self, awaited: Awaitable[object]) -> None:
        await awaited
