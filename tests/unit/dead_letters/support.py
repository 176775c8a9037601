"""What the tests of dead letters share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventwire.message import Message
from eventwire.transport import Delivery, Subscription, TopicSpec, Transport

SOURCE = TopicSpec("t", partitions=2, ordered=True)
DEAD = TopicSpec("t.g.dead", queue=True)
RETRY = TopicSpec("t.g.retry", queue=True)


def letter(
    number: int, *, kind: str = "a.v1.A", error: str = "ValueError", key: str = "k", **headers: str
) -> Message:
    """A dead letter as the dead letter middleware writes it."""
    said = {
        "topic": "t",
        "group": "g",
        "partition": "1",
        "offset": str(number),
        "attempts": "3",
        "error": error,
        "reason": f"no {number}",
        "time": f"2026-01-01T00:00:{number % 60:02}.000000Z",
        **headers,
    }
    dead = tuple((f"eventwire_dead_{name}", value.encode()) for name, value in said.items())
    own = (("ce_type", kind.encode()), ("tenant", b"\xff\x00"))
    return Message(
        DEAD.name, b"body %d" % number, key.encode(), own + dead, "application/protobuf", f"id-{number}"
    )


async def put(transport: Transport, letters: Sequence[Message]) -> None:
    """Publish them as dead letters."""
    await transport.declare([SOURCE, DEAD, RETRY], ["g"])
    await transport.publish_many(DEAD, letters)


async def taken(transport: Transport, topic: TopicSpec, group: str = "g") -> list[Message]:
    """Read and settle everything that stands in a topic."""
    count = await transport.lag(topic, group)
    if not count:
        return []
    consumer = await transport.subscribe(Subscription(group, (topic,)))
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            batch = await consumer.fetch(count - len(found))
            for delivery in batch:
                delivery.ack()
            found += batch
    await consumer.close()
    return [delivery.message for delivery in found]
