"""A process of test_sqlite_processes: reads as one member, writes each delivery down, then acks it.

Usage: sqlite_member.py URL TOPIC PARTITIONS LOG NAME
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from eventwire.log import HeldPartition, LogDelivery
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.sqlite import SqliteTransport
from eventwire.url import BrokerUrl


async def main(url: str, topic: str, partitions: int, journal: Path, name: str) -> None:
    transport = SqliteTransport(BrokerUrl.parse(url), DriverOptions())
    await transport.connect()
    spec = TopicSpec(topic, partitions)
    await transport.declare([spec], [])
    consumer = await transport.subscribe(Subscription("g", (spec,), commit_interval=0.02))
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assignments: list[HeldPartition] = []
    while True:
        for delivery in await consumer.fetch(20):
            os.write(descriptor, line(delivery, name, assignments).encode())
            delivery.ack()
            await asyncio.sleep(0.0005)


def line(delivery: LogDelivery, name: str, assignments: list[HeldPartition]) -> str:
    held = delivery.held
    assert held is not None
    if held not in assignments:
        assignments.append(held)
    owner = f"{name}.{assignments.index(held)}"
    return f"{owner} {delivery.partition} {delivery.offset} {delivery.attempt} {delivery.message.id}\n"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]))
