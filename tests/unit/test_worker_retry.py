"""Retries, replays and pauses, through a whole worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from eventwire import (
    BreakerPolicy,
    Bus,
    Context,
    DeadLetterPolicy,
    Handler,
    Message,
    OnDead,
    Ordering,
    Publisher,
    Reject,
    Retry,
    RetryMode,
    RetryPolicy,
    Sender,
    Worker,
)
from eventwire.group import Policies, own_topics
from eventwire.middleware.delayed import ATTEMPT, DUE
from eventwire.route import spec_of
from tests.unit.shop import ORDERS, Cancelled, OrdersPublisher, Placed
from tests.unit.test_worker import Orders, dead_letters, settled

DELAYED = RetryPolicy(
    mode=RetryMode.DELAYED, max_attempts=3, initial_backoff=0.01, backoff_multiplier=2, jitter=0
)
LOOSE = replace(ORDERS, name="loose.v1", ordering=Ordering.NONE, retry=DELAYED)
QUICK = BreakerPolicy(initial_backoff=0.001, max_backoff=0.002)


class LoosePublisher(Publisher[Placed | Cancelled]):
    def __init__(self, sender: Sender) -> None:
        super().__init__(sender, LOOSE)


class LooseHandler(Handler, topic=LOOSE):
    async def on_placed(self, event: Placed, context: Context) -> None:
        """Placed."""


@pytest.fixture
async def bus() -> AsyncGenerator[Bus]:
    async with Bus("memory://") as opened:
        yield opened


async def test_a_delayed_event_lets_the_next_go_first_and_counts_its_attempts(bus: Bus) -> None:
    seen: list[tuple[str, int]] = []

    class Loose(LooseHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            seen.append((event.order_id, context.attempt))
            if event.order_id == "bad":
                raise KeyError(event.order_id)

    async with Worker(bus, Loose(), group="g", concurrency=1) as worker:
        await LoosePublisher(bus).publish(Placed("bad"))
        await LoosePublisher(bus).publish(Placed("good"))
        await settled(worker, 4)
        counts = worker.counts
    assert sorted(seen) == [("bad", 1), ("bad", 2), ("bad", 3), ("good", 1)]
    assert seen.index(("good", 1)) < seen.index(("bad", 2))
    assert (counts.postponed, counts.retried, counts.handled, counts.dead_lettered) == (2, 2, 1, 1)
    (letter,) = await dead_letters(bus, "loose.v1.g.dead", 1)
    assert letter.header("eventwire_dead_attempts") == b"3"
    assert letter.header("eventwire_dead_offset") == b"0"
    assert (letter.header(ATTEMPT), letter.header(DUE)) == (None, None)


async def test_a_handlers_own_delay_takes_the_next_longer_level(bus: Bus) -> None:
    attempts: list[int] = []

    class Loose(LooseHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            attempts.append(context.attempt)
            if context.attempt == 1:
                raise Retry(after=0.015)

    async with Worker(bus, Loose(), group="g") as worker:
        await LoosePublisher(bus).publish(Placed("1"))
        await settled(worker, 2)
    assert attempts == [1, 2]


async def test_what_waits_for_its_time_is_given_back_at_the_end_and_comes_again(bus: Bus) -> None:
    policy = replace(DELAYED, initial_backoff=0.3, max_attempts=2)
    attempts: list[int] = []

    class Loose(LooseHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            attempts.append(context.attempt)
            if context.attempt == 1:
                raise KeyError

    async with Worker(bus, Loose(), group="g", retry=policy) as worker:
        await LoosePublisher(bus).publish(Placed("1"))
        await settled(worker, 1)
    async with Worker(bus, Loose(), group="g", retry=policy) as again:
        await settled(again, 1)
    assert attempts == [1, 2]


async def test_forged_attempt_headers_on_the_topic_itself_mean_nothing(bus: Bus) -> None:
    attempts: list[int] = []

    class Loose(LooseHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            attempts.append(context.attempt)

    async with Worker(bus, Loose(), group="g") as worker:
        written = (await bus.route(LOOSE)).write(Placed("1"), None, None, None)
        forged = (*written.headers, (ATTEMPT, b"99"), (DUE, b"9999999999"))
        await bus.transport(LOOSE).publish(spec_of(LOOSE), replace(written, headers=forged))
        await settled(worker, 1)
    assert attempts == [1]


async def test_a_replay_reaches_its_group_alone(bus: Bus) -> None:
    ours, theirs = Orders(), Orders()
    async with Worker(bus, ours, group="ours") as worker, Worker(bus, theirs, group="theirs") as other:
        await OrdersPublisher(bus).publish(Placed("1"))
        await settled(worker, 1)
        await settled(other, 1)
        route = await bus.route(ORDERS)
        written = route.write(Placed("again"), None, None, None)
        replay = own_topics(ORDERS, Policies("ours")).replay
        assert replay is not None
        message = Message(replay.name, written.body, written.key, written.headers, written.content_type)
        await bus.transport(ORDERS).publish(replay, message)
        await settled(worker, 2)
    assert [each.order_id for each in ours.seen] == ["1", "again"]
    assert [each.order_id for each in theirs.seen] == ["1"]


async def test_a_group_without_dead_letter_has_no_topics_of_its_own() -> None:
    off = Policies("g", dead_letter=DeadLetterPolicy(disabled=True))
    assert own_topics(ORDERS, off).all == ()


def test_levels_are_named_by_their_wait() -> None:
    policy = replace(
        DELAYED, max_attempts=6, initial_backoff=0.5, max_backoff=3, backoff_multiplier=3, jitter=1
    )
    levels = own_topics(LOOSE, Policies("g", retry=policy)).levels
    assert [(each.name, each.delay) for each in levels] == [
        ("loose.v1.g.retry.500ms", 0.5),
        ("loose.v1.g.retry.1500ms", 1.5),
        ("loose.v1.g.retry.3s", 3.0),
    ]


async def test_an_outage_dead_letters_nothing_and_all_goes_on_after_it(bus: Bus) -> None:
    down = True

    async def handle(_: Placed, __: Context) -> None:
        if down:
            raise ConnectionRefusedError

    once = RetryPolicy(max_attempts=1)
    async with Worker(bus, Orders(handle), group="g", retry=once, breaker=QUICK) as worker:
        for number in range(30):
            await OrdersPublisher(bus).publish(Placed(f"order-{number}"))
        async with asyncio.timeout(10):
            while worker.counts.transient < 40:  # noqa: ASYNC110  the counts are plain numbers
                await asyncio.sleep(0.001)
        assert worker.counts.settled == 0
        down = False
        await settled(worker, 30)
    assert (worker.counts.handled, worker.counts.dead_lettered) == (30, 0)


async def test_failures_of_everything_pause_and_a_single_poison_does_not(bus: Bus) -> None:
    policy = replace(QUICK, failures=3, keys=2, initial_backoff=3600, max_backoff=3600)

    def broken(_: Placed, __: Context) -> None:
        raise Reject if worker.counts.settled > 100 else KeyError

    worker = Worker(bus, Orders(broken), group="g", breaker=policy)
    async with worker:
        await OrdersPublisher(bus).publish_many([Placed(f"order-{number}") for number in range(20)])
        async with asyncio.timeout(10):
            while worker.counts.retried < 3:  # noqa: ASYNC110  the counts are plain numbers
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # nothing may happen any more
        assert worker.counts.dead_lettered == 0
        worker.stop()


async def test_a_dead_event_may_block_its_key_and_no_other() -> None:
    broken = True

    async def handle(event: Placed, _: Context) -> None:
        if broken and event.cents == 1:
            raise Reject

    async with Bus("memory://") as bus:
        orders, policy = OrdersPublisher(bus), OnDead.BLOCK_KEY
        async with Worker(bus, Orders(handle), group="g", concurrency=1, on_dead=policy) as worker:
            await orders.publish_many(
                [Placed("a", 1), Placed("a", 2), *(Placed("b", n) for n in range(9, 19))]
            )
            await settled(worker, 10)
            assert (worker.counts.handled, worker.counts.dead_lettered) == (10, 1)
            assert "its key waits" in worker.health().reasons[0]
        broken = False
        after = Orders(handle)
        async with Worker(bus, after, group="g", on_dead=policy) as again:
            await settled(again, 2)
    assert [each.cents for each in after.seen if each.order_id == "a"] == [1, 2]
