"""Reading what the client cannot: one frame that it fails to decode ends its connection, again and again.

Any client may publish such a message (a date outside Python's years, a header name or routing key that is no UTF-8). A
consumer that lost its connection to one goes on with this reader: the message then arrives with its body, and its
undecodable properties as bytes of the header `eventwire_undecodable`. Every message is decoded twice from then on.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import Any, cast

import pamqp.frame
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.exceptions import PAMQPException
from yarl import URL

from eventwire.transports.amqp import frames

UNDECODABLE = "eventwire_undecodable"

_HEAD = Struct(">BHI")  # AMQP 0-9-1 section 4.2.3: type, channel, size
_METHOD, _HEADER = 1, 2
_DELIVER = b"\x00\x3c\x00\x3c"
_FIXED = 12  # of a content header: class, weight, body size
_AFTER_TAG = 9  # of basic.deliver: delivery tag, redelivered


class TolerantTransport(TransportFactory):
    """aiormq's way to its socket, with a reader that mends frames."""

    def __init__(self, *, secure: bool) -> None:
        self._factory = TLSTransportFactory() if secure else TCPTransportFactory()

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        reader, writer = await self._factory.create(url, **kwargs)
        return cast("asyncio.StreamReader", TolerantReader(reader)), writer


class TolerantReader:
    """The two methods of a StreamReader that aiormq calls, over whole frames."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._frame = b""

    def at_eof(self) -> bool:
        """Whether nothing is left to read."""
        return not self._frame and self._reader.at_eof()

    async def readexactly(self, n: int) -> bytes:
        """The next bytes of a frame; never of two."""
        if not self._frame:
            head = await self._reader.readexactly(_HEAD.size)
            size: int = _HEAD.unpack(head)[2]
            self._frame = mended(head + await self._reader.readexactly(size + 1))
        data, self._frame = self._frame[:n], self._frame[n:]
        return data


def mended(frame: bytes) -> bytes:
    """The frame, or one that can be decoded where it cannot."""
    try:
        pamqp.frame.unmarshal(frame)
    except (PAMQPException, ValueError, OverflowError, OSError):
        kind, channel, _ = _HEAD.unpack_from(frame)
        payload = frame[_HEAD.size : -1]
        if kind == _HEADER:
            return frames.frame(kind, channel, _header(payload))
        if kind == _METHOD and payload.startswith(_DELIVER):
            return frames.frame(kind, channel, _deliver(payload))
    return frame


def _header(payload: bytes) -> bytes:
    table = frames.table(frames.fields({UNDECODABLE: payload[_FIXED:]}))
    return payload[:_FIXED] + frames.properties(table, b"", b"", b"")


def _deliver(payload: bytes) -> bytes:
    """basic.deliver without its routing key."""
    tag_ends = len(_DELIVER) + 1 + payload[len(_DELIVER)] + _AFTER_TAG
    return payload[: tag_ends + 1 + payload[tag_ends]] + frames.short(b"")
