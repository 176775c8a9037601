import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.transport import TopicPartition
from eventwire.transports.amqp import watch
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.session import Delivered, Session
from eventwire.transports.amqp.watch import Watch


@dataclass
class Count:
    message_count: int
    consumer_count: int


@dataclass
class FakeChannel:
    """The consuming channel and the looking one; what the broker answers is scripted, the last answer repeats."""

    answers: list[Count] = field(default_factory=list[Count])
    consumers: dict[str, object] = field(default_factory=lambda: {"q": None})
    error: Exception | None = None
    silent: bool = False
    looks: int = 0
    closed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def closing(self) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        if self.closed.done():
            waiter.set_exception(self.closed.exception() or RuntimeError())
        return waiter

    async def queue_declare(self, queue: str, *, passive: bool) -> Count:
        assert passive
        if self.error:
            raise self.error
        if self.silent:
            await asyncio.Event().wait()
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TICK", 0.0)
    monkeypatch.setattr(watch, "LOOK", 0.0)


class Watched:
    """A watch over one queue."""

    def __init__(self, *answers: Count, single: bool = False, held: int = 0) -> None:
        self.channel = FakeChannel(list(answers))
        channel = cast("Channel", self.channel)
        self.session = Session(channel, {"q": TopicPartition("t", 0)}, 60, 10)
        self.held = [Delivered(tag, "q", self.raw(tag)) for tag in range(held)]
        self.watch = Watch(self.session, {"q": single}, lambda: self.held, 10)
        self.loss = asyncio.create_task(self.watch.loss(channel))

    def raw(self, tag: int) -> DeliveredMessage:
        frame = Basic.Deliver(consumer_tag="q", delivery_tag=tag)
        return DeliveredMessage(frame, ContentHeader(), b"", cast("AbstractChannel", self.channel))

    async def why(self) -> str:
        reason, _ = await asyncio.wait_for(self.loss, 5)
        return reason

    async def left_alone(self) -> None:
        """It lives after many looks."""
        while self.channel.looks < 20:
            assert not self.loss.done()
            await asyncio.sleep(0)
        self.loss.cancel()


async def test_messages_that_do_not_come_are_a_reason() -> None:
    assert "nothing came from q though messages wait" in await Watched(Count(3, 1)).why()


async def test_who_has_no_room_gets_nothing_with_reason() -> None:
    watched = Watched(Count(3, 1), held=10)
    await watched.left_alone()
    assert watched.watch.lag == 13


async def test_who_is_next_in_line_waits() -> None:
    await Watched(Count(3, 1), single=True).left_alone()


async def test_the_one_reader_that_gets_nothing_any_more_is_a_reason() -> None:
    watched = Watched(Count(3, 1), single=True)
    await watched.session.on_message(watched.raw(1))
    assert "nothing came" in await watched.why()


async def test_a_queue_that_nobody_reads_is_a_reason_though_we_ask() -> None:
    assert "nothing came" in await Watched(Count(0, 0), single=True).why()


async def test_an_empty_queue_is_none() -> None:
    await Watched(Count(0, 1)).left_alone()


async def test_a_backlog_seen_once_is_none() -> None:
    await Watched(Count(3, 1), Count(0, 1), Count(3, 1), Count(0, 1)).left_alone()


async def test_cancelled_consumers_are_named() -> None:
    watched = Watched(Count(0, 1))
    watched.channel.consumers.clear()
    assert await watched.why() == "RabbitMQ cancelled the consumers of q"


async def test_a_closed_channel_tells_why() -> None:
    watched = Watched(Count(0, 1))
    watched.channel.closed.set_exception(ChannelClosed(406, "PRECONDITION_FAILED"))
    assert "PRECONDITION_FAILED" in await watched.why()


async def test_a_look_that_the_broker_refuses_is_a_reason() -> None:
    watched = Watched(Count(0, 1))
    watched.channel.error = ChannelNotFoundEntity("no queue 'q'")
    assert "no queue" in await watched.why()


async def test_a_broker_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_ANSWER", 0.0)
    watched = Watched(Count(0, 1))
    watched.channel.silent = True
    async with asyncio.timeout(5):
        while watched.watch.trouble is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert "has not answered" in watched.watch.trouble
    assert watched.watch.lag is None
    watched.loss.cancel()
