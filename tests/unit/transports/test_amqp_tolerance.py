import asyncio
import struct

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.transports.amqp import frames, tolerance

FAR = frames.short(b"when") + b"T" + struct.pack(">Q", 2**63)
FOREIGN_NAME = frames.short(b"\xff") + b"V"


def header(table: bytes) -> bytes:
    properties = frames.properties(frames.table(table), b"", b"id", b"")
    data = frames.publish(3, b"", b"", properties, b"body", mandatory=False, frame_max=4096)
    method, _, _ = pamqp.frame.unmarshal(data)
    size = struct.unpack_from(">I", data, method + 3)[0]
    return data[method : method + size + 8]


def deliver(key: bytes) -> bytes:
    payload = b"\x00\x3c\x00\x3c" + frames.short(b"consumer") + struct.pack(">Q", 7) + b"\x01"
    return frames.frame(1, 3, payload + frames.short(b"exchange") + frames.short(key))


@pytest.mark.parametrize("table", [FAR, FOREIGN_NAME])
def test_undecodable_properties_become_bytes(table: bytes) -> None:
    _, channel, frame = pamqp.frame.unmarshal(tolerance.mended(header(table)))
    assert isinstance(frame, ContentHeader)
    assert (channel, frame.body_size) == (3, 4)
    assert table in (frame.properties.headers or {})[tolerance.UNDECODABLE]  # type: ignore[operator]


def test_an_undecodable_routing_key_is_dropped() -> None:
    _, channel, frame = pamqp.frame.unmarshal(tolerance.mended(deliver(b"\xff")))
    assert isinstance(frame, Basic.Deliver)
    assert (channel, frame.consumer_tag, frame.delivery_tag, frame.redelivered) == (3, "consumer", 7, True)
    assert (frame.exchange, frame.routing_key) == ("exchange", "")


@pytest.mark.parametrize("frame", [header(frames.short(b"n") + b"V"), deliver(b"key"), b"AMQP\0\0\x09\1"])
def test_other_frames_stay(frame: bytes) -> None:
    assert tolerance.mended(frame) == frame


@given(st.binary(max_size=60))
def test_any_content_header_can_be_decoded_afterwards(properties: bytes) -> None:
    payload = struct.pack(">HHQ", 60, 0, 4) + properties
    pamqp.frame.unmarshal(tolerance.mended(frames.frame(2, 1, payload)))


async def test_the_reader_gives_whole_frames_in_the_clients_portions() -> None:
    stream = asyncio.StreamReader()
    reader = tolerance.TolerantReader(stream)
    sent = [header(FAR), deliver(b"key")]
    stream.feed_data(b"".join(sent))
    stream.feed_eof()
    for frame in (tolerance.mended(sent[0]), sent[1]):
        assert not reader.at_eof()
        parts = [
            await reader.readexactly(1),
            await reader.readexactly(6),
            await reader.readexactly(len(frame) - 7),
        ]
        assert b"".join(parts) == frame
    assert reader.at_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(1)
