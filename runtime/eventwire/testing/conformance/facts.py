"""What a transport tells of itself: that the broker answers, what is unsettled, how a member is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventwire.errors import BrokerError, Closed, TopicMissing
from eventwire.testing.conformance.failure import Broken, equal, expect, within
from eventwire.testing.conformance.harness import Stage, messages
from eventwire.testing.conformance.scenario import Scenario
from eventwire.transport import Consumer, TopicSpec, Transport

_PAUSE = 0.02
"""Seconds between two looks at what a broker may tell late."""


async def ping_answers(stage: Stage) -> None:
    """ping() returns while the broker is there, several times and at once; after close() it raises Closed."""
    transport = await stage.connect()
    await stage.bounded(lambda: asyncio.gather(*(transport.ping() for _ in range(5))), "ping()")
    await stage.bounded(transport.close, "close() of the transport")
    try:
        await transport.ping()
    except (Closed, BrokerError):
        return
    raise Broken("ping() after close() returned")


async def lag_counts_what_is_not_settled(stage: Stage) -> None:
    """A group that read nothing lacks everything; one that acked four of ten and left lacks six; in the end none."""
    ahead, behind = stage.group(), stage.group()
    topic = await stage.topic(ahead, behind, partitions=2)
    sent = messages(topic, 10, keys=1)
    await stage.publish(topic, sent)
    await _lag(stage, topic, behind, 10)
    consumer = await stage.subscribe(topic, group=ahead)
    for delivery in (await stage.take(consumer, 10))[:4]:
        delivery.ack()
    await stage.bounded(consumer.close, "close() of a consumer")
    await _lag(stage, topic, ahead, 6, await stage.connect())
    await stage.collect([again := await stage.subscribe(topic, group=ahead)], sent[4:])
    await stage.bounded(again.flush, "flush()")
    await _lag(stage, topic, ahead, 0)
    await _lag(stage, topic, behind, 10)


async def lag_counts_queue_topics(stage: Stage) -> None:
    """Of a queue topic (dead letters) that nobody has read, everything is unsettled, and nothing once it is acked."""
    topic, group = await stage.topic(queue=True), stage.group()
    await _lag(stage, topic, group, 0)
    sent = messages(topic, 5)
    await stage.publish(topic, sent)
    await _lag(stage, topic, group, 5)
    consumer = await stage.subscribe(topic, group=group)
    await stage.collect([consumer], sent)
    await stage.bounded(consumer.flush, "flush()")
    await _lag(stage, topic, group, 0)


async def lag_of_a_missing_topic(stage: Stage) -> None:
    """lag() of a topic that was never declared raises TopicMissing, or is 0 where topics come by themselves."""
    topic, group = stage.spec(), stage.group()
    try:
        async with within(stage.harness.deadline, lambda: "lag()"):
            equal(await stage.transport.lag(topic, group), 0, "the lag of a topic that was never declared")
    except TopicMissing:
        return


async def health_says_connected(stage: Stage) -> None:
    """A member that reads is connected and heard from, and has no trouble; once closed it is not connected."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 5)
    await stage.publish(topic, sent)
    taken = await stage.take(consumer, 5)
    reading = asyncio.create_task(consumer.fetch(1))
    try:
        await _until(stage, lambda: _well(consumer), lambda: f"a healthy member; it says {consumer.health()}")
        await _until(
            stage,
            lambda: consumer.health().lag in {None, 5},
            lambda: f"health().lag 5; it says {consumer.health()}",
        )
        for delivery in taken:
            delivery.ack()
        await _until(
            stage,
            lambda: consumer.health().lag in {None, 0},
            lambda: f"health().lag 0 after acks; it says {consumer.health()}",
        )
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await stage.bounded(consumer.close, "close() of a consumer")
    expect(not consumer.health().connected, f"a closed consumer says {consumer.health()}")


def _well(consumer: Consumer) -> bool:
    health = consumer.health()
    return health.connected and health.heartbeat is not None and health.trouble is None


async def _lag(
    stage: Stage, topic: TopicSpec, group: str, wanted: int, transport: Transport | None = None
) -> None:
    """The broker may count late: it has until the deadline."""
    found = -1
    async with within(stage.harness.deadline, lambda: f"a lag of {wanted}; it says {found}"):
        while (found := await (transport or stage.transport).lag(topic, group)) != wanted:  # noqa: ASYNC110 no broker tells when
            await asyncio.sleep(_PAUSE)


async def _until(stage: Stage, condition: Callable[[], bool], what: Callable[[], str]) -> None:
    async with within(stage.harness.deadline, what):
        while not condition():  # noqa: ASYNC110 no member tells when
            await asyncio.sleep(_PAUSE)


SCENARIOS = (
    Scenario(ping_answers, delivers=False),
    Scenario(lag_counts_what_is_not_settled, needs=("ack", "groups", "ordering")),
    Scenario(lag_counts_queue_topics, needs=("ack",)),
    Scenario(lag_of_a_missing_topic, delivers=False),
    Scenario(health_says_connected),
)
