"""A process of test_sqlite_deaths: reads with many in hand, and kills itself over what is poison.

Usage: sqlite_victim.py URL TOPIC PARTITIONS LOG. Poison has a body that begins with `poison`; after three deaths it is
set aside. Each delivery is written down before it is acked. Ends when the group has settled everything.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from eventwire.transport import Delivery, DriverOptions, Subscription, TopicSpec
from eventwire.transports.sqlite import SqliteTransport
from eventwire.url import BrokerUrl

MAX_DEATHS = 3


async def main(url: str, topic: str, partitions: int, journal: Path) -> None:
    transport = SqliteTransport(BrokerUrl.parse(url), DriverOptions())
    await transport.connect()
    spec = TopicSpec(topic, partitions)
    consumer = await transport.subscribe(Subscription("g", (spec,), commit_interval=0.02, max_uncommitted=50))
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    handlers: set[asyncio.Task[None]] = set()
    ended = asyncio.create_task(until_settled(transport, spec))
    while not ended.done():
        fetching = asyncio.ensure_future(consumer.fetch(20))
        await asyncio.wait({fetching, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not fetching.done():
            fetching.cancel()
            break
        handlers |= {asyncio.create_task(handle(each, descriptor)) for each in fetching.result()}
        handlers = {task for task in handlers if not task.done()}
    await transport.close()


async def until_settled(transport: SqliteTransport, spec: TopicSpec) -> None:
    while await transport.lag(spec, "g"):  # noqa: ASYNC110 the file tells nobody
        await asyncio.sleep(0.02)


async def handle(delivery: Delivery, descriptor: int) -> None:
    body = (delivery.message.body or b"").decode()
    if body.startswith("poison") and delivery.deaths < MAX_DEATHS:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.002)  # others are handled meanwhile
    os.write(descriptor, f"{body} {delivery.deaths}\n".encode())
    delivery.ack()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
