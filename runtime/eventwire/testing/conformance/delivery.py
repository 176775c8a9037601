"""What is published arrives: once, in its own topic, whoever reads and writes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle, islice

from eventwire.message import Message
from eventwire.testing.conformance.failure import Missing, equal, within
from eventwire.testing.conformance.harness import Stage, bodies, messages
from eventwire.testing.conformance.ledger import Ledger
from eventwire.testing.conformance.scenario import Scenario
from eventwire.transport import TopicSpec, Transport

_PATIENCE = (0.0, 0.001, 0.005, 0.02, 0.1)
"""Seconds after which fetches are cancelled, in turn: before, while and after messages arrive."""


async def basic_delivery(stage: Stage) -> None:
    """One reader gets every message once, and then nothing."""
    group = stage.group()
    topic = await stage.topic(group, partitions=4)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, stage.count(100, 20), keys=10)
    await stage.publish(topic, sent)
    seen = await stage.collect([consumer], sent)
    await stage.silent(consumer, "everything was acked")
    equal(sorted(seen.bodies), sorted(bodies(sent)), "what one reader got without any fault")


async def concurrent_publishers_and_subscribers(stage: Stage) -> None:
    """50 publishers and 50 members of one group, on two transports, share a topic."""
    group, members = stage.group(), stage.count(50, 3)
    topic = await stage.topic(group, partitions=members)
    transports = [stage.transport, await stage.connect()]
    consumers = await asyncio.gather(
        *(stage.subscribe(topic, group=group, transport=each) for each in islice(cycle(transports), members))
    )
    sent = messages(topic, stage.count(5000, 100), keys=members * 2)
    async with asyncio.TaskGroup() as tasks:
        for number, transport in enumerate(islice(cycle(transports), members)):
            tasks.create_task(_publish_singly(stage, transport, topic, sent[number::members]))
        await stage.collect(consumers, sent)


async def _publish_singly(
    stage: Stage, transport: Transport, topic: TopicSpec, mine: Sequence[Message]
) -> None:
    async with within(stage.harness.deadline, lambda: f"{len(mine)} publishes in a row"):
        for message in mine:
            receipt = await transport.publish(topic, message)
            equal((receipt.topic, receipt.id), (message.topic, message.id), "the receipt's topic and id")


async def twenty_topics_at_once(stage: Stage) -> None:
    """20 topics, a reader each, 100 messages each, all at the same time."""

    async def one_topic(number: int) -> None:
        group = stage.group()
        topic = await stage.topic(group)
        consumer = await stage.subscribe(topic, group=group)
        sent = messages(topic, stage.count(100, 10), label=f"topic{number}")
        await asyncio.gather(stage.publish(topic, sent), stage.collect([consumer], sent))

    async with asyncio.TaskGroup() as tasks:
        for number in range(stage.count(20, 4)):
            tasks.create_task(one_topic(number))


async def topics_do_not_mix(stage: Stage) -> None:
    """Two topics: separate readers get their own, a reader of both gets both, each under its topic's name."""
    alone, both = stage.group(), stage.group()
    left = await stage.topic(alone, both, partitions=2)
    right = await stage.topic(both)
    one = await stage.subscribe(left, group=alone)
    two = await stage.subscribe(left, right, group=both)
    to_left = messages(left, stage.count(50, 10), keys=5, label="left")
    to_right = messages(right, stage.count(50, 10), keys=5, label="right")
    await asyncio.gather(stage.publish(left, to_left), stage.publish(right, to_right))
    await stage.collect([one], to_left)
    seen = await stage.collect([two], [*to_left, *to_right])
    names = {delivery.message.body: delivery.message.topic for delivery in seen.deliveries}
    equal(names, {message.body: message.topic for message in [*to_left, *to_right]}, "the deliveries' topics")


async def cancelled_fetch_loses_nothing(stage: Stage) -> None:
    """Cancelling a fetch at any moment neither loses what it had nor breaks the consumer."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, stage.count(200, 40))
    publishing = asyncio.create_task(stage.publish(topic, sent))
    ledger = Ledger(sent)
    async with within(stage.harness.deadline, ledger.missing):
        for patience in cycle(_PATIENCE):
            try:
                async with asyncio.timeout(patience):
                    fetched = await consumer.fetch(3)
            except TimeoutError:
                continue
            for delivery in fetched:
                ledger.note(delivery)
                delivery.ack()
            if ledger.missing().startswith("0 "):
                break
    await publishing


async def waiting_fetch_gets_the_next_message(stage: Stage) -> None:
    """A fetch that waits is woken by a publish from another transport."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    other = await stage.connect()
    waiting = asyncio.create_task(stage.take(consumer, 1))
    await asyncio.wait({waiting}, timeout=stage.harness.quiet)
    if waiting.done():
        raise Missing(f"fetch did not wait for a message: {waiting.result()!r}")
    sent = messages(topic, 1)
    await stage.publish(topic, sent, other)
    equal(bodies(await waiting), bodies(sent), "what the waiting fetch got")


SCENARIOS = (
    Scenario(basic_delivery),
    Scenario(concurrent_publishers_and_subscribers, needs=("groups",)),
    Scenario(twenty_topics_at_once),
    Scenario(topics_do_not_mix),
    Scenario(cancelled_fetch_loses_nothing),
    Scenario(waiting_fetch_gets_the_next_message),
)
