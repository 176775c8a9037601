import asyncio
from dataclasses import dataclass, field
from typing import cast

import pamqp.frame
import pytest
from aiormq.abc import AbstractChannel, ChannelFrame, DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.transport import TopicPartition
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.session import AmqpDelivery, Session


@dataclass
class FakeChannel:
    """A channel whose broker reads what was written, settles it, and answers."""

    number: int = 1
    write_queue: asyncio.Queue[ChannelFrame] = field(default_factory=lambda: asyncio.Queue(10))
    open: set[int] = field(default_factory=set[int])
    frames: int = 0

    async def basic_qos(self, *, prefetch_count: int) -> None:
        self.settle()

    def settle(self) -> None:
        while not self.write_queue.empty():
            data = self.write_queue.get_nowait().payload
            while data:
                consumed, _, frame = pamqp.frame.unmarshal(data)
                data = data[consumed:]
                self._settle(cast("Basic.Ack", frame))

    def _settle(self, frame: Basic.Ack) -> None:
        self.frames += 1
        tag = frame.delivery_tag or 0
        assert tag in self.open, "RabbitMQ closes the channel for a tag it does not know"
        self.open -= {known for known in self.open if known <= tag} if frame.multiple else {tag}


SOURCES = {"q0": TopicPartition("t", 0), "q1": TopicPartition("t", 1)}


def made(*, interval: float = 60, prefetch: int = 200) -> tuple[Session, FakeChannel]:
    channel = FakeChannel()
    return Session(cast("Channel", channel), SOURCES, interval, prefetch), channel


async def delivered(session: Session, channel: FakeChannel, count: int, queue: str = "q0") -> None:
    for tag in range(len(channel.open) + 1, len(channel.open) + count + 1):
        deliver = Basic.Deliver(consumer_tag=queue, delivery_tag=tag)
        raw = DeliveredMessage(deliver, ContentHeader(), b"%d" % tag, cast("AbstractChannel", channel))
        await session.on_message(raw)
        channel.open.add(tag)


def bodies(deliveries: list[AmqpDelivery]) -> list[bytes | None]:
    return [delivery.message.body for delivery in deliveries]


async def test_deliveries_come_in_order_and_once() -> None:
    session, channel = made()
    await delivered(session, channel, 3)
    await delivered(session, channel, 1, "q1")
    first = session.take(2)
    assert session.arrived.is_set()
    rest = session.take(10)
    assert bodies(first + rest) == [b"1", b"2", b"3", b"4"]
    assert [delivery.partition for delivery in first + rest] == [0, 0, 0, 1]
    assert not session.arrived.is_set()


async def test_contiguous_acks_are_one_frame() -> None:
    session, channel = made()
    await delivered(session, channel, 100)
    taken = session.take(100)
    for delivery in reversed(taken[:90]):
        delivery.ack()
    await session.flush()
    assert channel.open == set(range(91, 101))
    assert channel.frames == 1


@given(st.permutations(range(12)), st.lists(st.integers(1, 4), min_size=12), st.sets(st.integers(0, 11)))
def test_any_order_settles_exactly_what_was_acked(
    order: list[int], batches: list[int], released: set[int]
) -> None:
    async def run() -> None:
        session, channel = made()
        await delivered(session, channel, 14)
        taken = session.take(14)
        steps = iter(order)
        for size in batches:
            for index in [next(steps, None) for _ in range(size)]:
                if index is not None:
                    taken[index].release() if index in released else taken[index].ack()
            await session.flush()
        assert channel.open == {13, 14} | {index + 1 for index in released}
        assert set(bodies(session.take(20))) == {b"%d" % (index + 1) for index in released}

    asyncio.run(run())


async def test_a_release_comes_again_in_its_place() -> None:
    session, channel = made()
    await delivered(session, channel, 5)
    first, second, third = session.take(3)
    third.release()
    first.release()
    second.ack()
    again = session.take(10)
    assert [(delivery.message.body, delivery.attempt) for delivery in again] == [
        (b"1", 2),
        (b"3", 2),
        (b"4", 1),
        (b"5", 1),
    ]
    again[0].release()
    assert session.arrived.is_set()
    assert [delivery.attempt for delivery in session.take(1)] == [3]


async def test_the_first_word_counts() -> None:
    session, channel = made()
    await delivered(session, channel, 3)
    acked, released, late = session.take(3)
    acked.ack()
    acked.ack()
    acked.release()
    released.release()
    released.ack()
    [again] = session.take(10)
    released.ack()
    await session.flush()
    assert channel.open == {2, 3}
    again.ack()
    await session.flush()
    assert channel.open == {3}
    session.drop()
    late.ack()
    late.release()
    await session.flush()
    assert channel.open == {3}
    assert not session.take(1)


async def test_acks_go_by_themselves_by_number_and_by_time() -> None:
    session, channel = made(prefetch=8)
    await delivered(session, channel, 4)
    for delivery in session.take(2):
        delivery.ack()
    await asyncio.sleep(0)
    channel.settle()
    assert channel.open == {3, 4}
    slow, other = made(interval=0.001)
    await delivered(slow, other, 1)
    slow.take(1)[0].ack()
    frame = await asyncio.wait_for(other.write_queue.get(), 5)
    assert frame.payload


async def test_a_busy_socket_delays_acks_and_loses_none() -> None:
    session, channel = made(interval=0.001)
    await delivered(session, channel, 1)
    for _ in range(channel.write_queue.maxsize):
        channel.write_queue.put_nowait(ChannelFrame(b"", should_close=False))
    session.take(1)[0].ack()
    async with asyncio.timeout(5):
        while channel.open:
            await asyncio.sleep(0.001)
            channel.settle()


@pytest.mark.parametrize("gone", [True, False])
async def test_flush_ends_with_the_channel(gone: bool) -> None:
    session, channel = made()
    await delivered(session, channel, 1)
    session.take(1)[0].ack()
    never = asyncio.Event()
    channel.basic_qos = lambda prefetch_count: never.wait()  # type: ignore[method-assign,assignment,misc]
    flushing = asyncio.create_task(session.flush())
    await asyncio.sleep(0)
    session.drop() if gone else never.set()
    await asyncio.wait_for(flushing, 5)
