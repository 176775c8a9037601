"""Consumer groups: each gets everything, each has its own position."""

from __future__ import annotations

import asyncio

from eventwire.policy import Start
from eventwire.testing.conformance.failure import expect, within
from eventwire.testing.conformance.harness import Stage, bodies, messages
from eventwire.testing.conformance.ledger import Ledger
from eventwire.testing.conformance.scenario import Scenario


async def every_group_gets_everything(stage: Stage) -> None:
    """Two groups of two members each: each group gets all 50 messages."""
    groups = [stage.group(), stage.group()]
    topic = await stage.topic(*groups, partitions=2)
    sent = messages(topic, 50, keys=10)
    members = [[await stage.subscribe(topic, group=group) for _ in range(2)] for group in groups]
    await stage.publish(topic, sent)
    await asyncio.gather(*(stage.collect(consumers, sent) for consumers in members))


async def groups_have_their_own_positions(stage: Stage) -> None:
    """One group reads all, another half: after a restart the first gets nothing, the other its second half."""
    ahead, behind = stage.group(), stage.group()
    topic = await stage.topic(ahead, behind)
    sent = messages(topic, 20)
    await stage.publish(topic, sent)
    for group, count in ((ahead, 20), (behind, 10)):
        consumer = await stage.subscribe(topic, group=group)
        for delivery in await stage.take(consumer, count):
            delivery.ack()
        await stage.bounded(consumer.close, "close() of a consumer")
    await stage.collect([await stage.subscribe(topic, group=behind)], sent[10:])
    await stage.silent(await stage.subscribe(topic, group=ahead), "the group had acked everything")


async def new_group_sees_the_past(stage: Stage) -> None:
    """A group that starts later reads what was published, and acked by another group, before it."""
    early, late = stage.group(), stage.group()
    topic = await stage.topic(early, partitions=2)
    sent = messages(topic, stage.count(100, 20), keys=10)
    await stage.publish(topic, sent)
    await stage.collect([await stage.subscribe(topic, group=early)], sent)
    await stage.bounded(lambda: stage.transport.declare([topic], [late]), "declare()")
    await stage.collect([await stage.subscribe(topic, group=late)], sent)


async def latest_leaves_out_the_past(stage: Stage) -> None:
    """A new group that starts at LATEST gets what is published after it has joined, and nothing from before."""
    group = stage.group()
    topic = await stage.topic(group)
    old = messages(topic, 10, label="old")
    await stage.publish(topic, old)
    consumer = await stage.subscribe(topic, group=group, start=Start.LATEST)
    ledger = Ledger([])
    async with (
        stage.reading(ledger, consumer),
        within(stage.harness.deadline, lambda: "a message after the join"),
    ):
        for turn in range(1_000_000):
            await stage.publish(topic, messages(topic, 1, label=f"new-{turn}"))
            done, _ = await asyncio.wait(
                {asyncio.create_task(ledger.reached(1))}, timeout=stage.harness.quiet
            )
            if done:
                break
    expect(
        not set(ledger.bodies) & set(bodies(old)),
        "a group that starts at LATEST got what was there before it",
    )


SCENARIOS = (
    Scenario(every_group_gets_everything, needs=("groups",)),
    Scenario(groups_have_their_own_positions, needs=("groups", "ack")),
    Scenario(new_group_sees_the_past, needs=("groups", "history")),
    Scenario(latest_leaves_out_the_past, needs=("groups", "history")),
)
