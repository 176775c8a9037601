"""A process of test_amqp_deaths: a member that handles what it fetched in order, as a worker would.

Usage: amqp_member.py URL TOPIC PARTITIONS ORDERED JOURNAL SECONDS POISON

Writes `id deaths` to the journal before it handles a message, for SECONDS; kills itself on the id POISON until three
processes died of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.amqp import AmqpTransport
from eventwire.url import BrokerUrl

MOST_DEATHS = 3


async def main(url: str, spec: TopicSpec, journal: str, seconds: float, poison: str) -> None:
    transport = AmqpTransport(BrokerUrl.parse(url), DriverOptions())
    consumer = await transport.subscribe(Subscription("g", (spec,), commit_interval=0.02))
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        for delivery in await consumer.fetch(500):
            os.write(descriptor, f"{delivery.message.id} {delivery.deaths}\n".encode())
            if delivery.message.id == poison and delivery.deaths < MOST_DEATHS:
                await consumer.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(seconds)
            delivery.ack()


if __name__ == "__main__":
    topic = TopicSpec(sys.argv[2], partitions=int(sys.argv[3]), ordered=sys.argv[4] == "True")
    asyncio.run(main(sys.argv[1], topic, sys.argv[5], float(sys.argv[6]), sys.argv[7]))
