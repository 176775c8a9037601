"""Bus, worker and transport together: typed events in, handlers called, nothing lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.message import Message
from eventwire.policy import RetryPolicy
from eventwire.sender import Publisher
from eventwire.testing.conformance.failure import equal, expect, within
from eventwire.testing.conformance.harness import Stage
from eventwire.testing.conformance.scenario import Scenario
from eventwire.testing.conformance.steps import Diary, Handle, Leap, Step, handler_of, steps, topic_of
from eventwire.topic import Codec, Topic
from eventwire.transport import Delivery, TopicSpec
from eventwire.worker import Worker

_NEEDS = ("ack", "groups", "headers")


class _Play:
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


def _bus(stage: Stage) -> Bus:
    options = stage.harness.options
    return Bus(
        stage.harness.url,
        declare=True,
        producer=options.producer,
        consumer=options.consumer,
        admin=options.admin,
    )


async def retried_in_place_until_it_works(stage: Stage) -> None:
    """A handler that fails twice is called a third time, then the event is done; its key's next event waits."""
    async with _bus(stage) as bus:
        play = _Play(stage, bus)
        calls: list[tuple[int, int]] = []
        attempts = [(0, 1), (0, 2), (0, 3)]

        async def fail_twice(step: Step, context: Context) -> None:
            calls.append((step.number, context.attempt))
            if step.number == 0 and context.attempt < len(attempts):
                raise RuntimeError("not yet")
            play.diary.note(step)

        async with play.worker(fail_twice) as worker:
            await play.publish(*steps(2))
            await play.seen(2)
        equal(calls, [*attempts, (1, 1)], "the events' numbers and attempts")
        equal((worker.counts.handled, worker.counts.retried), (2, 2), "how many were handled and retried")


async def exhausted_goes_whole_to_the_dead_letter(stage: Stage) -> None:
    """After its last attempt an event is in the dead letter, byte for byte, with its cause; the next is handled."""
    async with _bus(stage) as bus:
        play = _Play(stage, bus)
        original: list[Message] = []

        async def fail_first(step: Step, context: Context) -> None:
            if step.number == 0:
                original.append(context.message)
                raise RuntimeError("the warehouse burnt down")
            play.diary.note(step)

        async with play.worker(fail_first):
            await play.publish(*steps(2))
            await play.seen(1)
        equal(len(original), 3, "the number of attempts")
        (dead,) = await play.dead_letters(1)
        got, want = dead.message, original[0]
        equal(
            (got.body, got.key, got.content_type), (want.body, want.key, want.content_type), "the dead letter"
        )
        expect(
            set(want.headers) <= set(got.headers),
            f"headers are missing: {set(want.headers) - set(got.headers)}",
        )
        reason = got.header("eventwire_dead_reason") or b""
        expect(b"burnt down" in reason, f"the dead letter's reason is {reason!r}")


async def workers_keep_the_order_per_key(stage: Stage) -> None:
    """Two workers of one group, many at a time: each key's events are handled one by one, in order."""
    async with _bus(stage) as bus, _bus(stage) as other:
        play = _Play(stage, bus)
        busy: set[str] = set()

        async def one_by_one(step: Step, _: Context) -> None:
            expect(step.key not in busy, f"two events of {step.key} are handled at once")
            busy.add(step.key)
            await asyncio.sleep(0.001 * (step.number % 3))
            busy.remove(step.key)
            play.diary.note(step)

        once = RetryPolicy(max_attempts=1)
        sent = steps(stage.count(400, 80), keys=8)
        async with play.worker(one_by_one, retry=once), play.worker(one_by_one, other, retry=once):
            await play.publish(*sent)
            await play.seen(len(sent))
        wanted = {
            key: [step.number for step in sent if step.key == key] for key in {step.key for step in sent}
        }
        equal(play.diary.by_key(), wanted, "the numbers handled per key")


