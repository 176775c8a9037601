"""The server goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventwire.errors import BrokerError, PublishError
from eventwire.message import Message
from eventwire.testing.conformance.failure import within
from eventwire.testing.conformance.harness import Stage, messages
from eventwire.testing.conformance.ledger import Ledger
from eventwire.testing.conformance.scenario import Scenario
from eventwire.transport import Consumer, TopicSpec

_PUBLISH_TIMEOUT = 10.0
_PAUSE = 0.2
_ATTEMPTS = 100


async def restarts_lose_nothing(stage: Stage) -> None:
    """10,000 messages of 100 publishers, the server restarted at 1/3 and at 1/2: every one arrives."""
    group, restart = stage.group(), stage.harness.restart
    assert restart is not None  # noqa: S101 - Scenario.restarts
    topic = await stage.topic(group, partitions=4)
    sent = messages(topic, stage.count(10_000, 600), keys=40)
    third, half = len(sent) // 3, len(sent) // 2
    ledger = Ledger(sent)
    reader = asyncio.create_task(_read_on(stage, topic, group, ledger))
    try:
        async with within(stage.harness.deadline * 4, lambda: f"two restarts; {ledger.missing()}"):
            await _publish_all(stage, topic, sent[:third])
            await asyncio.gather(asyncio.to_thread(restart), _publish_all(stage, topic, sent[third:half]))
            await asyncio.gather(asyncio.to_thread(restart), _publish_all(stage, topic, sent[half:]))
            await ledger.complete()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _publish_all(stage: Stage, topic: TopicSpec, batch: Sequence[Message]) -> None:
    publishers = stage.count(100, 10)
    mine = (batch[number::publishers] for number in range(publishers))
    await asyncio.gather(*(_publish_in_turn(stage, topic, each) for each in mine))


async def _publish_in_turn(stage: Stage, topic: TopicSpec, mine: Sequence[Message]) -> None:
    for message in mine:
        for attempt in range(_ATTEMPTS):
            if await _published(stage, topic, message):
                break
            await asyncio.sleep(_PAUSE * attempt)


async def _published(stage: Stage, topic: TopicSpec, message: Message) -> bool:
    try:
        async with asyncio.timeout(_PUBLISH_TIMEOUT):
            await stage.transport.publish(topic, message)
    except (PublishError, BrokerError, TimeoutError):
        return False
    return True


async def _read_on(stage: Stage, topic: TopicSpec, group: str, ledger: Ledger) -> None:
    """Read, and subscribe again whenever the consumer says that it cannot go on by itself."""
    while True:
        consumer = await _subscribed(stage, topic, group)
        try:
            while True:
                for delivery in await consumer.fetch(100):
                    ledger.note(delivery)
                    delivery.ack()
        except BrokerError:
            await consumer.close()


async def _subscribed(stage: Stage, topic: TopicSpec, group: str) -> Consumer:
    while True:
        try:
            return await stage.subscribe(topic, group=group)
        except BrokerError:
            await asyncio.sleep(_PAUSE)


SCENARIOS = (Scenario(restarts_lose_nothing, needs=("durable", "ack"), restarts=True),)
