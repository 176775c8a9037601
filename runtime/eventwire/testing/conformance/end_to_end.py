"""Bus, worker and transport together: typed events in, handlers called, nothing lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from eventwire.context import Context
from eventwire.message import Message
from eventwire.policy import RetryPolicy
from eventwire.sender import Publisher
from eventwire.testing.conformance.failure import equal, expect
from eventwire.testing.conformance.harness import Stage
from eventwire.testing.conformance.play import NEEDS, Play, bus_of
from eventwire.testing.conformance.scenario import Scenario
from eventwire.testing.conformance.steps import Leap, Step, steps
from eventwire.topic import Codec


async def retried_in_place_until_it_works(stage: Stage) -> None:
    """A handler that fails twice is called a third time, then the event is done; its key's next event waits."""
    async with bus_of(stage) as bus:
        play = Play(stage, bus)
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
    async with bus_of(stage) as bus:
        play = Play(stage, bus)
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
    async with bus_of(stage) as bus, bus_of(stage) as other:
        play = Play(stage, bus)
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
    async with bus_of(stage) as bus:
        first, second = Play(stage, bus), Play(stage, bus)
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
    async with bus_of(stage) as bus:
        play = Play(stage, bus)
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
    async with bus_of(stage) as bus, bus_of(stage) as newer:
        play = Play(stage, bus)
        known = play.topic
        play.topic = replace(known, events=known.events[:1])
        async with play.worker() as worker:
            await play.publish(Leap("key-0", 0), Step("key-0", 1), topic=known, bus=newer)
            await play.seen(1)
        equal(play.diary.seen, [Step("key-0", 1)], "the events that were handled")
        equal((worker.counts.unknown, worker.counts.handled), (1, 1), "how many were unknown and handled")


async def undecodable_goes_to_the_dead_letter(stage: Stage) -> None:
    """Bytes that are no such event are dead-lettered as they are, at once; what follows is handled."""
    async with bus_of(stage) as bus, bus_of(stage) as broken:
        play = Play(stage, bus)
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
    Scenario(retried_in_place_until_it_works, needs=(*NEEDS, "ordering")),
    Scenario(exhausted_goes_whole_to_the_dead_letter, needs=NEEDS),
    Scenario(workers_keep_the_order_per_key, needs=(*NEEDS, "ordering")),
    Scenario(what_a_handler_publishes_names_its_cause, needs=NEEDS),
    Scenario(graceful_stops_lose_nothing, needs=NEEDS),
    Scenario(unknown_events_are_skipped, needs=NEEDS),
    Scenario(undecodable_goes_to_the_dead_letter, needs=NEEDS),
)
