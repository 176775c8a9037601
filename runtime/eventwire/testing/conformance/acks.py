"""At least once: what was not acked comes again, what was acked does not."""

from __future__ import annotations

from eventwire.testing.conformance.failure import equal, expect, within
from eventwire.testing.conformance.harness import Stage, bodies, messages
from eventwire.testing.conformance.scenario import Scenario


async def released_comes_again(stage: Stage) -> None:
    """Everything is given back a few times; all of it comes again each time, its attempt higher."""
    group = stage.group()
    topic = await stage.topic(group, partitions=2)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, stage.count(50, 10), keys=8)
    await stage.publish(topic, sent)
    attempts: dict[bytes | None, int] = {}
    for turn in range(3):
        taken = await stage.take(consumer, len(sent))
        equal(sorted(bodies(taken)), sorted(bodies(sent)), f"the deliveries of turn {turn + 1}")
        for delivery in taken:
            before = attempts.get(delivery.message.body, 0)
            expect(delivery.attempt > before, f"attempt {delivery.attempt} came after attempt {before}")
            expect(turn > 0 or delivery.attempt == 1, f"a first delivery says attempt {delivery.attempt}")
            attempts[delivery.message.body] = delivery.attempt
            delivery.release()
    await stage.collect([consumer], sent)
    await stage.silent(consumer, "everything was acked in the end")


async def released_keeps_the_order(stage: Stage) -> None:
    """What is given back together comes again in its old order."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 10)
    await stage.publish(topic, sent)
    for delivery in await stage.take(consumer, len(sent)):
        delivery.release()
    equal(bodies(await stage.take(consumer, len(sent))), bodies(sent), "the order after a release")


async def unacked_does_not_come_back_to_its_holder(stage: Stage) -> None:
    """A message in hand is not delivered a second time, nor do others wait for it."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 5)
    await stage.publish(topic, sent)
    (held,) = await stage.take(consumer, 1)
    rest = await stage.take(consumer, len(sent) - 1)
    equal(bodies([held, *rest]), bodies(sent), "the deliveries")
    for delivery in rest:
        delivery.ack()
    await stage.silent(consumer, "its only unacked delivery is still in hand")
    held.ack()


async def no_ack_no_next(stage: Stage) -> None:
    """With one uncommitted message allowed, the second comes after the first one's ack and not before."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group, max_uncommitted=1)
    sent = messages(topic, 5)
    await stage.publish(topic, sent)
    for message in sent:
        (delivery,) = await stage.take(consumer, 1)
        equal(delivery.message.body, message.body, "the next message")
        if message is sent[0]:
            await stage.silent(consumer, "max_uncommitted is 1 and the first was not acked")
        delivery.ack()


async def max_uncommitted_bounds_the_span(stage: Stage) -> None:
    """No more than `max_uncommitted` in hand; where there are offsets, none above the lowest unsettled plus that."""
    group, limit = stage.group(), 10
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group, max_uncommitted=limit)
    sent = messages(topic, limit * 3)
    await stage.publish(topic, sent)
    lowest, *others = await stage.take(consumer, limit)
    await stage.silent(consumer, f"{limit} messages are unsettled and max_uncommitted is {limit}")
    if lowest.offset is not None:
        for delivery in others:
            delivery.ack()
        await stage.silent(
            consumer, f"offset {lowest.offset} is unsettled and {limit} offsets were fetched from it on"
        )
    lowest.ack()
    await stage.collect([consumer], sent[limit:])


async def acks_out_of_order_leave_no_gap(stage: Stage) -> None:
    """All but one are acked: after a restart of the consumer that one comes again, and nothing before it."""
    group, gap = stage.group(), 4
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 10)
    await stage.publish(topic, sent)
    taken = await stage.take(consumer, len(sent))
    for delivery in reversed(taken):
        if delivery is not taken[gap]:
            delivery.ack()
    await stage.bounded(consumer.flush, "flush()")
    await stage.bounded(consumer.close, "close() of a consumer")
    again = await stage.subscribe(topic, group=group)
    (first,) = await stage.take(again, 1)
    equal(first.message.body, sent[gap].body, "the first message of the next consumer")
    first.ack()


async def flushed_acks_outlive_the_consumer(stage: Stage) -> None:
    """What was acked and flushed is not delivered to the next member; what was not, is."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 10)
    await stage.publish(topic, sent)
    for delivery in (await stage.take(consumer, len(sent)))[:6]:
        delivery.ack()
    await stage.bounded(consumer.flush, "flush()")
    await stage.bounded(consumer.close, "close() of a consumer")
    again = await stage.subscribe(topic, group=group, transport=await stage.connect())
    equal(bodies(await stage.take(again, 4)), bodies(sent[6:]), "what the next member got")


async def late_acks_are_harmless(stage: Stage) -> None:
    """Acks and releases that come after close() raise nothing and settle nothing."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 6)
    await stage.publish(topic, sent)
    taken = await stage.take(consumer, len(sent))
    await stage.bounded(consumer.close, "close() of a consumer")
    for delivery in taken[::2]:
        delivery.ack()
    for delivery in taken[1::2]:
        delivery.release()
    again = await stage.subscribe(topic, group=group)
    equal(bodies(await stage.take(again, len(sent))), bodies(sent), "what the next consumer got")


async def settling_twice_is_harmless(stage: Stage) -> None:
    """The first word counts: a release after an ack brings nothing back, an ack after a release settles nothing."""
    group = stage.group()
    topic = await stage.topic(group)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, 2)
    await stage.publish(topic, sent)
    acked, released = await stage.take(consumer, 2)
    acked.ack()
    acked.release()
    acked.ack()
    released.release()
    released.ack()
    (again,) = await stage.take(consumer, 1)
    equal(again.message.body, released.message.body, "the redelivered message")
    again.ack()
    await stage.silent(consumer, "everything was acked")


async def acks_reach_the_broker_without_flush(stage: Stage) -> None:
    """Acks are settled within `commit_interval` while the consumer just goes on fetching."""
    group = stage.group()
    topic = await stage.topic(group, partitions=1)
    consumer = await stage.subscribe(topic, group=group)
    sent = messages(topic, stage.count(3000, 1100))
    async with within(stage.harness.deadline, lambda: "publishes"):
        await stage.publish(topic, sent)
    await stage.collect([consumer], sent)


SCENARIOS = (
    Scenario(released_comes_again, needs=("ack",)),
    Scenario(released_keeps_the_order, needs=("ack", "ordering")),
    Scenario(unacked_does_not_come_back_to_its_holder),
    Scenario(no_ack_no_next, needs=("ack",)),
    Scenario(max_uncommitted_bounds_the_span, needs=("ack",)),
    Scenario(acks_out_of_order_leave_no_gap, needs=("ack", "ordering")),
    Scenario(flushed_acks_outlive_the_consumer, needs=("ack", "ordering")),
    Scenario(late_acks_are_harmless, needs=("ack", "ordering")),
    Scenario(settling_twice_is_harmless, needs=("ack",)),
    Scenario(acks_reach_the_broker_without_flush, needs=("ack",)),
)
