"""Declaring topics, and what happens to those that were not declared, or otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from eventwire.errors import EventwireError, PublishFailed, TopicMismatch, TopicMissing, Unroutable
from eventwire.testing.conformance.failure import Broken, equal, expect, within
from eventwire.testing.conformance.harness import Stage, messages
from eventwire.testing.conformance.scenario import Scenario


async def declare_is_idempotent(stage: Stage) -> None:
    """Two transports declare the same topics at once, several times: no error, and nothing published is lost."""
    group = stage.group()
    specs = [stage.spec(partitions=3), stage.spec(queue=True)]
    other = await stage.connect()
    async with within(stage.harness.deadline, lambda: "concurrent declare()"):
        await asyncio.gather(*(each.declare(specs, [group]) for each in [stage.transport, other] * 3))
    sent = messages(specs[0], 10, keys=5)
    await stage.publish(specs[0], sent)
    await stage.bounded(lambda: other.declare(specs, [group, stage.group()]), "declare()")
    await stage.bounded(lambda: other.check(specs, [group]), "check()")
    if not stage.features.vacuous:
        await stage.collect([await stage.subscribe(specs[0], group=group)], sent)


async def undeclared_topics_are_missing_or_work(stage: Stage) -> None:
    """A broker that wants topics declared names each missing one and refuses its use; another one just carries them."""
    group, gone, also_gone = stage.group(), stage.spec(), stage.spec()
    there = await stage.topic(group)
    try:
        await stage.transport.check([gone, there, also_gone], [group])
    except TopicMissing as refusal:
        named = [topic.name in str(refusal) for topic in (gone, also_gone, there)]
        equal(
            named, [True, True, False], f"whether {refusal!r} names the topics that are missing, and no other"
        )
        await _refused(lambda: stage.subscribe(gone, group=group), TopicMissing)
        await _refused(
            lambda: stage.transport.publish(gone, messages(gone, 1)[0]), TopicMissing, PublishFailed
        )
        await _refused(lambda: stage.transport.check([gone], [group]), TopicMissing)
        return
    sent = messages(gone, 10)
    await stage.publish(gone, sent)
    await stage.collect([await stage.subscribe(gone, group=group)], sent)


async def undeclared_groups_are_missing_or_work(stage: Stage) -> None:
    """A group that a declared topic does not know is named by check() and cannot subscribe; or it just works."""
    known, unknown = stage.group(), stage.group()
    topic = await stage.topic(known)
    try:
        await stage.transport.check([topic], [known, unknown])
    except TopicMissing as refusal:
        expect(unknown in str(refusal), f"{refusal!r} does not name the group {unknown}")
        await _refused(lambda: stage.subscribe(topic, group=unknown), TopicMissing)
        return
    consumer = await stage.subscribe(topic, group=unknown)
    sent = messages(topic, 10)
    await stage.publish(topic, sent)
    await stage.collect([consumer], sent)


async def external_topics_are_not_created(stage: Stage) -> None:
    """declare() of an external topic checks it and creates nothing."""
    group, elsewhere = stage.group(), stage.spec(external=True)
    try:
        await stage.transport.check([elsewhere], [group])
    except TopicMissing:
        for _ in range(2):
            await _refused(lambda: stage.transport.declare([elsewhere], [group]), TopicMissing)
    await stage.bounded(
        lambda: stage.transport.declare([replace(elsewhere, external=False)], [group]), "declare()"
    )
    await stage.bounded(
        lambda: stage.transport.declare([elsewhere], [group]), "declare() of an external topic"
    )


async def another_number_of_partitions_is_a_mismatch(stage: Stage) -> None:
    """A keyed topic that exists with another number of partitions is refused: keys would change places."""
    group = stage.group()
    topic = await stage.topic(group, partitions=2)
    more = replace(topic, partitions=3)
    refusal = await _refused(lambda: stage.transport.declare([more], [group]), TopicMismatch)
    expect(topic.name in str(refusal), f"{refusal!r} does not name the topic")


async def queue_topics_wait_for_their_reader(stage: Stage) -> None:
    """A queue topic (dead letters) keeps what was published before any group subscribed."""
    topic = await stage.topic(queue=True)
    sent = messages(topic, 20)
    await stage.publish(topic, sent)
    reader = await stage.subscribe(topic, group=stage.group(), transport=await stage.connect())
    await stage.collect([reader], sent)


async def no_group_yet_is_no_silent_loss(stage: Stage) -> None:
    """With no group declared, a transport with history keeps the message; one without says Unroutable."""
    topic = await stage.topic()
    sent = messages(topic, 1)
    if not stage.features.history:
        await _refused(lambda: stage.transport.publish(topic, sent[0]), Unroutable)
        return
    await stage.publish(topic, sent)
    group = stage.group()
    await stage.bounded(lambda: stage.transport.declare([topic], [group]), "declare()")
    await stage.collect([await stage.subscribe(topic, group=group)], sent)


async def _refused(call: Callable[[], Awaitable[object]], *wanted: type[EventwireError]) -> EventwireError:
    try:
        result = await call()
    except wanted as refusal:
        return refusal
    raise Broken(f"it gave {result!r} instead of {' or '.join(each.__name__ for each in wanted)}")


SCENARIOS = (
    Scenario(declare_is_idempotent, delivers=False),
    Scenario(undeclared_topics_are_missing_or_work),
    Scenario(undeclared_groups_are_missing_or_work, needs=("groups",)),
    Scenario(external_topics_are_not_created),
    Scenario(another_number_of_partitions_is_a_mismatch, needs=("ordering",)),
    Scenario(queue_topics_wait_for_their_reader, needs=("ack",)),
    Scenario(no_group_yet_is_no_silent_loss, needs=("ack",)),
)
