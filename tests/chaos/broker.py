"""What a broker has at the end of a fault run: its lag, its dead letters, its committed positions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from eventwire.links import make_transport
from eventwire.message import Message
from eventwire.transport import Delivery, DriverOptions, Subscription, TopicSpec, Transport
from tests.chaos.scene import Scene

_LOOK = 0.1
_QUIET = 0.5


@asynccontextmanager
async def transport_of(url: str) -> AsyncGenerator[Transport]:
    """A connected transport of its own."""
    transport = make_transport(url, DriverOptions())
    await transport.connect()
    try:
        yield transport
    finally:
        await transport.close()


async def settled(scene: Scene, transport: Transport, within: float = 30.0) -> None:
    """Wait until the group has settled everything. Raises AssertionError with what is left."""
    left = -1
    try:
        async with asyncio.timeout(within):
            while left := await transport.lag(scene.spec, scene.group):  # noqa: ASYNC110 - the broker decides
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise AssertionError(
            f"lag: {left} messages not settled {within:g} s after the last was handled"
        ) from None


async def dead_letters(scene: Scene, transport: Transport, within: float = 60.0) -> list[Message]:
    """Everything in the group's dead letter, as the broker has it."""
    return [delivery.message for delivery in await drained(scene.dead, transport, within)]


async def drained(spec: TopicSpec, transport: Transport, within: float = 60.0) -> list[Delivery]:
    """Read a queue topic to its end."""
    found: list[Delivery] = []
    async with asyncio.timeout(within):
        consumer = await transport.subscribe(Subscription("oracle", (spec,), commit_interval=0.05))
        try:
            while True:
                try:
                    async with asyncio.timeout(_QUIET):
                        fetched = await consumer.fetch(500)
                except TimeoutError:
                    if not await transport.lag(spec, "oracle"):
                        break
                    continue
                found.extend(fetched)
                for delivery in fetched:
                    delivery.ack()
                await consumer.flush()
        finally:
            await consumer.close()
    return found
