from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire.errors import WorkerStopped
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


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(st.integers(0, 5), max_size=60),
    yields=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_each_key_is_handled_in_order_one_at_a_time(keys: Sequence[int], yields: Sequence[int]) -> None:
    busy: set[bytes | None] = set()
    order: dict[bytes | None, list[int | None]] = defaultdict(list)

    async def handle(delivery: Delivery, _: Runner) -> None:
        key = delivery.message.key
        assert key not in busy
        busy.add(key)
        for _turn in range(yields[delivery.offset or 0]):
            await asyncio.sleep(0)
        order[key].append(delivery.offset)
        busy.remove(key)

    deliveries = [FakeDelivery(b"%d" % key, offset=offset) for offset, key in enumerate(keys)]

    async def main() -> None:
        async with running(handle) as lanes:
            for at in range(0, len(deliveries), 7):
                lanes.put(deliveries[at : at + 7])
                await asyncio.sleep(0)
            await lanes.idle()

    asyncio.run(main())
    assert all(offsets == sorted(offsets) for offsets in order.values())  # type: ignore[type-var]
    assert [each.settled for each in deliveries] == ["acked"] * len(keys)


async def test_keys_run_concurrently_up_to_the_bound() -> None:
    running_now = 0
    most = 0
    go = asyncio.Event()

    async def handle(_: Delivery, __: Runner) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        if most == 3:
            go.set()
        await go.wait()
        running_now -= 1

    async with running(handle, concurrency=3) as lanes:
        lanes.put([FakeDelivery(b"%d" % key) for key in range(10)])
        await lanes.idle()
    assert most == 3


async def test_a_blocked_key_does_not_hold_up_the_others() -> None:
    never = asyncio.Event()
    others = asyncio.Event()

    async def handle(delivery: Delivery, _: Runner) -> None:
        if delivery.message.key == b"stuck":
            await never.wait()
        elif delivery.offset == 9:
            others.set()

    async with running(handle) as lanes:
        lanes.put([FakeDelivery(b"stuck"), *(FakeDelivery(b"k", offset=offset) for offset in range(10))])
        await others.wait()


async def test_drain_finishes_what_runs_and_gives_back_the_rest() -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Delivery, __: Runner) -> None:
        started.set()
        await go.wait()

    deliveries = [FakeDelivery(b"same", offset=offset) for offset in range(5)]
    async with running(handle) as lanes:
        lanes.put(deliveries)
        await started.wait()
        drain = asyncio.create_task(lanes.drain(None, 60))
        await asyncio.sleep(0)
        go.set()
        await drain
    assert [each.settled for each in deliveries] == ["acked"] + ["released"] * 4


async def test_drain_past_its_time_cancels_and_never_acks() -> None:
    started = asyncio.Event()

    async def handle(delivery: Delivery, _: Runner) -> None:
        started.set()
        if delivery.message.key == b"stuck":
            await asyncio.get_running_loop().create_future()

    stuck, after = FakeDelivery(b"stuck"), FakeDelivery(b"other")
    async with running(handle, concurrency=1) as lanes:
        lanes.put([stuck])
        await started.wait()
        await lanes.drain(None, 0)
        lanes.put([after])  # the only runner lives on
        await lanes.idle()
    assert (stuck.settled, after.settled) == ("released", "acked")


async def test_a_handler_that_swallows_its_cancellation_is_not_acked() -> None:
    started = asyncio.Event()

    async def handle(_: Delivery, __: Runner) -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return

    delivery = FakeDelivery()
    async with running(handle) as lanes:
        lanes.put([delivery])
        await started.wait()
        await lanes.drain(None, 0)
    assert delivery.settled == "released"


async def test_drain_of_some_partitions_leaves_the_others() -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery, _: Runner) -> None:
        if delivery.partition == 1:
            started.set()
        await go.wait()

    mine = [FakeDelivery(b"a", partition=0, offset=offset) for offset in range(2)]
    theirs = [FakeDelivery(b"a", partition=1, offset=offset) for offset in range(2)]
    async with running(handle) as lanes:
        lanes.put([*mine, *theirs])
        await started.wait()
        drain = asyncio.create_task(lanes.drain({TopicPartition("shop.v1", 1)}, 60))
        await asyncio.sleep(0)
        go.set()
        await drain
        await lanes.idle()
    assert [each.settled for each in mine] == ["acked", "acked"]
    assert [each.settled for each in theirs] == ["acked", "released"]


