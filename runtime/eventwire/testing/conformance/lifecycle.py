"""Opening and closing, at any moment and more than once, loses nothing and ends in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from eventwire.errors import Closed, PublishError, PublishUnknown
from eventwire.message import Message, Receipt
from eventwire.testing.conformance.failure import Broken, equal, expect, within
from eventwire.testing.conformance.harness import Stage, bodies, messages
from eventwire.testing.conformance.ledger import Ledger
from eventwire.testing.conformance.scenario import Scenario

_CLOSE = 10.0
"""Seconds: twice what close() promises."""


async def nothing_is_lost_on_close(stage: Stage) -> None:
    """5,000 messages in five batches, a new consumer each time, closed with deliveries in hand: none is missing."""
    group = stage.group()
    topic = await stage.topic(group, partitions=2)
    batch, ledger = stage.count(1000, 40), Ledger(sent := messages(topic, stage.count(5000, 200), keys=20))
    for start in range(0, len(sent), batch):
        await stage.publish(topic, sent[start : start + batch])
        consumer = await stage.subscribe(topic, group=group)
        taken = await stage.take(consumer, batch)
        for delivery in taken[: batch - batch // 4]:
            ledger.note(delivery)
            delivery.ack()
        await stage.bounded(consumer.close, "close() of a consumer")
    last = await stage.subscribe(topic, group=group)
    async with stage.reading(ledger, last), within(stage.harness.deadline, ledger.missing):
        await ledger.complete()


async def consumers_close_at_once(stage: Stage) -> None:
    """10 consumers are closed at the same time; one opened after them gets all 50 messages."""
    group = stage.group()
    topic = await stage.topic(group, partitions=2)
    consumers = await asyncio.gather(
        *(stage.subscribe(topic, group=group) for _ in range(stage.count(10, 3)))
    )
    closes = (consumer.close() for consumer in consumers)
    async with within(stage.harness.deadline, lambda: "close() of all consumers at once"):
        await asyncio.gather(*closes)
    sent = messages(topic, 50, keys=10)
    await stage.publish(topic, sent)
    await stage.collect([await stage.subscribe(topic, group=group)], sent)


async def close_flushes_publishers(stage: Stage) -> None:
    """close() under 20 publishers: what was begun before it is confirmed, all that is confirmed is there, no more."""
    group = stage.group()
    topic = await stage.topic(group, partitions=4)
    doomed, publishers = await stage.connect(), 20
    sent = messages(topic, stage.count(10_000, 200), keys=publishers)
    await stage.publish(topic, warm := messages(topic, 1, label="warm"), doomed)
    begun = [asyncio.create_task(doomed.publish(topic, each)) for each in sent]
    await asyncio.sleep(0)  # every publish has begun
    closing = asyncio.create_task(doomed.close())
    late = messages(topic, 20, label="late")
    racing = [asyncio.create_task(_outcome(doomed.publish(topic, each))) for each in late]
    async with within(stage.harness.deadline, lambda: "the outcome of every publish under close()"):
        receipts = await asyncio.gather(*begun)
        outcomes = await asyncio.gather(*racing)
        await closing
    equal([each.id for each in receipts], [each.id for each in sent], "the ids of what close() had to flush")
    fates = list(zip(late, outcomes, strict=True))
    written = [message for message, fate in fates if isinstance(fate, Receipt)]
    unknown = [message for message, fate in fates if isinstance(fate, PublishUnknown)]
    reader = await stage.subscribe(topic, group=group)
    await stage.collect([reader], [*warm, *sent, *written], maybe=unknown)


async def _outcome(publishing: Awaitable[Receipt]) -> Receipt | PublishError | Closed:
    try:
        return await publishing
    except (PublishError, Closed) as error:
        return error


async def closed_transport_says_so(stage: Stage) -> None:
    """After close(): publish and subscribe raise Closed, publish_many writes nothing."""
    group = stage.group()
    topic = await stage.topic(group)
    closed = await stage.connect()
    await stage.bounded(closed.close, "close() of the transport")
    await _raises_closed(lambda: closed.publish(topic, messages(topic, 1)[0]), "publish()")
    await _raises_closed(lambda: stage.subscribe(topic, group=group, transport=closed), "subscribe()")
    await _nothing_written(lambda: closed.publish_many(topic, messages(topic, 2)))


async def _raises_closed(call: Callable[[], Awaitable[object]], what: str) -> None:
    try:
        result = await call()
    except Closed:
        return
    raise Broken(f"{what} after close() gave {result!r} instead of Closed")


async def _nothing_written(call: Callable[[], Awaitable[Sequence[Receipt | PublishError]]]) -> None:
    try:
        outcomes = await call()
    except Closed:
        return
    expect(
        not any(isinstance(each, Receipt) for each in outcomes),
        f"publish_many() after close() gave {outcomes}",
    )


async def close_is_idempotent_and_bounded(stage: Stage) -> None:
    """close() ends in time: several at once, again, with a consumer that reads, and without a connection."""
    group = stage.group()
    topic = await stage.topic(group)
    transport = await stage.connect()
    await stage.subscribe(topic, group=group, transport=transport)
    unused = stage.harness.transport()
    async with within(_CLOSE, lambda: "close() of the transport"):
        await asyncio.gather(transport.close(), transport.close(), transport.close())
        await transport.close()
        await unused.close()


async def close_ends_a_waiting_fetch(stage: Stage) -> None:
    """A consumer's close() makes its waiting fetch, and every later one, raise Closed; closing again is harmless."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    waiting = asyncio.create_task(consumer.fetch(1))
    await asyncio.wait({waiting}, timeout=stage.harness.quiet)
    async with within(
        stage.harness.deadline, lambda: "close() of a consumer whose fetch waits, and Closed from that"
    ):
        await consumer.close()
        await _raises_closed(lambda: waiting, "a waiting fetch()")
        await _raises_closed(lambda: consumer.fetch(1), "fetch()")
        await consumer.close()


async def confirmed_outlives_the_publisher(stage: Stage) -> None:
    """What a closed transport had confirmed is read by another one."""
    group = stage.group()
    topic = await stage.topic(group)
    writer = await stage.connect()
    sent: list[Message] = messages(topic, 20)
    await stage.publish(topic, sent, writer)
    await stage.bounded(writer.close, "close() of the transport")
    consumer = await stage.subscribe(topic, group=group)
    equal(
        bodies(await stage.take(consumer, len(sent))), bodies(sent), "what the closed publisher had confirmed"
    )


SCENARIOS = (
    Scenario(nothing_is_lost_on_close, needs=("ack",)),
    Scenario(consumers_close_at_once, needs=("ack",)),
    Scenario(close_flushes_publishers, needs=("ack", "confirms")),
    Scenario(confirmed_outlives_the_publisher, needs=("ack", "confirms")),
    Scenario(closed_transport_says_so, delivers=False),
    Scenario(close_is_idempotent_and_bounded, delivers=False),
    Scenario(close_ends_a_waiting_fetch, delivers=False),
)
