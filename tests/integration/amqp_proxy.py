"""A way to RabbitMQ that can be cut, frozen and made to lose frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from struct import Struct
from typing import Self

from eventwire.url import BrokerUrl

_HEAD = Struct(">BHI")  # AMQP 0-9-1 section 4.2.3: type, channel, payload size
_METHOD, _BODY = 1, 3
_DELIVER = b"\x00\x3c\x00\x3c"
_SIZE = Struct(">Q")


class Proxy:
    """Passes bytes on between clients and a broker. All of it in the test's event loop."""

    def __init__(self, broker: str) -> None:
        self.url = ""
        self.swallowing = False
        """Whether deliveries are lost on their way, as if the broker had not sent them."""
        self.connections = 0
        self._host = BrokerUrl.parse(broker).hosts[0]
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._brokers: list[asyncio.StreamWriter] = []

    @classmethod
    @asynccontextmanager
    async def to(cls, broker: str) -> AsyncGenerator[Self]:
        """Listen on a free port."""
        proxy = cls(broker)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.url = f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield proxy
        finally:
            server.close()
            await proxy.cut()

    async def cut(self) -> None:
        """Close all connections."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._brokers.clear()

    def freeze(self) -> None:
        """Pass nothing on; connections stay open."""
        self._going.clear()

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._going.set()

    def inject(self, frame: bytes) -> None:
        """Have the broker read a frame of ours from the client that connected last."""
        self._brokers[-1].write(frame)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            there, broker = await asyncio.open_connection(self._host.name, self._host.port)
            self._brokers.append(broker)
            ways = (self._up(reader, broker), self._down(there, writer))
            try:
                await asyncio.wait(
                    [asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                broker.close()
        writer.close()
        self._tasks.discard(task)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._going.wait()
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            left: dict[int, int] = {}
            while True:
                head = await reader.readexactly(_HEAD.size)
                kind, channel, size = _HEAD.unpack(head)
                frame = head + await reader.readexactly(size + 1)
                await self._going.wait()
                if not self._lost(kind, channel, frame, left):
                    writer.write(frame)
                    await writer.drain()

    def _lost(self, kind: int, channel: int, frame: bytes, left: dict[int, int]) -> bool:
        """Whether the frame is of a delivery that is lost; `left`: bytes of it that are still to come, by channel."""
        payload = frame[_HEAD.size : -1]
        if kind == _METHOD:
            if self.swallowing and payload.startswith(_DELIVER):
                left[channel] = -1
                return True
            return False
        if channel not in left:
            return False
        left[channel] = left[channel] - len(payload) if kind == _BODY else _SIZE.unpack_from(payload, 4)[0]
        if left[channel] <= 0:
            del left[channel]
        return True
