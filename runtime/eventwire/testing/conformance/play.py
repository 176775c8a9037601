"""A topic on a bus and a group that reads it, for the scenarios with workers."""

from __future__ import annotations

from typing import Any

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.sender import Publisher
from eventwire.testing.conformance.failure import expect, within
from eventwire.testing.conformance.harness import Stage
from eventwire.testing.conformance.steps import Diary, Handle, Step, handler_of, topic_of
from eventwire.topic import Topic
from eventwire.transport import Delivery, TopicSpec
from eventwire.worker import Worker

NEEDS = ("ack", "groups", "headers")
"""What of `Features` every such scenario needs."""


class Play:
    """One topic on a bus, and a group that reads it."""

    def __init__(self, stage: Stage, bus: Bus, **changes: Any) -> None:
        self.stage = stage
        self.bus = bus
        self.topic = topic_of(stage.spec().name, stage.features, **changes)
        self.group = stage.group()
        self.diary = Diary()

    def worker(self, handle: Handle | None = None, bus: Bus | None = None, **options: Any) -> Worker:
        """A member of the group; without `handle` it notes what it sees."""
        handler = handler_of(self.topic, handle or self.note)
        return Worker(bus or self.bus, handler, group=self.group, grace=5.0, **options)

    async def note(self, step: Step, _: Context) -> None:
        """Handle by noting."""
        self.diary.note(step)

    async def publish(self, *events: Step, topic: Topic[Any] | None = None, bus: Bus | None = None) -> None:
        """Publish them; all must be confirmed."""
        async with within(self.stage.harness.deadline, lambda: "confirmed publishes"):
            receipt = await Publisher[Step](bus or self.bus, topic or self.topic).publish_many(events)
        expect(receipt.ok, f"not confirmed: {receipt.failures[:3]}")

    async def seen(self, count: int) -> None:
        """Wait until handlers saw so many different events."""
        async with within(
            self.stage.harness.deadline, lambda: f"{count} events, only {len(set(self.diary.seen))}"
        ):
            await self.diary.reached(count)

    async def dead_letters(self, count: int) -> list[Delivery]:
        """Take so many from the group's dead letter topic; there may be no more."""
        dead = TopicSpec(f"{self.topic.name}.{self.group}.dead", queue=True)
        consumer = await self.stage.subscribe(dead, group=self.stage.group())
        taken = await self.stage.take(consumer, count)
        for delivery in taken:
            delivery.ack()
        await self.stage.silent(consumer, f"{count} dead letters were expected")
        return taken


def bus_of(stage: Stage) -> Bus:
    """A bus of its own on the harness's broker, not started."""
    options = stage.harness.options
    return Bus(
        stage.harness.url,
        declare=True,
        producer=options.producer,
        consumer=options.consumer,
        admin=options.admin,
    )
