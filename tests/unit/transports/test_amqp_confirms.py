import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.abc import ChannelFrame

from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.confirms import ChannelLost, ConfirmChannel


@dataclass
class FakeChannel:
    """The part of a channel that a publisher touches."""

    number: int = 1
    delivery_tag: int = 0
    confirmations: dict[int, asyncio.Future[Any]] = field(default_factory=dict[int, "asyncio.Future[Any]"])
    message_id_delivery_tag: dict[str, int] = field(default_factory=dict[str, int])
    write_queue: asyncio.Queue[ChannelFrame] = field(default_factory=asyncio.Queue[ChannelFrame])
    closing: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    connection: Any = field(
        default_factory=lambda: SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131072))
    )

    async def written(self) -> bytes:
        frame = await asyncio.wait_for(self.write_queue.get(), 5)
        frame.drain()
        return frame.payload


@pytest.fixture
async def raw() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
async def channel(raw: FakeChannel) -> AsyncIterator[ConfirmChannel]:
    channel = ConfirmChannel(cast("Channel", raw))
    yield channel
    await channel.close()


async def test_publishes_of_one_turn_are_one_write(channel: ConfirmChannel, raw: FakeChannel) -> None:
    sent = [channel.send(b"%d" % number, str(number)) for number in range(5)]
    assert await raw.written() == b"01234"
    assert [confirmation.tag for confirmation in sent] == list(raw.confirmations) == [1, 2, 3, 4, 5]
    raw.confirmations.pop(2).set_result("ack")
    assert await sent[1] == "ack"


async def test_an_id_is_known_until_it_is_forgotten(channel: ConfirmChannel, raw: FakeChannel) -> None:
    first = channel.send(b"1", "same")
    assert channel.in_flight("same") is first
    channel.forget(first)
    second = channel.send(b"2", "same")
    channel.forget(first)
    assert channel.in_flight("same") is second


async def test_an_answer_to_nobody_does_no_harm(channel: ConfirmChannel, raw: FakeChannel) -> None:
    confirmation = channel.send(b"1", "1")
    confirmation.cancel()
    confirmation.set_result("ack")
    confirmation.set_exception(ValueError())
    assert confirmation.cancelled()


async def test_a_lost_channel_fails_what_is_unconfirmed_and_what_comes(
    channel: ConfirmChannel, raw: FakeChannel
) -> None:
    before = channel.send(b"1", "1")
    raw.closing.set_exception(ConnectionError("reset by peer"))
    with pytest.raises(ChannelLost, match="reset by peer"):
        await before
    assert channel.lost
    with pytest.raises(ChannelLost):
        await channel.send(b"2", "2")


async def test_publishers_wait_for_a_slow_socket(channel: ConfirmChannel, raw: FakeChannel) -> None:
    channel.send(b"x" * 2_000_000, "1")
    assert not channel.has_room
    waiting = asyncio.create_task(channel.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await raw.written()
    await asyncio.wait_for(waiting, 5)
    assert channel.has_room


async def test_nobody_waits_for_the_socket_of_a_lost_channel(
    channel: ConfirmChannel, raw: FakeChannel
) -> None:
    channel.send(b"x" * 2_000_000, "1")
    raw.closing.cancel()
    await asyncio.wait_for(channel.room(), 5)
