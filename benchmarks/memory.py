"""In one process: an asyncio.Queue by hand, and Eventwire on memory://."""

from __future__ import annotations

import asyncio

from benchmarks.events import ORDERS, Ours, orders
from benchmarks.measure import Row, compare
from eventwire import Bus
from shop.orders.v1.orders_pb2 import OrderPlaced


class Raw:
    """A queue of encoded events: no groups, no order per key, no ack, nothing kept."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def publish(self, count: int) -> None:
        """Encode and put."""
        for order in orders(count):
            await self._queue.put(order.SerializeToString())

    async def consume(self, count: int) -> None:
        """Get and parse."""
        for _ in range(count):
            OrderPlaced.FromString(await self._queue.get())


async def measure(events: int, rounds: int) -> dict[str, list[Row]]:
    """All comparisons."""
    async with Bus("memory://?max_bytes=1000000000") as bus:
        await bus.declare(ORDERS)
        raw, ours = Raw(), Ours(bus)
        return {
            "publish": await compare(
                {"asyncio.Queue": raw.publish, "eventwire": ours.publish_many}, events, rounds
            ),
            "consume": await compare(
                {"asyncio.Queue": raw.consume, "eventwire": ours.consume}, events, rounds
            ),
        }


def run(events: int, rounds: int) -> dict[str, list[Row]]:
    """Measure."""
    return asyncio.run(measure(events, rounds))