async def what_a_handler_publishes_names_its_cause(stage: Stage) -> None:
    """Consume, transform, publish: the second event has the first one's id as causation and correlation."""
    async with _bus(stage) as bus:
        first, second = _Play(stage, bus), _Play(stage, bus)
        causes: dict[int, str] = {}
        effects: dict[int, tuple[str | None, str]] = {}

        async def transform(step: Step, context: Context) -> None:
            causes[step.number] = context.id
            await Publisher[Step](context, second.topic).publish(replace(step, key=f"{step.key}-done"))

        async def finish(step: Step, context: Context) -> None:
            effects[step.number] = (context.causation_id, context.correlation_id)
            second.diary.note(step)

        sent = steps(stage.count(50, 10))
        async with second.worker(finish), first.worker(transform):
            await first.publish(*sent)
            await second.seen(len(sent))
        equal(effects, {number: (id, id) for number, id in causes.items()}, "causation and correlation")


async def graceful_stops_lose_nothing(stage: Stage) -> None:
    """Workers are stopped in the midst of their work, one after the other: every event is handled."""
    async with _bus(stage) as bus:
        play = _Play(stage, bus)
        sent = steps(stage.count(600, 120), keys=12)

        async def slowly(step: Step, _: Context) -> None:
            await asyncio.sleep(0.001)
            play.diary.note(step)

        async with play.worker(slowly, concurrency=4):
            await play.publish(*sent)
        for part in range(1, 4):
            async with play.worker(slowly, concurrency=4):
                await play.seen(part * len(sent) // 4)
        async with play.worker(concurrency=4):
            await play.seen(len(sent))


async def unknown_events_are_skipped(stage: Stage) -> None:
    """A newer publisher's event type is acknowledged, counted and not handled; what follows is."""
    async with _bus(stage) as bus, _bus(stage) as newer:
        play = _Play(stage, bus)
        known = play.topic
        play.topic = replace(known, events=known.events[:1])
        async with play.worker() as worker:
            await play.publish(Leap("key-0", 0), Step("key-0", 1), topic=known, bus=newer)
            await play.seen(1)
        equal(play.diary.seen, [Step("key-0", 1)], "the events that were handled")
        equal((worker.counts.unknown, worker.counts.handled), (1, 1), "how many were unknown and handled")


async def undecodable_goes_to_the_dead_letter(stage: Stage) -> None:
    """Bytes that are no such event are dead-lettered as they are, at once; what follows is handled."""
    async with _bus(stage) as bus, _bus(stage) as broken:
        play = _Play(stage, bus)
        step = play.topic.events[0]
        garbled = replace(step, codec=Codec(lambda _: b"\x00garbage\xff", step.codec.decode))
        async with play.worker() as worker:
            await play.publish(Step("key-0", 0), topic=replace(play.topic, events=(garbled,)), bus=broken)
            await play.publish(Step("key-0", 1))
            await play.seen(1)
        (dead,) = await play.dead_letters(1)
        equal(dead.message.body, b"\x00garbage\xff", "the dead letter's body")
        equal(dead.message.header("eventwire_dead_error"), b"Undecodable", "the dead letter's cause")
        equal(
            (worker.counts.retried, worker.counts.dead_lettered),
            (0, 1),
            "how many were retried, and set aside",
        )


SCENARIOS = (
    Scenario(retried_in_place_until_it_works, needs=(*_NEEDS, "ordering")),
    Scenario(exhausted_goes_whole_to_the_dead_letter, needs=_NEEDS),
    Scenario(workers_keep_the_order_per_key, needs=(*_NEEDS, "ordering")),
    Scenario(what_a_handler_publishes_names_its_cause, needs=_NEEDS),
    Scenario(graceful_stops_lose_nothing, needs=_NEEDS),
    Scenario(unknown_events_are_skipped, needs=_NEEDS),
    Scenario(undecodable_goes_to_the_dead_letter, needs=_NEEDS),
)
