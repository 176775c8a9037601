"""Kafka: aiokafka by hand, as its documentation has it for throughput, and Eventwire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.events import ORDERS, Ours, in_batches, orders
from benchmarks.measure import Row, compare
from eventwire import Bus
from eventwire.route import spec_of
from shop.orders.v1.orders_pb2 import OrderPlaced
from tools import servers

RAW = replace(spec_of(ORDERS), name="raw-orders")
"""A topic of the raw client's own, declared alike."""
HEADERS = [("content-type", b"application/protobuf"), ("type", b"shop.orders.v1.OrderPlaced")]


class Raw:
    """The raw client, with the same promises: all acks, idempotent, 256 KiB batches."""

    def __init__(self, address: str, producer: AIOKafkaProducer) -> None:
        self._address = address
        self._producer = producer
        self._groups = 0

    async def _send_and_wait(self, order: OrderPlaced) -> None:
        await self._producer.send_and_wait(
            RAW.name, order.SerializeToString(), key=order.order_id.encode(), headers=HEADERS
        )

    async def publish(self, count: int) -> None:
        """One by one, a hundred at once."""
        await in_batches(count, self._send_and_wait)

    async def publish_many(self, count: int) -> None:
        """Send all, then wait for all."""
        sent = [
            await self._producer.send(
                RAW.name, order.SerializeToString(), key=order.order_id.encode(), headers=HEADERS
            )
            for order in orders(count)
        ]
        await asyncio.gather(*sent)

    async def consume(self, count: int) -> None:
        """Everything from the beginning, a commit for each batch."""
        self._groups += 1
        consumer = AIOKafkaConsumer(
            RAW.name,
            bootstrap_servers=self._address,
            group_id=f"raw-{self._groups}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            while count > 0:
                for records in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
                    for record in records:
                        await _handle(OrderPlaced.FromString(record.value or b""))
                    count -= len(records)
                await consumer.commit()
        finally:
            await consumer.stop()


async def _handle(_: OrderPlaced) -> None:
    """What an application would do."""


@asynccontextmanager
async def _raw(address: str) -> AsyncGenerator[Raw]:
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", enable_idempotence=True, max_batch_size=256 * 1024
    )
    await producer.start()
    try:
        yield Raw(address, producer)
    finally:
        await producer.stop()


async def measure(url: str, events: int, rounds: int) -> dict[str, list[Row]]:
    """All comparisons on one server."""
    address = url.removeprefix("kafka://")
    async with Bus(url, declare=True) as bus:
        await bus.declare(ORDERS)
        await bus.transport(ORDERS).declare([RAW], [])
        async with _raw(address) as raw:
            ours = Ours(bus)
            return {
                "publish": await compare(
                    {"aiokafka": raw.publish, "eventwire": ours.publish}, events, rounds
                ),
                "publish_many": await compare(
                    {"aiokafka": raw.publish_many, "eventwire": ours.publish_many}, events, rounds
                ),
                "consume": await compare(
                    {"aiokafka": raw.consume, "eventwire": ours.consume}, events, rounds
                ),
            }


def run(events: int, rounds: int) -> dict[str, list[Row]]:
    """Start a server and measure."""
    with servers.kafka() as server:
        return asyncio.run(measure(server.url, events, rounds))
