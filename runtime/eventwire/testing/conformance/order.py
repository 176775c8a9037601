"""Order per key: one key, one partition, one member at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress

from eventwire.message import Message
from eventwire.partition import partition_of
from eventwire.testing.conformance.failure import equal, expect, within
from eventwire.testing.conformance.harness import Stage, messages
from eventwire.testing.conformance.ledger import Ledger, by_key
from eventwire.testing.conformance.scenario import Scenario
from eventwire.transport import TopicPartition, TopicSpec

_KEYS = (b"42", b"order-1", "Größe-ключ".encode(), b"\x00\xff\x80", b"k" * 200, b" ")


async def order_per_key(stage: Stage) -> None:
    """1,000 messages over 20 keys, published as batches and singly: each key arrives in its order."""
    group = stage.group()
    topic = await stage.topic(group, partitions=4)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, stage.count(1000, 100), keys=20)
    half = len(sent) // 2
    await stage.publish(topic, sent[:half])
    async with within(stage.harness.deadline, lambda: "single publishes, started in order"):
        await asyncio.gather(*(stage.transport.publish(topic, message) for message in sent[half:]))
    seen = await stage.collect([consumer], sent)
    equal(seen.by_key(), by_key(sent), "the order per key")


async def keys_have_javas_partitions(stage: Stage) -> None:
    """Partition = Java's murmur2 of the key, for every publisher and every reader."""
    group, partitions = stage.group(), 7
    topic = await stage.topic(group, partitions=partitions)
    sent = [Message(topic.name, f"{n}".encode(), key, id=str(n)) for n, key in enumerate(_KEYS * 2)]
    other = await stage.connect()
    receipts = await stage.publish(topic, sent[: len(_KEYS)])
    receipts += await stage.publish(topic, sent[len(_KEYS) :], other)
    for message, receipt in zip(sent, receipts, strict=True):
        wanted = partition_of(message.key or b"", partitions)
        expect(
            receipt.partition in {None, wanted},
            f"{message.key!r} was written to {receipt.partition}, not {wanted}",
        )
    consumers = [
        await stage.subscribe(topic, group=group, transport=each) for each in (stage.transport, other)
    ]
    seen = await stage.collect(consumers, sent)
    wanted_owners = {key: {TopicPartition(topic.name, partition_of(key, partitions))} for key in _KEYS}
    equal(seen.owners(), wanted_owners, "the partitions that keys were read from")


async def order_survives_members_joining_and_leaving(stage: Stage) -> None:
    """While one member joins and another leaves, no key's message is seen before its predecessor."""
    group = stage.group()
    topic = await stage.topic(group, partitions=4)
    sent = messages(topic, stage.count(800, 160), keys=8)
    ledger, other = Ledger(sent), await stage.connect()
    first = await stage.subscribe(topic, group=group)
    async with within(stage.harness.deadline * 2, ledger.missing), asyncio.TaskGroup() as tasks:
        tasks.create_task(_publish_slowly(stage, topic, sent, ledger))
        tasks.create_task(ledger.pump(first))
        await ledger.reached(len(sent) // 3)
        second = await stage.subscribe(topic, group=group, transport=other)
        pump = tasks.create_task(ledger.pump(second))
        await ledger.reached(2 * len(sent) // 3)
        await first.close()
        await ledger.complete()
        pump.cancel()
    equal(ledger.by_key(), by_key(sent), "the order per key across members")


async def _publish_slowly(stage: Stage, topic: TopicSpec, sent: Sequence[Message], ledger: Ledger) -> None:
    """In step with the readers, so that members come and go while messages flow."""
    for start in range(0, len(sent), 40):
        await ledger.reached(max(0, start - 40))
        await stage.publish(topic, sent[start : start + 40])


async def revoke_is_awaited(stage: Stage) -> None:
    """While a holder's `on_revoke` runs, nobody gets what it gives up; then its unsettled messages come again."""
    group = stage.group()
    topic = await stage.topic(group, partitions=2)
    sent, given_up = messages(topic, 20, keys=10), set[TopicPartition]()
    asked, may_go = asyncio.Event(), asyncio.Event()

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        given_up.update(partitions)
        asked.set()
        await may_go.wait()

    holder = await stage.subscribe(topic, group=group, on_revoke=on_revoke)
    await stage.publish(topic, sent)
    await stage.take(holder, len(sent))
    heir = await stage.subscribe(topic, group=group, transport=await stage.connect())
    ledger = Ledger(sent)
    async with stage.reading(ledger, holder, heir):
        try:
            await _moment(asked, stage.harness.deadline / 10)
            await _moment(may_go, stage.harness.quiet)
            early = {TopicPartition(each.message.topic, each.partition) for each in ledger.deliveries}
            expect(
                not early,
                f"{early} changed hands before on_revoke returned (asked for: {given_up or 'nothing'})",
            )
        finally:
            may_go.set()
        await stage.bounded(holder.close, "close() of the holder")
        async with within(stage.harness.deadline, ledger.missing):
            await ledger.complete()


async def _moment(event: asyncio.Event, seconds: float) -> None:
    """Until the event, at most so long: brokers that never move a partition to a newcomer do not ask."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


SCENARIOS = (
    Scenario(order_per_key, needs=("ordering",)),
    Scenario(keys_have_javas_partitions, needs=("ordering",)),
    Scenario(order_survives_members_joining_and_leaving, needs=("ordering", "groups", "ack")),
    Scenario(revoke_is_awaited, needs=("ordering", "groups", "ack")),
)