async def test_a_wait_before_a_retry_ends_when_the_lanes_drain() -> None:
    waiting = asyncio.Event()

    async def handle(_: Delivery, runner: Runner) -> None:
        waiting.set()
        await runner.sleep(3600)

    delivery = FakeDelivery()
    async with running(handle) as lanes:
        lanes.put([delivery])
        await waiting.wait()
        await asyncio.sleep(0)
        await lanes.drain(None, 60)
    assert delivery.settled == "released"


async def test_what_a_handling_raises_ends_the_lanes_unacked() -> None:
    async def handle(_: Delivery, __: Runner) -> None:
        raise LookupError("stop")

    lanes = Lanes(handle, by_key, 2)
    delivery = FakeDelivery()
    task = asyncio.create_task(lanes.run())
    await asyncio.sleep(0)
    lanes.put([delivery])
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert caught.value.subgroup(LookupError) is not None
    assert delivery.settled is None


async def test_a_key_that_never_runs_dry_does_not_starve_the_others() -> None:
    order: list[bytes | None] = []

    async def handle(delivery: Delivery, _: Runner) -> None:
        order.append(delivery.message.key)
        if delivery.message.key == b"hot" and len(order) < 50:
            lanes.put([FakeDelivery(b"hot", offset=len(order))])

    async with running(handle, concurrency=1) as lanes:
        lanes.put([FakeDelivery(b"hot"), FakeDelivery(b"other", partition=1)])
        await lanes.idle()
    assert order.index(b"other") == 1


async def test_a_cancellation_that_nobody_asked_for_ends_the_lanes_unacked() -> None:
    async def handle(_: Delivery, __: Runner) -> None:
        raise asyncio.CancelledError

    lanes = Lanes(handle, by_key, 1)
    delivery = FakeDelivery()
    task = asyncio.create_task(lanes.run())
    await asyncio.sleep(0)
    lanes.put([delivery])
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(task, 10)
    assert caught.value.subgroup(WorkerStopped) is not None
    assert delivery.settled is None


async def stuck(_: Delivery, __: Runner) -> None:
    await asyncio.get_running_loop().create_future()


async def test_two_drains_at_once_leave_the_runner_alive() -> None:
    handled: list[bytes | None] = []

    async def handle(delivery: Delivery, runner: Runner) -> None:
        if delivery.message.key == b"stuck":
            await stuck(delivery, runner)
        handled.append(delivery.message.key)

    async with running(handle, concurrency=1) as lanes, asyncio.timeout(10):
        lanes.put([FakeDelivery(b"stuck")])
        await asyncio.sleep(0)
        await asyncio.gather(lanes.drain(None, 0), lanes.drain(None, 0))
        lanes.put([FakeDelivery(b"after")])
        await lanes.idle()
    assert handled == [b"after"]


async def test_cancelling_the_lanes_while_they_drain_ends_them() -> None:
    lanes = Lanes(stuck, by_key, 2)
    delivery = FakeDelivery()
    task = asyncio.create_task(lanes.run())
    await asyncio.sleep(0)
    lanes.put([delivery])
    await asyncio.sleep(0)
    drain = asyncio.create_task(lanes.drain(None, 60))
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task, drain}, timeout=10)
    assert done == {task, drain}
    assert delivery.settled == "released"


async def test_a_failure_while_they_drain_ends_the_lanes() -> None:
    go = asyncio.Event()

    async def handle(delivery: Delivery, runner: Runner) -> None:
        if delivery.message.key == b"stuck":
            await stuck(delivery, runner)
        await go.wait()
        raise LookupError("stop")

    lanes = Lanes(handle, by_key, 2)
    task = asyncio.create_task(lanes.run())
    await asyncio.sleep(0)
    lanes.put([FakeDelivery(b"stuck"), FakeDelivery(b"fails")])
    await asyncio.sleep(0)
    drain = asyncio.create_task(lanes.drain(None, 60))
    await asyncio.sleep(0)
    go.set()
    done, _ = await asyncio.wait({task, drain}, timeout=10)
    assert done == {task, drain}
    assert isinstance(task.exception(), ExceptionGroup)


