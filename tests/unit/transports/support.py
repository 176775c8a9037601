"""What the tests of log transports share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventwire.message import Message
from eventwire.transport import Consumer, Delivery, TopicSpec

ORDERS = TopicSpec("orders", partitions=4, ordered=True)
PAYMENTS = TopicSpec("payments")


def order(number: int, *, key: str | None = None, size: int = 10, spec: TopicSpec = ORDERS) -> Message:
    identity = f"id-{number}"
    return Message(
        spec.name, b"x" * size, (key or f"k{number}").encode(), (("n", b"%d" % number),), None, identity
    )


async def collect(consumer: Consumer, count: int, limit: int = 100) -> list[Delivery]:
    """Fetch until there are `count`."""
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await consumer.fetch(min(limit, count - len(found)))
    return found


async def nothing(consumer: Consumer, seconds: float = 0.05) -> bool:
    """Whether nothing comes for a while."""
    try:
        async with asyncio.timeout(seconds):
            await consumer.fetch(10)
    except TimeoutError:
        return True
    return False


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return when the condition holds."""
    for _ in range(int(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"did not happen within {seconds} s")


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]
