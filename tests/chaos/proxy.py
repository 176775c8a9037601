"""A TCP proxy that misbehaves: it cuts after so many bytes, swallows everything, or is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_CHUNK = 65536


@dataclass
class Fault:
    """What happens to bytes, from now on. Times are in seconds."""

    cut_after: int | None = None
    """How many bytes a new connection carries, both ways together, before it is reset."""
    hole: bool = False
    """Nothing gets through, nothing is closed."""
    latency: float = 0.0
    """Every piece waits so long, each way."""


class Proxy:
    """Listens on `port` and passes on to a port of this machine. `cuts` and `accepted` count connections."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self.fault = Fault()
        self.accepted = 0
        self.cuts = 0
        self._left: dict[asyncio.Task[None], int] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self.cuts += len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection until an end closes it, or the fault does."""
        self.accepted += 1
        try:
            far, on = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            back.transport.abort()
            return
        writers, budget = {back, on}, Budget(self.fault.cut_after)
        self._writers |= writers
        ways = [
            asyncio.create_task(self._carry(near, on, budget)),
            asyncio.create_task(self._carry(far, back, budget)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cuts += budget.spent
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in writers:
                writer.transport.abort() if budget.spent else writer.close()
            self._writers -= writers

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: Budget
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            while self.fault.hole:  # noqa: ASYNC110 - whoever sets it does not wait for anybody
                await asyncio.sleep(0.05)
            if self.fault.latency:
                await asyncio.sleep(self.fault.latency)
            writer.write(budget.take(chunk))
            await writer.drain()
            if budget.spent:
                return


class Budget:
    """Bytes that a connection may carry."""

    def __init__(self, left: int | None) -> None:
        self._left = left
        self.spent = False

    def take(self, chunk: bytes) -> bytes:
        """What of it may pass."""
        if self._left is None:
            return chunk
        passed, self._left = chunk[: self._left], max(0, self._left - len(chunk))
        self.spent = self._left == 0
        return passed


@asynccontextmanager
async def proxied(to: int = 0, port: int = 0) -> AsyncGenerator[Proxy]:
    """A proxy on `port`, or a free one, until the block ends."""
    proxy = Proxy(to)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