async def test_what_arrives_while_a_partition_drains_is_given_back() -> None:
    started = asyncio.Event()

    async def handle(delivery: Delivery, runner: Runner) -> None:
        started.set()
        await stuck(delivery, runner)

    first, late = FakeDelivery(), FakeDelivery(offset=1)
    async with running(handle, concurrency=1) as lanes:
        lanes.put([first])
        await started.wait()
        drain = asyncio.create_task(lanes.drain({TopicPartition("shop.v1", 0)}, 0))
        await asyncio.sleep(0)
        lanes.put([late])
        await drain
        assert (first.settled, late.settled) == ("released", "released")


async def test_a_wait_that_begins_while_the_lanes_drain_ends_at_once() -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Delivery, runner: Runner) -> None:
        started.set()
        await go.wait()
        await runner.sleep(3600)

    delivery, after = FakeDelivery(), FakeDelivery(b"after")
    async with running(handle, concurrency=1) as lanes, asyncio.timeout(10):
        lanes.put([delivery])
        await started.wait()
        drain = asyncio.create_task(lanes.drain(None, 60))
        await asyncio.sleep(0)
        go.set()
        await drain
        lanes.put([after])  # for which the drain was not meant
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (delivery.settled, after.settled) == ("released", None)


async def test_who_waits_for_a_retry_leaves_its_place_to_others() -> None:
    go, others = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery, runner: Runner) -> None:
        if delivery.message.key == b"waits":
            await runner.sleep(3600 if not go.is_set() else 0)
        elif delivery.offset == 99:
            others.set()

    waiting = [FakeDelivery(b"waits", partition=number) for number in range(50)]
    async with running(handle, concurrency=2) as lanes:
        lanes.put([*waiting, *(FakeDelivery(b"k", offset=offset) for offset in range(100))])
        await others.wait()
        await lanes.drain(None, 60)
    assert {each.settled for each in waiting} == {"released"}


@settings(max_examples=50, deadline=None)
@given(naps=st.lists(st.lists(st.booleans(), max_size=4), max_size=30), concurrency=st.integers(1, 4))
def test_who_comes_back_from_a_wait_finds_no_more_than_the_bound_at_work(
    naps: Sequence[Sequence[bool]], concurrency: int
) -> None:
    """Each delivery does steps, some of them waits for a retry; the naps are over at once, in any order."""
    at_work, most = 0, 0

    async def handle(delivery: Delivery, runner: Runner) -> None:
        nonlocal at_work, most
        at_work += 1
        for nap in naps[delivery.offset or 0]:
            most = max(most, at_work)
            if nap:
                at_work -= 1
                await runner.sleep(0)
                at_work += 1
            else:
                await asyncio.sleep(0)
        at_work -= 1

    deliveries = [FakeDelivery(b"%d" % offset, offset=offset) for offset in range(len(naps))]

    async def main() -> None:
        async with running(handle, concurrency) as lanes:
            lanes.put(deliveries)
            await lanes.idle()

    asyncio.run(main())
    assert most <= concurrency
    assert [each.settled for each in deliveries] == ["acked"] * len(naps)


async def test_a_place_that_is_waited_for_may_be_given_up_on() -> None:
    """A drain ends also those that slept enough and wait for a place behind a handler that takes its time."""
    busy, release = asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery, runner: Runner) -> None:
        if delivery.message.key == b"long":
            busy.set()
            await release.wait()
        else:
            await runner.sleep(0)

    napper, long = FakeDelivery(b"nap"), FakeDelivery(b"long")
    async with running(handle, concurrency=1) as lanes:
        lanes.put([napper, long])
        await busy.wait()
        for _turn in range(5):
            await asyncio.sleep(0)  # the nap is over, and its place is taken
        drain = asyncio.create_task(lanes.drain(None, 60))
        for _turn in range(5):
            await asyncio.sleep(0)
        ended = napper.settled
        release.set()
        await drain
    assert ended == "released"
    assert (napper.settled, long.settled) == ("released", "acked")
