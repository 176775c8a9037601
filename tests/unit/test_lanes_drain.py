"""What a drain of the lanes finishes, and what it gives back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire.lanes import Handle, Lanes
from eventwire.runner import Runner
from eventwire.transport import Delivery, TopicPartition
from tests.unit.fakes import FakeDelivery


def by_key(delivery: Delivery) -> object:
    return (delivery.message.topic, delivery.partition, delivery.message.key)


@asynccontextmanager
async def running(handle: Handle, concurrency: int = 4) -> AsyncGenerator[Lanes]:
    lanes = Lanes(handle, by_key, concurrency)
    task = asyncio.create_task(lanes.run())
    try:
        yield lanes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=100, deadline=None)
@given(
    keys=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    slow=st.integers(0, 4),
    turns=st.integers(0, 30),
)
def test_a_drain_leaves_no_gap_below_what_it_settled(keys: Sequence[int], slow: int, turns: int) -> None:
    """So a log's position passes all that was handled, and nothing of it is delivered again."""
    deliveries = [FakeDelivery(b"%d" % key, offset=offset) for offset, key in enumerate(keys)]

    async def handle(delivery: Delivery, _: Runner) -> None:
        for _turn in range(5 if delivery.message.key == b"%d" % slow else 0):
            await asyncio.sleep(0)

    async def main() -> None:
        async with running(handle, concurrency=3) as lanes:
            lanes.put(deliveries)
            for _turn in range(turns):
                await asyncio.sleep(0)
            await lanes.drain(None, 60)

    asyncio.run(main())
    released = [each.settled == "released" for each in deliveries]
    assert released == sorted(released)
    assert {each.settled for each in deliveries} <= {"acked", "released"}


async def test_a_key_whose_wait_a_drain_ends_is_given_back_whole() -> None:
    """What comes after it would overtake it, though it lies below what another key has settled."""
    napping, reached = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery, runner: Runner) -> None:
        if delivery.message.key == b"waits":
            napping.set()
            await runner.sleep(3600)
        elif delivery.offset == 9:
            reached.set()

    waits = [FakeDelivery(b"waits", offset=offset) for offset in range(3)]
    others = [FakeDelivery(b"other", offset=offset) for offset in range(3, 10)]
    async with running(handle) as lanes:
        lanes.put([*waits, *others])
        await napping.wait()
        await reached.wait()
        await lanes.drain(None, 60)
    assert [each.settled for each in waits] == ["released"] * 3
    assert [each.settled for each in others] == ["acked"] * 7


async def test_what_is_put_while_its_partition_drains_is_given_back() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def handle(_: Delivery, __: Runner) -> None:
        begun.set()
        await go.wait()

    first, late = FakeDelivery(b"a", offset=0), FakeDelivery(b"b", offset=1)
    async with running(handle) as lanes:
        lanes.put([first])
        await begun.wait()
        drain = asyncio.create_task(lanes.drain([TopicPartition("shop.v1", 0)], 60))
        await asyncio.sleep(0)
        lanes.put([late])
        assert late.settled == "released"
        go.set()
        await drain


async def test_a_drain_that_is_cut_short_leaves_nothing_that_is_handled_later() -> None:
    """A transport that cannot wait any longer gives the partition up: what is below must not be begun any more."""
    handled: list[int | None] = []
    begun = asyncio.Event()

    async def handle(delivery: Delivery, _: Runner) -> None:
        handled.append(delivery.offset)
        if delivery.offset == 2:
            begun.set()
        if delivery.offset == 0:
            await asyncio.get_running_loop().create_future()

    slow, behind = FakeDelivery(b"k", offset=0), FakeDelivery(b"k", offset=1)
    async with running(handle) as lanes, asyncio.timeout(10):
        lanes.put([slow, behind, FakeDelivery(b"other", offset=2)])
        await begun.wait()
        drain = asyncio.create_task(lanes.drain([TopicPartition("shop.v1", 0)], 60))
        await asyncio.sleep(0)
        drain.cancel()
        await asyncio.wait([drain])
        await lanes.idle()
    assert (slow.settled, behind.settled, handled) == ("released", "released", [0, 2])


async def test_a_drain_does_not_wait_for_lanes_that_ended() -> None:
    """A failure ends them while they drain: nobody is left to handle what lies below what was begun."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery, _: Runner) -> None:
        if delivery.offset == 2:
            begun.set()
        if delivery.offset == 0:
            await go.wait()
            raise LookupError("stop")

    behind = FakeDelivery(b"k", offset=1)
    lanes = Lanes(handle, by_key, 4)
    task = asyncio.create_task(lanes.run())
    lanes.put([FakeDelivery(b"k", offset=0), behind, FakeDelivery(b"other", offset=2)])
    await begun.wait()
    drain = asyncio.create_task(lanes.drain(None, 3600))
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(drain, 10)
    assert behind.settled == "released"
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], ExceptionGroup)
