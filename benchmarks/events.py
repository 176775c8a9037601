"""The event that is measured: an order with five lines, about 220 bytes, and handlers that do nothing with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache

from typing_extensions import override

from eventwire import Bus, Context, Worker
from shop.orders.v1.orders_eventwire import ORDERS, OrdersHandler, OrdersPublisher
from shop.orders.v1.orders_pb2 import OrderPlaced

AT_ONCE = 100
"""How many publishes are awaited at once where events are published one by one."""


@cache
def orders(count: int) -> list[OrderPlaced]:
    """So many orders over a thousand keys; made once, so that making them is not measured."""
    return [_order(number) for number in range(count)]


def _order(number: int) -> OrderPlaced:
    lines = [
        OrderPlaced.Line(
            sku=f"ARTICLE-{number % 97:04d}-{line}-BLUE-XL", quantity=line + 1, unit_price_cents=1999 + line
        )
        for line in range(5)
    ]
    return OrderPlaced(
        order_id=f"ORD-{number % 1000:06d}", total_cents=9990, email="ada@example.com", lines=lines
    )


class Counting(OrdersHandler):
    """Tells when it has seen so many."""

    def __init__(self, count: int) -> None:
        self.done = asyncio.Event()
        self._left = count

    @override
    async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()


class Ours:
    """Eventwire on one broker."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._publisher = OrdersPublisher(bus)
        self._groups = 0

    async def publish(self, count: int) -> None:
        """One by one, a hundred at once."""
        events = orders(count)
        for at in range(0, count, AT_ONCE):
            await asyncio.gather(*map(self._publisher.publish, events[at : at + AT_ONCE]))

    async def publish_many(self, count: int) -> None:
        """As a batch."""
        receipt = await self._publisher.publish_many(orders(count))
        if not receipt.ok:
            raise receipt.failures[0]

    async def consume(self, count: int) -> None:
        """Everything from the beginning, as a new group."""
        self._groups += 1
        await self.consume_as(f"bench-{self._groups}", count)

    async def consume_as(self, group: str, count: int) -> None:
        """So many events as that group."""
        handler = Counting(count)
        async with Worker(self._bus, handler, group=group):
            await handler.done.wait()


async def in_batches(count: int, publish: Callable[[OrderPlaced], Awaitable[None]]) -> None:
    """Call an async `publish` for so many orders, a hundred at once."""
    events = orders(count)
    for at in range(0, count, AT_ONCE):
        await asyncio.gather(*map(publish, events[at : at + AT_ONCE]))


__all__ = ["AT_ONCE", "ORDERS", "Counting", "Ours", "in_batches", "orders"]
