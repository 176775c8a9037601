"""A process of test_kafka_deaths: reads as one member, writes each delivery down, handles it, then acks it.

Usage: kafka_member.py URL TOPIC PARTITIONS JOURNAL POISON ATTEMPTS

What it handles of the numbers in POISON kills it, unless so many processes died of it already: then it is set aside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.assignment import KafkaDelivery
from eventwire.url import BrokerUrl

MAX_UNCOMMITTED = 20


def handle(delivery: KafkaDelivery, journal: int, poison: frozenset[int], attempts: int) -> None:
    number = int(delivery.message.body or b"")
    deadly = number in poison and delivery.deaths < attempts
    outcome = "killed" if deadly else "dropped" if number in poison else "handled"
    os.write(journal, f"{number} {delivery.deaths} {outcome}\n".encode())
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    delivery.ack()


async def main(url: str, spec: TopicSpec, journal: Path, poison: frozenset[int], attempts: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    transport = KafkaTransport(BrokerUrl.parse(url), DriverOptions())
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    consumer = await transport.subscribe(
        Subscription(spec.name, (spec,), commit_interval=0.05, max_uncommitted=MAX_UNCOMMITTED)
    )
    ending = asyncio.create_task(stop.wait())
    while not stop.is_set():
        fetching = asyncio.create_task(consumer.fetch(50))
        await asyncio.wait([fetching, ending], return_when=asyncio.FIRST_COMPLETED)
        if fetching.done():
            for delivery in fetching.result():
                handle(delivery, descriptor, poison, attempts)
                await asyncio.sleep(0.0005)
        else:
            fetching.cancel()
    await consumer.close()
    await transport.close()


if __name__ == "__main__":
    url, topic, partitions, journal, poison, attempts = sys.argv[1:]
    numbers = frozenset(int(number) for number in poison.split(",") if number)
    asyncio.run(main(url, TopicSpec(topic, int(partitions)), Path(journal), numbers, int(attempts)))
