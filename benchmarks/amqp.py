"""RabbitMQ: aio-pika by hand, with confirms and acks, and Eventwire."""

from __future__ import annotations

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

from benchmarks.events import ORDERS, Ours, in_batches
from benchmarks.measure import Row, compare
from eventwire import Bus
from shop.orders.v1.orders_pb2 import OrderPlaced
from tools import servers

QUEUE = "raw-orders"
PREFETCH = 200


class Raw:
    """The raw client: persistent messages, publisher confirms, a quorum queue, an ack for each message."""

    def __init__(self, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self._channel = channel
        self._exchange = exchange

    async def publish(self, count: int) -> None:
        """One by one, a hundred at once."""
        await in_batches(count, self._publish)

    async def _publish(self, order: OrderPlaced) -> None:
        message = aio_pika.Message(
            order.SerializeToString(),
            content_type="application/protobuf",
            headers={"type": "shop.orders.v1.OrderPlaced", "key": order.order_id},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._exchange.publish(message, QUEUE)

    async def consume(self, count: int) -> None:
        """What `publish` left in the queue."""
        done = asyncio.Event()
        left = count

        async def handle(message: AbstractIncomingMessage) -> None:
            nonlocal left
            OrderPlaced.FromString(message.body)
            await message.ack()
            left -= 1
            if not left:
                done.set()

        queue = await self._channel.get_queue(QUEUE)
        tag = await queue.consume(handle)
        await done.wait()
        await queue.cancel(tag)


async def measure(url: str, events: int, rounds: int) -> dict[str, list[Row]]:
    """All comparisons on one server. Each round leaves its queues empty."""
    connection = await aio_pika.connect(url)
    async with connection, Bus(url, declare=True) as bus:
        channel = await connection.channel()
        await channel.set_qos(PREFETCH)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await bus.declare(ORDERS, groups=["bench"])
        raw, ours = Raw(channel, channel.default_exchange), Ours(bus)

        async def consume(count: int) -> None:
            await ours.consume_as("bench", count)

        publishing = {"aio-pika": raw.publish, "eventwire": ours.publish}
        consuming = {"aio-pika": raw.consume, "eventwire": consume}
        return {
            "publish": await compare(publishing, events, rounds, after=consuming),
            "consume": await compare(consuming, events, rounds, before=publishing),
        }


def run(events: int, rounds: int) -> dict[str, list[Row]]:
    """Start a server and measure."""
    with servers.rabbitmq() as server:
        return asyncio.run(measure(server.url, events // 4, rounds))
